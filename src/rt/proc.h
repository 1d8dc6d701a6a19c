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

/* The same descriptor with a number above those that a child is given, among which it must not be. Takes a negative one. */
int proc_lift(int fd);

/* The path of a program that belongs beside this one. -ENOENT says that it is missing. Caller frees. */
int proc_beside(const char *name, char **ret, struct err *e);

/* Starts the program in a process group of its own, with no signal blocked or ignored by rein's doing. */
int proc_spawn(const struct proc_spec *spec, struct proc **ret, struct err *e);

/* Forgets the child: it is left to end, and reaped in the background. Takes NULL. */
void proc_free(struct proc *p);

/* Forgets a child that may outlive this process, and whose end nobody here waits for. Takes NULL. */
void proc_leave(struct proc *p);

/* When a process of this machine was started, in clock ticks since boot; with its pid that names it, since pids are used again.
 * 0 when there is none. */
int64_t proc_started(pid_t pid);

/* Kills what is left of a session whose leader was started at that time, also when the leader is gone, until nothing is. Not its
 * members that have made sessions of their own. Blocks for some milliseconds. */
void proc_kill_session(pid_t leader, int64_t started);

enum proc_input { PROC_BUSY, PROC_MAY_WAIT, PROC_WAITS };

/* Whether a member of a session waits for input from the session leader's own standard input or terminal. MAY_WAIT: it waits for
 * something, and has the terminal in front of it; what it last wrote tells more. */
enum proc_input proc_input(pid_t leader);

/* Names this life of the machine: another one after a reboot, when what was not synced may be gone and no process is left.
 * "" if the kernel does not tell. */
const char *proc_boot(void);

/* Waits until there is something to read from a descriptor, or its other end is gone. 0, -ETIMEDOUT, -ECANCELED. */
CO int fd_readable(int fd, const char *why, int64_t timeout_ms);

/* The same until something can be written. */
CO int fd_writable(int fd, const char *why, int64_t timeout_ms);

static inline void proc_freep(struct proc **p)
{
    proc_free(*p);
}
