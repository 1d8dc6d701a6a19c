/* rein-files.c - works on the files of one workspace, for one rein, so that rein itself, which holds keys and log, opens none.
 *
 *   rein-files PARENT ROOT DEVICE:INODE BOXED HOME [FD ...]
 *
 * PARENT is rein's pid, ROOT the workspace, which has to be that very folder still, BOXED 1 where what guard.h is about is
 * protected, HOME the user's, for git's own rules. FD ... are namespaces to enter, those of the session's box in order. Over
 * descriptor 3, a socket to rein, come sockets, with a byte each, and on each of those questions (wire.h), which a thread
 * answers one after the other. Where its other end is closed, nobody waits for the answer any more. What cannot begin says why
 * on descriptor 3.
 *
 * First it enters the box's view of the files, if there is one, and gives up all but what it needs: Landlock leaves it the
 * workspace and the system's libraries, the system call filter neither programs nor other sockets. It dies with rein. */
#include "box/confine.h"
#include "files/ops.h"
#include "files/worktree.h"
#include "filter-files.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL         3
#define FIXED           5               /* arguments before the descriptors */
#define CONNECTIONS_MAX 64
#define STACK           ((size_t)1 << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true                  /* that needs calls which no list foresees */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

struct connection {
    struct workspace *w;
    int fd, refs;                       /* of the thread, and of who watches whether the other end is there */
    bool stop;
};

static void unref(struct connection *c)
{
    if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
        return;
    close(c->fd);
    free(c);
}

static bool take(int fd, char *to, size_t n)
{
    while (n) {
        ssize_t got = recv(fd, to, n, MSG_WAITALL);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        n -= (size_t)got;
    }
    return true;
}

static bool give(int fd, const struct buf *b)
{
    size_t at = 0;

    while (at < b->n) {
        ssize_t n = send(fd, b->p + at, b->n - at, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return false;
        at += (size_t)MAX(n, (ssize_t)0);
    }
    return true;
}

/* One question. False: there will be no other. */
static bool serve(struct connection *c, struct buf *in, struct buf *out)
{
    struct files_ask q;
    char head[WIRE_HEAD], *body;
    struct op o;
    bool good;
    size_t n;

    if (!take(c->fd, head, sizeof(head)) || !(n = wire_length(head, WIRE_ASK_MAX)))
        return false;
    buf_clear(in);
    in->max = WIRE_ASK_MAX;
    body = buf_room(in, n);
    if (!body || !take(c->fd, body, n) || !wire_read_ask((struct str){ body, n }, &q))
        return false;
    op_run(&o, c->w, &q, &c->stop);
    wire_answer(&o.a, out);
    if (buf_err(out) < 0)
        wire_answer(&(struct files_answer){ .result = -E2BIG, .said = LIT("that is too much at once") }, out);
    good = give(c->fd, out);
    if (good)
        op_after(&o);
    op_done(&o);
    return good;
}

#define KEPT ((size_t)256 << 10)        /* bytes of room that a connection keeps from question to question */

static void *serve_all(void *arg)
{
    struct connection *c = arg;
    struct buf in = {0}, out = {0};

    while (serve(c, &in, &out)) {
        if (in.cap > KEPT)
            buf_done(&in);
        if (out.cap > KEPT)
            buf_done(&out);
    }
    buf_done(&in);
    buf_done(&out);
    shutdown(c->fd, SHUT_RDWR);
    unref(c);
    return NULL;
}

/* A socket that comes over the control socket; -1: none came, -2: rein is gone. */
static int next_connection(void)
{
    char room[CMSG_SPACE(sizeof(int))], byte;
    struct iovec io = { &byte, 1 };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
    ssize_t n = recvmsg(CONTROL, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    int fd = -1;

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return -2;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

static void serve_connections(struct workspace *w)
{
    struct connection *all[CONNECTIONS_MAX];
    pthread_attr_t attr;
    size_t n = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        struct pollfd p[1 + CONNECTIONS_MAX] = { { CONTROL, POLLIN, 0 } };
        pthread_t thread;
        int fd;

        for (size_t i = 0; i < n; i++)
            p[1 + i] = (struct pollfd){ all[i]->fd, POLLRDHUP, 0 };
        if (poll(p, 1 + n, -1) < 0 && errno != EINTR)
            return;
        for (size_t i = n; i-- > 0;)
            if (p[1 + i].revents) {
                __atomic_store_n(&all[i]->stop, true, __ATOMIC_RELAXED);
                unref(all[i]);
                all[i] = all[--n];
            }
        if (!p[0].revents)
            continue;
        fd = next_connection();
        if (fd == -2)
            return;
        if (fd < 0 || n == CONNECTIONS_MAX) {
            if (fd >= 0)
                close(fd);
            continue;
        }
        all[n] = xcalloc(1, sizeof(*all[n]));
        *all[n] = (struct connection){ .w = w, .fd = fd, .refs = 2 };
        if (pthread_create(&thread, &attr, serve_all, all[n]) == 0) {
            n++;
        } else {
            all[n]->refs = 1;
            unref(all[n]);
        }
    }
}

static _Noreturn void cannot(const char *what, int error)
{
    char text[300];
    int n = snprintf(text, sizeof(text), "%.200s: %.80s", what, strerror(error));

    send(CONTROL, text, (size_t)n, MSG_NOSIGNAL);
    _exit(1);
}

/* What rein seals the plans of layers with; without it those that are made hold for this process only. */
static void read_key(struct hash *ret)
{
    const char *hex = getenv("REIN_LAYERS");

    if ((!hex || !hash_from_hex(str_of(hex), ret)) && getrandom(ret->b, HASH_SIZE, 0) != HASH_SIZE)
        cannot("random numbers", errno);
    unsetenv("REIN_LAYERS");
}

static void confine(const char *root, const char *git)
{
    struct record all[] = { { "rw", root, "" }, { "rw", git ? git : root, "" },
                            { "ro", "/usr", "" }, { "ro", "/lib", "" }, { "ro", "/lib64", "" },
                            { "ro", "/etc/ld.so.cache", "" }, { "ro", "/nix/store", "" }, { "ro", "/gnu/store", "" } };
    struct profile p = { .v = all, .n = ARRAY_SIZE(all) };
    struct sock_fprog filter = { ARRAY_SIZE(filter_files), (struct sock_filter *)filter_files };
    struct rlimit none = {0};
    const char *what = "no_new_privs";

    setrlimit(RLIMIT_CORE, &none);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        cannot(what, errno);
    if (!rights_drop())
        cannot("capabilities", errno);
    /* A kernel without it leaves the view, where there is one, and what open_beneath sees to. */
    if (!landlock_apply(&p, false, &what) && errno != ENOTSUP)
        cannot(what, errno);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)   /* which a change of rights would have undone */
        cannot("the end of rein cannot be waited for", errno);
    if (!SANITIZED && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
        cannot("seccomp", errno);
}

int main(int argc, char **argv)
{
    static struct workspace w = { .shelf = { .lock = PTHREAD_MUTEX_INITIALIZER, .index = -1 } };
    int parent = argc > FIXED ? atoi(argv[1]) : 0, spaces = argc - FIXED - 1;
    char id[WIRE_ID], *git;

    if (argc <= FIXED) {
        fprintf(stderr, "usage: rein-files PARENT ROOT DEVICE:INODE|\"\" BOXED HOME [FD ...] (rein starts it)\n");
        return 2;
    }
    w.root = argv[2];
    w.boxed = atoi(argv[4]);
    read_key(&w.key);
    above_open(&w.above, w.root, argv[5]);
    for (int i = 0; i < spaces; i++)
        if (setns(atoi(argv[FIXED + 1 + i]), 0) < 0)
            cannot("the box cannot be entered", errno);
    for (int i = 0; i < spaces; i++)
        close(atoi(argv[FIXED + 1 + i]));
    w.fd = open(w.root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (w.fd < 0 || fchdir(w.fd) < 0)
        cannot(w.root, errno);
    if (*argv[3] && strcmp(wire_id(w.fd, id), argv[3]) != 0)
        cannot("another folder stands where the workspace was", ESTALE);
    git = worktree_git(w.fd, w.root, &w.git_index);
    w.git = git ? open(git, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    w.git_path = git;
    confine(w.root, w.git >= 0 ? git : NULL);
    if (getppid() != parent)
        return 0;                       /* rein is gone already */
    serve_connections(&w);
    _exit(0);
}
