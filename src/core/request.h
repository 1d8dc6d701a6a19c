/* request.h - one request to the model: what has to be so before it leaves, and what is written when it has come back.
 *
 *     ledger (the key's turn, money of a shared budget) -> request, durable -> the bytes leave -> wire -> answer | fault -> ledger
 *
 * It is made once; whether it is made again is turn_next's to say. */
#pragma once

#include "core/budget.h"
#include "core/session.h"

/* What the next one may cost at most. */
struct reserve request_reserve(const struct session *s);

/* Makes it. 0 whatever became of it: the log says. -ECANCELED; other errors come from the store, and end the session. */
CO int request_make(struct session *s, struct err *e);
