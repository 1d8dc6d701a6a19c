/* local_impl.h - what local.c (files), command.c (commands) and job.c (jobs) share. */
#pragma once

#include "env/box.h"
#include "env/local.h"
#include "env/worker.h"
#include "rt/proc.h"

#define REPORT_SIZE    4096             /* the head of a spool file; drawn in src/box/rein-box.c */
#define REPORT_LAST    3072             /* in it: the key of the input that was taken last */
#define BOX_GRACE_MS   5000             /* for the supervisor to end what it started */

struct local {
    struct env env;
    char *root, *home, *spool, *session;
    struct worker worker;               /* works on files */
    char *path;                         /* the variable PATH as plain commands get it, or NULL */
    int root_fd;
    struct owned_job *jobs;             /* running, and ended with this environment unless another takes them up */
    /* A spool file whose output is in its result is used again, since making one costs as much as all else about a command. Not
     * before that result is durable, though: when the next command starts, it is. */
    char *shown, *spare;
    struct boxing *box;                 /* around commands; NULL: none */
};

struct env_ready {
    struct local *local;
    struct proc *proc;
    int spool, link;
    bool tty;
    int64_t let_out;                    /* of the box, before it ran */
    char *layer, *no_layer;             /* the command's; NULL: none, and why if there should be one */
    char *key, *shell;                  /* shell: where directory and variables are left, or NULL */
    int64_t keep_above;
};

static inline struct local *local(struct env *v)
{
    return container_of(v, struct local, env);
}

/* Asks for something about files that may be asked twice, as it is when their process ends over it. The answer lies in `in`. */
CO int local_ask(struct local *l, const struct files_ask *q, const char *why, struct buf *in, struct files_answer *ret,
                 struct err *e);

char *spool_path(struct local *l, const char *key);

/* What the head of a spool file says. */
struct spool_report {
    struct env_outcome outcome;
    int64_t box, box_started;           /* pid of the supervisor and when it was started */
    int box_error;                      /* the command's box could not be built: an errno, and what of it */
    char box_what[200];
    char last[REPORT_SIZE - REPORT_LAST];
};
int spool_read(int fd, const char *key, struct spool_report *ret);

/* What the box is to be for a command: its layer is made, its profile written into the file in memory. */
CO int boxed_prepare(struct local *l, const struct env_command *c, struct env_ready *ready, int profile, struct err *e);

/* A command over a layer is gone: what it changed is put in place, unless it is not wanted or may not be. */
CO void boxed_end_layer(struct local *l, const struct env_ready *ready, bool wanted, struct env_outcome *o);

/* What a command in a box, of which nothing runs any more, has left in place that must not stay: it is moved out, the outcome says
 * so. */
CO void boxed_check(struct local *l, const char *key, struct env_outcome *o);

/* After a crash: a layer that was being put in place is; one that was not yet is gone, and nothing of the command has happened. */
CO int boxed_settle(struct local *l, const char *key, struct env_outcome *o, struct err *e);

/* Ends what a supervisor that was killed has left of its command: what is in its session. */
void spool_end_orphans(const struct env_outcome *o);

/* Whether a command waits for input: what it is doing, and how its output ends. */
bool spool_waits(int fd, const struct env_outcome *o);

/* The environment that commands get, but for what is put in or taken out for each: rein's own, or that of the user's shell when
 * rein was not started from one. Found out once. */
CO char **user_environment(void);

/* The file in the spool that holds the directory and the variables in which a command ended. Caller frees. */
char *shell_path(struct local *l, const char *key);

/* What sh is given, with that file to begin with, the one to leave behind and the command as its arguments. */
extern const char shell_wrapper[];

/* The same for a plain command, whose directory is the fourth argument: of the file it takes nothing over, and leaves what is in it
 * to the next. */
extern const char shell_plain[];

/* A command starts: what was told of the one before is durable. */
void spool_turn(struct local *l);

/* The socket over which a job is talked to, listening. Its path is given too. */
int job_listen(struct local *l, const char *key, char **ret_path, struct err *e);
CO int local_job_start(struct env_ready *ready, struct env_job *job, struct err *e);
CO int local_job_look(struct env *v, const char *key, bool take_up, struct env_job *job, struct err *e);
CO int local_job_waits(struct env *v, const char *key);
CO int local_job_send(struct env *v, const char *key, enum env_job_send what, struct str text, const char *send_key, struct err *e);
CO int local_job_sent(struct env *v, const char *key, const char *send_key, struct err *e);
void local_jobs_free(struct local *l);

/* env_ready, env_run, env_drop, env_settle and env_output on this machine. */
CO int local_ready(struct env *v, const struct env_command *c, struct env_ready **ret, struct err *e);
CO int local_run(struct env_ready *ready, struct env_outcome *o, struct err *e);
void local_drop(struct env_ready *ready);
CO int local_settle(struct env *v, const char *key, struct env_outcome *o, struct err *e);
int local_keep(struct env *v, const char *key, struct str data, struct err *e);
CO int local_output(struct env *v, const char *key, int64_t offset, size_t max, struct buf *out, int64_t *ret_size, struct err *e);
