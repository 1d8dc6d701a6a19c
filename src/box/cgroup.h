/* cgroup.h - a control group (version 2) of a box's own, where a part of their tree was delegated to this user: then the kernel
 * keeps the limits of memory and processes, exactly. Where none was, the box's first process looks after them (confine.c); it
 * does so in any case, since a group may have one of the controllers only.
 *
 * The group is made beside this process's own, or in it, wherever the controllers are given on; what a killed supervisor left is
 * removed by the next. */
#pragma once

#include "box/profile.h"

#include <sys/types.h>

struct cgroup {
    int parent;                         /* a directory; -1: there is no group */
    int events;                         /* the group's memory.events, to be polled for POLLPRI; -1 */
    char name[32];
};

/* Puts a process, and so all that it will start, in a group with the limits of a profile. Quietly none where that cannot be. */
void cgroup_enter(struct cgroup *c, const struct profile *p, pid_t pid);

/* The kernel has ended something of it, since there was no more memory. */
bool cgroup_ran_out(const struct cgroup *c);

/* When all its processes are gone. */
void cgroup_remove(struct cgroup *c);
