/* loop.h - the one loop (libuv) of the one thread that everything but blocking work runs on. */
#pragma once

#include "rt/fiber.h"

#include <uv.h>

/* The running loop; only inside loop_run(). */
uv_loop_t *loop_uv(void);

/* A fiber became ready: the loop must not sleep before it has run. */
void loop_stir(void);

/* Runs fn as the main fiber and the loop under it until that fiber and all others have ended. Returns fn's result.
 * `on_signal` is called on SIGINT, SIGTERM, SIGHUP and SIGUSR1, on the loop thread and on no fiber. */
int loop_run(fiber_fn *fn, void *arg, void (*on_signal)(int signo));
