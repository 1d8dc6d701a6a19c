/* clock.h - two clocks: the wall's, for people and the log, and the steady one, for every wait. Nanoseconds. */
#pragma once

#include "base/util.h"

#include <time.h>

#define NS_PER_MS  INT64_C(1000000)
#define NS_PER_S   INT64_C(1000000000)

static inline int64_t clock_read(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline int64_t clock_wall(void)
{
    return clock_read(CLOCK_REALTIME);
}

static inline int64_t clock_steady(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

/* The wall's time as it was at first, going on at the pace of the steady clock: for times in the log that are waited for, so that a
 * clock that is put back does not make a wait longer. */
int64_t clock_even(void);
