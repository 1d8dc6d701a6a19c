/* landlock.c - which files may be read and written, by Landlock; in a box that has its own view of the files this is the second
 * wall, without one the only one. */
#include "box/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What came after the first version; the headers of a system may be older than its kernel. */
#define FS_REFER      (1ULL << 13)
#define FS_TRUNCATE   (1ULL << 14)
#define FS_IOCTL_DEV  (1ULL << 15)
#define NET_BIND      (1ULL << 0)
#define NET_CONNECT   (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL  (1ULL << 1)

#define FS_FIRST      ((1ULL << 13) - 1)
#define FS_OF_FILES   (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE | \
                       FS_IOCTL_DEV)
#define FS_READ       (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_USE        (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_DIR | FS_IOCTL_DEV | \
                       FS_TRUNCATE)

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct rules {
    int fd;
    uint64_t handled;
};

/* What does not exist needs no rule. */
static bool allow(const struct rules *r, const char *path, uint64_t access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr attr = { .allowed_access = access & r->handled, .parent_fd = fd };
    struct stat st;
    bool good;

    if (fd < 0)
        return errno == ENOENT || errno == EACCES;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed_access &= FS_OF_FILES;
    good = syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) == 0;
    close(fd);
    return good;
}

static bool allow_devices(const struct rules *r)
{
    static const char *const names[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty",
                                         "/dev/ptmx",
                                         "/dev/pts" };
    bool good = true;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        good = good && allow(r, names[i], FS_USE);
    return good;
}

/* Inside, all that there is may be read: what should not be is not there. */
static bool add_rules(const struct profile *p, bool inside, const struct rules *r)
{
    bool good = !inside || (allow(r, "/", FS_READ) && allow(r, "/proc", FS_USE) && allow(r, "/dev", FS_USE));

    for (size_t i = 0; i < p->n && good; i++) {
        const struct record *v = &p->v[i];
        const char *at = inside && *v->b ? v->b : v->a;

        if (strcmp(v->verb, "rw") == 0)
            good = allow(r, at, r->handled);
        else if (strcmp(v->verb, "tmpfs") == 0)
            good = !inside || allow(r, v->a, r->handled);
        else if (strcmp(v->verb, "dev") == 0)
            good = inside ? allow(r, "/dev/shm", r->handled) : allow_devices(r);
        else if (strcmp(v->verb, "ro") == 0 && !inside)
            good = allow(r, v->a, FS_READ);
        else if (strcmp(v->verb, "proc") == 0 && !inside)
            good = allow(r, "/proc", FS_READ);
    }
    return good;
}

bool landlock_apply(const struct profile *p, bool inside, const char **ret_what)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* VERSION */);
    struct ruleset_attr attr = { .fs = FS_FIRST };
    size_t size = sizeof(attr.fs);
    struct rules r;
    bool good;

    *ret_what = "Landlock";
    if (abi < 2) {                      /* the first forbids moving files between directories: no work can be done */
        errno = ENOTSUP;
        return inside;
    }
    attr.fs |= FS_REFER | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
    if (abi >= 4) {
        attr.net = p->host_net || inside ? 0 : NET_BIND | NET_CONNECT;
        size = sizeof(attr.fs) + sizeof(attr.net);
    }
    if (abi >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
        size = sizeof(attr);
    }
    r = (struct rules){ (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0), attr.fs };
    if (r.fd < 0)
        return false;
    good = add_rules(p, inside, &r) && syscall(SYS_landlock_restrict_self, r.fd, 0) == 0;
    close(r.fd);
    return good;
}
