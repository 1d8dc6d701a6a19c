/* sse.h - server-sent events, as a byte parser: fed bytes, hands back events. WHATWG HTML, section 9.2.6. */
#pragma once

#include "base/buf.h"

/* Zeroed is ready. Lines may end in LF, CR or CRLF and chunks may be cut anywhere. */
struct sse {
    size_t max;             /* bytes of one event; 0: SSE_MAX_DEFAULT */
    size_t comments;        /* comment lines so far: a sign of life without content */
    struct buf line, data, event;
    bool started, after_cr, has_data;
};

#define SSE_MAX_DEFAULT ((size_t)8 << 20)

/* Called for every complete event; `event` is empty unless the stream named it. A negative result stops the parser,
 * which returns it. */
typedef int sse_fn(void *arg, struct str event, struct str data);

/* 0, -E2BIG for an event above the maximum, or what fn returned. */
int sse_feed(struct sse *s, struct str bytes, sse_fn *fn, void *arg);
void sse_done(struct sse *s);
