/* route.h - which model the next request goes to: rules of the user's, asked before every request and when a model has failed for
 * good. Nothing else ever changes the model. */
#pragma once

#include "base/js.h"
#include "core/view.h"

struct route {
    char *role;                 /* only for a session of this role; NULL: any */
    bool is_private;            /* only when private data is in the session */
    bool failed;                /* only when the model has failed for good */
    int64_t tokens_above;       /* only when the last request was longer; 0: any */
    int64_t cost_above;         /* only when the session has cost more, billionths of a dollar; 0: any */
    char *to;                   /* a model or a role */
};

struct routes {
    struct route *v;
    size_t n, cap;
};

/* A list of objects, as of the configuration: {role, private, failed, tokens_above, usd_above, to}. -EBADMSG names the rule. */
int routes_read(const json_t *list, struct routes *ret, struct err *e);
void routes_done(struct routes *r);

/* The first rule that fits, or -1. */
ssize_t routes_match(const struct routes *r, const struct view *v, const char *role, bool failed);
