/* budget.h - limits on steps, tokens, money and time, judged from the log alone.
 *
 * Before a request leaves, the most that it may cost is set aside; when its answer is there, what it did cost takes that place. A
 * request that never got an answer, because rein was killed, has cost what was set aside. */
#pragma once

#include "core/provider.h"

/* Tokens, and billionths of a dollar, that the next request may cost: what the last one took in and gave out, what was added since,
 * and the longest answer. The money is 0 where the price is not known. */
struct reserve {
    int64_t tokens, in, out;
    int64_t cost;
};

/* `longest`: tokens that an answer may have, 0 when nobody knows; `bytes`: of the request without its closing piece. */
struct reserve budget_reserve(const struct view *v, const struct model *m, int64_t longest, size_t bytes);

/* NULL if another request fits, or a sentence which limit is reached. `now` is wall clock, ns. */
const char *budget_reached(const struct view *v, const struct reserve *r, int64_t now);

/* What tokens cost, in billionths of a dollar, rounded up. */
int64_t budget_cost(const struct price *p, const struct usage *u);

/* The same for a request that failed after it was sent: all that it may have read, and what it had said. */
int64_t budget_wasted(const struct price *p, const struct reserve *r, size_t said);
