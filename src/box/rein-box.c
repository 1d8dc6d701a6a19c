/* rein-box.c - stands between rein and a command, so that nothing of the command outlives its call.
 *
 *   rein-box --link FD --spool FD --key KEY --cap BYTES --tail BYTES --timeout MS [--tty 1] [--profile FD [--enter FD]] [JOB] \
 *            -- PROGRAM [ARGS]
 *   JOB: --listen FD --socket PATH --grace MS
 *   rein-box --hold FD --profile FD [--proxy PORT]           makes the namespaces of a box: "ERRNO PID WHAT" to FD, with a socket
 *                                                            that listens on that port of its loopback, and holds them
 *                                                            until its other end is closed
 *   rein-box --probe FD --profile FD -- PROGRAM [ARGS]        whether such a box can be had: "ERRNO WHAT" to FD
 *
 * With a profile (profile.h) the program runs in a box (confine.h).
 *
 * The link is a socket to rein. The program is started when a first byte comes over it, so that rein can make its intent
 * durable while this process comes up; if the link closes before, nothing ever runs. When its other end closes, by intention or
 * because rein was killed, or when a second byte comes over it, everything the command started is killed. The same happens when
 * the command itself ends and when its time is up. As subreaper this process inherits every orphan, double forks and new
 * sessions included, and it kills until it has no child left; then it says so with one byte on the link.
 *
 * With --tty the program has a terminal of its own, of 120 columns, for its input and both outputs; else its input is null or a
 * pipe, and its outputs are one pipe.
 *
 * A job goes on when the link closes, since another rein may take it up: that one connects to the listening socket (of type
 * SOCK_SEQPACKET, at PATH; job.h says what is said there). When nobody has watched for `grace` ms the job is ended (0: it stays).
 *
 * The spool is a file, read by rein at the end or by the next rein after a crash. This process holds an exclusive flock on it
 * for as long as it lives.
 *
 *   0 ... 3071      the report, line by line; zero bytes after it
 *   3072 ... 4095   KEY of the last input that was taken; zero bytes after it
 *   4096 ...        the output: its first `cap` bytes, then the last `tail` bytes of what came after them
 *
 * So the output outlives rein, and costs this process a fixed amount of memory. The report:
 *
 *   box pid=N started=TICKS key=KEY                                             this process, before anything else
 *   started                                                                     before the program runs
 *   running pid=N started=TICKS                                                 the program; ticks since boot, as in /proc/PID/stat
 *   failed ERRNO                                                                it could not be run: nothing happened
 *   unboxed ERRNO WHAT                                                          its box could not be built: nothing happened
 *   across                                                                      it met what a layer cannot do (across.h)
 *   ended REASON exit=N signal=N total=BYTES head=BYTES tail=BYTES killed=N ms=N
 *
 * REASON: exit, timeout, cancel (rein asked), orphan (rein is gone), memory, processes, disk, copies (that limit was exceeded). */
#include "box/confine.h"
#include "box/hold.h"
#include "box/job.h"
#include "box/report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define TAIL_MAX    (1 << 20)
#define DISK_LOOK_MS 100
#define END_MS      2000                /* for a box to end what is in it */
#define STATUS_BOX_FAILED 125

struct options {
    int link, spool, listen, profile, probe, hold, proxy,
    enter;   /* listen -1: no job; profile -1: no box; enter: the first of its namespaces */
    const char *socket, *key;
    uint64_t cap, tail;
    int64_t timeout_ms, grace_ms;
    bool tty;
    char **argv;
};

struct output {
    int from, to;                       /* pipe, file; the file's offset is where the next byte goes */
    uint64_t cap, total, head;
    char *ring;
    uint64_t ring_size, ring_total;
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* Moves what is in the pipe now. False at its end. A full disk loses output, never the command. */
static bool drain(struct output *o)
{
    char buf[64 << 10];
    ssize_t n;

    while ((n = read(o->from, buf, sizeof(buf))) > 0) {
        char *p = buf;
        uint64_t left = (uint64_t)n, head = o->cap - o->head < left ? o->cap - o->head : left;

        o->total += left;
        if (head && write_all(o->to, p, head)) {
            o->head += head;
            p += head;
            left -= head;
        } else if (head) {
            o->cap = o->head;           /* from here on only the tail is kept */
        }
        if (left > o->ring_size) {
            o->ring_total += left - o->ring_size;
            p += left - o->ring_size;
            left = o->ring_size;
        }
        while (left) {
            uint64_t at = o->ring_total % o->ring_size, part = o->ring_size - at < left ? o->ring_size - at : left;

            memcpy(o->ring + at, p, part);
            o->ring_total += part;
            p += part;
            left -= part;
        }
        if ((size_t)n < sizeof(buf))
            break;
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Appends the ring in order. Returns the bytes that are now in the file. */
static uint64_t write_tail(struct output *o)
{
    uint64_t n = o->ring_total < o->ring_size ? o->ring_total : o->ring_size, at;

    if (n == 0)
        return 0;
    at = o->ring_total > o->ring_size ? o->ring_total % o->ring_size : 0;
    if (!write_all(o->to, o->ring + at, n - at) || (at && !write_all(o->to, o->ring, at)))
        return 0;
    return n;
}

/* Adds a line to the report. Its room was taken by rein beforehand, so a full disk does not lose it. */
static void report(int spool, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void report(int spool, const char *fmt, ...)
{
    static off_t at;
    char line[256];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n > 0 && pwrite(spool, line, (size_t)n, at) == n)
        at += n;
}

/* The number in /proc/PID/stat that stands `n` fields after the state, -1 for none. */
static long long stat_field(pid_t pid, int n)
{
    char path[64], text[1024], *at;
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0)
        return -1;
    text[got] = 0;
    at = strrchr(text, ')');            /* the name before it may hold anything */
    for (n++; at && n > 0; n--)
        at = strchr(at + 1, ' ');
    return at && (at = strchr(at + 1, ' ')) ? atoll(at) : -1;
}

static pid_t parent_of(pid_t pid)
{
    return (pid_t)stat_field(pid, 0);
}

static long long started_at(pid_t pid)
{
    return stat_field(pid, 18);
}

/* Kills every descendant that can be seen now. The kernel's own list of children is used where it has one. */
static void kill_seen(pid_t top)
{
    char path[64];
    FILE *f;
    int pid;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", top, top);
    f = fopen(path, "re");
    if (f) {
        while (fscanf(f, "%d", &pid) == 1) {
            kill_seen(pid);
            kill(pid, SIGKILL);
        }
        fclose(f);
        return;
    }
    if (top == getpid()) {
        DIR *d = opendir("/proc");
        struct dirent *de;

        while (d && (de = readdir(d))) {
            pid_t up = atoi(de->d_name);
            int depth = 0;

            for (pid_t p = up; p > 1 && depth < 64; depth++) {
                p = parent_of(p);
                if (p == top) {
                    kill(up, SIGKILL);
                    break;
                }
            }
        }
        if (d)
            closedir(d);
    }
}

/* Kills until no descendant is left. `main_pid`'s status is kept in *status. Returns how many others were ended. */
static int kill_all(pid_t main_pid, bool *main_gone, int *status)
{
    int others = 0;

    for (;;) {
        int st;
        pid_t pid = waitpid(-1, &st, WNOHANG);

        if (pid < 0 && errno == ECHILD)
            return others;
        if (pid == 0) {
            if (!*main_gone)
                kill(-main_pid, SIGKILL);
            kill_seen(getpid());
            pid = waitpid(-1, &st, WNOHANG);
        }
        if (pid == 0) {
            poll(NULL, 0, 1);
            continue;
        }
        if (pid == main_pid) {
            *main_gone = true;
            *status = st;
        } else if (pid > 0 && WIFSIGNALED(st)) {
            others++;
        }
    }
}

static int usage(const char *why)
{
    fprintf(stderr, "rein-box: %s\nusage: rein-box --link FD --spool FD --key KEY --cap BYTES --tail BYTES --timeout MS "
            "[--tty 1] [--profile FD] [--listen FD --socket PATH --grace MS] -- PROGRAM [ARGS]\n", why);
    return STATUS_BOX_FAILED;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){ .link = -1, .spool = -1, .listen = -1, .profile = -1, .probe = -1, .hold = -1, .enter = -1, .key = "" };
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--") == 0) {
            o->argv = argv + i + 1;
            break;
        }
        if (strcmp(argv[i], "--link") == 0)
            o->link = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--spool") == 0)
            o->spool = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--key") == 0)
            o->key = argv[i + 1];
        else if (strcmp(argv[i], "--cap") == 0)
            o->cap = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--tail") == 0)
            o->tail = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--timeout") == 0)
            o->timeout_ms = strtoll(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--tty") == 0)
            o->tty = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--profile") == 0)
            o->profile = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--hold") == 0)
            o->hold = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--proxy") == 0)
            o->proxy = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--enter") == 0)
            o->enter = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--probe") == 0)
            o->probe = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--listen") == 0)
            o->listen = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--socket") == 0)
            o->socket = argv[i + 1];
        else if (strcmp(argv[i], "--grace") == 0)
            o->grace_ms = strtoll(argv[i + 1], NULL, 10);
        else
            return false;
    }
    if (o->hold >= 0)
        return o->profile >= 0;
    return o->argv && ((o->link >= 0 && o->spool >= 0 && o->tail <= TAIL_MAX) || (o->probe >= 0 && o->profile >= 0));
}

/* A terminal for the program: the end to read and write, and the program's. Lines end in LF alone, as in a pipe. */
static bool open_terminal(int *ret_ours, int *ret_theirs)
{
    struct winsize size = { .ws_row = 40, .ws_col = 120 };
    int ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), theirs, unlock = 0;
    struct termios t;

    if (ours < 0 || ioctl(ours, TIOCSPTLCK, &unlock) < 0)
        return false;
    theirs = ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (theirs < 0 || tcgetattr(theirs, &t) < 0)
        return false;
    t.c_oflag &= ~(tcflag_t)ONLCR;
    if (tcsetattr(theirs, TCSANOW, &t) < 0 || ioctl(ours, TIOCSWINSZ, &size) < 0)
        return false;
    *ret_ours = ours;
    *ret_theirs = theirs;
    return true;
}

/* Everything from the start of the program to the end of all its processes. */
struct run {
    struct options opt;
    struct output out;
    struct job *job;                    /* NULL for a command */
    struct profile profile;
    struct box box;
    uint64_t disk_base;                 /* bytes that were in use where the program may write */
    int64_t disk_next;                  /* when to look at that again; INT64_MAX: never */
    int chld;
    bool open_pipe, open_link, gone, told;      /* told: the box has said how it ended, and how many were killed */
    pid_t pid;                          /* what ends when all has ended: the program, or the box's first process */
    int status, killed;
    const char *exceeded;               /* a limit */
};

/* Bytes in use in the file systems that the program may write to. */
static uint64_t disk_used(const struct profile *p)
{
    unsigned long seen[16];
    size_t n = 0;
    uint64_t used = 0;

    for (size_t i = 0; i < p->n && n < sizeof(seen) / sizeof(*seen); i++) {
        struct statvfs v;
        size_t k = 0;

        if (strcmp(p->v[i].verb, "rw") != 0 || statvfs(p->v[i].a, &v) < 0)
            continue;
        while (k < n && seen[k] != v.f_fsid)
            k++;
        if (k < n)
            continue;
        seen[n++] = v.f_fsid;
        used += (uint64_t)(v.f_blocks - v.f_bfree) * v.f_frsize;
    }
    return used;
}

/* Others write there too; the limit is far above what is usual in the life of a command. */
static bool disk_is_full(struct run *r)
{
    uint64_t now;

    if (now_ms() < r->disk_next)
        return false;
    r->disk_next = now_ms() + DISK_LOOK_MS;
    now = disk_used(&r->profile);
    return now > r->disk_base && now - r->disk_base > r->profile.limit[LIMIT_DISK];
}

/* Takes what the box says: which limit was exceeded, and how it ended. */
static void hear_box(struct run *r)
{
    static const char *const names[LIMITS] = { "file", "files", "memory", "processes", "disk", "copies" };
    struct box_said said;

    while ((said = box_listen(&r->box)).word != BOX_QUIET)
        if (said.word == BOX_LIMIT) {
            r->exceeded = names[said.limit];
        } else if (said.word == BOX_ACROSS) {
            report(r->opt.spool, "across\n");
        } else {
            r->told = true;
            r->status = said.status;
            r->killed = said.killed;
        }
}

/* Nothing of a box outlives its first process, which is asked first, since it knows how the program ended. */
static void end_box(struct run *r)
{
    int64_t until = now_ms() + END_MS;

    box_end(&r->box);
    while (!r->gone) {
        pid_t dead = waitpid(r->pid, NULL, WNOHANG);

        r->gone = dead == r->pid || (dead < 0 && errno == ECHILD);
        if (!r->gone && now_ms() > until)
            kill(r->pid, SIGKILL);
        if (!r->gone)
            poll(&(struct pollfd){ r->chld, POLLIN, 0 }, 1, 10);
    }
    hear_box(r);
    if (!r->told)
        r->status = SIGKILL;
}

/* How long poll may wait. Negative: for ever. */
static int time_left(const struct run *r, int64_t deadline)
{
    int64_t until = r->disk_next < deadline ? r->disk_next : deadline, left;

    if (r->job && r->job->alone_since >= 0 && r->opt.grace_ms && r->job->alone_since + r->opt.grace_ms < until)
        until = r->job->alone_since + r->opt.grace_ms;
    if (until == INT64_MAX)
        return -1;
    left = until - now_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static void note_watchers(struct run *r)
{
    bool watched = r->open_link;

    for (int i = 0; i < r->job->n; i++)
        watched |= r->job->conn[i].watches;
    if (watched)
        r->job->alone_since = -1;
    else if (r->job->alone_since < 0)
        r->job->alone_since = now_ms();
}

/* Waits until there is a reason to end. */
static const char *supervise(struct run *r, int64_t deadline)
{
    while (!r->gone) {
        struct pollfd p[7 + CONNECTIONS] = {
            { r->chld, POLLIN, 0 }, { r->open_link ? r->opt.link : -1, POLLIN, 0 }, { r->open_pipe ? r->out.from : -1, POLLIN, 0 },
            { r->job ? r->job->listen : -1, POLLIN, 0 }, { r->job && r->job->waiting ? r->job->in : -1, POLLOUT, 0 },
            { r->told ? -1 : r->box.talk, POLLIN, 0 }, { r->box.cgroup.events, POLLPRI, 0 },
        };
        struct signalfd_siginfo si;
        char word;
        int st;

        for (int i = 0; r->job && i < r->job->n; i++)
            p[7 + i] = (struct pollfd){ r->job->conn[i].fd, POLLIN, 0 };
        if (poll(p, 7 + (nfds_t)(r->job ? r->job->n : 0), time_left(r, deadline)) < 0 && errno != EINTR)
            return "exit";
        if (now_ms() >= deadline)
            return "timeout";
        if (disk_is_full(r))
            return "disk";
        if (p[2].revents)
            r->open_pipe = drain(&r->out);
        if (p[6].revents && cgroup_ran_out(&r->box.cgroup))
            return "memory";
        hear_box(r);
        if (r->told)                    /* all that it started is gone; its first process has only namespaces to take down */
            return "exit";
        if (p[1].revents) {
            ssize_t n = read(r->opt.link, &word, 1);

            if (n == 1)
                return "cancel";
            if (!r->job)
                return "orphan";
            r->open_link = false;
        }
        if (r->job) {
            job_pump(r->job);
            if (job_talk(r->job, r->opt.spool))
                return "cancel";
            note_watchers(r);
            if (r->job->alone_since >= 0 && r->opt.grace_ms && now_ms() >= r->job->alone_since + r->opt.grace_ms)
                return "orphan";
        }
        while (read(r->chld, &si, sizeof(si)) == sizeof(si))
            ;
        /* Orphans that end by themselves are reaped on the way. */
        for (pid_t dead; !r->gone && (dead = waitpid(-1, &st, WNOHANG)) > 0;)
            if (dead == r->pid) {
                r->gone = true;
                if (!r->box.init)
                    r->status = st;
            }
    }
    return "exit";
}

/* Makes all that is needed ready, so that nothing but the program itself can fail once it is told to start. */
static bool prepare(struct run *r, int out[2], int in[2])
{
    sigset_t mask;
    int nothing;

    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || flock(r->opt.spool, LOCK_EX | LOCK_NB) < 0)
        return false;
    fcntl(r->opt.link, F_SETFD, FD_CLOEXEC);
    fcntl(r->opt.spool, F_SETFD, FD_CLOEXEC);
    lseek(r->opt.spool, REPORT_SIZE, SEEK_SET);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    r->chld = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    r->disk_next = INT64_MAX;
    r->out.ring = malloc(r->opt.tail + 1);
    if (r->chld < 0 || !r->out.ring)
        return false;
    if (r->opt.tty ? !open_terminal(&out[0], &out[1]) : pipe2(out, O_CLOEXEC) < 0)
        return false;
    if (r->opt.tty)
        in[0] = out[1];
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    r->out.from = out[0];
    r->out.to = r->opt.spool;
    r->out.cap = r->opt.cap;
    r->out.ring_size = r->opt.tail ? r->opt.tail : 1;
    r->open_pipe = r->open_link = true;
    if (r->opt.listen < 0)
        return true;
    r->job = calloc(1, sizeof(*r->job));
    nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (!r->job || nothing < 0)
        return false;
    if (r->opt.tty)
        in[1] = fcntl(out[0], F_DUPFD_CLOEXEC, 0);
    else if (pipe2(in, O_CLOEXEC) < 0)
        return false;
    if (in[1] < 0)
        return false;
    r->job->tty = r->opt.tty;
    for (int fd = 0; fd <= 2; fd++)     /* it outlives rein, and whoever reads what rein writes waits for its end */
        dup2(nothing, fd);
    close(nothing);
    fcntl(r->opt.listen, F_SETFD, FD_CLOEXEC);
    fcntl(r->opt.listen, F_SETFL, O_NONBLOCK);
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    r->job->listen = r->opt.listen;
    r->job->in = in[1];
    r->job->alone_since = -1;
    return true;
}

static int probe(struct run *r)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC), error;
    const char *what = NULL;

    error = box_start(&r->box, &r->profile, NULL, r->opt.argv, -1, nothing, false, &what);
    dprintf(r->opt.probe, "%d %s", error, what ? what : "");
    return 0;
}

int main(int argc, char **argv)
{
    struct run r = {0};
    int out[2], in[2] = { -1, -1 }, held[BOX_NAMESPACES], error;
    const char *reason, *what = NULL;
    int64_t began;
    char word;
    ssize_t n;

    if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
        return 0;                       /* the program of a probe */
    if (!parse(argc, argv, &r.opt))
        return usage("wrong arguments");
    if ((r.opt.probe >= 0 || r.opt.hold >= 0) && !profile_read(r.opt.profile, &r.profile, &what))
        return usage(what);
    if (r.opt.probe >= 0)
        return probe(&r);
    if (r.opt.hold >= 0)
        return box_serve_hold(r.opt.hold, &r.profile, r.opt.proxy);
    if (!prepare(&r, out, in))
        return usage("cannot become the reaper, the spool is in use, or memory or descriptors are short");
    if (r.opt.profile >= 0)
        fcntl(r.opt.profile, F_SETFD, FD_CLOEXEC);
    report(r.opt.spool, "box pid=%d started=%lld key=%.160s\n", getpid(), started_at(getpid()), r.opt.key);
    do
        n = read(r.opt.link, &word, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1 || word != 'g') {
        if (r.opt.socket)
            unlink(r.opt.socket);
        return 0;
    }
    began = now_ms();
    report(r.opt.spool, "started\n");
    if (r.opt.profile >= 0 && !profile_read(r.opt.profile, &r.profile, &what)) {        /* rein wrote it meanwhile */
        report(r.opt.spool, "unboxed %d %.200s\n", EINVAL, what);
        return 0;
    }
    if (r.opt.profile >= 0)
        close(r.opt.profile);
    signal(SIGPIPE, SIG_DFL);           /* the program is to find it as usual */
    for (int i = 0; i < BOX_NAMESPACES; i++)
        held[i] = r.opt.enter + i;
    error = box_start(&r.box, r.opt.profile >= 0 ? &r.profile : NULL, r.opt.enter < 0 ? NULL : held, r.opt.argv, in[0], out[1],
                      r.opt.tty, &what);
    r.pid = r.box.init ? r.box.init : r.box.program;
    signal(SIGPIPE, SIG_IGN);
    close(out[1]);
    if (in[0] >= 0 && !r.opt.tty)
        close(in[0]);
    if (error != 0) {
        report(r.opt.spool, what ? "unboxed %d %.200s\n" : "failed %d\n", error, what);
        return 0;
    }
    report(r.opt.spool, "running pid=%d started=%lld\n", r.box.program, started_at(r.box.program));
    if (r.profile.limit[LIMIT_DISK]) {
        r.disk_base = disk_used(&r.profile);
        r.disk_next = began + DISK_LOOK_MS;
    }
    if (r.job)
        send(r.opt.link, "r", 1, MSG_DONTWAIT | MSG_NOSIGNAL);

    reason = supervise(&r, r.opt.timeout_ms > 0 ? began + r.opt.timeout_ms : INT64_MAX);
    if (r.box.init && !r.told)
        end_box(&r);
    if (!r.box.init)
        r.killed = kill_all(r.pid, &r.gone, &r.status);
    if (r.exceeded)
        reason = r.exceeded;
    else if (cgroup_ran_out(&r.box.cgroup))
        reason = "memory";              /* the program ended of it before anyone looked */
    while (r.open_pipe && drain(&r.out))
        if (poll(&(struct pollfd){ r.out.from, POLLIN, 0 }, 1, 0) <= 0)
            break;
    report(r.opt.spool, "ended %s exit=%d signal=%d total=%llu head=%llu tail=%llu killed=%d ms=%lld\n", reason,
           WIFEXITED(r.status) ? WEXITSTATUS(r.status) : -1, WIFSIGNALED(r.status) ? WTERMSIG(r.status) : 0,
           (unsigned long long)r.out.total, (unsigned long long)r.out.head, (unsigned long long)write_tail(&r.out), r.killed,
           (long long)(now_ms() - began));
    if (r.opt.socket)
        unlink(r.opt.socket);
    flock(r.opt.spool, LOCK_UN);        /* it says all that there is to say */
    send(r.opt.link, "e", 1, MSG_DONTWAIT | MSG_NOSIGNAL);      /* nobody may be there to be told */
    if (r.box.init && !r.gone)
        waitpid(r.box.init, NULL, 0);
    cgroup_remove(&r.box.cgroup);
    return 0;
}
