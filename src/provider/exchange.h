/* exchange.h - one request to a service over HTTP, and its answer as it comes: what the APIs have in common.
 *
 * An API says where the request goes and with which headers, and is then fed the events of the stream. Timers, errors of every
 * shape, waits that the service asks for and the ends of streams are judged here, the same for all. Nothing is sent twice: what
 * went wrong is reported as a fault, and the loop decides. */
#pragma once

#include "base/js.h"
#include "core/provider.h"
#include "core/redact.h"
#include "rt/sse.h"

struct exchange {
    const struct exchange_form *form;
    const struct request *rq;
    const struct sink *sink;
    struct answer *a;
    struct fault *fault;
    void *state;                /* the API's own */
    bool content;               /* set by the API: this event brought something that counts as progress */
    bool finished;              /* set by the API: the answer says that it is complete */
    bool closed;                /* set by the API: nothing follows */
    bool whole;                 /* it is no stream, but one document */
    struct sse sse;
    size_t bytes;               /* of all events so far */
    struct redactor screen;     /* of what comes, word for word: it tells whether a secret is in it */
};

#define EXCHANGE_HEADERS 8

struct exchange_form {
    char *(*url)(const struct model *m);                            /* the caller frees */
    const char *list;                                               /* below the base URL, the list of models */
    /* Adds to `ret` the headers that carry the key and the version; each is freed by the caller. At most EXCHANGE_HEADERS. */
    size_t (*headers)(const struct model *m, char **ret);
    /* An event of the stream: its data and the same as read. 0, or an error with the fault's sentence. A whole answer in place of a
     * stream comes here too. */
    int (*event)(struct exchange *x, struct str data, const json_t *j);
    void (*end)(struct exchange *x);    /* the answer is complete: what goes back with it becomes its `extra` */
    size_t state;                       /* bytes of the API's state, zeroed at first */
    void (*done)(void *state);
};

/* As provider.run. */
CO int exchange_run(const struct exchange_form *form, const struct request *rq, const struct sink *sink, struct answer *ret,
                    struct fault *f);

/* As provider.list. */
CO int exchange_list(const struct exchange_form *form, const struct model *m, struct listing *ret, struct err *e);

/* The same without a network: a stream is fed in any pieces, and then complete or not. */
void exchange_init(struct exchange *x, const struct exchange_form *form, const struct request *rq, const struct sink *sink,
                   struct answer *ret, struct fault *f);
int exchange_feed(struct exchange *x, struct str bytes);
int exchange_complete(struct exchange *x);
void exchange_done(struct exchange *x);

/* For APIs, while they read events. */
void exchange_text(struct exchange *x, struct str text);
void exchange_reasoning(struct exchange *x, struct str text);
struct answer_call *exchange_call(struct exchange *x);              /* a new one, at the end */
void exchange_finish(struct exchange *x, struct str word);          /* how the answer ended, in the words of answer.finish */
void exchange_model(struct exchange *x, struct str name);           /* who answers */
/* The service reports an error inside its stream, or in place of one. */
int exchange_error(struct exchange *x, const json_t *error);
