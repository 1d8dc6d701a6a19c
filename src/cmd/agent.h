/* agent.h - what exec and resume share: putting a session together and driving it. */
#pragma once

#include "cmd/config.h"
#include "env/box.h"
#include "env/proxy.h"
#include "core/labels.h"
#include "core/route.h"
#include "core/session.h"

/* Everything a session runs with, owned. */
struct agent {
    const struct invocation *in;
    struct options said;            /* as the command line has them, without what the configuration adds */
    char *home;
    struct config config;
    struct store *store;
    struct model model;
    struct service service;         /* where none is known by name */
    struct settings set;            /* what the command line says; borrowed from below or from the options */
    json_t *recorded[2];            /* events of an existing session that this is borrowed from, too */
    char *cwd, *base_url, *model_id, *key;
    bool images;
    struct harness *harness;
    struct env *env;
    enum tier tier;
    char *tier_why;
    const char *plan;               /* the layer of mode plan, which is the box's; NULL: none */
    const struct provider *provider;
    struct session *session;
    struct ledger ledger;
    char quota[QUOTA_ID];
    struct routes routes;
    struct egress egress;
    struct proxy proxy;             /* the way out of the box, once there is one */
    struct labels labels;           /* for its decisions: as they were at labels_at (clock_steady), with so many results */
    int64_t labels_at, labels_results;
    struct privacy *privacy;
    const char *role;               /* that the model was named by; NULL: it was not */
    struct other *others;           /* models that the routes have led to */
    const char *budget;             /* name of a shared one, or NULL */
    int64_t budget_cap;
    struct scope side;              /* fibers that live beside the turn */
    struct buf answer;              /* text of the last answer, printed at the end */
};

/* Runs fn on a loop with signals wired to the session that is being driven. Returns its status. */
int agent_main(struct invocation *in, CO int (*fn)(struct agent *a));

/* Opens the store. */
CO int agent_store(struct agent *a, enum store_mode mode, struct err *e);

/* Opens the store and finds the session that an ID (may be NULL), or --last, names. The status on failure, else 0. */
CO int agent_find(struct agent *a, enum store_mode mode, const char *arg, struct session_row *ret);
/* The same to read only, where "ledger" names what all sessions share. */
CO int agent_find_log(struct agent *a, const char *arg, struct session_row *ret);

/* What the options say of the model: what it speaks, where it is, its key. No session is needed. */
CO int agent_model(struct agent *a, struct err *e);

/* Tokens that an answer may have: decides on model.max_output, and says the number; 0: nobody knows. */
void agent_longest(struct agent *a);
int64_t agent_answer_max(const struct agent *a);

/* The user's rules: which model the next request goes to, and what is private. */
CO int agent_rules(struct agent *a, struct err *e);
CO int agent_route(void *arg, struct session *s, bool failed, struct err *e);
void agent_others_free(struct agent *a);

/* Puts the box around the session's commands that its mode promises (boxes.c): the tier is chosen before there is a session,
 * and the box is put up when there is one. `mode` NULL: the one of a new session of which nobody said it. The status on failure,
 * else 0. */
CO int agent_tier(struct agent *a, const char *mode);
CO int agent_box(struct agent *a);

/* Lets a box's commands out to the hosts of the user's list, if there are any for them; `decide` is told. */
void agent_way_out(struct agent *a, struct boxing *box, proxy_decided *decide);

/* A new session from the options, or an existing one with what the options change. The status on failure, else 0. */
CO int agent_create(struct agent *a);
CO int agent_open(struct agent *a, struct session_row *row);

/* A new session that shares the events of `row`'s up to `seq`. */
CO int agent_fork(struct agent *a, struct session_row *row, uint64_t seq);

/* An observer's functions, and what is printed at the end: the answer, and the calls that wait for a person. */
void print_event(void *agent, const struct event *ev);
void print_delta(void *agent, enum delta what, struct str text);
void print_answer(struct agent *a);
void print_waiting(struct agent *a);
/* That another model goes on, and what of the history it is not given. */
void print_switch(struct agent *a, const char *before);

/* Runs the session until it ends or waits, prints what there is to print, and returns the exit status. */
CO int agent_drive(struct agent *a);
