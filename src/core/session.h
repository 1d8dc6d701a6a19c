/* session.h - one agent: its log, what is folded from it, and what it runs with. */
#pragma once

#include "core/context.h"
#include "core/egress.h"
#include "core/ledger.h"
#include "core/privacy.h"
#include "core/log.h"

struct session;

/* Someone who watches. Events come after their commit; deltas as they arrive. Either may be NULL. */
struct observer {
    void (*event)(void *arg, const struct event *ev);
    void (*delta)(void *arg, enum delta what, struct str text);
    void *arg;
};

/* What a session runs with, apart from its log. All borrowed for the session's life. */
struct equipment {
    const struct provider *provider;
    const struct model *model;
    const struct harness *harness;
    struct env *env;
    bool images;                /* the model takes them */
    int64_t longest;            /* tokens that an answer may have; 0: nobody knows */
    struct ledger *ledger;      /* what it shares with other sessions */
    const char *quota;          /* name of its key's quota; NULL: nothing is shared */
    const char *budget;         /* name of a shared budget, or NULL */
    int64_t budget_cap;         /* billionths of a dollar */
    const struct privacy *privacy;      /* what is private here; NULL: nothing */
    const struct egress *egress;        /* hosts that may be reached without a person's word */
    /* Asked before each request, and with `failed` when the model has failed for good: may session_switch. 1 if it did. */
    CO int (*route)(void *arg, struct session *s, bool failed, struct err *e);
    void *route_arg;
    struct observer observer;
};

/* What a new session is told, and what a `set` event may change: NULL and 0 say nothing. */
struct settings {
    const char *cwd, *mode, *model, *api, *base_url, *key_env, *effort, *budget, *role, *tier, *tier_why;
    int64_t max_output;
    const struct harness *harness;
    struct limits limits;
    const bool *images;         /* the model takes them, or not */
    const struct context_dropped *dropped;      /* of the history, which comes from another model; or NULL */
};

struct session {
    struct log log;
    struct view view;
    struct context context;
    struct equipment with;
    size_t redacted;            /* secrets that were kept out of the log */
    bool out_of_money;          /* of the budget that it shares */
    const char *cancel_why;     /* END_BUDGET instead of END_INTERRUPTED when set before the turn is cancelled */
};

/* A new session: logs what it is. The row's cwd is filled in; `row` is used up. */
CO int session_create(struct store *store, const struct equipment *with, const struct settings *set,
                      struct session **ret, struct err *e);

/* A new session that shares the parent's events up to `seq`, and goes on from there with these settings, and the parent's where
 * they say nothing. */
CO int session_fork(struct store *store, const struct session_row *parent, uint64_t seq, const struct equipment *with,
                    const struct settings *set, struct session **ret, struct err *e);

/* An existing one: takes its lease and folds its log. `row` is used up. */
CO int session_open(struct store *store, struct session_row *row, const struct equipment *with, struct session **ret,
                    struct err *e);
CO void session_free(struct session *s);        /* takes NULL */

static inline CO void session_freep(struct session **s)
{
    session_free(*s);
}

/* Puts an event at the end of the log and folds it. Nothing that depends on it may leave the process before
 * session_commit(). Returns its seq. Takes the bytes of `body` over. */
uint64_t session_put(struct session *s, enum kind kind, uint64_t cause, uint32_t labels, struct buf *body);

/* Makes everything put so far durable and tells the observer. A failure stops the session for good. */
CO int session_commit(struct session *s, struct err *e);

/* A person speaks, changes settings, or answers a question: `call` is a call's name or "all" that wait for such a word,
 * `answer` is yes, no, done, retry, skip or abort; -ENOENT and -EINVAL say what waits. Not yet committed. */
int session_submit(struct session *s, struct str text, struct err *e);
void session_set(struct session *s, const struct settings *set);
int session_reply(struct session *s, struct str call, struct str answer, struct err *e);

/* Goes on with another model: `with` has what is new of provider, model, images, longest and quota. The context is made anew from
 * the log, in the new model's form; `set` is logged, with `why`. */
CO int session_switch(struct session *s, const struct equipment *with, struct settings *set, const char *why, bool failed,
                      struct err *e);

/* The name of a call for people and events: ANSWER.INDEX. */
#define CALL_NAME_MAX 48
const char *call_name(const struct call_view *c, char out[CALL_NAME_MAX]);
