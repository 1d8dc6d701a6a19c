/* proc.h - child processes: posix_spawn, a pidfd on the loop, no SIGCHLD. */
#pragma once

#include "base/err.h"
#include "rt/fiber.h"

struct proc;

struct proc_fd {
    int from, to;           /* `from` becomes descriptor `to` of the child, one after the other: no `from` may be an earlier
                               `to`. All others are closed on exec */
};

struct proc_spec {
    const char *path;
    char *const *argv;
    char *const *env;
    int cwd;                /* directory descriptor */
    const struct proc_fd *fds;
    size_t nfds;
};

/* Starts the program in a process group of its own, with no signal blocked or ignored by rein's doing. */
int proc_spawn(const struct proc_spec *spec, struct proc **ret, struct err *e);

/* Forgets the child: it is left to end, and reaped in the background. Takes NULL. */
void proc_free(struct proc *p);

/* Waits until there is something to read from a descriptor, or its other end is gone. 0, -ETIMEDOUT, -ECANCELED. */
CO int fd_readable(int fd, const char *why, int64_t timeout_ms);

static inline void proc_freep(struct proc **p)
{
    proc_free(*p);
}
