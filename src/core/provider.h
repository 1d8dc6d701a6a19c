/* provider.h - a wire format and the way to a model: one file per implementation, one row in src/provider/table.def.
 *
 * A provider writes messages in its format and plays one request. It keeps no state between requests: what a request
 * is made of was serialised once, message by message, and only grows. It never retries; it reports a fault, and the loop
 * decides by the log. */
#pragma once

#include "base/pack.h"
#include "core/harness.h"
#include "core/msg.h"
#include "core/view.h"
#include "rt/http.h"

#define ANSWER_MAX ((size_t)900 << 10)      /* bytes of text, reasoning and calls together: an event's body holds them */

enum effort { EFFORT_DEFAULT, EFFORT_OFF, EFFORT_LOW, EFFORT_MEDIUM, EFFORT_HIGH, EFFORT_MAX, EFFORTS };

/* A service, as far as it is told from others by data: a row of src/provider/services.def, or of the configuration. */
struct service {
    const char *name;                       /* PROVIDER in PROVIDER/NAME */
    const char *api;                        /* the name of a provider: what it speaks */
    const char *base_url;                   /* NULL: --base-url has to say */
    const char *key_env;                    /* environment variable of its key; NULL: it needs none */
    const char *const *effort;              /* EFFORTS times members of a request, each may be NULL; NULL: as the API has it */
    const char *members;                    /* of every request, beside the API's own; or NULL */
    const char *limit;                      /* chat: what the member for an answer's tokens is called; NULL: max_tokens */
    bool reasons_always;                    /* refuses an answer in the history without its reasoning, be it empty */
    bool bare_stream;                       /* refuses stream_options */
    bool cache_key;                         /* takes prompt_cache_key, which keeps a session on warm machines */
    bool custom_tools;                      /* takes tools whose one argument is plain text */
    bool strict;                            /* checks calls against their schema, where that is written strictly */
    bool local;                             /* this machine: what is private may go there */
};

/* Of one token, in millionths of a millionth of a dollar: dollars per million tokens times a million. 0: free, or not known. */
struct price {
    int64_t in, out;
    int64_t cached, written;                /* read from the service's cache, written to it */
    bool known;
};

/* What is known of a model, from src/provider/models.def or the configuration; zero where nothing is. */
struct facts {
    int64_t context, output;                /* tokens: that it reads, that it writes in one answer */
    bool images, no_images;                 /* takes them; is known not to */
    struct price price;
};

/* Where a request goes, and how it is asked. */
struct model {
    const struct service *service;          /* never NULL */
    char *id;                               /* PROVIDER/NAME, as the log has it */
    char *name;                             /* as the service knows it */
    char *base_url;
    char *key;                              /* secret, or NULL */
    struct facts facts;
    enum effort effort;
    int64_t max_output;                     /* tokens of one answer; 0: the harness's, or the service's own */
    struct timers {
        int64_t connect, first, idle, total;    /* ms: to a connection, to content, between content, for all */
    } timers;
};

struct request {
    const struct model *model;
    const struct harness *harness;
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
    bool custom;                    /* it came as plain text, which is the tool's one argument */
};

struct answer {
    struct buf text;
    struct buf reasoning;           /* what a person can read of it */
    struct buf extra;               /* JSON object that the same API needs back with the answer, in its own form; or empty */
    struct answer_call *calls;
    size_t ncalls, cap;
    char finish[32];                /* stop, tool_calls, length, content_filter, pause (go on), or the service's own word */
    struct usage usage;
    bool has_usage;
    char model[128];                /* who answered, in the service's words */
    bool secret;                    /* it held something that must not be kept */
    struct pack wire;               /* the body as it was received; also of an answer that failed */
};

void answer_done(struct answer *a);

struct fault {
    bool retry;                     /* the same request may go well later */
    bool overflow;                  /* it was too long: a shorter one may go well */
    bool limited;                   /* the key has asked too often: it has to wait, and so has every session that uses it */
    bool charged;                   /* it may have been worked on, and so paid for */
    long status;                    /* HTTP, or 0 */
    int64_t wait_ms;                /* what the service asked for, or -1 */
    struct err e;
};

/* What a service says when it is asked for its models. */
struct listing {
    long status;                    /* HTTP; 0: there was no answer */
    struct http_trail trail;        /* how far the question came */
    int64_t ms;
    json_t *names;                  /* a list of strings; NULL: it was no such list */
    int64_t context;                /* tokens that the model takes, where the service says so; 0: it does not */
};

void listing_done(struct listing *l);

struct provider {
    const char *name, *about;
    bool needs_url;                         /* a base URL has to be known */
    bool names_file;                        /* a model is a file */
    const char *tail;                       /* what closes a body */
    const char *results_open, *results_close;       /* around the results of one answer; NULL: each is a message of its own */
    bool sealed;                            /* what goes back with an answer is good for the model that gave it, and no other */
    bool images_in_results;                 /* a result may hold an image; else a message of a person's has to bring it */

    /* Everything before the first message: model, tools, system prompt. `session`: its id. */
    int (*head)(const struct model *m, const struct harness *h, const char *system, const char *session, struct buf *out);
    /* One message; nothing at all for one that the API has no room for. */
    int (*message)(const struct model *m, const struct msg *msg, struct buf *out);

    /* Sends, reads to the end. 0: the answer is complete and ended well. -ECANCELED, or another errno with the fault
     * filled in; the answer then holds what had come. */
    CO int (*run)(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *fault);

    /* Asks the service for its models, with the timers of `m`. 0 for any answer, else why there was none. NULL: there is no such
     * service. */
    CO int (*list)(const struct model *m, struct listing *ret, struct err *e);
};

const struct provider *provider_find(struct str name);
void provider_names(struct buf *out);       /* those that a person may choose, with commas */

/* The row of that name, or NULL. */
const struct service *service_find(struct str name);
extern const struct service *const services[];      /* NULL at the end */

/* What is known of PROVIDER/NAME. */
struct facts facts_find(const char *id);
