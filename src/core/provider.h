/* provider.h - a wire format and the way to a model: one file per implementation, one row in src/provider/table.def.
 *
 * A provider writes messages in its format and plays one request. It keeps no state between requests: what a request
 * is made of was serialised once, message by message, and only grows. It never retries; it reports a fault, and the loop
 * decides by the log. */
#pragma once

#include "core/harness.h"
#include "core/msg.h"
#include "core/view.h"

#define ANSWER_MAX ((size_t)900 << 10)      /* bytes of text, reasoning and calls together: an event's body holds them */

struct model {
    char *name;             /* as the service knows it */
    char *base_url;
    char *key;              /* secret, or NULL */
};

struct request {
    const struct model *model;
    const struct str *parts;        /* the body, in pieces */
    size_t nparts, bytes;
    int64_t answers;                /* answers the session has so far */
};

enum delta { DELTA_TEXT, DELTA_REASONING };

/* What a person may watch while it comes. Not a result: nothing of it is in the log yet. */
struct sink {
    void (*fn)(void *arg, enum delta what, struct str text);
    void *arg;
};

struct answer_call {
    struct buf id, name, args;
};

struct answer {
    struct buf text;
    struct buf extra;               /* JSON object of fields that go back as they came, or empty */
    struct answer_call *calls;
    size_t ncalls, cap;
    char finish[32];                /* stop, tool_calls, length, content_filter, or the service's own word */
    struct usage usage;
    bool has_usage;
    char model[128];                /* who answered, in the service's words */
};

void answer_done(struct answer *a);

struct fault {
    bool retry;                     /* the same request may go well later */
    long status;                    /* HTTP, or 0 */
    int64_t wait_ms;                /* what the service asked for, or -1 */
    struct err e;
};

struct provider {
    const char *name, *about;
    bool needs_url;                         /* a base URL has to be known */
    bool names_file;                        /* a model is a file */
    const char *tail;                       /* what closes a body */

    /* Everything before the first message: model, tools, system prompt. */
    int (*head)(const struct model *m, const struct harness *h, const char *system, struct buf *out);
    int (*message)(const struct msg *m, struct buf *out);

    /* Sends, reads to the end. 0: the answer is complete and ended well. -ECANCELED, or another errno with the fault
     * filled in; the answer then holds what had come. */
    CO int (*run)(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *fault);
};

const struct provider *provider_find(struct str name);
