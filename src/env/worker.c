#include "env/worker.h"

#include "base/path.h"
#include "env/box.h"
#include "rt/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOCK_MS    10000                /* for the process of an earlier rein to end */
#define BUSY_MAX   48                   /* questions at a time */

#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

/* What an earlier rein of the session had asked for is done, or never will be: its process holds a lock as long as it lives. The
 * descriptor is for the next one. */
static CO int lock(const struct worker *w, int *ret, struct err *e)
{
    cleanup(freep) char *path = xasprintf("%s/files.lock", w->home);
    cleanup(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct hash h = hash_bytes(str_of(w->session));
    int64_t at = (int64_t)be32(h.b) << 24 | be32(h.b + 4) >> 8;
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

    if (fd < 0)
        return err_set(e, -errno, "%s cannot be opened: %s", path, strerror(errno));
    for (int64_t waited = 0; fcntl(fd, F_OFD_SETLK, &fl) < 0; waited += 2) {
        int r;

        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return err_set(e, -errno, "%s cannot be locked: %s", path, strerror(errno));
        if (waited > LOCK_MS)
            return err_set(e, -EBUSY, "what an earlier rein began to write in %s has not ended yet: its disk does not answer",
                           w->root);
        r = fiber_sleep(2);
        if (r < 0)
            return err_set(e, r, "stopped");
    }
    *ret = proc_lift(TAKE_FD(fd));
    return *ret < 0 ? err_set(e, -errno, "%s: %s", path, strerror(errno)) : 0;
}

/* What plans of layers are sealed with: of this home, made when it is first wanted. A power failure may take it as long as it is
 * young, and layers with it. False where none can be had: then what is kept cannot be taken back by a later rein. */
static bool layers_key(const char *home, char ret[HASH_HEX])
{
    cleanup(freep) char *path = xasprintf("%s/layers.key", home), *temp = xasprintf("%s/layers.key.%d", home, (int)getpid());
    struct hash key;

    for (int tries = 0; tries < 2; tries++) {
        cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), made = -1;

        if (fd >= 0 && read(fd, key.b, HASH_SIZE) == HASH_SIZE) {
            hash_hex(&key, ret);
            return true;
        }
        if (getrandom(key.b, HASH_SIZE, 0) != HASH_SIZE || path_mkdirs(home) < 0)
            return false;
        made = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (made < 0 || write(made, key.b, HASH_SIZE) != HASH_SIZE)
            return false;
        /* Another rein may have been faster, which is as good; what is there and is none goes. */
        if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, fd < 0 ? RENAME_NOREPLACE : 0) < 0)
            unlink(temp);
    }
    return false;
}

/* Variables that say how texts are read, where git's rules are, and what a build with checks is told. */
static char **environment(const char *key)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG", "XDG_CONFIG_HOME", "ASAN_OPTIONS", "UBSAN_OPTIONS",
                                         "LSAN_OPTIONS", "TSAN_OPTIONS" };
    char **env = xcalloc(ARRAY_SIZE(names) + 2, sizeof(*env));
    size_t n = 0;

    if (key)
        env[n++] = xasprintf("REIN_LAYERS=%s", key);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (getenv(names[i]))
            env[n++] = xasprintf("%s=%s", names[i], getenv(names[i]));
    return env;
}

static CO int start(struct worker *w, struct boxing *b, struct err *e)
{
    cleanup(closep) int theirs = -1, ours = -1, held = -1, at = open("/", O_PATH | O_CLOEXEC);
    cleanup(freep) char *path = NULL, **env = NULL;
    const char *home = getenv("HOME");
    char parent[24], spaces[BOX_HELD][8], id[WIRE_ID], key[HASH_HEX];
    const char *argv[7 + BOX_HELD] = { "rein-files", parent, w->root, b && b->plan ? "" : wire_id(w->root_fd, id), b ? "1" : "0",
                                       home ? home : "/" };
    struct proc_fd fds[2 + BOX_HELD];
    size_t n = 0;
    int r = proc_beside("rein-files", &path, e), pair[2];

    if (r == 0 && b)
        r = boxing_hold(b, w->root, e);
    if (r == 0 && w->session)
        r = lock(w, &held, e);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, -errno, "a socket cannot be made: %s", strerror(errno));
    ours = pair[0];
    theirs = proc_lift(pair[1]);
    snprintf(parent, sizeof(parent), "%d", (int)getpid());
    fds[n++] = (struct proc_fd){ theirs, 3 };
    for (int i = 0; b && b->held && i < BOX_HELD; i++) {
        snprintf(spaces[i], sizeof(spaces[i]), "%d", 4 + i);
        argv[6 + i] = spaces[i];
        fds[n++] = (struct proc_fd){ b->held[i], 4 + i };
    }
    if (held >= 0)
        fds[n++] = (struct proc_fd){ held, 4 + BOX_HELD };
    env = environment(layers_key(w->home, key) ? key : NULL);
    r = proc_spawn(&(struct proc_spec){ path, (char *const *)argv, env, at, fds, n }, &w->proc, e);
    for (size_t i = 0; env[i]; i++)
        free(env[i]);
    if (r < 0)
        return r;
    w->control = TAKE_FD(ours);
    w->life++;
    return 0;
}

void worker_end(struct worker *w)
{
    for (size_t i = 0; i < w->nidle; i++)
        close(w->idle[i]);
    w->nidle = 0;
    if (w->control >= 0)
        close(w->control);              /* it ends for that */
    w->control = -1;
    proc_free(w->proc);
    w->proc = NULL;
}

/* Fibers that need it at once start it once. */
static CO int have(struct worker *w, struct boxing *b, struct err *e)
{
    int r = 0;

    while (w->starting && r == 0)
        r = fiber_sleep(1);
    if (r < 0)
        return err_set(e, r, "stopped");
    if (w->control >= 0)
        return 0;
    w->starting = true;
    r = start(w, b, e);
    w->starting = false;
    return r;
}

static int send_fd(int to, int fd)
{
    char room[CMSG_SPACE(sizeof(fd))] = {0}, byte = 'c';
    struct iovec io = { &byte, 1 };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(to, &m, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

static int connection(struct worker *w, int *ret, struct err *e)
{
    int pair[2], r;

    if (w->nidle) {
        *ret = w->idle[--w->nidle];
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, -errno, "a socket cannot be made: %s", strerror(errno));
    r = send_fd(w->control, pair[1]);
    close(pair[1]);
    if (r < 0)
        close(pair[0]);
    else
        *ret = pair[0];
    return r;
}

static CO int send_all(int fd, struct str s, const char *why)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        int r = 0;

        if (n < 0 && errno == EAGAIN)
            r = fd_writable(fd, why, FIBER_FOREVER);
        else if (n < 0 && errno != EINTR)
            r = -EPIPE;
        if (r < 0)
            return r;
        s = str_from(s, (size_t)MAX(n, (ssize_t)0));
    }
    return 0;
}

static CO int receive(int fd, char *to, size_t n, const char *why)
{
    while (n) {
        ssize_t got = recv(fd, to, n, MSG_DONTWAIT);
        int r = 0;

        if (got < 0 && errno == EAGAIN)
            r = fd_readable(fd, why, FIBER_FOREVER);
        else if (got == 0 || (got < 0 && errno != EINTR))
            r = -EPIPE;
        if (r < 0)
            return r;
        to += MAX(got, (ssize_t)0);
        n -= (size_t)MAX(got, (ssize_t)0);
    }
    return 0;
}

static CO int talk(int fd, struct str question, const char *why, struct buf *in, struct files_answer *ret)
{
    char head[WIRE_HEAD], *body;
    int r = send_all(fd, question, why);
    size_t n;

    if (r == 0)
        r = receive(fd, head, sizeof(head), why);
    if (r < 0)
        return r;
    n = wire_length(head, WIRE_ANSWER_MAX);
    in->max = WIRE_ANSWER_MAX;
    buf_clear(in);
    body = n ? buf_room(in, n) : NULL;
    r = body ? receive(fd, body, n, why) : -EPIPE;
    return r == 0 && !wire_read_answer((struct str){ body, n }, ret) ? -EPIPE : r;
}

/* Says why it ended, if it said so itself. */
static int lost(struct worker *w, unsigned life, struct err *e)
{
    char text[300];
    ssize_t n;

    if (w->life != life || w->control < 0)
        return err_set(e, -EPIPE, "the process that works on the workspace's files was ended");
    n = recv(w->control, text, sizeof(text), MSG_DONTWAIT);
    worker_end(w);
    return err_set(e, -EPIPE, "the process that works on the workspace's files ended%s%.*s", n > 0 ? ": " : "",
                   (int)MAX(n, (ssize_t)0), text);
}

CO int worker_ask(struct worker *w, struct boxing *b, const struct files_ask *q, const char *why, struct buf *in,
                  struct files_answer *ret, struct err *e)
{
    cleanup(buf_done) struct buf question = {0};
    unsigned life;
    int fd = -1, r;

    wire_ask(q, &question);
    if (buf_err(&question) < 0)
        return err_set(e, -E2BIG, "that is too much at once");
    r = have(w, b, e);
    while (r == 0 && w->busy >= BUSY_MAX)
        r = fiber_sleep(1);
    if (r == 0)
        r = connection(w, &fd, e);
    if (r == -EPIPE)
        return lost(w, w->life, e);
    if (r < 0)
        return r == -ECANCELED ? err_set(e, r, "stopped") : r;
    life = w->life;
    w->busy++;
    r = talk(fd, buf_str(&question), why, in, ret);
    w->busy--;
    if (r == 0 && w->life == life && w->nidle < WORKER_IDLE)
        w->idle[w->nidle++] = fd;
    else
        close(fd);
    if (r == -EPIPE)
        return lost(w, life, e);
    return r == -ECANCELED ? err_set(e, r, "stopped") : r;
}
