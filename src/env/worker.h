/* worker.h - the process that works on the files of an environment's workspace (src/files/rein-files.c): started when it is needed
 * first, in the box's view where there is a box, and asked over sockets. It dies with rein. */
#pragma once

#include "core/env.h"
#include "files/wire.h"

struct boxing;

#define WORKER_IDLE 8

struct worker {
    const char *root, *home;            /* the workspace, and where rein's records are */
    int root_fd;                        /* the workspace again: another folder of that name is none */
    const char *session;                /* whose files these are; NULL: nobody's that can be resumed */
    struct proc *proc;
    int control;                        /* a socket; -1: there is no worker */
    bool starting;
    int idle[WORKER_IDLE];              /* connections on which nothing is asked */
    size_t nidle, busy;
    unsigned life;                      /* counts the processes that there were */
};

/* Asks, and waits for the answer, which lies in `in`. 0 for whatever was answered; -ECANCELED; -EPIPE: the process is gone, and
 * what was asked may have been done or not; other errors: it was not asked. `b`: the box, or NULL. */
CO int worker_ask(struct worker *w, struct boxing *b, const struct files_ask *q, const char *why, struct buf *in,
                  struct files_answer *ret, struct err *e);

void worker_end(struct worker *w);
