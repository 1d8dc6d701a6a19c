/* across.h - is told of programs that ask of a layer what an overlay cannot do for an ordinary user: rename a folder which lies
 * below it (EXDEV), or give a file which lies below it one more name (it becomes another file, which git takes for a failure).
 *
 * Some programs get around that, as mv does, others fail; from what they leave the two cannot be told apart. So the kernel asks
 * about each such call before it is done (SECCOMP_RET_USER_NOTIF), and is always told to go on: nothing is decided here, and what
 * a program writes over its arguments meanwhile changes nothing. */
#pragma once

#include <stdbool.h>

struct across {
    int listener;               /* readable when somebody waits for across_hear; -1: nobody is watched */
    int lower;                  /* O_PATH: what lies below the layer; -1 */
    const char *root;           /* where the layer is mounted */
};

/* Has such calls of this process, and of what it starts, announced; `to` is a socket that gets the listener. For a process that is
 * about to run its program. Where the kernel has none, or there is one already, nothing comes. */
void across_watch(int to);

/* The listener that was sent, or -1. */
int across_take(int from);

/* Answers one who waits. Whether it asks for what cannot be done. */
bool across_hear(struct across *a);
