#include "core/budget.h"

#include "base/clock.h"

#define FIRST_REQUEST   3000    /* tokens of system prompt and tools, before any usage was reported */
#define ANSWER_ROOM     4096
#define BYTES_PER_TOKEN 3       /* of JSON text; errs on the side of more tokens */

int64_t budget_reserve(const struct view *v)
{
    int64_t in = v->last_in ? v->last_in + v->last_out : FIRST_REQUEST;

    return in + v->bytes_since / BYTES_PER_TOKEN + ANSWER_ROOM;
}

const char *budget_reached(const struct view *v, int64_t now)
{
    const struct limits *l = &v->limits;

    if (l->steps && v->steps >= l->steps)
        return "the limit of model requests (--max-steps) is reached";
    if (l->seconds && now - v->started >= l->seconds * NS_PER_S)
        return "the time limit (--timeout) is reached";
    if (l->tokens && v->used.in + v->used.out + budget_reserve(v) > l->tokens)
        return "the next request may exceed the token budget (--budget-tokens)";
    return NULL;
}
