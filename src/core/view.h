/* view.h - a session's log, folded: everything that turn_next() needs to know.
 *
 * view_fold() is fed every event once, in order, whether read from the store or just staged, and costs the same for
 * the ten-thousandth as for the first. Nothing in here is known from anywhere else.
 *
 * The calls of the last answer, and what happened to each:
 *
 *            ask          reply yes, words        intent               result
 *     NEW ---------> ASKED ---------------> NEW -----------> STARTED ----------> CLOSED
 *      |               `--- reply no ----> DENIED --------------------------------^
 *      `-- (allowed by the mode) -------------------^            |
 *                                                                |  another life of rein, no result: in doubt
 *                                     reply retry                v
 *                             NEW <----------------- UNKNOWN <- ask
 */
#pragma once

#include "base/hash.h"
#include "base/js.h"
#include "core/event.h"

#define CALLS_MAX 128           /* of one answer; what is above is refused with a result */

enum call_state { CALL_NEW, CALL_ASKED, CALL_DENIED, CALL_STARTED, CALL_UNKNOWN, CALL_CLOSED };

struct call_view {
    enum call_state state;
    bool allowed;               /* a person said yes */
    bool pure;                  /* its intent may simply be repeated */
    bool custom;                /* it came as plain text */
    bool unread;                /* it did not run, since it was no call of a tool in its form */
    unsigned attempts;          /* intents so far */
    unsigned index;             /* from 1; the call's name for people is ANSWER.INDEX */
    char *id;                   /* the model's, made unique */
    char *name;
    char *args;                 /* as received */
    size_t args_len;
    char *why;                  /* it was asked about */
    char *hash;                 /* of tool and arguments, as they were when it was asked about */
    uint64_t answer_seq, intent_seq, intent_epoch, ask_seq;
    char *intent;               /* body of the last intent, for recovery */
    char *doubt;                /* what is known of a call in doubt, for people and the model */
    char *decision;             /* a person's word on a call in doubt: done, skip */
    bool question;              /* what was asked is a question of the model's, and any words answer it */
    char *said;                 /* the answer */
};

struct usage {
    int64_t in, out;            /* tokens */
    int64_t cached, written;    /* part of in: read from a cache, written to one that lasts minutes */
    int64_t reasoning;          /* part of out */
    bool estimated;
};

enum end_state { END_OPEN, END_DONE, END_FAILED, END_BUDGET, END_UNREACHABLE, END_INTERRUPTED, END_GUARD };

struct limits {
    int64_t steps;              /* requests since the last message of a person; 0: none */
    int64_t tokens;             /* of the whole session, in and out; 0: none */
    int64_t seconds;            /* of one drive of the session; 0: none */
    int64_t cost;               /* of the whole session, in billionths of a dollar; 0: none */
    int64_t retries;            /* of one request; 0: the default, as for the next two */
    int64_t backoff;            /* ms before the first retry */
    int64_t patience;           /* seconds that a service may ask to wait */
};

struct known_file {
    char *path;
    struct hash hash;
    char *charset;              /* what it is read and written in, when that is not UTF-8; else NULL */
};

/* A command that goes on between calls. */
struct job_view {
    char *id;                   /* the name of the call that started it */
    char *key;                  /* names it in env */
    bool runs, stays;           /* as far as the log knows; stays: when the session ends */
    int64_t seen;               /* bytes of its output that the model has been shown */
};

/* A step of the plan, as the model's calls of todo have left it. */
struct plan_step {
    char *id, *what, *state;    /* state: open, doing, done or dropped */
    char *outcome;              /* how it came out, or NULL */
    json_t *needs, *tools;      /* lists of ids and names, or NULL */
    uint64_t begun, ended;      /* seq of the results that first said doing, and done or dropped; 0: not yet. What was observed
                                   meanwhile is the step's, and its outcome stands for it */
    bool folded;                /* in the context it does so already */
};

/* A session that this one was forked from: events up to `upto` are its. */
struct origin {
    char *id;
    uint64_t upto;
};

struct view {
    uint64_t seq;               /* of the last event folded */
    uint64_t epoch;             /* this life of rein; set by the session, grows with every lease */
    int64_t started;            /* when this drive began, wall clock */

    /* session, set */
    char *boot;                 /* the life of the machine in which it was last driven */
    char *cwd, *harness, *harness_hash, *mode, *model, *api, *base_url, *key_env, *effort;
    struct limits limits;

    /* the conversation */
    enum end_state end;         /* END_OPEN while there is something to do */
    char *end_why;
    bool answered;              /* the last thing said was an answer without calls */
    bool cut;                   /* the answer was cut off by the output limit: its calls do not run */
    bool refused;               /* the model's service withheld the answer */
    bool empty;                 /* the answer said nothing and called nothing */
    int pauses;                 /* answers in a row that the service wants to go on with */
    int unread;                 /* answers in a row of whose calls none could be read */
    bool unsynced;              /* in this boot a command ended whose writes may not be on disk */
    bool aborted;               /* a person ended the session at a call in doubt */
    struct call_view *calls;
    size_t ncalls;
    uint64_t user_seq, request_seq, answer_seq;
    bool in_flight;             /* a request without an answer or a fault */

    /* faults since the last answer */
    int faults, limited;        /* all but those where the service was asked too often; these */
    bool fault_final;
    bool overflow;              /* the last one says that the request is too long */
    bool squeezed;              /* something was left out for that reason, since the last answer */
    int64_t retry_at;           /* wall clock, ns */
    int64_t retry_wait;         /* ms, as it was decided */
    char *fault_why;

    /* totals */
    int64_t steps;              /* requests since the last message of a person */
    struct usage used;          /* whole session */
    int64_t cost;               /* the same in billionths of a dollar */
    int64_t set_aside, set_aside_tokens;    /* for the request that is under way */
    int64_t last_in, last_out;  /* tokens of the last answer */
    int64_t bytes_since;        /* of what was said after it */
    bool shortened;             /* the context lost something since, or another model reads it */
    int64_t requests, results, answers;
    uint64_t folded;            /* events folded by this process */

    struct known_file *files;   /* content as last seen by the model; sorted by path */
    size_t nfiles, files_cap;

    struct job_view *jobs;      /* of this session, in the order in which they were started */
    size_t njobs, jobs_cap;

    bool images;                /* the model takes them */
    bool is_private;            /* private data is in it: what comes after may be made of that */

    struct plan_step *plan;     /* in the order in which the steps came */
    size_t nplan, plan_cap;

    char *shell_dir;            /* the directory in which it begins, or NULL: the session's */
    char *shell;                /* key of the command whose directory and variables the next one begins with, or NULL */

    char *told_mode;            /* the mode of which the model was told last, or NULL */
    char *undoing;              /* body of an undo that was begun and has no end, or NULL */

    struct origin *origins;     /* eldest first */
    size_t norigins, origins_cap;
};

/* `body` is ev->body parsed. */
int view_fold(struct view *v, const struct event *ev, const json_t *body, struct err *e);
void view_done(struct view *v);

/* The call a person or an event names as ANSWER.INDEX, or NULL. */
struct call_view *view_call(const struct view *v, struct str name);

/* The job of that name, or NULL. */
struct job_view *view_job(const struct view *v, struct str id);

/* The step of the plan of that id, or NULL. */
struct plan_step *view_step(const struct view *v, struct str id);

/* The session that wrote an event, `own` unless the event is from before a fork. */
const char *view_writer(const struct view *v, uint64_t seq, const char *own);

/* What the model saw last of a file, or NULL. */
const struct known_file *view_known(const struct view *v, const char *path);

const char *end_name(enum end_state end);
