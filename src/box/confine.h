/* confine.h - a program in a box: started there, watched, and ended with all that it has started.
 *
 * A live box has a process of its own as the first of its pid namespace (init). That one reaps what is left behind, keeps the
 * limits that the kernel does not keep for an ordinary user (memory, processes), and ends with the program; all else ends with
 * it. A box of Landlock alone has none: the caller is the reaper. */
#pragma once

#include "box/cgroup.h"

#include <sys/types.h>

struct box {
    pid_t init;                         /* 0: there is none */
    int talk;                           /* to init; -1 */
    pid_t program;                      /* as the caller's namespace numbers it */
    struct cgroup cgroup;               /* of a live box; ended with cgroup_remove */
};

enum box_word {
    BOX_QUIET,                          /* nothing was said */
    BOX_LIMIT,                          /* a limit was exceeded, and the program ended for it */
    BOX_ACROSS,                         /* it met what an overlay cannot do (across.h) */
    BOX_ENDED,                          /* the program has, and nothing of it is left */
};

struct box_said {
    enum box_word word;
    enum limit limit;
    int status;                         /* as of waitpid */
    int killed;                         /* processes it left behind */
};

/* Starts a program, without a box when there is no profile, in namespaces that are held (BOX_NAMESPACES descriptors) or (NULL)
 * its own. Standard input is null (-1) or `in`, both outputs are `out`; `tty`: that is its terminal. 0, or an errno with what
 * could not be done in *ret_what (NULL: the program itself could not be run). */
int box_start(struct box *b, const struct profile *p, const int *held, char **argv, int in, int out, bool tty,
              const char **ret_what);

/* The namespaces of a live box, made once for several programs, which each get only processes and a copy of the files of their
 * own: so they are quick to start, and see each other's servers. Init does nothing but be there: whoever has opened its
 * namespaces keeps them. */
int box_hold(struct box *b, const struct profile *p, const char **ret_what);

#define BOX_NAMESPACES 5
extern const char *const box_namespaces[BOX_NAMESPACES];    /* as in /proc/PID/ns, in the order in which they are entered */

/* What init has said since. */
struct box_said box_listen(struct box *b);

/* Asks init to end everything. */
void box_end(const struct box *b);

/* Confines this process and what it starts by Landlock and the system call filter, as far as this kernel can; false: it cannot at
 * all, or not as far as the profile needs. */
bool landlock_apply(const struct profile *p, bool inside, const char **ret_what);

/* Gives up this process's rights, of which an ordinary user has none. Root keeps those without which it is less than an ordinary
 * user: its files may belong to others. In a box they are good for what that has of the host's files only. */
bool rights_drop(void);
