/* undo.h - what calls have changed in a workspace, taken back and put in place again.
 *
 * A step is all that one call changed: a layer of its own for a command, one for each file of a file tool (env/layer.h). Several
 * are taken back together, the last one first, all or none. The log says so before and after; what a crash leaves between is
 * carried on when the session is opened, or with the next undo. */
#pragma once

#include "cmd/agent.h"

#include "env/layer.h"

enum way { WAY_UNDO, WAY_REDO, WAY_KEEP, WAY_DROP };        /* the last two: of layers that wait for a person */

/* What a log knows of a call. */
struct known_call {
    char *name;                 /* ANSWER.INDEX */
    char *title;                /* its tool, and what it is about */
    char *writer;               /* the session whose call it is */
    uint64_t seq, turn, before; /* of its intent; of the message that it is for; of the last event before its request */
};

/* A layer that waits for a person, and the hash of its list of changes. */
struct known_layer {
    char *name, *hash;
};

/* What a log says of undos: those that were brought to their end, eldest first. */
struct undone {
    char **layers;
    size_t n;
};

struct history {
    struct log log;
    struct view view;
    const char *id;
    struct known_call *calls;
    size_t ncalls, calls_cap;
    struct known_layer *waiting;
    size_t nwaiting, waiting_cap;
    struct undone *undone;
    size_t nundone, undone_cap;
    uint64_t before;            /* the last event before the last request */
};

/* Reads a session's log; `row` is used up. Ended with history_done also when that failed. */
CO int history_read(struct agent *a, struct session_row *row, struct history *ret, struct err *e);
CO void history_done(struct history *h);

/* The call that a layer is a step of, or NULL. */
const struct known_call *history_call(const struct history *h, const char *layer);

/* The hash of a layer's changes, as they were when it was said that it waits, or NULL. */
const char *history_waits(const struct history *h, const char *layer);

/* The session and the call in a layer's name: "SESSION-ANSWER.INDEX" or that and "-PART". False: it is no call's. */
bool layer_of_call(const char *layer, struct str *ret_session, struct str *ret_call);

/* Takes layers back, or puts them in place, in their order. What was done before one failed is done the other way round. */
CO int undo_layers(struct env *v, enum way way, char *const *layers, size_t n, struct err *e);

/* The same, with the log told (h NULL: there is none). */
CO int undo_logged(struct history *h, struct env *v, enum way way, char *const *layers, size_t n, struct err *e);

/* Carries on what the log of a session says was begun, and has no end; *ret_n: how many layers that is about (0: nothing was). */
CO int undo_carry_on(struct session *s, struct env *v, struct err *e);
CO int history_carry_on(struct history *h, struct env *v, size_t *ret_n, struct err *e);
