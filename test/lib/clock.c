/* clock.c - preloaded: the wall clock jumps by CLOCK_JUMP seconds, CLOCK_AFTER seconds after the start. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long jump(clockid_t id)
{
    static int (*real)(clockid_t, struct timespec *);
    static double began;
    struct timespec t;
    double now;

    if (id != CLOCK_REALTIME || !getenv("CLOCK_JUMP"))
        return 0;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &t);
    now = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    if (began == 0)
        began = now;
    return now - began > atof(getenv("CLOCK_AFTER")) ? atol(getenv("CLOCK_JUMP")) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
    static int (*real)(clockid_t, struct timespec *);
    int r;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    r = real(id, ret);
    ret->tv_sec += jump(id);
    return r;
}

time_t time(time_t *ret)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}
