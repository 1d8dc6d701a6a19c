/* tier.c - what this machine allows: a box is tried, and the answer kept until the machine is started again. */
#include "env/box.h"

#include "env/local.h"
#include "rt/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROBE_MS 5000

static const char *const names[] = { [TIER_NONE] = "none", [TIER_LANDLOCK] = "landlock", [TIER_LIVE] = "live" };

const char *tier_name(enum tier tier)
{
    return names[tier];
}

static void probe_profile(enum tier tier, const char *box, struct buf *out)
{
    if (tier == TIER_LIVE)
        profile_add(out, "uid", "", "");
    profile_add(out, "ro", box, tier == TIER_LIVE ? "/rein-box" : "");
    profile_add(out, "tmpfs", "/tmp", "1m");
    profile_add(out, "dev", "", "");
    profile_add(out, "proc", "", "");
}

/* Starts a program that does nothing in such a box. 0, or an errno and what could not be done; negative: it could not be tried. */
static CO int probe(enum tier tier, const char *box, struct buf *what)
{
    cleanup(buf_done) struct buf profile = {0};
    cleanup(closep) int fd = -1, theirs = -1, ours = -1, root = open("/", O_PATH | O_CLOEXEC);
    cleanup(proc_freep) struct proc *proc = NULL;
    const char *argv[] = { "rein-box", "--probe", "3", "--profile", "4", "--", tier == TIER_LIVE ? "/rein-box" : box, "--nothing",
                           NULL };
    struct proc_fd fds[2];
    struct err e;
    int pair[2], error;
    ssize_t n;
    char text[512];

    probe_profile(tier, box, &profile);
    fd = boxing_file(&profile);
    if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return errno ? -errno : -EIO;
    ours = pair[0];
    theirs = pair[1];
    fds[0] = (struct proc_fd){ theirs, 3 };
    fds[1] = (struct proc_fd){ fd, 4 };
    error = proc_spawn(&(struct proc_spec){ box, (char *const *)argv, (char *const[]){ NULL }, root, fds, 2 }, &proc, &e);
    if (error)
        return error;
    close(theirs);
    theirs = -1;
    if (fd_readable(ours, "a box to be tried", PROBE_MS) < 0 || (n = read(ours, text, sizeof(text) - 1)) <= 0)
        return -ETIMEDOUT;
    text[n] = 0;
    error = atoi(text);
    if (error)
        buf_adds(what, strchr(text, ' ') ? strchr(text, ' ') + 1 : "");
    return error;
}

static long sysctl(const char *path, long otherwise)
{
    FILE *f = fopen(path, "re");
    long n = otherwise;

    if (f && fscanf(f, "%ld", &n) != 1)
        n = otherwise;
    if (f)
        fclose(f);
    return n;
}

/* Why there are no namespaces, and what would change that. */
static void tell_namespaces(int error, struct buf *out)
{
    if (sysctl("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
        buf_adds(out, "this system gives ordinary users no namespaces: sysctl -w kernel.unprivileged_userns_clone=1");
    else if (sysctl("/proc/sys/user/max_user_namespaces", 1) == 0)
        buf_adds(out, "this system gives no user namespaces: sysctl -w user.max_user_namespaces=10000");
    else if (sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
        buf_adds(out, "AppArmor gives unknown programs no namespaces: a profile for rein-box with 'userns,' or "
                      "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
    else if (error == EPERM || error == ENOSYS)
        buf_adds(out, "namespaces are forbidden here, as in most containers: docker run --security-opt seccomp=unconfined "
                      "--security-opt apparmor=unconfined, or podman run --security-opt seccomp=unconfined");
    else
        buf_addf(out, "a namespace cannot be made: %s", strerror(error));
}

/* `ret_sure`: it will be the same the next time. */
static CO enum tier look(char **ret_why, bool *ret_sure)
{
    cleanup(buf_done) struct buf what = {0}, why = {0};
    cleanup(freep) char *box = NULL;
    struct err e;
    int error;

    *ret_sure = false;
    if (env_box_path(&box, &e) < 0) {
        *ret_why = xstrdup(e.msg);
        return TIER_NONE;
    }
    error = probe(TIER_LIVE, box, &what);
    if (error < 0) {
        *ret_why = xasprintf("a box could not be tried: %s", strerror(-error));
        return TIER_NONE;
    }
    *ret_sure = true;
    if (error == 0) {
        *ret_why = NULL;
        return TIER_LIVE;
    }
    if (str_is(buf_str(&what), "namespaces"))
        tell_namespaces(error, &why);
    else
        buf_addf(&why, "a view of the files cannot be built (%.*s: %s)", STR(buf_str(&what)), strerror(error));
    buf_clear(&what);
    error = probe(TIER_LANDLOCK, box, &what);
    *ret_sure = error >= 0;
    if (error < 0)
        buf_addf(&why, "; whether there is Landlock could not be tried: %s", strerror(-error));
    else if (error)
        buf_addf(&why, "; and Landlock is missing (Linux 5.19, and 'landlock' among the lsm= of the kernel's command line): %s",
                 strerror(error));
    *ret_why = buf_take(&why);
    return error ? TIER_NONE : TIER_LANDLOCK;
}

/* "VERSION BOOT UID TIER WHY" */
CO enum tier tier_find(const char *home, bool anew, char **ret_why)
{
    cleanup(freep) char *path = xasprintf("%s/tier", home), *temp = xasprintf("%s/tier.%d", home, getpid());
    cleanup(freep) char *key = xasprintf("%s %s %u ", REIN_VERSION, proc_boot(), getuid());
    char line[1024] = "";
    enum tier tier;
    bool sure;
    FILE *f = anew ? NULL : fopen(path, "re");

    if (f && fgets(line, sizeof(line), f) && strncmp(line, key, strlen(key)) == 0) {
        char *word = line + strlen(key), *why = word + strcspn(word, " ");

        line[strcspn(line, "\n")] = 0;
        fclose(f);
        for (tier = TIER_LIVE; tier > TIER_NONE && !(strncmp(word, names[tier], (size_t)(why - word)) == 0 && why > word); tier--)
            ;
        *ret_why = *why && why[1] ? xstrdup(why + 1) : NULL;
        return tier;
    }
    if (f)
        fclose(f);
    tier = look(ret_why, &sure);
    f = sure ? fopen(temp, "we") : NULL;
    if (f) {
        fprintf(f, "%s%s %s\n", key, names[tier], *ret_why ? *ret_why : "");
        if (fclose(f) != 0 || rename(temp, path) < 0)
            unlink(temp);
    }
    return tier;
}
