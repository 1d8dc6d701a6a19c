#include "rt/proc.h"

#include "rt/loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_TRIES 100
#define CHILD_FDS  32

struct proc {
    pid_t pid;
    int pidfd;
    bool ended, abandoned;
    uv_poll_t poll;
};

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static void closed(uv_handle_t *h)
{
    struct proc *p = container_of((uv_poll_t *)h, struct proc, poll);

    close(p->pidfd);
    free(p);
}

static void on_exit_event(uv_poll_t *poll, int status, int events)
{
    struct proc *p = container_of(poll, struct proc, poll);
    siginfo_t si = {0};

    (void)status;
    (void)events;
    /* The group is killed while its leader is a zombie, so its number cannot have been given to anyone else. */
    if (waitid(P_PIDFD, (id_t)p->pidfd, &si, WEXITED | WNOWAIT | WNOHANG) < 0 || si.si_pid == 0)
        return;
    kill(-p->pid, SIGKILL);
    waitid(P_PIDFD, (id_t)p->pidfd, &si, WEXITED);
    p->ended = true;
    uv_poll_stop(&p->poll);
    if (p->abandoned)
        uv_close((uv_handle_t *)&p->poll, closed);
}

int proc_lift(int fd)
{
    int lifted = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FDS);

    if (fd >= 0)
        close(fd);
    return lifted;
}

int proc_spawn(const struct proc_spec *spec, struct proc **ret, struct err *e)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, ignored;
    struct proc *p;
    pid_t pid;
    int r, pidfd;

    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);       /* the one that rein ignores; what it handles, exec resets */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &ignored);
    posix_spawn_file_actions_addfchdir_np(&fa, spec->cwd);
    for (size_t i = 0; i < spec->nfds; i++) {
        for (size_t k = 0; k < i; k++)
            assert(spec->fds[i].from != spec->fds[k].to);
        posix_spawn_file_actions_adddup2(&fa, spec->fds[i].from, spec->fds[i].to);
    }
    r = posix_spawn(&pid, spec->path, &fa, &attr, spec->argv, spec->env);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    if (r != 0)
        return err_set(e, -r, "%s cannot be started: %s", spec->path, strerror(r));

    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        r = -errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return err_set(e, r, "%s was started but cannot be watched: %s", spec->path, strerror(-r));
    }
    p = xcalloc(1, sizeof(*p));
    p->pid = pid;
    p->pidfd = pidfd;
    uv_poll_init(loop_uv(), &p->poll, pidfd);
    uv_poll_start(&p->poll, UV_READABLE, on_exit_event);
    *ret = p;
    return 0;
}

int proc_beside(const char *name, char **ret, struct err *e)
{
    cleanup(freep) char *path = NULL;
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0)
        return err_set(e, -errno, "/proc/self/exe cannot be read: %s", strerror(errno));
    self[n] = 0;
    strrchr(self, '/')[1] = 0;
    path = xasprintf("%s%s", self, name);
    if (access(path, X_OK) < 0)
        return err_set(e, -ENOENT, "%s is missing: %s has to lie beside rein", path, name);
    *ret = TAKE(path);
    return 0;
}

void proc_free(struct proc *p)
{
    if (!p)
        return;
    if (p->ended)
        uv_close((uv_handle_t *)&p->poll, closed);
    else
        p->abandoned = true;
    p->poll.data = (void *)(uintptr_t)closed;   /* should the loop end before it does */
}

static ssize_t read_small(const char *path, char *text, size_t size)
{
    cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    text[MAX(n, (ssize_t)0)] = 0;
    return n;
}

void proc_leave(struct proc *p)
{
    if (p)
        uv_close((uv_handle_t *)&p->poll, closed);
}

struct proc_stat {
    char state;
    int group, session;
    int front;                          /* the process group that its terminal listens to */
    long long started;                  /* clock ticks since boot */
};

static bool read_stat(pid_t pid, struct proc_stat *ret)
{
    char path[64], text[1024], *at;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_small(path, text, sizeof(text)) <= 0)
        return false;
    at = strrchr(text, ')');            /* the name before it may hold anything */
    return at && sscanf(at + 1, " %c %*d %d %d %*d %d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld", &ret->state,
                        &ret->group, &ret->session, &ret->front, &ret->started) == 5;
}

int64_t proc_started(pid_t pid)
{
    struct proc_stat st;

    return read_stat(pid, &st) ? st.started : 0;
}

/* Returns how many of the session there were to kill. */
static int kill_members(pid_t leader, int64_t started)
{
    DIR *d = opendir("/proc");
    struct dirent *de;
    struct proc_stat st;
    int n = 0;

    while (d && (de = readdir(d))) {
        pid_t pid = (pid_t)atoi(de->d_name);

        if (pid > 1 && read_stat(pid, &st) && st.session == leader && st.started >= started && st.state != 'Z') {
            kill(pid, SIGKILL);
            n++;
        }
    }
    if (d)
        closedir(d);
    return n;
}

void proc_kill_session(pid_t leader, int64_t started)
{
    int64_t now = proc_started(leader);

    if (leader <= 1 || !started || (now && now != started))
        return;                         /* the number is another process's by now, so nothing of the session is left */
    /* What is about to be killed may still start others. */
    for (int tries = 0; tries < KILL_TRIES && kill_members(leader, started); tries++)
        usleep(1000);
}

/* What a descriptor of a process leads to, "" when that cannot be told. */
static void fd_target(pid_t pid, unsigned long fd, char *ret, size_t size)
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/fd/%lu", pid, fd);
    n = readlink(path, ret, size - 1);
    ret[MAX(n, (ssize_t)0)] = 0;
}

static bool is_terminal(const char *target)
{
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

static bool waits_for_several(long nr)
{
    static const long calls[] = {
#ifdef SYS_poll
        SYS_poll,
#endif
#ifdef SYS_select
        SYS_select,
#endif
#ifdef SYS_epoll_wait
        SYS_epoll_wait,
#endif
        SYS_ppoll, SYS_pselect6, SYS_epoll_pwait,
    };

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (nr == calls[i])
            return true;
    return false;
}

/* What one process is about, by the system call it is in. */
static enum proc_input one_input(pid_t pid, const struct proc_stat *st, const char *input)
{
    char path[64], text[256], target[256];
    unsigned long fd = 0;
    long nr = -1;

    snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
    if (read_small(path, text, sizeof(text)) <= 0 || sscanf(text, "%ld 0x%lx", &nr, &fd) < 2)
        return PROC_BUSY;
    if (nr == SYS_read || nr == SYS_readv) {
        fd_target(pid, fd, target, sizeof(target));
        return *target && (strcmp(target, input) == 0 || is_terminal(target)) ? PROC_WAITS : PROC_BUSY;
    }
    if (!waits_for_several(nr))
        return PROC_BUSY;
    fd_target(pid, 0, target, sizeof(target));
    return is_terminal(target) && st->front == st->group ? PROC_MAY_WAIT : PROC_BUSY;
}

enum proc_input proc_input(pid_t leader)
{
    enum proc_input ret = PROC_BUSY;
    DIR *d = opendir("/proc");
    struct dirent *de;
    struct proc_stat st;
    char input[256];

    fd_target(leader, 0, input, sizeof(input));
    while (d && ret != PROC_WAITS && (de = readdir(d))) {
        pid_t pid = (pid_t)atoi(de->d_name);

        if (pid > 1 && read_stat(pid, &st) && st.session == leader && st.state == 'S')
            ret = MAX(ret, one_input(pid, &st, input));
    }
    if (d)
        closedir(d);
    return ret;
}

static char boot[64];

static void read_boot(void)
{
    if (read_small("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)) > 0)
        boot[strcspn(boot, "\n")] = 0;
}

const char *proc_boot(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_boot);
    return boot;
}

struct watch {
    uv_poll_t poll;
    struct gate gate;
};

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    gate_open(&container_of(poll, struct watch, poll)->gate, 0);
}

static void watch_closed(uv_handle_t *h)
{
    free(container_of((uv_poll_t *)h, struct watch, poll));
}

static CO int fd_wait(int fd, int events, const char *why, int64_t timeout_ms)
{
    struct watch *w = xcalloc(1, sizeof(*w));
    int r = uv_poll_init(loop_uv(), &w->poll, fd);

    if (r < 0) {
        free(w);
        return r;
    }
    uv_poll_start(&w->poll, events, on_event);
    r = gate_wait(&w->gate, why, timeout_ms);
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, watch_closed);
    return r;
}

CO int fd_readable(int fd, const char *why, int64_t timeout_ms)
{
    return fd_wait(fd, UV_READABLE | UV_DISCONNECT, why, timeout_ms);
}

CO int fd_writable(int fd, const char *why, int64_t timeout_ms)
{
    return fd_wait(fd, UV_WRITABLE, why, timeout_ms);
}
