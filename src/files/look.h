/* look.h - looking into one file for lines that match: what a thread of a search does. */
#pragma once

#include "base/find.h"
#include "core/env.h"

struct looker {
    const struct env_search *what;
    const bool *stop;                   /* set by another thread: nobody waits for the result */
    const struct pattern *pattern;
    struct finder *finder;
    struct buf data, decoded;
    struct buf text;                    /* of the file looked into last: its lines, as they are shown */
    struct found *lines;
    size_t cap;
    int64_t searched, binary, large, given_up;
};

void looker_init(struct looker *l, const struct env_search *what, const struct pattern *pattern, const bool *stop);
void looker_done(struct looker *l);

/* How many lines of an open file match; their text is in l->text when lines are wanted. */
size_t look_into(struct looker *l, int fd);
