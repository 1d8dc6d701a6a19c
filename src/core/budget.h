/* budget.h - limits on steps, tokens and time, judged from the log alone. */
#pragma once

#include "core/view.h"

/* Tokens that the next request may cost: what the last one took in and gave out, what was added since, and room for an
 * answer. */
int64_t budget_reserve(const struct view *v);

/* NULL if another request fits, or a sentence which limit is reached. `now` is wall clock, ns. */
const char *budget_reached(const struct view *v, int64_t now);
