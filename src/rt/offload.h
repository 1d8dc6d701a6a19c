/* offload.h - work that would block, on a pool thread. */
#pragma once

#include "rt/fiber.h"

/* Embedded at the head of a heap object that holds arguments and results. */
struct job {
    void (*run)(struct job *);          /* on the pool thread; touches nothing but the job */
    void (*free)(struct job *);         /* on the loop thread, when both sides are through */
    struct gate done;
    bool abandoned, finished;
    void *req;                          /* the pool's own */
};

/* Runs the job and waits. 0: it ran, the results are in it, and the caller hands it back with job_free(). -ECANCELED, and
 * -ETIMEDOUT when it may take timeout_ms at most: it is left to itself, freed when it has ended, and must not be touched
 * again. */
CO int offload(struct job *j, const char *why, int64_t timeout_ms);

/* Takes NULL. */
void job_free(struct job *j);
