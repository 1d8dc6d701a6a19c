/* ops.h - what the process that works on a workspace's files does for one question (wire.h).
 *
 * Paths are resolved by openat2 beneath a descriptor of the root, links included, so nothing that is swapped meanwhile can lead out
 * of it. A file is written like this, for a call with key K:
 *
 *     1  hash what is there, compare with what is expected
 *     2  write .rein-K.tmp in the same directory, with the old mode and owner; fsync
 *     3  keep what is there in a layer of its own, K-N (layer.h)
 *     4  rename the temporary file over the name (or, for a new file, rename without replacing)
 *     5  fsync the directory
 *
 * After a crash the file is either old or new, and FILES_TIDY removes what steps 2 and 3 left. */
#pragma once

#include "core/env.h"
#include "files/repo.h"
#include "files/wire.h"

struct walked;

struct workspace {
    const char *root;                   /* absolute, without links */
    int fd;                             /* of it */
    const char *git_path;               /* git's folder, where that lies outside (worktree.h), or NULL */
    int git;                            /* of it, a root as well; -1 */
    const char *git_index;              /* and the workspace's index in it */
    bool boxed;                         /* nothing that guard.h is about may be written or, hidden in the box, be read */
    struct hash key;                    /* that plans of layers are sealed with */
    struct above above;                 /* what git leaves out, by rules that lie outside */
    struct shelf {                      /* the layers there are, once the first one is wanted */
        pthread_mutex_t lock;
        bool known;
        bool carries;                   /* the file system does */
        bool spare;                     /* one is ready */
        int index;                      /* git's index as it was when the last one was made; -1 */
        int64_t bytes;                  /* that they hold of what was replaced */
        struct walked *walked;          /* the layer that was walked last, for who keeps it next; NULL: none */
    } shelf;
};

/* One question under way. */
struct op {
    struct workspace *w;
    const struct files_ask *q;
    const bool *stop;                   /* set by another thread: nobody waits for the answer */
    char *rel, *path, *temp, *layer;    /* where: beneath the root, as it is told, and the names of what is renamed, and kept */
    bool leaves, tidies;                /* a layer that nobody needs any more; one more that holds something */
    char *made;                         /* the first folder that had to be made for a file, beneath the root */
    struct files_answer a;
    struct buf text;
    struct hash hash;
    struct err e;
};

/* Answers it, into o->a; what it borrows is the op's until op_done. */
void op_run(struct op *o, struct workspace *w, const struct files_ask *q, const bool *stop);
/* What nobody has to wait for, once the answer is sent. */
void op_after(struct op *o);
void op_done(struct op *o);

/* Opens a path beneath a directory, links included. A descriptor or a negative errno. */
/* For `resolve`: no link is followed. */
#define RESOLVE_NO_LINKS 0x04

int open_beneath(int dir, const char *path, int flags, uint64_t resolve);

/* A whole regular file beneath a directory, without links: -EFBIG, when it is larger than max. */
int read_whole(int dir, const char *path, size_t max, struct buf *out);

/* FILES_SEARCH, in search.c. */
int op_search(struct op *o);
