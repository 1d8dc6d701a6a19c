#include "core/budget.h"

#include "base/clock.h"

#define FIRST_REQUEST   3000    /* tokens of system prompt and tools, before any usage was reported */
#define ANSWER_ROOM     4096    /* where nobody limits answers, and no money is counted */
#define BYTES_PER_TOKEN 3       /* of JSON text; errs on the side of more tokens */
#define BYTES_PER_DEAR  2       /* the same where money is set aside: no text is known to take more */

struct reserve budget_reserve(const struct view *v, const struct model *m, int64_t longest, size_t bytes)
{
    int64_t known = v->last_in ? v->last_in + v->last_out : FIRST_REQUEST;
    int64_t room = longest ? MIN(longest, (int64_t)ANSWER_ROOM) : ANSWER_ROOM;
    struct reserve r = { .tokens = known + v->bytes_since / BYTES_PER_TOKEN + room };
    struct usage worst;

    r.in = v->last_in && !v->shortened ? known + v->bytes_since / BYTES_PER_DEAR : (int64_t)bytes / BYTES_PER_DEAR;
    r.out = longest ? longest : ANSWER_ROOM;
    worst = (struct usage){ .in = r.in, .out = r.out, .written = r.in };
    r.cost = budget_cost(&m->facts.price, &worst);
    return r;
}

const char *budget_reached(const struct view *v, const struct reserve *r, int64_t now)
{
    const struct limits *l = &v->limits;

    if (l->steps && v->steps >= l->steps)
        return "the limit of model requests (--max-steps) is reached";
    if (l->seconds && now - v->started >= l->seconds * NS_PER_S)
        return "the time limit (--timeout) is reached";
    if (l->tokens && v->used.in + v->used.out + r->tokens > l->tokens)
        return "the next request may exceed the token budget (--budget-tokens)";
    if (l->cost && v->cost + r->cost > l->cost)
        return "the next request may exceed the budget (--budget-usd)";
    return NULL;
}

int64_t budget_cost(const struct price *p, const struct usage *u)
{
    int64_t written = MIN(u->written, u->in - u->cached), fresh = u->in - u->cached - written;
    int64_t pico = fresh * p->in + u->cached * p->cached + written * MAX(p->written, p->in) + u->out * p->out;

    return (pico + 999) / 1000;
}

int64_t budget_wasted(const struct price *p, const struct reserve *r, size_t said)
{
    struct usage u = { .in = r->in, .written = r->in, .out = MIN((int64_t)(said / BYTES_PER_DEAR), r->out) };

    return budget_cost(p, &u);
}
