/* command.c - commands of this machine, each under a supervisor of its own (src/box/rein-box.c). */
#include "env/local_impl.h"

#include "base/path.h"
#include "core/redact.h"
#include "rt/offload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPILL_CAP       ((int64_t)64 << 20)     /* bytes of a command's output that are kept from its beginning */
#define SPILL_TAIL      ((int64_t)256 << 10)    /* and from its end, above that */
#define SYNC_MS         2000                    /* for the disk to take what a command wrote */
#define SYNCS_MAX       2
#define INPUT_LOOK_MS   700                     /* how often it is looked whether a command waits for input */
#define INPUT_LOOKS     3                       /* in a row, after which that is believed */
#define JOB_GRACE_MS    3600000                 /* for a rein to take up a job that has no owner */

char *spool_path(struct local *l, const char *key)
{
    return xasprintf("%s/%s", l->spool, key);
}

int env_box_path(char **ret, struct err *e)
{
    return proc_beside("rein-box", ret, e);
}

/* PATH without what lies in the workspace, or nobody knows where. */
static const char *plain_path(struct local *l, char **user)
{
    cleanup(buf_done) struct buf out = {0};
    const char *at = "/usr/local/bin:/usr/bin:/bin", *rest;

    free(l->path);
    for (size_t i = 0; user[i]; i++)
        if (strncmp(user[i], "PATH=", 5) == 0)
            at = user[i] + 5;
    while (*at) {
        size_t n = strcspn(at, ":");
        cleanup(freep) char *dir = str_dup((struct str){ at, n }), *real = n && *at == '/' ? realpath(dir, NULL) : NULL;

        if (real && !path_beneath(l->root, real, &rest))
            buf_addf(&out, "%s%s", out.n ? ":" : "PATH=", dir);
        at += n + (at[n] == ':');
    }
    return l->path = out.n ? buf_take(&out) : xstrdup("PATH=/usr/bin:/bin");
}

/* The user's environment, with what keeps programs from waiting for a person: in a box what may be known, else all but what is
 * secret by its name. */
static CO char **command_env(struct local *l, const char *hide, bool tty, bool plain)
{
    const char *const always[] = {
        tty ? "TERM=xterm" : "TERM=dumb", "PAGER=cat", "GIT_PAGER=cat", "GIT_TERMINAL_PROMPT=0", "GIT_EDITOR=true",
        "DEBIAN_FRONTEND=noninteractive", "REIN=1",
    };
    static const char *const quiet_git[] = {
        "GIT_OPTIONAL_LOCKS=0", "GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
        "GIT_CONFIG_KEY_1=core.hooksPath", "GIT_CONFIG_VALUE_1=/dev/null",
    };
    const char *set[ARRAY_SIZE(always) + ARRAY_SIZE(quiet_git) + 1];
    char **user = user_environment(), **env;
    size_t n = 0, i, k, nset = ARRAY_SIZE(always);

    if (l->box)
        return boxing_environment(l->box, user, always, nset);
    memcpy(set, always, sizeof(always));
    if (plain) {
        memcpy(&set[nset], quiet_git, sizeof(quiet_git));
        nset += ARRAY_SIZE(quiet_git);
        set[nset++] = plain_path(l, user);
    }
    while (user[n])
        n++;
    env = xcalloc(n + nset + 1, sizeof(*env));
    for (i = k = 0; i < n; i++) {
        size_t name = strcspn(user[i], "=");
        bool drop = (hide && strlen(hide) == name && memcmp(user[i], hide, name) == 0) ||
                    redact_name((struct str){ user[i], name });

        for (size_t s = 0; s < nset && !drop; s++)
            drop = strncmp(set[s], user[i], name + 1) == 0;
        if (!drop)
            env[k++] = user[i];
    }
    for (i = 0; i < nset; i++)
        env[k++] = (char *)set[i];
    return env;
}

/* The numbers of a line like "box pid=1 started=2". */
static void read_process(const char *text, const char *line, int64_t *ret_pid, int64_t *ret_started)
{
    const char *at = strstr(text, line);
    long long pid, started;

    if (at && sscanf(at + strlen(line), " pid=%lld started=%lld", &pid, &started) == 2) {
        *ret_pid = pid;
        *ret_started = started;
    }
}

/* Whether the report's first line is of that command: the file may have been another one's before, and the power may have failed
 * between. */
static bool is_of(const char *text, const char *key)
{
    const char *at = strstr(text, " key="), *end = strchr(text, '\n');

    return at && end && at < end && (size_t)(end - at) == strlen(key) + 5 && strncmp(at + 5, key, strlen(key)) == 0;
}

int spool_read(int fd, const char *key, struct spool_report *ret)
{
    static const char *const ends[] = { "exit", "timeout", "cancel", "orphan", "memory", "processes", "disk", "copies" };
    struct env_outcome *o = &ret->outcome;
    char text[REPORT_SIZE + 1], reason[16] = "";
    long long total, head, tail, ms;
    ssize_t n = pread(fd, text, REPORT_SIZE, 0);
    char *line;
    int code;

    if (n < 0)
        return -errno;
    memset(text + n, 0, sizeof(text) - (size_t)n);
    *ret = (struct spool_report){0};
    if (!is_of(text, key))
        return 0;
    memcpy(ret->last, text + REPORT_LAST, sizeof(ret->last) - 1);
    text[REPORT_LAST - 1] = 0;
    o->started = strstr(text, "\nstarted\n");
    read_process(text, "box", &ret->box, &ret->box_started);
    read_process(text, "\nrunning", &o->pid, &o->pid_started);
    o->across = strstr(text, "\nacross\n");
    line = strstr(text, "\nunboxed ");
    if (line && sscanf(line, "\nunboxed %d %199[^\n]", &ret->box_error, ret->box_what) >= 1) {
        o->started = false;
        return 0;
    }
    if (strstr(text, "\nfailed ")) {
        o->started = false;
        return 0;
    }
    line = strstr(text, "\nended ");
    if (!line || !strchr(line + 1, '\n'))
        return 0;
    if (sscanf(line, "\nended %15s exit=%d signal=%d total=%lld head=%lld tail=%lld killed=%d ms=%lld", reason, &code,
               &o->signo, &total, &head, &tail, &o->killed, &ms) != 8)
        return -EBADMSG;
    o->ended = true;
    o->exit_status = code;
    o->total = total;
    o->head = head;
    o->tail = tail;
    o->ms = ms;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (strcmp(reason, ends[i]) == 0)
            o->end = (enum env_end)i;
    return 0;
}

/* Of a command that is read to its end: 0 with what is known of it. */
static int read_report(int fd, const char *key, struct env_outcome *o)
{
    struct spool_report rep;
    int r = spool_read(fd, key, &rep);

    if (r == 0)
        *o = rep.outcome;
    return r;
}

void spool_end_orphans(const struct env_outcome *o)
{
    proc_kill_session((pid_t)o->pid, o->pid_started);
}

void spool_turn(struct local *l)
{
    if (!l->shown)
        return;
    free(l->spare);
    l->spare = TAKE(l->shown);
}

/* Gives the spare file a new name. Emptied first: a report that stands in it is this command's. -1 when there is none to be had. */
static int spool_reuse(struct local *l, const char *path)
{
    static const char nothing[REPORT_SIZE];
    cleanup(freep) char *spare = TAKE(l->spare);
    cleanup(closep) int fd = spare ? open(spare, O_RDWR | O_NOFOLLOW | O_CLOEXEC) : -1;

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -1;                      /* its supervisor is still about to end */
    flock(fd, LOCK_UN);
    if (pwrite(fd, nothing, REPORT_SIZE, 0) != REPORT_SIZE || ftruncate(fd, REPORT_SIZE) < 0 || rename(spare, path) < 0)
        return -1;
    return TAKE_FD(fd);
}

/* Makes the file that the supervisor writes report and output to; its form is drawn in src/box/rein-box.c. The report is the
 * only witness after a crash: its room is taken before the command starts. */
static int spool_file(struct local *l, const char *key, int *ret, struct err *e)
{
    cleanup(freep) char *path = spool_path(l, key);
    int fd = spool_reuse(l, path);

    if (fd >= 0) {
        *ret = fd;
        return 0;
    }
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT && path_mkdirs(l->spool) == 0)
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, -errno, "the command's output cannot be kept in %s: %s", path, strerror(errno));
    if (fallocate(fd, 0, 0, REPORT_SIZE) < 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
        int r = err_set(e, -errno, "no room for the command's report in %s: %s", path, strerror(errno));

        close(fd);
        return r;
    }
    *ret = fd;
    return 0;
}

void local_drop(struct env_ready *ready)
{
    if (ready->link >= 0)
        close(ready->link);             /* the supervisor ends, and whatever it started with it */
    if (ready->spool >= 0)
        close(ready->spool);
    proc_free(ready->proc);
    free(ready->layer);
    free(ready->no_layer);
    free(ready->key);
    free(ready->shell);
    free(ready);
}

static void dropp(struct env_ready **ready)
{
    if (*ready)
        local_drop(*ready);
}

/* What a command in a box leaves is nothing that one without should begin with: it lies elsewhere. */
static char *shell_file(struct local *l, const char *key, char **ret_inside)
{
    char *path;

    if (l->box)
        return boxing_shell(l->box, key, ret_inside);
    path = shell_path(l, key);
    *ret_inside = xstrdup(path);
    return path;
}

CO int local_ready(struct env *v, const struct env_command *c, struct env_ready **ret, struct err *e)
{
    struct local *l = local(v);
    cleanup(dropp) struct env_ready *ready = xcalloc(1, sizeof(*ready));
    cleanup(closep) int theirs = -1;
    cleanup(closep) int listening = -1, profile = -1;
    cleanup(freep) char *box = NULL, **env = NULL, *path = NULL, *from = NULL, *from_inside = NULL, *to_inside = NULL;
    char cap[24], tail[24], timeout[24], grace[24];
    const char *argv[32] = { "rein-box", "--link", "3", "--spool", "4", "--key", c->key, "--cap", cap, "--tail", tail,
                             "--timeout", timeout };
    size_t n = 13, nfds = 2;
    struct proc_fd fds[4 + BOX_HELD];
    int r, link[2];

    ready->local = l;
    ready->spool = ready->link = -1;
    ready->key = xstrdup(c->key);
    ready->keep_above = c->keep_above;
    ready->tty = c->tty;
    r = env_box_path(&box, e);
    if (r == 0)
        r = spool_file(l, c->key, &ready->spool, e);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0)
        return err_set(e, -errno, "a socket cannot be made: %s", strerror(errno));
    ready->link = link[0];
    theirs = link[1];
    snprintf(cap, sizeof(cap), "%lld", (long long)SPILL_CAP);
    snprintf(tail, sizeof(tail), "%lld", (long long)SPILL_TAIL);
    snprintf(timeout, sizeof(timeout), "%lld", (long long)c->timeout_ms);
    fds[0] = (struct proc_fd){ theirs, 3 };
    fds[1] = (struct proc_fd){ ready->spool, 4 };
    if (c->job) {
        listening = job_listen(l, c->key, &path, e);
        if (listening < 0)
            return listening;
        fds[nfds++] = (struct proc_fd){ listening, 5 };
        snprintf(grace, sizeof(grace), "%lld", c->stay ? 0LL : (long long)JOB_GRACE_MS);
        memcpy(&argv[n], (const char *[]){ "--listen", "5", "--socket", path, "--grace", grace }, 6 * sizeof(*argv));
        n += 6;
    }
    if (c->tty) {
        memcpy(&argv[n], (const char *[]){ "--tty", "1" }, 2 * sizeof(*argv));
        n += 2;
    }
    if (l->box) {
        r = boxing_hold(l->box, l->root, e);
        profile = r < 0 ? r : boxing_file(&(struct buf){0});
        if (profile < 0)
            return r < 0 ? r : err_set(e, profile, "the box cannot be described: %s", strerror(-profile));
        fds[nfds++] = (struct proc_fd){ profile, 6 };
        memcpy(&argv[n], (const char *[]){ "--profile", "6", "--enter", "7" }, 4 * sizeof(*argv));
        n += l->box->held ? 4 : 2;
        for (int i = 0; l->box->held && i < BOX_HELD; i++)
            fds[nfds++] = (struct proc_fd){ l->box->held[i], 7 + i };
    }
    from = c->shell ? shell_file(l, c->shell, &from_inside) : NULL;
    ready->shell = c->keep_shell ? shell_file(l, c->key, &to_inside) : NULL;
    if (from || ready->shell)
        memcpy(&argv[n], (const char *[]){ "--", "/bin/sh", "-c", c->plain ? shell_plain : shell_wrapper, "sh",
                                           from ? from_inside : "", ready->shell ? to_inside : "/dev/null", c->command,
                                           c->dir ? c->dir : ".", NULL }, 10 * sizeof(*argv));
    else
        memcpy(&argv[n], (const char *[]){ "--", "/bin/sh", "-c", c->command, NULL }, 5 * sizeof(*argv));
    env = command_env(l, c->hide_env, c->tty, c->plain);
    r = proc_spawn(&(struct proc_spec){ box, (char *const *)argv, env, l->root_fd, fds, nfds }, &ready->proc, e);
    if (r == 0 && l->box)
        r = boxed_prepare(l, c, ready, profile, e);       /* while the supervisor comes up */
    if (r == 0)
        *ret = TAKE(ready);
    return r;
}

struct sync_job {
    struct job job;
    int fd, result;
};

static int syncs;                       /* under way on the pool, those that were given up included */

static void sync_run(struct job *job)
{
    struct sync_job *j = container_of(job, struct sync_job, job);

    j->result = syncfs(j->fd);
}

static void sync_free(struct job *job)
{
    struct sync_job *j = container_of(job, struct sync_job, job);

    close(j->fd);
    free(j);
    syncs--;
}

/* What a command wrote is on disk before its outcome is told, or the outcome says that it may not be. Nobody knows what it
 * wrote, so all that the workspace's file system has not written yet is waited for, other programs' data too: within bounds. */
static CO bool sync_workspace(struct local *l)
{
    struct sync_job *j;
    bool synced;

    if (syncs == SYNCS_MAX)
        return false;                   /* the disk does not get on, and the pool's threads are needed for other things */
    syncs++;
    j = xcalloc(1, sizeof(*j));
    j->job.run = sync_run;
    j->job.free = sync_free;
    j->fd = fcntl(l->root_fd, F_DUPFD_CLOEXEC, 0);
    if (offload(&j->job, "the disk", SYNC_MS) < 0)
        return false;
    synced = j->result == 0;
    job_free(&j->job);
    return synced;
}

/* The directory in which a command ended stands in the first line of what it left, behind a #. A command can write anything
 * there: whoever uses it, looks at it. */
static bool shell_is_kept(const struct env_ready *ready, char **ret_dir)
{
    cleanup(closep) int fd = ready->shell ? open(ready->shell, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    char line[PATH_MAX + 4];
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
    char *nl = n > 3 ? memchr(line, '\n', (size_t)n) : NULL;

    if (nl && memcmp(line, "# /", 3) == 0)
        *ret_dir = str_dup((struct str){ line + 2, (size_t)(nl - line) - 2 });
    return n > 0;
}

bool spool_waits(int fd, const struct env_outcome *o)
{
    enum proc_input input = proc_input((pid_t)o->pid);
    struct stat st;
    char last = '\n';

    if (input == PROC_MAY_WAIT && fstat(fd, &st) == 0 && st.st_size > REPORT_SIZE && pread(fd, &last, 1, st.st_size - 1) != 1)
        last = '\n';
    return input == PROC_WAITS || (input == PROC_MAY_WAIT && last != '\n');
}

/* Waits for the end of a command at a terminal. -EAGAIN: it waits for input, and nobody is there. */
static CO int wait_at_terminal(struct env_ready *ready)
{
    off_t size = 0;
    int r, idle = 0;

    while ((r = fd_readable(ready->link, "a command", INPUT_LOOK_MS)) == -ETIMEDOUT) {
        struct spool_report rep;
        struct stat st = {0};

        fstat(ready->spool, &st);
        idle = st.st_size == size && spool_read(ready->spool, ready->key, &rep) == 0 && rep.outcome.pid &&
               spool_waits(ready->spool, &rep.outcome) ? idle + 1 : 0;
        size = st.st_size;
        if (idle == INPUT_LOOKS)
            return -EAGAIN;
    }
    return r;
}

CO int local_run(struct env_ready *ready, struct env_outcome *o, struct err *e)
{
    struct spool_report rep = {0};
    bool waited = false;
    int r, lost;

    *o = (struct env_outcome){0};
    spool_turn(ready->local);
    if (send(ready->link, "g", 1, MSG_NOSIGNAL) != 1)
        return err_set(e, -EPIPE, "the command's supervisor is gone; it was not started");
    r = ready->tty ? wait_at_terminal(ready) : fd_readable(ready->link, "a command", FIBER_FOREVER);
    waited = r == -EAGAIN;
    if (r == -ECANCELED || waited) {
        send(ready->link, "c", 1, MSG_NOSIGNAL);        /* if it is gone already, there is nobody to tell */
        fiber_shield();
        fd_readable(ready->link, "a cancelled command", BOX_GRACE_MS);
        fiber_unshield();
    }
    lost = spool_read(ready->spool, ready->key, &rep);
    *o = rep.outcome;
    o->layer_said = TAKE(ready->no_layer);
    if (ready->layer)
        boxed_end_layer(ready->local, ready, o->ended && r != -ECANCELED, o);
    else
        boxed_check(ready->local, ready->key, o);
    if (r == -ECANCELED)
        return r;
    if (lost < 0 || (!o->ended && o->started)) {
        spool_end_orphans(o);
        return err_set(e, -EIO, "the command's supervisor was killed; what it had started was ended, as far as it could be found");
    }
    if (rep.box_error)
        return err_set(e, -ENOTSUP, "the box could not be built (%s: %s), so the command was not started", rep.box_what,
                       strerror(rep.box_error));
    if (!o->started)
        return err_set(e, -ENOEXEC, "the command could not be started (/bin/sh)");
    if (waited && o->end == ENV_CANCEL)
        o->end = ENV_INPUT;
    o->shell_kept = shell_is_kept(ready, &o->shell_dir);
    if (o->total <= ready->keep_above) {
        free(ready->local->shown);
        ready->local->shown = spool_path(ready->local, ready->key);
    }
    o->synced = ready->layer || sync_workspace(ready->local);      /* what a layer has put in place is durable */
    return 0;
}

/* Waits for the lock that the supervisor holds as long as it lives. */
CO int local_settle(struct env *v, const char *key, struct env_outcome *o, struct err *e)
{
    struct local *l = local(v);
    cleanup(freep) char *path = spool_path(l, key);
    cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r;

    *o = (struct env_outcome){0};
    if (fd < 0)
        return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
    for (int64_t waited = 0; flock(fd, LOCK_SH | LOCK_NB) < 0; waited += 5) {
        if (waited > BOX_GRACE_MS)
            return err_set(e, -EBUSY, "an earlier command's supervisor still runs; see %s", path);
        r = fiber_sleep(5);
        if (r < 0)
            return r;
    }
    r = read_report(fd, key, o);
    if (r == 0)
        r = boxed_settle(l, key, o, e);
    if (r == -ECANCELED)
        return r;
    if (r == 0 && o->ended)
        o->synced = sync_workspace(l);
    else if (r == 0)
        spool_end_orphans(o);
    return r < 0 ? err_set(e, r, "%s cannot be read: %s", path, strerror(-r)) : 0;
}

CO int local_output(struct env *v, const char *key, int64_t offset, size_t max, struct buf *out,
                           int64_t *ret_size, struct err *e)
{
    cleanup(freep) char *path = NULL;
    cleanup(closep) int fd = -1;
    struct stat st;
    ssize_t n;
    char *to;

    if (strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789.-") != strlen(key))
        return err_set(e, -ENOENT, "there is no output of that name");
    path = spool_path(local(v), key);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, -ENOENT, "that output is not kept: it was short and shown whole, or is too old");
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, -errno, "that output cannot be read: %s", strerror(errno));
    *ret_size = MAX(st.st_size - REPORT_SIZE, (off_t)0);
    to = buf_room(out, max);
    n = to ? pread(fd, to, max, REPORT_SIZE + offset) : -1;
    if (n < 0)
        return err_set(e, -EIO, "that output cannot be read");
    out->n += (size_t)n;
    return 0;
}

int local_keep(struct env *v, const char *key, struct str data, struct err *e)
{
    struct local *l = local(v);
    int spool;
    int r = spool_file(l, key, &spool, e);
    size_t at = 0;

    while (r == 0 && at < data.n) {
        ssize_t n = pwrite(spool, data.p + at, data.n - at, (off_t)(REPORT_SIZE + at));

        if (n < 0)
            r = err_set(e, -errno, "the text cannot be kept: %s", strerror(errno));
        at += (size_t)MAX(n, (ssize_t)0);
    }
    if (r == 0)
        close(spool);
    return r;
}
