#include "box/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

bool rights_drop(void)
{
    static const int kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID };
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2] = {0};
    uint32_t left = 0;

    if (getuid() == 0)
        for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
            left |= 1U << kept[i];
    for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(cap < 32 && (left & (1U << cap))) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
            return false;               /* EPERM: there is nothing that could be dropped */
    caps[0].permitted = caps[0].effective = left;
    if (syscall(SYS_capget, &head, (struct __user_cap_data_struct[2]){0}) < 0)
        return false;
    if (left) {
        struct __user_cap_data_struct now[2] = {0};

        syscall(SYS_capget, &head, now);
        caps[0].permitted = caps[0].effective = left & now[0].permitted;
    }
    return syscall(SYS_capset, &head, caps) == 0;
}
