/* proc.h - child processes: posix_spawn, a pidfd on the loop, no SIGCHLD. */
#pragma once

#include "base/err.h"
#include "rt/fiber.h"

struct proc;

struct proc_fd {
    int from, to;           /* `from` becomes descriptor `to` of the child; all others are closed on exec */
};

struct proc_spec {
    const char *path;
    char *const *argv;
    char *const *env;
    int cwd;                /* directory descriptor */
    const struct proc_fd *fds;
    size_t nfds;
};

/* Starts the program in a process group of its own, with default signals. */
int proc_spawn(const struct proc_spec *spec, struct proc **ret, struct err *e);

/* 0 and the wait status once it has ended; -ETIMEDOUT, -ECANCELED. */
CO int proc_wait(struct proc *p, const char *why, int64_t timeout_ms, int *ret_status);

pid_t proc_pid(const struct proc *p);

/* Kills the group if the child is still there, and forgets it; it is reaped in the background. Takes NULL. */
void proc_free(struct proc *p);

static inline void proc_freep(struct proc **p)
{
    proc_free(*p);
}
