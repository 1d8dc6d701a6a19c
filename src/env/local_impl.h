/* local_impl.h - what local.c (files) and command.c (commands) share. */
#pragma once

#include "env/local.h"

struct local {
    struct env env;
    char *root, *spool;
    int root_fd;
};

static inline struct local *local(struct env *v)
{
    return container_of(v, struct local, env);
}

/* env_ready, env_run, env_drop, env_settle and env_output on this machine. */
int local_ready(struct env *v, const struct env_command *c, struct env_ready **ret, struct err *e);
CO int local_run(struct env_ready *ready, struct env_outcome *o, struct err *e);
void local_drop(struct env_ready *ready);
CO int local_settle(struct env *v, const char *key, struct env_outcome *o, struct err *e);
CO int local_output(struct env *v, const char *key, int64_t offset, size_t max, struct buf *out, int64_t *ret_size, struct err *e);
