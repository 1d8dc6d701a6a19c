/* env.h - the only door to files and processes of a workspace.
 *
 * Tools and hooks say what they want by path and command; an environment decides where that happens: here, in a box, in
 * a layer, on another machine. Paths may be absolute or relative to the session's directory, and must lead beneath
 * one of the workspace's roots, links included: the kernel resolves them, not rein.
 *
 * `key` names a call for what has to outlive a crash: its temporary file, its output, its report. It is made of letters,
 * digits, '.' and '-'. All functions may wait; their errors are sentences that name the path. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "rt/fiber.h"

#include <stdlib.h>

struct env;

struct env_stat {
    bool exists;
    int64_t size;           /* bytes */
    uint32_t mode, uid, gid;
    unsigned links;
};

struct env_write {
    struct str path;
    const struct hash *expect;      /* content that is to be replaced; NULL: the file must not exist yet */
    struct str data;
    const struct env_stat *like;    /* a file that must not exist yet gets this mode and owner; NULL: the usual ones */
    const char *key;
    unsigned part;                  /* which of the key's files it is: what was there is kept as the layer KEY-PART (env/layer.h) */
    bool back;                      /* it is what was there, put back by hand: that layer is forgotten */
};

enum env_find { ENV_FIND_LINES, ENV_FIND_FILES, ENV_FIND_COUNTS };

struct env_search {
    struct str path;        /* a directory, or one file */
    struct str pattern;     /* as base/find.h has it; empty: the files themselves are listed */
    bool literal, ignore_case;
    struct str globs;       /* which files, as base/glob.h has it, relative to the path; empty: all */
    bool all;               /* also what git ignores; never .git itself */
    enum env_find find;     /* with a pattern */
    unsigned context;       /* lines around each */
    size_t max;             /* bytes of text */
};

struct env_found {
    struct buf text;        /* by path; what did not fit is counted only */
    int64_t files, matches; /* with a match, or listed; lines */
    int64_t shown;          /* files in the text */
    int64_t searched;
    int64_t binary, large, given_up;    /* files not searched, or not to their end */
};

/* A directory's entry. */
struct env_entry {
    char *name;
    char type;              /* - file, d directory, l link, ? something else */
    int64_t size;           /* bytes, of a file */
};

struct env_entries {
    struct env_entry *v;    /* by name */
    size_t n, cap;
    bool more;              /* there are more than ENV_ENTRIES_MAX */
};

struct env_command {
    const char *command;    /* for sh -c */
    bool job;               /* goes on when rein ends, for another rein to take up; read with env_job, not env_run */
    bool stay;              /* a job: also when nobody takes it up */
    bool in_place;          /* never over a layer: an earlier try of it needed what no layer can do */
    bool tty;               /* it has a terminal of its own */
    bool plain;             /* its words mean what they say: no variables are taken over, PATH has nothing of the workspace,
                               git runs neither hooks nor monitors */
    const char *dir;        /* then: where it begins, or NULL */
    bool keep_shell;        /* directory and variables in which it ends are kept under its key */
    const char *shell;      /* the key of a command whose directory and variables it begins with, or NULL */
    int64_t timeout_ms;
    const char *key;
    int64_t keep_above;     /* bytes: an output no larger than this is in the result, and need not be kept for long */
    const char *hide_env;   /* name of a variable that the command must not see, or NULL */
};

enum env_end {
    ENV_EXIT, ENV_TIMEOUT, ENV_CANCEL, ENV_ORPHAN,
    ENV_MEMORY, ENV_PROCESSES, ENV_DISK,    /* ended, since it took more than its box has */
    ENV_COPIES,             /* ended, since it changed more of what lies under its layer than that may copy */
    ENV_INPUT,              /* ended, since it waited for input that nobody can give */
};

struct env_outcome {
    bool started;           /* false: nothing happened */
    bool ended;             /* false: it was running when its supervisor was lost */
    enum env_end end;
    int64_t pid;            /* of the command; 0 unless started */
    int64_t pid_started;    /* in clock ticks since boot: with the pid it names one process of this boot */
    int exit_status, signo; /* signo 0 unless a signal ended it; then exit_status is -1 */
    int64_t total;          /* bytes it wrote */
    int64_t head, tail;     /* bytes kept from the beginning and from the end; total - head - tail are lost */
    bool synced;            /* what it wrote is on disk; false: a power failure may still take some of it back */
    bool shell_kept;        /* directory and variables can be had again */
    char *shell_dir;        /* that directory; owned; NULL: not known */
    int killed;             /* processes it left behind, ended with it */
    char *moved_out;        /* files that it made and its box must not leave, one a line; owned; NULL: none */
    char *changed;          /* what it changed over a layer and is in place now, "KIND SIZE PATH" a line; owned; NULL: not known */
    int64_t nchanged;       /* lines */
    char *layer_said;       /* what else became of the layer, a sentence; owned; NULL: nothing */
    bool held;              /* what it changed was not put in place */
    char *waits;            /* the hash of its list, by which a person's word is bound to it; owned; NULL: it does not wait */
    bool across;            /* it met what the file system of a layer cannot do, and may have failed for it */
    bool again;             /* and nothing that it did is left: it can be run in place. Why: layer_said */
    bool gone;              /* it was running when its rein was stopped; all that it changed lay in a layer and is gone */
    int64_t ms;
};

static inline void env_outcome_done(struct env_outcome *o)
{
    free(o->moved_out);
    free(o->shell_dir);
    free(o->changed);
    free(o->layer_said);
    free(o->waits);
    o->moved_out = o->shell_dir = o->changed = o->layer_said = o->waits = NULL;
}

enum env_job_state {
    ENV_JOB_NONE,           /* it was never started */
    ENV_JOB_RUNS,
    ENV_JOB_ENDED,
    ENV_JOB_LOST,           /* its supervisor was killed, or the machine restarted; nothing of it runs */
};

struct env_job {
    enum env_job_state state;
    struct env_outcome outcome;     /* ENDED; of the others what is known */
    int64_t size;           /* bytes of output that can be read by now */
};

static inline void env_job_done(struct env_job *job)
{
    env_outcome_done(&job->outcome);
}

enum env_job_send { ENV_SEND_TEXT, ENV_SEND_END, ENV_SEND_KILL };

struct env_ready;           /* a command whose supervisor stands ready to start it */

struct env_ops {
    CO int (*read)(struct env *, struct str path, int64_t offset, size_t max, struct buf *out, struct env_stat *st,
                   struct err *);
    CO int (*look)(struct env *, struct str path, struct env_stat *st, struct hash *ret, struct err *);
    CO int (*write)(struct env *, const struct env_write *, struct err *);
    CO int (*remove)(struct env *, const struct env_write *, struct err *);
    CO int (*list)(struct env *, struct str path, struct env_entries *, struct err *);
    CO int (*search)(struct env *, const struct env_search *, struct env_found *, struct err *);
    CO int (*tidy)(struct env *, struct str path, const char *key, unsigned part, struct err *);
    CO int (*ready)(struct env *, const struct env_command *, struct env_ready **ret, struct err *);
    CO int (*run)(struct env_ready *, struct env_outcome *, struct err *);
    void (*drop)(struct env_ready *);
    CO int (*settle)(struct env *, const char *key, struct env_outcome *, struct err *);
    CO int (*job_start)(struct env_ready *, struct env_job *, struct err *);
    CO int (*job_look)(struct env *, const char *key, bool take_up, struct env_job *, struct err *);
    CO int (*job_waits)(struct env *, const char *key);
    CO int (*job_send)(struct env *, const char *key, enum env_job_send what, struct str text, const char *send_key,
                       struct err *);
    CO int (*job_sent)(struct env *, const char *key, const char *send_key, struct err *);
    CO int (*output)(struct env *, const char *key, int64_t offset, size_t max, struct buf *out, int64_t *ret_size,
                     struct err *);
    int (*keep)(struct env *, const char *key, struct str data, struct err *);
    char *(*resolve)(struct env *, struct str path);
    const char *(*life)(struct env *);
    void (*free)(struct env *);
};

struct env {
    const struct env_ops *ops;
};

#define ENV_JOB_TEXT_MAX ((size_t)60 << 10)

#define ENV_ENTRIES_MAX 100000

/* Largest file that may be read whole, edited or written. */
#define ENV_FILE_MAX ((size_t)16 << 20)

/* Reads up to max bytes of a regular file from an offset. -ENOENT, -EISDIR, -EXDEV outside the workspace, -EINVAL for
 * what is not a regular file. */
static inline CO int env_read(struct env *v, struct str path, int64_t offset, size_t max, struct buf *out,
                              struct env_stat *st, struct err *e)
{
    return v->ops->read(v, path, offset, max, out, st, e);
}

/* Says whether the file exists and hashes its content. A missing file is no error. */
static inline CO int env_look(struct env *v, struct str path, struct env_stat *st, struct hash *ret, struct err *e)
{
    return v->ops->look(v, path, st, ret, e);
}

/* Puts data in place of the file, all or nothing, durable when it returns 0: a temporary file beside it, fsync, rename,
 * fsync of the directory. Keeps mode and owner, writes through links, makes missing directories. -ESTALE when the content
 * is not what was expected. -EUCLEAN: the file is in place, but a power failure may still take it back. Not cut short by
 * cancellation. */
static inline CO int env_write(struct env *v, const struct env_write *w, struct err *e)
{
    return v->ops->write(v, w, e);
}

/* Removes a file, whatever data says, durable when it returns 0. -ESTALE when its content is not what was expected; -ELOOP for a
 * link; -EUCLEAN as env_write. Not cut short by cancellation. */
static inline CO int env_remove(struct env *v, const struct env_write *w, struct err *e)
{
    return v->ops->remove(v, w, e);
}

/* What is in a directory, sorted. The caller ends it with env_entries_done. */
static inline CO int env_list(struct env *v, struct str path, struct env_entries *ret, struct err *e)
{
    return v->ops->list(v, path, ret, e);
}

/* Looks through files. The caller ends ret->text. -EINVAL for a pattern that cannot be read. */
static inline CO int env_search(struct env *v, const struct env_search *s, struct env_found *ret, struct err *e)
{
    return v->ops->search(v, s, ret, e);
}

static inline void env_entries_done(struct env_entries *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].name);
    free(l->v);
    *l = (struct env_entries){0};
}

/* After a crash: removes what a write of that key may have left (NULL: nothing), and makes durable what it had done. */
static inline CO int env_tidy(struct env *v, struct str path, const char *key, unsigned part, struct err *e)
{
    return v->ops->tidy(v, path, key, part, e);
}

/* Brings up all that a command needs, but does not start it: so the intent can be made durable meanwhile. */
static inline CO int env_ready(struct env *v, const struct env_command *c, struct env_ready **ret, struct err *e)
{
    return v->ops->ready(v, c, ret, e);
}

/* Starts it, waits, and has what it wrote put on disk; its output goes to a file that env_output reads. 0 whatever the command's
 * own status is; -ECANCELED with the outcome filled in once every process of it is gone. */
static inline CO int env_run(struct env *v, struct env_ready *ready, struct env_outcome *o, struct err *e)
{
    return v->ops->run(ready, o, e);
}

/* Frees it; a command that was not started never will be. Takes NULL. */
static inline void env_drop(struct env *v, struct env_ready *ready)
{
    if (ready)
        v->ops->drop(ready);
}

/* Starts a command that is a job. 0: it runs, or has ended already. It is given up by its environment's end, and ends then after
 * a while unless another one takes it up. */
static inline CO int env_job_start(struct env *v, struct env_ready *ready, struct env_job *job, struct err *e)
{
    return v->ops->job_start(ready, job, e);
}

/* What has become of a job; `job` is zero or from before, and ended with env_job_done. `take_up`: it is this environment's from now
 * on. A job whose supervisor is gone is ended. */
static inline CO int env_job_look(struct env *v, const char *key, bool take_up, struct env_job *job, struct err *e)
{
    return v->ops->job_look(v, key, take_up, job, e);
}

/* Whether a job waits for input just now, as far as can be told. 1 or 0. */
static inline CO int env_job_waits(struct env *v, const char *key)
{
    return v->ops->job_waits(v, key);
}

/* Sends text to a job's standard input under a key of its own (at most ENV_JOB_TEXT_MAX bytes), the end of it, or ends the job and
 * waits until it is gone. -ESRCH: it does not run; -EPIPE: it reads no more. */
static inline CO int env_job_send(struct env *v, const char *key, enum env_job_send what, struct str text, const char *send_key,
                                  struct err *e)
{
    return v->ops->job_send(v, key, what, text, send_key, e);
}

/* After a crash: whether the last text a job took is that of send_key. 1 or 0. */
static inline CO int env_job_sent(struct env *v, const char *key, const char *send_key, struct err *e)
{
    return v->ops->job_sent(v, key, send_key, e);
}

/* After a crash: what is known of the command of that key. Waits until its supervisor is gone. */
static inline CO int env_settle(struct env *v, const char *key, struct env_outcome *o, struct err *e)
{
    return v->ops->settle(v, key, o, e);
}

/* Reads a command's kept output. -ENOENT when there is none of that key. */
static inline CO int env_output(struct env *v, const char *key, int64_t offset, size_t max, struct buf *out,
                                int64_t *ret_size, struct err *e)
{
    return v->ops->output(v, key, offset, max, out, ret_size, e);
}

/* Keeps data as if it were a command's output, for env_output to read. Not durable. */
static inline int env_keep(struct env *v, const char *key, struct str data, struct err *e)
{
    return v->ops->keep(v, key, data, e);
}

/* The path as it stands in the log: absolute, without dots. Caller frees. */
static inline char *env_resolve(struct env *v, struct str path)
{
    return v->ops->resolve(v, path);
}

/* Names this life of the machine: another one after a reboot, when what was not synced may be gone. "" if unknown. */
static inline const char *env_life(struct env *v)
{
    return v->ops->life(v);
}

static inline void env_free(struct env *v)
{
    if (v)
        v->ops->free(v);
}
