#include "box/confine.h"

#include "box/across.h"
#include "box/view.h"
#include "filter.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 50                      /* between two looks at memory and processes */
#define EXACT_MAX 200                   /* processes whose memory is looked at exactly: that takes a tenth of a millisecond each */
#define STATUS_BOX_FAILED 125

extern char **environ;

/* What init tells, one message each. */
struct word {
    enum { SAY_NOTHING, SAY_HERE, SAY_FAILED, SAY_PROGRAM, SAY_RUNS, SAY_LIMIT, SAY_ACROSS, SAY_ENDED } what;
    int value, killed;                  /* errno, limit or status */
    char about[200];
};

static void say(int to, int what, int value, int killed, const char *about)
{
    struct word w = { .what = what, .value = value, .killed = killed };

    snprintf(w.about, sizeof(w.about), "%s", about ? about : "");
    send(to, &w, sizeof(w), MSG_NOSIGNAL);
}

static void set_limit(int what, uint64_t n)
{
    struct rlimit now, r = { n, n };

    if (n == 0 || getrlimit(what, &now) < 0)
        return;
    if (now.rlim_max < n)
        r.rlim_cur = r.rlim_max = now.rlim_max;
    setrlimit(what, &r);
}

/* Never RLIMIT_AS: what reserves memory and does not use it, as ASan does, would die of it. */
static void set_limits(const struct profile *p, bool inside)
{
    struct rlimit none = {0};

    set_limit(RLIMIT_FSIZE, p->limit[LIMIT_FILE]);
    set_limit(RLIMIT_NOFILE, p->limit[LIMIT_FILES]);
    if (inside)                         /* counted by user and namespace; outside the user's other processes would count as well */
        set_limit(RLIMIT_NPROC, p->limit[LIMIT_PROCESSES]);
    setrlimit(RLIMIT_CORE, &none);
}

static bool filter(bool bare)
{
    struct sock_fprog box = { sizeof(filter_box) / sizeof(*filter_box), (struct sock_filter *)filter_box };
    struct sock_fprog without_net = { sizeof(filter_bare) / sizeof(*filter_bare), (struct sock_filter *)filter_bare };

    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, bare ? &without_net : &box) == 0;
}

/* Everything that holds once the program runs, but for the view of the files. */
static bool lock_down(const struct profile *p, bool inside, const char **ret_what)
{
    set_limits(p, inside);
    *ret_what = "no_new_privs";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return false;
    *ret_what = "capabilities";
    if (!rights_drop())
        return false;
    if (!landlock_apply(p, inside, ret_what))
        return false;
    *ret_what = "seccomp";
    return filter(!inside && !p->host_net);
}

struct start {
    const struct profile *profile;      /* NULL: no box at all */
    char **argv;
    int in, out;
    bool tty;
    int talk, go, tell;                 /* of a live box; tell: the other end of `go`, which is the caller's */
    const int *held;                    /* namespaces that it enters; NULL: it makes its own */
    bool hold;                          /* there is no program: it only holds them */
    int watch;                          /* gets the listener of across.h; -1: nobody is watched */
};

/* Runs the program in a session of its own; the caller waits until it has been replaced. `bare`: it locks itself down. 0 or an
 * errno, and what could not be done, NULL for running the program. */
static int run(const struct start *s, bool bare, pid_t *ret, const char **ret_what)
{
    static volatile int error;          /* the child shares this memory until it runs the program */
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC), in = s->in < 0 ? nothing : s->in;
    pid_t self = getpid();
    sigset_t none;

    error = 0;
    sigemptyset(&none);
    *ret = vfork();
    if (*ret == 0) {
        if (s->talk >= 0)
            say(s->talk, SAY_PROGRAM, 0, 0, NULL);
        errno = 0;
        if (setsid() < 0 || in < 0 || (s->tty && ioctl(in, TIOCSCTTY, 0) < 0) || dup2(in, 0) < 0 || dup2(s->out, 1) < 0 ||
            dup2(s->out, 2) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != self ||
            sigprocmask(SIG_SETMASK, &none, NULL) < 0 || syscall(SYS_close_range, 3, ~0U, 4 /* CLOEXEC */) < 0) {
            error = errno ? errno : ESRCH;
        } else if (bare && !lock_down(s->profile, false, ret_what)) {
            error = errno ? errno : ENOTSUP;
        } else {
            if (s->watch >= 0)
                across_watch(s->watch);
            *ret_what = NULL;
            execve(s->argv[0], s->argv, environ);
            error = errno;
        }
        _exit(STATUS_BOX_FAILED);
    }
    if (*ret > 0 && error)
        waitpid(*ret, NULL, 0);
    if (*ret < 0)
        error = errno;
    if (nothing >= 0)
        close(nothing);
    return error;
}

/* Inside: the first process of the box. */

static bool loopback_up(void)
{
    struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = s >= 0 && ioctl(s, SIOCSIFFLAGS, &lo) == 0;

    if (s >= 0)
        close(s);
    return good;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A number in a file of /proc, behind a word or (NULL) in the second column less the third; 0 when it cannot be had. */
static uint64_t number(const char *pid, const char *file, const char *word)
{
    char path[300], text[2048];
    unsigned long long n = 0, shared = 0;
    const char *at;
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    if (!word)
        return sscanf(text, "%*s %llu %llu", &n, &shared) == 2 && n > shared ? n - shared : 0;
    at = strstr(text, word);
    return at && sscanf(at + strlen(word), " %llu", &n) == 1 ? n : 0;
}

/* How many processes there are, and the bytes that they hold: each its own, or `exactly`, where a page that several share since a
 * fork counts once. The first is quick, and never less. */
static void look(bool exactly, uint64_t *ret_bytes, uint64_t *ret_processes)
{
    static long page;
    DIR *d = opendir("/proc");
    struct dirent *de;

    if (!page)
        page = sysconf(_SC_PAGESIZE);
    *ret_bytes = *ret_processes = 0;
    while (d && (de = readdir(d))) {
        if (de->d_name[0] < '1' || de->d_name[0] > '9')
            continue;
        ++*ret_processes;
        if (exactly)
            *ret_bytes += 1024 * (number(de->d_name, "smaps_rollup", "\nPss_Anon:") +
                                  number(de->d_name, "smaps_rollup", "\nPss_Shmem:"));
        else
            *ret_bytes += (uint64_t)page * number(de->d_name, "statm", NULL);
    }
    if (d)
        closedir(d);
}

/* Bytes that were written for the processes that there are, and not by them: an overlay copies a file before it is changed. What
 * they write to memory that is a file's counts as well. */
static uint64_t copied(void)
{
    DIR *d = opendir("/proc");
    struct dirent *de;
    uint64_t all = 0;

    while (d && (de = readdir(d))) {
        uint64_t wrote, stored;

        if (de->d_name[0] < '1' || de->d_name[0] > '9')
            continue;
        wrote = number(de->d_name, "io", "wchar:");
        stored = number(de->d_name, "io", "\nwrite_bytes:");
        if (stored > wrote)
            all += stored - wrote;
    }
    if (d)
        closedir(d);
    return all;
}

/* Whether the kernel would give one more process. In a storm of them no list of /proc is true for long enough to be counted. */
static bool has_room(void)
{
    pid_t pid = vfork();

    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return pid > 0 || errno != EAGAIN;
}

/* The limit that is exceeded, or LIMITS. */
static enum limit exceeded(const struct profile *p)
{
    uint64_t bytes, processes;

    if (p->limit[LIMIT_PROCESSES] && !has_room())
        return LIMIT_PROCESSES;
    look(false, &bytes, &processes);
    if (p->limit[LIMIT_MEMORY] && bytes > p->limit[LIMIT_MEMORY] && processes <= EXACT_MAX)
        look(true, &bytes, &processes);
    if (p->limit[LIMIT_MEMORY] && bytes > p->limit[LIMIT_MEMORY])
        return LIMIT_MEMORY;
    if (p->limit[LIMIT_PROCESSES] && processes > p->limit[LIMIT_PROCESSES])
        return LIMIT_PROCESSES;
    if (p->limit[LIMIT_COPIES] && copied() > p->limit[LIMIT_COPIES])
        return LIMIT_COPIES;
    return LIMITS;
}

/* Until the program has ended, which sets its status, or is to: a limit is exceeded, or the caller says so, or is gone. */
static void wait_for_end(const struct start *s, pid_t program, int chld, struct across *a, int *status)
{
    int64_t next = now_ms() + LOOK_MS;
    bool more = false, across = false;

    for (;;) {
        struct pollfd on[3] = { { chld, POLLIN, 0 }, { s->talk, POLLIN, 0 }, { a->listener, POLLIN, 0 } };
        struct signalfd_siginfo si;
        int64_t left = next - now_ms();
        pid_t dead;
        int st;

        poll(on, 3, left < 0 || more ? 0 : (int)left);
        if (on[2].revents & POLLIN && across_hear(a) && !across) {
            across = true;
            say(s->talk, SAY_ACROSS, 0, 0, NULL);
        } else if (on[2].revents && !(on[2].revents & POLLIN)) {
            a->listener = -1;
        }
        if (now_ms() >= next) {
            enum limit limit = exceeded(s->profile);

            if (limit != LIMITS) {
                say(s->talk, SAY_LIMIT, (int)limit, 0, NULL);
                return;
            }
            next = now_ms() + LOOK_MS;
        }
        while (read(chld, &si, sizeof(si)) == sizeof(si))
            ;
        more = false;                   /* those who die while this goes on may be without end */
        while (now_ms() < next && (more = (dead = waitpid(-1, &st, WNOHANG)) > 0))
            if (dead == program) {
                *status = st;
                return;
            }
        if (on[1].revents)
            return;
    }
}

/* Kills until nobody is left. Returns how many beside the program had to be. The kernel signals all at once, and lets none of
 * them fork any more; that it is done again is for whoever was about to be born just then. */
static int end_all(pid_t program, int *status)
{
    int64_t next = 0;
    int killed = 0, st;

    for (;;) {
        pid_t dead;

        if (now_ms() >= next) {
            kill(-1, SIGKILL);
            next = now_ms() + LOOK_MS;
        }
        dead = waitpid(-1, &st, WNOHANG);
        if (dead < 0 && errno == ECHILD)
            return killed;
        if (dead == 0)
            poll(NULL, 0, 1);
        else if (dead == program)
            *status = st;
        else if (dead > 0 && WIFSIGNALED(st))
            killed++;
    }
}

/* Builds the box around this process. */
static bool move_in(const struct start *s, int *ret_lower, const char **ret_what)
{
    const struct profile *p = s->profile;

    *ret_what = "the loopback interface";
    if (!s->held && !p->host_net && !loopback_up())
        return false;
    if (s->held ? !view_finish(p, ret_lower, ret_what) : !view_build(p, ret_lower, ret_what))
        return false;
    return s->hold || lock_down(p, true, ret_what);
}

/* Closes what is the caller's: the report, the link to rein, namespaces. */
static void keep_only(const struct start *s)
{
    unsigned last = 3;

    for (;;) {
        int kept[] = { s->talk, s->in, s->out }, next = -1;

        for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
            if (kept[i] >= (int)last && (next < 0 || kept[i] < next))
                next = kept[i];
        if (next < 0 || next > (int)last)
            syscall(SYS_close_range, last, next < 0 ? ~0U : (unsigned)next - 1, 0);
        if (next < 0)
            return;
        last = (unsigned)next + 1;
    }
}

static void init(struct start *s) __attribute__((noreturn));

/* Where the layer is mounted. */
static const char *layer_root(const struct profile *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].verb, "layer") == 0)
            return p->v[i].a;
    return "";
}

static void init(struct start *s)
{
    const char *what = NULL;
    struct across across = { -1, -1, layer_root(s->profile) };
    int chld, status = 0, error, pair[2] = { -1, -1 };
    sigset_t mask;
    pid_t program;
    char word;

    setsid();                           /* where the scheduler shares by session, those of the box do not crowd this one out */
    say(s->talk, SAY_HERE, 0, 0, NULL);
    if (read(s->go, &word, 1) != 1)
        _exit(STATUS_BOX_FAILED);       /* the caller is gone, or could not map the users */
    close(s->go);
    prctl(PR_SET_PDEATHSIG, SIGKILL);   /* should it be gone just now, it is noticed at the other end of `talk` */
    /* The program has the same user: it is not to trace this process, or to see its files. Who only holds namespaces is seen by
     * nobody in them, and rein has to open them. */
    if (!s->hold)
        prctl(PR_SET_DUMPABLE, 0);
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    keep_only(s);
    chld = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (chld < 0 || !move_in(s, &across.lower, &what)) {
        say(s->talk, SAY_FAILED, errno ? errno : EINVAL, 0, what ? what : "a signal descriptor");
        _exit(STATUS_BOX_FAILED);
    }
    if (s->hold) {
        say(s->talk, SAY_RUNS, 0, 0, NULL);
        while (read(s->talk, &word, 1) > 0)
            ;
        _exit(0);
    }
    if (across.lower >= 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0)
        s->watch = pair[1];
    error = run(s, false, &program, &what);
    if (error) {
        say(s->talk, SAY_FAILED, error, 0, what);
        _exit(STATUS_BOX_FAILED);
    }
    say(s->talk, SAY_RUNS, 0, 0, NULL);
    if (pair[0] >= 0) {
        across.listener = across_take(pair[0]);
        close(pair[0]);
        close(pair[1]);
    }
    close(s->out);
    if (s->in >= 0)
        close(s->in);
    for (int fd = 0; fd <= 2; fd++)
        close(fd);                      /* whoever reads what the caller writes does not wait for this process */
    wait_for_end(s, program, chld, &across, &status);
    error = end_all(program, &status);
    say(s->talk, SAY_ENDED, status, error, NULL);
    _exit(0);
}

/* Outside. */

static bool write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];
    int fd;
    bool good;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

/* Root keeps all the users that it has; each becomes itself. */
static bool map_all(pid_t pid, const char *name)
{
    char path[64], text[4096], line[128];
    unsigned long first, outside, count;
    size_t n = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/%s", name);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f) && n < sizeof(text) - 64)
        if (sscanf(line, "%lu %lu %lu", &first, &outside, &count) == 3)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%lu %lu %lu\n", first, first, count);
    if (f)
        fclose(f);
    return n > 0 && write_file(pid, name, text);
}

static bool map_users(pid_t pid)
{
    char uid[32], gid[32];

    if (geteuid() == 0 && map_all(pid, "gid_map") && map_all(pid, "uid_map"))
        return true;
    snprintf(uid, sizeof(uid), "%u %u 1\n", geteuid(), geteuid());
    snprintf(gid, sizeof(gid), "%u %u 1\n", getegid(), getegid());
    return write_file(pid, "setgroups", "deny") && write_file(pid, "gid_map", gid) && write_file(pid, "uid_map", uid);
}

/* One message; the sender's pid as it is here. False when there is none, now or ever. */
static bool hear(int from, struct word *w, pid_t *ret_pid, bool wait)
{
    union { char buf[CMSG_SPACE(sizeof(struct ucred))]; struct cmsghdr align; } control;
    struct iovec io = { w, sizeof(*w) };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
    struct cmsghdr *c;
    ssize_t n;

    do
        n = recvmsg(from, &m, (wait ? 0 : MSG_DONTWAIT) | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != sizeof(*w))
        return false;
    w->about[sizeof(w->about) - 1] = 0;
    c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
        struct ucred who;

        memcpy(&who, CMSG_DATA(c), sizeof(who));
        *ret_pid = who.pid;
    }
    return true;
}

/* Waits until init says so. 0, or an errno and what went wrong. */
static int wait_for(struct box *b, int what, const char **ret_what)
{
    static struct word w;               /* *ret_what may lead here */

    for (;;) {
        pid_t pid = 0;

        if (!hear(b->talk, &w, &pid, true)) {
            *ret_what = "the first process";
            return ECHILD;
        }
        if (w.what == SAY_HERE)
            b->init = pid;
        if (w.what == SAY_PROGRAM)
            b->program = pid;
        if ((int)w.what == what)
            return 0;
        if (w.what == SAY_FAILED) {
            *ret_what = w.about[0] ? w.about : NULL;
            return w.value ? w.value : EINVAL;
        }
    }
}

const char *const box_namespaces[BOX_NAMESPACES] = { "user", "net", "ipc", "uts", "mnt" };

/* Clones init in namespaces that are there already, by way of a process that enters them; it becomes the caller's child when
 * that one is gone, since the caller is the reaper. */
static pid_t enter(struct start *s)
{
    pid_t way = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (way == 0) {
        close(s->tell);
        for (size_t i = 0; i < BOX_NAMESPACES; i++)
            if (setns(s->held[i], 0) < 0) {
                say(s->talk, SAY_FAILED, errno, 0, box_namespaces[i]);
                _exit(STATUS_BOX_FAILED);
            }
        way = (pid_t)syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP | SIGCHLD, NULL, NULL, NULL, NULL);
        if (way == 0)
            init(s);
        if (way < 0)
            say(s->talk, SAY_FAILED, errno, 0, "namespaces");
        _exit(0);
    }
    if (way > 0)
        waitpid(way, NULL, 0);
    return way;
}

static int start_live(struct box *b, struct start *s, const char **ret_what)
{
    unsigned long flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | SIGCHLD |
                          (s->profile->host_net ? 0 : CLONE_NEWNET);
    int talk[2], go[2], on = 1, error = 0;
    pid_t pid;

    *ret_what = "a socket";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk) < 0 || pipe2(go, O_CLOEXEC) < 0 ||
        setsockopt(talk[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        return errno;
    s->talk = talk[1];
    s->go = go[0];
    s->tell = go[1];
    b->talk = talk[0];
    *ret_what = "namespaces";
    pid = s->held ? enter(s) : (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        close(go[1]);
        init(s);
    }
    if (pid < 0)
        error = errno;
    close(go[0]);
    close(talk[1]);
    if (!error)
        error = wait_for(b, SAY_HERE, ret_what);
    if (!error && !s->held && !map_users(b->init)) {
        *ret_what = "the maps of users";
        error = errno;
    }
    if (!error && !s->hold)
        cgroup_enter(&b->cgroup, s->profile, b->init);
    if (!error && write(go[1], "g", 1) == 1)
        error = wait_for(b, SAY_RUNS, ret_what);
    close(go[1]);
    if (error && b->init) {
        kill(b->init, SIGKILL);
        waitpid(b->init, NULL, 0);
        cgroup_remove(&b->cgroup);
    }
    return error;
}

int box_hold(struct box *b, const struct profile *p, const char **ret_what)
{
    struct start s = { .profile = p, .in = -1, .hold = true, .watch = -1 };

    *b = (struct box){ .talk = -1, .cgroup = { -1, -1, "" } };
    return start_live(b, &s, ret_what);
}

int box_start(struct box *b, const struct profile *p, const int *held, char **argv, int in, int out, bool tty,
              const char **ret_what)
{
    struct start s = { .profile = p, .held = held, .argv = argv, .in = in, .out = out, .tty = tty, .talk = -1,
                       .watch = -1 };

    *b = (struct box){ .talk = -1, .cgroup = { -1, -1, "" } };
    *ret_what = NULL;
    if (p && p->own_users)
        return start_live(b, &s, ret_what);
    if (p && p->cd && chdir(p->cd) < 0) {
        *ret_what = p->cd;
        return errno;
    }
    return run(&s, p != NULL, &b->program, ret_what);
}

struct box_said box_listen(struct box *b)
{
    struct box_said said = {0};
    struct word w;
    pid_t pid;

    if (b->talk < 0 || !hear(b->talk, &w, &pid, false))
        return said;
    if (w.what == SAY_LIMIT)
        said = (struct box_said){ .word = BOX_LIMIT, .limit = (enum limit)w.value };
    else if (w.what == SAY_ACROSS)
        said = (struct box_said){ .word = BOX_ACROSS };
    else if (w.what == SAY_ENDED)
        said = (struct box_said){ .word = BOX_ENDED, .status = w.value, .killed = w.killed };
    return said;
}

void box_end(const struct box *b)
{
    if (b->talk >= 0)
        send(b->talk, "k", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}
