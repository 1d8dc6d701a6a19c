/* fiber.h - code that waits, written top to bottom.
 *
 * A fiber is a stack of its own on the one loop thread. It runs until it waits; then the loop runs, and whatever it
 * waited for opens a gate. Fibers never run inside a callback of the loop: opening a gate only makes the fiber ready,
 * and the loop resumes it after the callback has returned. So between two waits a fiber has the process to itself.
 *
 *        scope_go            gate_wait               gate_open
 *   (new) -------> READY --> RUNNING --> PARKED ------------------> READY
 *                               |           `-- timeout, fiber_cancel --^
 *                               `--> DONE (the scope is told)
 *
 * Cancellation only makes waits return -ECANCELED: the fiber unwinds by itself and its cleanup lines put things back.
 * Under fiber_shield() waits are not cut short, for steps that have to leave an outcome behind. */
#pragma once

#include "base/util.h"

struct fiber;

typedef CO int fiber_fn(void *arg);

#define FIBER_FOREVER INT64_C(-1)

/* Something to wait for: an event that resets itself. Zeroed is closed. One fiber may wait at a time. */
struct gate {
    struct fiber *waiter;
    bool open;
    int result;
};

/* Parks the running fiber until the gate opens: then the gate's result, and the gate is closed again. -ETIMEDOUT
 * after timeout_ms (FIBER_FOREVER: never), -ECANCELED when cancelled, at once if that happened before. `why` is
 * borrowed for the length of the wait; `rein debug fibers` prints it. */
CO int gate_wait(struct gate *g, const char *why, int64_t timeout_ms);

/* Opens the gate; from the loop thread only. */
void gate_open(struct gate *g, int result);

CO int fiber_sleep(int64_t ms);

/* Children that end before the scope does. */
struct scope {
    struct fiber *kids;
    int error;              /* the first negative result of a child */
    bool cancelled;
    struct gate empty;
};

#define SCOPE_INIT ((struct scope){0})

/* Starts fn in a fiber of its own. `name` is copied. */
void scope_go(struct scope *s, const char *name, fiber_fn *fn, void *arg);

/* Waits for all children: 0 or the first error among them. A joiner that is cancelled cancels the children, still
 * waits for every one of them and returns -ECANCELED. */
CO int scope_join(struct scope *s);

/* Cancels the children that are left; does not wait. */
void scope_cancel(struct scope *s);

/* Cancels and waits, for cleanup(). */
CO void scope_done(struct scope *s);

/* True once the running fiber was cancelled, shield or not. */
bool fiber_cancelled(void);

/* Waits between the two are not cut short by cancellation. They nest. */
void fiber_shield(void);
void fiber_unshield(void);

/* The loop's side: resumes every ready fiber until none is ready. Fibers alive afterwards are returned. */
size_t fiber_run_ready(void);

/* A table of all fibers for a person: name, state, what it waits for, bytes of stack ever used. */
struct buf;
void fiber_table(struct buf *out);
