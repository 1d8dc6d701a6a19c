/* trouble.h - what a service means when it refuses: from a status, headers and an error body in any shape. */
#pragma once

#include "base/js.h"
#include "rt/http.h"

struct trouble {
    struct str said;            /* the service's sentence, borrowed from the body; hostile bytes */
    bool named;                 /* the service says what it is, not only that it is wrong */
    bool retry;                 /* the same request may go well later */
    bool limited;               /* too many requests: the key has to wait */
    bool overflow;              /* the request is longer than the model takes */
};

/* `status`: HTTP; 0: the error came inside a stream that had begun well. `body`: the whole error body, or the error alone; NULL:
 * there is none, or it is not JSON. */
struct trouble trouble_of(long status, const json_t *body);

/* Milliseconds that a service asks to wait, -1 if it says nothing that makes sense. `now`: wall clock, ns, for dates. */
int64_t trouble_wait(struct http *h, const json_t *body, int64_t now);

/* The forms in which it says so: a number of units, each of `unit_ms`; a date (RFC 9110, RFC 3339); a duration like 1h2m3.5s. -1
 * for what is none, negative or not finite; 0 for a date that has passed; at most WAIT_FOREVER. */
#define WAIT_FOREVER (INT64_C(1000) * 1000000000)
int64_t wait_number(struct str text, double unit_ms);
int64_t wait_date(struct str text, int64_t now);
int64_t wait_duration(struct str text);
