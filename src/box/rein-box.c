/* rein-box.c - stands between rein and a command, so that nothing of the command outlives its call.
 *
 *   rein-box --link FD --spool FD --cap BYTES --tail BYTES --timeout MS -- PROGRAM [ARGS]
 *
 * The link is a socket to rein. The program is started when a first byte comes over it, so that rein can make its intent
 * durable while this process comes up; if the link closes before, nothing ever runs. When its other end closes, by
 * intention or because rein was killed, or when a second byte comes over it, everything the command started is killed. The
 * same happens when the command itself ends and when its time is up. As subreaper this process inherits every orphan,
 * double forks and new sessions included, and it kills until it has no child left; then it says so with one byte on the
 * link.
 *
 * The spool is a file, read by rein at the end or by the next rein after a crash. This process holds an exclusive flock on
 * it for as long as it lives.
 *
 *   0 ... 4095      the report, line by line; zero bytes after it
 *   4096 ...        the output: its first `cap` bytes, then the last `tail` bytes of what came after them
 *
 * So the output outlives rein, and costs this process a fixed amount of memory. The report:
 *
 *   started                                                                     before the program runs
 *   failed ERRNO                                                                it could not be run: nothing happened
 *   ended REASON exit=N signal=N total=BYTES head=BYTES tail=BYTES killed=N ms=N
 *
 * REASON: exit, timeout, cancel (rein asked), orphan (rein is gone). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TAIL_MAX    (1 << 20)
#define REPORT_SIZE 4096
#define STATUS_BOX_FAILED 125

extern char **environ;

struct options {
    int link, spool;
    uint64_t cap, tail;
    int64_t timeout_ms;
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

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512], *end;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return -1;
    text[n] = 0;
    end = strrchr(text, ')');           /* the name before it may hold anything */
    return end && strlen(end) > 4 ? (pid_t)atoi(end + 4) : -1;
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
    fprintf(stderr, "rein-box: %s\nusage: rein-box --link FD --spool FD --cap BYTES --tail BYTES --timeout MS -- "
            "PROGRAM [ARGS]\n", why);
    return STATUS_BOX_FAILED;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){ -1, -1, 0, 0, 0, NULL };
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--") == 0) {
            o->argv = argv + i + 1;
            break;
        }
        if (strcmp(argv[i], "--link") == 0)
            o->link = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--spool") == 0)
            o->spool = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--cap") == 0)
            o->cap = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--tail") == 0)
            o->tail = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--timeout") == 0)
            o->timeout_ms = strtoll(argv[i + 1], NULL, 10);
        else
            return false;
    }
    return o->argv && o->link >= 0 && o->spool >= 0 && o->tail <= TAIL_MAX;
}

/* Starts the program in a session of its own: stdin is null, both outputs are the pipe. 0 or an errno. */
static int start(char **argv, int out, pid_t *ret)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none;
    int r;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, out, 1);
    posix_spawn_file_actions_adddup2(&fa, out, 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    r = posix_spawnp(ret, argv[0], &fa, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return r;
}

int main(int argc, char **argv)
{
    struct options opt;
    struct output out = {0};
    const char *reason = "exit";
    bool gone = false, open_pipe = true;
    char word;
    ssize_t n;
    int status = 0, fds[2], chld, r, killed;
    int64_t began, deadline;
    sigset_t mask;
    pid_t pid;

    if (!parse(argc, argv, &opt))
        return usage("wrong arguments");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || flock(opt.spool, LOCK_EX | LOCK_NB) < 0)
        return usage("cannot become the reaper, or the spool is in use");
    fcntl(opt.link, F_SETFD, FD_CLOEXEC);
    fcntl(opt.spool, F_SETFD, FD_CLOEXEC);
    lseek(opt.spool, REPORT_SIZE, SEEK_SET);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    chld = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    out.ring = malloc(opt.tail + 1);
    if (chld < 0 || !out.ring || pipe2(fds, O_CLOEXEC) < 0)
        return usage("out of memory or descriptors");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    out.from = fds[0];
    out.to = opt.spool;
    out.cap = opt.cap;
    out.ring_size = opt.tail ? opt.tail : 1;

    do
        n = read(opt.link, &word, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1 || word != 'g')
        return 0;
    began = now_ms();
    report(opt.spool, "started\n");
    signal(SIGPIPE, SIG_DFL);
    r = start(opt.argv, fds[1], &pid);
    signal(SIGPIPE, SIG_IGN);
    close(fds[1]);
    if (r != 0) {
        report(opt.spool, "failed %d\n", r);
        return 0;
    }

    deadline = opt.timeout_ms > 0 ? began + opt.timeout_ms : INT64_MAX;
    while (!gone) {
        struct pollfd p[3] = { { chld, POLLIN, 0 }, { opt.link, POLLIN, 0 }, { open_pipe ? out.from : -1, POLLIN, 0 } };
        int64_t left = deadline == INT64_MAX ? -1 : deadline - now_ms();
        struct signalfd_siginfo si;

        if (deadline != INT64_MAX && left <= 0) {
            reason = "timeout";
            break;
        }
        if (poll(p, 3, (int)left) < 0 && errno != EINTR)
            break;
        if (p[2].revents)
            open_pipe = drain(&out);
        if (p[1].revents) {
            reason = read(opt.link, &word, 1) == 1 ? "cancel" : "orphan";
            break;
        }
        while (read(chld, &si, sizeof(si)) == sizeof(si))
            ;
        /* Orphans that end by themselves are reaped on the way. */
        for (pid_t dead; !gone && (dead = waitpid(-1, &r, WNOHANG)) > 0;)
            if (dead == pid) {
                gone = true;
                status = r;
            }
    }
    killed = kill_all(pid, &gone, &status);
    while (open_pipe && drain(&out))
        if (poll(&(struct pollfd){ out.from, POLLIN, 0 }, 1, 0) <= 0)
            break;
    report(opt.spool, "ended %s exit=%d signal=%d total=%llu head=%llu tail=%llu killed=%d ms=%lld\n", reason,
           WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
           (unsigned long long)out.total, (unsigned long long)out.head, (unsigned long long)write_tail(&out), killed,
           (long long)(now_ms() - began));
    send(opt.link, "e", 1, MSG_DONTWAIT | MSG_NOSIGNAL);        /* nobody may be there to be told */
    return 0;
}
