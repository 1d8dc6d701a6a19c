#include "core/retry.h"

struct retry retry_judge(const struct limits *l, const struct fault *f, int before, uint32_t chance)
{
    int64_t base = l->backoff ? l->backoff : BACKOFF_MS, cap = MAX(base, (int64_t)BACKOFF_MAX_MS), wait = base;
    int64_t retries = l->retries ? l->retries : RETRIES, patience = (l->patience ? l->patience : PATIENCE_S) * 1000;
    struct retry r = { .jitter = (int)(chance % 251) };

    for (int i = 0; i < before && wait < cap; i++)
        wait *= 2;
    wait = MIN(wait, cap);
    wait -= wait * r.jitter / 1000;
    r.wait_ms = MAX(wait, f->wait_ms);
    if (f->limited)
        retries = MAX(retries, (int64_t)LIMITED_RETRIES);
    r.again = f->retry && before < retries && f->wait_ms <= patience;
    return r;
}
