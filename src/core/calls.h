/* calls.h - the tool calls of one answer: from the model's words to their results. */
#pragma once

#include "core/session.h"

/* Does what can be done next: asks, refuses, or runs the first open call, together with the reading calls that follow it
 * if it only reads. Writers run one at a time, in order. */
CO int calls_run(struct session *s, struct err *e);

/* Settles calls that an earlier life of rein started and did not finish. */
CO int calls_recover(struct session *s, struct err *e);

/* Closes the calls that were running where the session was forked. They are the parent's: what they are about is looked at, and
 * nothing is touched. */
CO int calls_forked(struct session *s);

/* Closes every call that is still open, with a result that says why. */
void calls_close(struct session *s, const char *why);
