/* turn.h - the agent loop. */
#pragma once

#include "core/budget.h"
#include "core/session.h"

enum step_kind {
    STEP_MODEL,             /* ask the model */
    STEP_SQUEEZE,           /* leave something out: the request is longer than the model takes */
    STEP_CALLS,             /* run or refuse calls, or ask about them */
    STEP_RECOVER,           /* find out what became of calls of an earlier life */
    STEP_SLEEP,             /* until a time */
    STEP_WAIT,              /* for a person: nothing runs */
    STEP_END,               /* say in the log how it ended */
    STEP_IDLE,              /* it has ended, and nothing new was said */
};

struct step {
    enum step_kind kind;
    int64_t until;          /* STEP_SLEEP: wall clock, ns */
    enum end_state end;     /* STEP_END */
    const char *why;        /* STEP_END; borrowed from the view */
};

/* What comes next, from nothing but the folded log, what the next request may cost, and the time (clock_even). */
struct step turn_next(const struct view *v, const struct reserve *r, int64_t now);

/* Takes up the jobs and finds out what became of the calls of an earlier life, without going on: so that a person's word on a call
 * in doubt may come with the same command that finds it. */
CO int turn_recover(struct session *s, struct err *e);

/* Asks turn_next, does, appends, until the session ends or waits for a person. 0 in both cases: the view says which.
 * -ECANCELED when the fiber was cancelled: outcomes and an `end` event are in the log then. Other errors come from the
 * store, and the session is stopped. */
CO int turn_run(struct session *s, struct err *e);
