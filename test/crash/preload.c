/* preload.c - counts the calls of rein by which something becomes durable or leaves the process, with one count over all its
 * threads, and stops or fails the run at one of them.
 *
 *   CRASH_MAP=FILE      64 bytes, shared: [0] calls so far, [1] fsync and fdatasync on the loop's thread, [2] all of those,
 *                       [3] rein's pid
 *   CRASH_AT=N:WHAT     at call N: before (killed, it has not happened), after (killed, it has), short (half of a write),
 *                       or the number of an errno that it fails with. With a + behind N: at every call from N on.
 *                       lost, done: as before and after, but only the process that works on files is killed, if the call is its
 *   CRASH_LOG=FILE      names each call, a line each: number, name, descriptor, thread, process, file
 *   CRASH_DAYS=N        the wall clock is so many days off
 *   CRASH_BOOT=FILE     what the kernel says of this boot is read from that file: the machine was restarted
 *
 * Only rein itself and the process that works on its files are counted, as one: to kill one of them is to kill both, and the second
 * one does not confine itself, so that it can. Other children do not inherit the preload. Pipes, eventfds and the like do not count; files and
 * sockets do. */
#undef _FILE_OFFSET_BITS         /* both forms of each call are wrapped, each under its own name */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum what { NOTHING, BEFORE, AFTER, SHORT, FAIL };

static struct {
    _Atomic uint64_t *map;
    uint64_t at;
    bool onwards;
    enum what what;
    int err, log;
    const char *boot;
    int days;
    bool worker, alone;                 /* this is the process that works on files; it is killed and rein is not */
    char env[4][512];                   /* what such a process is given */
} crash = { .log = -1 };

#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define REAL(name) static __typeof__(&name) real; if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *map = getenv("CRASH_MAP"), *at = getenv("CRASH_AT"), *log = getenv("CRASH_LOG");
    int fd = map ? (int)syscall(SYS_openat, AT_FDCWD, map, O_RDWR | O_CLOEXEC, 0) : -1;

    crash.worker = getenv("CRASH_WORKER");
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = { "LD_PRELOAD", "CRASH_MAP", "CRASH_AT", "CRASH_LOG" };

        if (getenv(names[i]))
            snprintf(crash.env[i], sizeof(crash.env[i]), "%s=%s", names[i], getenv(names[i]));
    }
    unsetenv("LD_PRELOAD");
    unsetenv("CRASH_MAP");
    unsetenv("CRASH_AT");
    crash.boot = getenv("CRASH_BOOT");
    crash.days = getenv("CRASH_DAYS") ? atoi(getenv("CRASH_DAYS")) : 0;
    if (fd >= 0) {
        void *p = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED)
            crash.map = p;
        syscall(SYS_close, fd);
        if (crash.map && !crash.worker)
            crash.map[3] = (uint64_t)getpid();
    }
    if (log)
        crash.log = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (at) {
        char *rest;

        crash.at = strtoull(at, &rest, 10);
        if (*rest == '+') {
            crash.onwards = true;
            rest++;
        }
        rest++;
        crash.alone = !strcmp(rest, "lost") || !strcmp(rest, "done");
        if (crash.alone && !crash.worker)
            crash.at = 0;
        crash.what = !strcmp(rest, "lost") ? BEFORE : !strcmp(rest, "done") ? AFTER : !strcmp(rest, "before") ? BEFORE : !strcmp(rest, "after") ? AFTER : !strcmp(rest, "short") ? SHORT : FAIL;
        crash.err = atoi(rest);
    }
}

static void die(void)
{
    if (crash.worker && !crash.alone)
        syscall(SYS_kill, (pid_t)crash.map[3], SIGKILL);
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;)
        pause();
}

/* What is to happen at this call. */
static enum what point(const char *name, int fd)
{
    uint64_t n;

    if (!crash.map)
        return NOTHING;
    n = atomic_fetch_add(&crash.map[0], 1) + 1;
    if (crash.log >= 0) {
        char line[512], path[300] = "-", link[40];
        int len;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if (fd >= 0)
            path[MAX(syscall(SYS_readlink, link, path, sizeof(path) - 1), 0)] = 0;
        len = snprintf(line, sizeof(line), "%llu %s fd=%d tid=%ld %s %s\n", (unsigned long long)n, name, fd,
                       syscall(SYS_gettid) - syscall(SYS_getpid), crash.worker ? "worker" : "rein", path);

        syscall(SYS_write, crash.log, line, len);
    }
    if (n != crash.at && !(crash.onwards && n > crash.at))
        return NOTHING;
    if (crash.what == BEFORE)
        die();
    return crash.what;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    REAL(clock_gettime);
    int r = real(id, t);

    if (r == 0 && id == CLOCK_REALTIME)
        t->tv_sec += 86400 * (time_t)crash.days;
    return r;
}

static bool counts(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return false;
    return S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode) || (fd <= 2 && S_ISFIFO(st.st_mode));
}

#define AROUND(type, bad, name, fd, call)                                                          \
    do {                                                                                           \
        enum what now = point(name, fd);                                                           \
        type r;                                                                                    \
                                                                                                   \
        if (now == FAIL) {                                                                         \
            errno = crash.err;                                                                     \
            return bad;                                                                            \
        }                                                                                          \
        r = call;                                                                                  \
        if (now == AFTER)                                                                          \
            die();                                                                                 \
        return r;                                                                                  \
    } while (0)

#define WRITER(name, params, fd, count, whole, half)                                               \
    ssize_t name params;                                                                           \
    ssize_t name params                                                                            \
    {                                                                                              \
        enum what now;                                                                             \
        ssize_t r;                                                                                 \
        REAL(name);                                                                                \
                                                                                                   \
        if (!counts(fd))                                                                           \
            return whole;                                                                          \
        now = point(#name, fd);                                                                    \
        if (now == FAIL) {                                                                         \
            errno = crash.err;                                                                     \
            return -1;                                                                             \
        }                                                                                          \
        r = now == SHORT && (count) > 1 ? half : whole;                                            \
        if (now == AFTER)                                                                          \
            die();                                                                                 \
        return r;                                                                                  \
    }

WRITER(write, (int fd, const void *p, size_t n), fd, n, real(fd, p, n), real(fd, p, n / 2))
WRITER(pwrite, (int fd, const void *p, size_t n, off_t at), fd, n, real(fd, p, n, at), real(fd, p, n / 2, at))
WRITER(pwrite64, (int fd, const void *p, size_t n, off64_t at), fd, n, real(fd, p, n, at), real(fd, p, n / 2, at))
WRITER(writev, (int fd, const struct iovec *v, int n), fd, n, real(fd, v, n), real(fd, v, n / 2))
WRITER(send, (int fd, const void *p, size_t n, int f), fd, n, real(fd, p, n, f), real(fd, p, n / 2, f))
WRITER(sendto, (int fd, const void *p, size_t n, int f, const struct sockaddr *a, socklen_t l), fd, n, real(fd, p, n, f, a, l),
       real(fd, p, n / 2, f, a, l))
WRITER(sendmsg, (int fd, const struct msghdr *m, int f), fd, 1, real(fd, m, f), real(fd, m, f))

static void note_sync(void)
{
    if (!crash.map)
        return;
    atomic_fetch_add(&crash.map[2], 1);
    if (syscall(SYS_gettid) == syscall(SYS_getpid))
        atomic_fetch_add(&crash.map[1], 1);
}

int fsync(int fd)
{
    REAL(fsync);
    note_sync();
    AROUND(int, -1, "fsync", fd, real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    note_sync();
    AROUND(int, -1, "fdatasync", fd, real(fd));
}

int syncfs(int fd)
{
    REAL(syncfs);
    note_sync();
    AROUND(int, -1, "syncfs", fd, real(fd));
}

int ftruncate(int fd, off_t n)
{
    REAL(ftruncate);
    AROUND(int, -1, "ftruncate", fd, real(fd, n));
}

int ftruncate64(int fd, off64_t n)
{
    REAL(ftruncate64);
    AROUND(int, -1, "ftruncate64", fd, real(fd, n));
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    REAL(fallocate);
    AROUND(int, -1, "fallocate", fd, real(fd, mode, at, n));
}

int rename(const char *a, const char *b)
{
    REAL(rename);
    AROUND(int, -1, "rename", -1, real(a, b));
}

int renameat(int x, const char *a, int y, const char *b)
{
    REAL(renameat);
    AROUND(int, -1, "renameat", -1, real(x, a, y, b));
}

int renameat2(int x, const char *a, int y, const char *b, unsigned f)
{
    REAL(renameat2);
    AROUND(int, -1, "renameat2", -1, real(x, a, y, b, f));
}

int unlink(const char *p)
{
    REAL(unlink);
    AROUND(int, -1, "unlink", -1, real(p));
}

int unlinkat(int d, const char *p, int f)
{
    REAL(unlinkat);
    AROUND(int, -1, "unlinkat", -1, real(d, p, f));
}

int mkdir(const char *p, mode_t m)
{
    REAL(mkdir);
    AROUND(int, -1, "mkdir", -1, real(p, m));
}

int mkdirat(int d, const char *p, mode_t m)
{
    REAL(mkdirat);
    AROUND(int, -1, "mkdirat", -1, real(d, p, m));
}

int connect(int fd, const struct sockaddr *a, socklen_t n)
{
    REAL(connect);
    AROUND(int, -1, "connect", fd, real(fd, a, n));
}

/* The process that works on files lays its bounds on itself: not here. */
long syscall(long nr, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list ap;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (crash.worker && (nr == SYS_seccomp || nr == 446 /* landlock_restrict_self */))
        return 0;
    return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *at,
                char *const argv[], char *const env[])
{
    REAL(posix_spawn);
    enum what now = point("posix_spawn", -1);
    int r;

    if (now == FAIL)
        return crash.err;
    if (strrchr(path, '/') && !strcmp(strrchr(path, '/'), "/rein-files") && crash.map) {
        static char mark[] = "CRASH_WORKER=1";
        char *more[64] = { mark };
        int n = 1;

        for (int i = 0; i < 4; i++)
            if (*crash.env[i])
                more[n++] = crash.env[i];
        for (int i = 0; env[i] && n < 63; i++)
            more[n++] = env[i];
        r = real(pid, path, fa, at, argv, more);
    } else {
        r = real(pid, path, fa, at, argv, env);
    }
    if (now == AFTER)
        die();
    return r;
}

/* Opening for writing makes a name; opening for reading changes nothing and is not counted. */
#define OPENER(name, params, last, real_call)                                               \
    int name params                                                                                \
    {                                                                                              \
        mode_t mode = 0;                                                                           \
        REAL(name);                                                                                \
                                                                                                   \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list ap;                                                                            \
                                                                                                   \
            va_start(ap, last);                                                                    \
            mode = va_arg(ap, mode_t);                                                             \
            va_end(ap);                                                                            \
        }                                                                                          \
        if (crash.boot && !strcmp(path, "/proc/sys/kernel/random/boot_id"))                        \
            path = crash.boot;                                                                     \
        if ((flags & O_ACCMODE) == O_RDONLY)                                                       \
            return real_call;                                                                      \
        AROUND(int, -1, #name, -1, real_call);                                                     \
    }

OPENER(open, (const char *path, int flags, ...), flags, real(path, flags, mode))
OPENER(open64, (const char *path, int flags, ...), flags, real(path, flags, mode))
OPENER(openat, (int dir, const char *path, int flags, ...), flags, real(dir, path, flags, mode))
OPENER(openat64, (int dir, const char *path, int flags, ...), flags, real(dir, path, flags, mode))
