/* retry.h - what to do about a fault: the one place that decides about trying again.
 *
 * Providers never try twice, so no layer below multiplies what is decided here. */
#pragma once

#include "core/provider.h"

#define RETRIES         5           /* of one request, where nobody says otherwise */
#define LIMITED_RETRIES 50          /* where the service says that it was asked too often: its quota paces these */
#define BACKOFF_MS      500         /* before the first; doubles each time */
#define BACKOFF_MAX_MS  8000
#define PATIENCE_S      120         /* a service that wants longer is reported instead */

struct retry {
    bool again;
    int64_t wait_ms;
    int jitter;                     /* what chance took off the wait, in thousandths of it: 0 to 250 */
};

/* `before`: faults in a row before this one. `chance`: any number; it spreads clients that failed together. The wait is never
 * shorter than the doubled one, whatever a service asks for, and never shorter than what it asks for. */
struct retry retry_judge(const struct limits *l, const struct fault *f, int before, uint32_t chance);
