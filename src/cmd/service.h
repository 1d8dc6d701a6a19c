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

/* Asks. `a->result` and `a->listing` say how it went. */
CO void service_ask(struct asked *a);

/* True when it answers and takes the key. One sentence either way: what was found, or which hop fails and what to do about it. */
bool service_tell(const struct asked *a, const char *key_env, struct buf *out);

void asked_done(struct asked *a);
