/* job.c - commands that go on between calls, and when rein ends. Their supervisor listens on a socket in the spool; what is said
 * over it is drawn in src/box/rein-box.c.
 *
 * A job is found again by what its spool file says: the supervisor holds a lock on it for as long as it lives, and pid and start
 * time of supervisor and command stand in it. Whoever holds a watching connection owns the job. */
#include "env/local_impl.h"

#include "base/path.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS   5000                /* for a supervisor to answer */
#define POLL_MS     5

struct owned_job {
    struct owned_job *next;
    char *key;
    int watch;                          /* the connection that tells the supervisor that someone is there */
    struct proc *proc;                  /* when it is this process's child */
};

static void own(struct local *l, const char *key, int watch, struct proc *proc)
{
    struct owned_job *j = xcalloc(1, sizeof(*j));

    j->key = xstrdup(key);
    j->watch = watch;
    j->proc = proc;
    j->next = l->jobs;
    l->jobs = j;
}

static struct owned_job **find(struct local *l, const char *key)
{
    struct owned_job **at = &l->jobs;

    while (*at && strcmp((*at)->key, key) != 0)
        at = &(*at)->next;
    return at;
}

static void disown(struct owned_job **at)
{
    struct owned_job *j = *at;

    if (!j)
        return;
    *at = j->next;
    close(j->watch);
    proc_free(j->proc);
    free(j->key);
    free(j);
}

void local_jobs_free(struct local *l)
{
    while (l->jobs) {
        proc_leave(TAKE(l->jobs->proc));
        disown(&l->jobs);
    }
}

/* A socket's path may have 107 bytes; that of a directory's descriptor is short. */
static int spool_address(struct local *l, const char *key, struct sockaddr_un *sun, struct err *e)
{
    int dir = open(l->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;

    if (dir < 0)
        return err_set(e, -errno, "%s: %s", l->spool, strerror(errno));
    *sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
    n = snprintf(sun->sun_path, sizeof(sun->sun_path), "/proc/self/fd/%d/%s.sock", dir, key);
    if (n >= (int)sizeof(sun->sun_path)) {
        close(dir);
        return err_set(e, -ENAMETOOLONG, "the job's name is too long");
    }
    return dir;
}

int job_listen(struct local *l, const char *key, char **ret_path, struct err *e)
{
    struct sockaddr_un sun;
    cleanup(closep) int dir = spool_address(l, key, &sun, e), fd = -1;

    if (dir < 0)
        return dir;
    *ret_path = xasprintf("%s/%s.sock", l->spool, key);
    unlink(*ret_path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 8) < 0)
        return err_set(e, -errno, "the job's socket %s cannot be made: %s", *ret_path, strerror(errno));
    return TAKE_FD(fd);
}

/* One message and its answer: 'o' or 'x', or a negative errno. */
static CO int ask(int fd, struct str message)
{
    char answer;
    ssize_t n;
    int r;

    if (send(fd, message.p, message.n, MSG_NOSIGNAL) != (ssize_t)message.n)
        return -errno;
    r = fd_readable(fd, "a job's supervisor", ANSWER_MS);
    if (r < 0)
        return r;
    n = recv(fd, &answer, 1, MSG_DONTWAIT);
    return n == 1 ? answer : n < 0 ? -errno : -ECONNRESET;
}

static int dial(struct local *l, const char *key, struct err *e)
{
    struct sockaddr_un sun;
    cleanup(closep) int dir = spool_address(l, key, &sun, e), fd = -1;

    if (dir < 0)
        return dir;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
        return err_set(e, -ESRCH, "the job cannot be reached: %s", strerror(errno));
    return TAKE_FD(fd);
}

/* Reads the report until it says something: a supervisor that lives and has not written yet is about to. */
static CO int look(int fd, const char *key, struct spool_report *rep, bool *ret_lives, struct err *e)
{
    for (int64_t waited = 0;; waited += POLL_MS) {
        int r = spool_read(fd, key, rep);

        if (r < 0)
            return err_set(e, r, "the job's report cannot be read: %s", strerror(-r));
        *ret_lives = flock(fd, LOCK_SH | LOCK_NB) < 0;
        if (!*ret_lives) {
            flock(fd, LOCK_UN);
            r = spool_read(fd, key, rep);    /* what it wrote last */
            return r < 0 ? err_set(e, r, "the job's report cannot be read: %s", strerror(-r)) : 0;
        }
        if (rep->outcome.pid && !rep->outcome.ended)
            return 0;
        if (waited > BOX_GRACE_MS)
            return err_set(e, -EBUSY, "the job's supervisor (process %lld) does not get on", (long long)rep->box);
        r = fiber_sleep(POLL_MS);
        if (r < 0)
            return r;
    }
}

static CO int find_state(struct local *l, const char *key, bool take_up, struct env_job *job, struct err *e)
{
    cleanup(freep) char *path = spool_path(l, key);
    cleanup(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct spool_report rep;
    struct stat st;
    bool lives;
    int r, watch;

    *job = (struct env_job){0};
    if (fd < 0)
        return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
    r = look(fd, key, &rep, &lives, e);
    if (r < 0)
        return r;
    job->outcome = rep.outcome;
    if (fstat(fd, &st) == 0)
        job->size = MAX(st.st_size - REPORT_SIZE, (off_t)0);
    if (lives && rep.box && proc_started((pid_t)rep.box) == rep.box_started)
        job->state = ENV_JOB_RUNS;
    else
        job->state = rep.outcome.ended ? ENV_JOB_ENDED : rep.outcome.started ? ENV_JOB_LOST : ENV_JOB_NONE;
    if (job->state != ENV_JOB_RUNS) {
        if (job->state == ENV_JOB_LOST)
            spool_end_orphans(&rep.outcome);
        disown(find(l, key));
        return 0;
    }
    if (!take_up || *find(l, key))
        return 0;
    watch = dial(l, key, e);
    if (watch < 0)
        return watch;
    r = ask(watch, LIT("w"));
    if (r != 'o') {
        close(watch);
        return r == -ECANCELED ? r : err_set(e, -EIO, "the job's supervisor does not answer");
    }
    own(l, key, watch, NULL);
    return 0;
}

CO int local_job_look(struct env *v, const char *key, bool take_up, struct env_job *job, struct err *e)
{
    int r;

    env_job_done(job);
    r = find_state(local(v), key, take_up, job, e);
    if (r == 0 && (job->state == ENV_JOB_ENDED || job->state == ENV_JOB_LOST))
        boxed_check(local(v), key, &job->outcome);
    return r;
}

CO int local_job_waits(struct env *v, const char *key)
{
    cleanup(freep) char *path = spool_path(local(v), key);
    cleanup(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct spool_report rep;

    return fd >= 0 && spool_read(fd, key, &rep) == 0 && rep.outcome.pid && !rep.outcome.ended && spool_waits(fd, &rep.outcome);
}

CO int local_job_start(struct env_ready *ready, struct env_job *job, struct err *e)
{
    struct local *l = ready->local;
    char word;
    int r;

    spool_turn(l);
    if (send(ready->link, "g", 1, MSG_NOSIGNAL) != 1)
        return err_set(e, -EPIPE, "the job's supervisor is gone; it was not started");
    fiber_shield();                     /* it has to be known whether it runs */
    r = fd_readable(ready->link, "a job to start", BOX_GRACE_MS);
    fiber_unshield();
    if (r == 0)
        r = recv(ready->link, &word, 1, MSG_DONTWAIT) == 1 ? 0 : -EPIPE;
    if (r == 0)
        own(l, ready->key, TAKE_FD(ready->link), TAKE(ready->proc));
    close(TAKE_FD(ready->spool));       /* the lock on it is the supervisor's alone now */
    r = local_job_look(&l->env, ready->key, false, job, e);
    if (r == 0 && job->state == ENV_JOB_NONE)
        return err_set(e, -ENOEXEC, "the job could not be started (/bin/sh)");
    return r;
}

/* Ends a job whose supervisor cannot be talked to: when there is no socket to be had, it must not go on for that. What has made a
 * session of its own is not found then. */
static CO int end_by_force(struct env *v, const char *key, struct err *e)
{
    cleanup(freep) char *path = spool_path(local(v), key);
    cleanup(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct spool_report rep;

    if (fd < 0 || spool_read(fd, key, &rep) < 0 || !rep.box || proc_started((pid_t)rep.box) != rep.box_started)
        return err_set(e, -ESRCH, "the job's supervisor is gone");
    if (kill((pid_t)rep.box, SIGKILL) < 0)
        return err_set(e, -errno, "the job's supervisor (process %lld) cannot be ended: %s", (long long)rep.box, strerror(errno));
    return 0;
}

CO int local_job_send(struct env *v, const char *key, enum env_job_send what, struct str text, const char *send_key, struct err *e)
{
    static const char word[] = { [ENV_SEND_TEXT] = 'i', [ENV_SEND_END] = 'f', [ENV_SEND_KILL] = 'k' };
    cleanup(buf_done) struct buf message = {0};
    cleanup(closep) int fd = dial(local(v), key, e);
    struct env_job job;
    int r;

    if (fd < 0 && what != ENV_SEND_KILL)
        return fd;
    buf_addc(&message, word[what]);
    if (what != ENV_SEND_KILL)
        buf_addf(&message, "%s\n", send_key);
    buf_add_str(&message, text);
    r = fd < 0 ? fd : ask(fd, buf_str(&message));
    if (what == ENV_SEND_KILL && r < 0 && r != -ECANCELED)
        r = end_by_force(v, key, e);
    if (r == 'x')
        return err_set(e, -EPIPE, "the job does not take it: its input is closed, or it has not read what was sent before");
    if (r < 0)
        return what == ENV_SEND_KILL ? r : err_set(e, r, "the job's supervisor does not answer: %s", strerror(-r));
    for (int64_t waited = 0; what == ENV_SEND_KILL; waited += POLL_MS) {
        r = find_state(local(v), key, false, &job, e);
        if (r < 0 || job.state != ENV_JOB_RUNS)
            return r;
        if (waited > BOX_GRACE_MS)
            return err_set(e, -EBUSY, "the job's processes do not end");
        r = fiber_sleep(POLL_MS);
        if (r < 0)
            return r;
    }
    return 0;
}

CO int local_job_sent(struct env *v, const char *key, const char *send_key, struct err *e)
{
    struct local *l = local(v);
    cleanup(freep) char *path = spool_path(l, key);
    cleanup(closep) int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), fd = -1;
    struct spool_report rep;
    struct err ignored;
    int r;

    if (file < 0)
        return err_set(e, -errno, "%s: %s", path, strerror(errno));
    fd = dial(l, key, &ignored);        /* none: the supervisor is gone, and has written all it ever will */
    if (fd >= 0 && ask(fd, LIT("p")) == -ECANCELED)
        return -ECANCELED;
    r = spool_read(file, key, &rep);
    return r < 0 ? err_set(e, r, "%s cannot be read: %s", path, strerror(-r)) : strcmp(rep.last, send_key) == 0;
}
