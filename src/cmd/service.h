/* service.h - asking a service whether it is there, and saying at which hop it is not. */
#pragma once

#include "cmd/agent.h"

/* A service that is asked for its models. */
struct asked {
    struct model model;
    const struct provider *provider;
    struct listing listing;
    struct err e;
    int result;
};

/* Puts together how a service is asked, at its own address; false: it has no list of models. */
bool service_ready(const struct service *s, const char *key, struct asked *ret);

/* Asks. `a->result` and `a->listing` say how it went. */
CO void service_ask(struct asked *a);

/* True when it answers and takes the key. One sentence either way: what was found, or which hop fails and what to do about it. */
bool service_tell(const struct asked *a, const char *key_env, struct buf *out);

/* Whether it lists a model of that name. */
bool service_lists(const struct asked *a, const char *name);

/* The id (OLLAMA/NAME, ...) of a model on this machine: the server that lists it has it; a server alone is taken at its word, since
 * some take any name. The caller frees it. -EHOSTUNREACH names what does run. */
CO int service_local(struct config *c, const char *name, char **ret, struct err *e);

void asked_done(struct asked *a);
