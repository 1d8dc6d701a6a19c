/* labels.h - where what is in a session came from, and what of it is secret: read from its log when it matters, so that nothing
 * that shortens a context, goes on with a session or forks it can lose it. No word of a model decides on it.
 *
 * Untrusted is what a tool brought in from the workspace, the web, another agent or server: anybody may have written it. Secret is
 * what the user calls private, and what is kept in files whose names say so (labels.def), in any text, also encoded. A call that
 * takes something away from this machine must not meet both in one session. */
#pragma once

#include "base/err.h"
#include "core/event.h"
#include "rt/fiber.h"

struct session;

#define LABELS_WHERE 120

struct labels {
    uint64_t untrusted, secret;             /* seq of the event by which the first such thing came in; 0: none */
    char brought[LABELS_WHERE], held[LABELS_WHERE];     /* what that was: "read README.md" */
    bool sends;                             /* what is about to be sent holds something secret itself */
};

/* `sends`: what would leave, as text. Only what is durable of the log is read. */
CO int labels_look(struct session *s, struct str sends, struct labels *ret, struct err *e);

/* 0, or -EACCES with a sentence that says which things would meet in `leaving`. */
int labels_meet(const struct labels *l, const char *leaving, struct err *e);

/* The names of labels, with blanks between, for people. */
void labels_names(uint32_t labels, struct buf *out);
