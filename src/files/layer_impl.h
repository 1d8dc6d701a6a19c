/* layer_impl.h - what layer.c (a layer, and the walk through it) and layer_apply.c (its plan, carried out) share. */
#pragma once

#include "files/git_index.h"
#include "files/layer.h"

#include <fcntl.h>
#include <sys/stat.h>

/* A root has layers of its own, since nothing is renamed from one mount to another. */
struct root {
    int fd;
    const char *layers;                 /* where they are */
    const char *own;                    /* what holds them, and nobody is to meet */
    const char *told;                   /* stands before paths that are told */
};
struct root root_of(const struct workspace *w, bool git);

#define DEPTH_MAX 400
#define PLAN_MAX  ((size_t)1 << 30)    /* bytes */
#define NS        INT64_C(1000000000)

/* What is known of something: enough to tell whether it is the same, and unchanged. */
struct known {
    uint64_t dev, ino;
    int64_t size, mtime;                /* ns */
    uint32_t mode, uid, gid;
};

struct step {
    char kind;
    char *path;
    struct known old, new;              /* as it was there, and as it is in the layer; without either: zero */
};

struct plan {
    struct step *v;
    size_t n, cap;
};

struct layer {
    struct op *o;
    struct layer *git;                  /* the part of it that is about git's folder, or NULL; its state is that of the whole */
    const char *name, *own, *shown;     /* borrowed; as of its root */
    int root, dir, upper;               /* the workspace, the layer, its changes */
    struct timespec began;
    struct plan plan;
    bool renewed;                       /* it names files that were written anew since it was saved */
    struct git_names names;             /* that git knew before, once somebody wants to know */
    bool names_read, names_known;
    struct buf *told;                   /* the changes for a reader; NULL: they are not wanted */
};

static inline bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static inline int open_dir(int dir, const char *path)
{
    return open_beneath(dir, path, O_RDONLY | O_DIRECTORY, RESOLVE_NO_LINKS);
}

struct known known_of(const struct stat *st);
void plan_clear(struct plan *p);
void plan_add(struct plan *p, char kind, const char *path, const struct stat *old, const struct stat *new);

/* A sentence about a path, or another thing, and what the kernel said. Returns r. */
int layer_say(struct op *o, int r, const char *what, const char *path);

/* A layer, there or made (`git`: for git's folder, too); ended with layer_done also when that failed. */
int layer_open_named(struct op *o, const char *name, struct layer *ret);
int layer_make(struct op *o, const char *name, bool git, struct layer *ret);
void layer_done(struct layer *l);

int layer_drop_named(struct workspace *w, const char *name);

/* There is a layer more that holds so many bytes. */
void shelf_add(struct workspace *w, int64_t bytes);

/* A removed name, in either of the forms that overlayfs has for it. */
bool layer_hides(int dir, const char *name, const struct stat *st);

/* Bytes that a layer holds of what it replaced, or will when it is kept: by its plans, 0 without one. */
int64_t layer_bytes(const struct layer *l);

/* Walks through the changes and makes the plan; says them for a reader where l->told is set. */
int layer_walk(struct layer *l);

/* What was found so is kept for who asks next; forgotten. */
void layer_forget_walk(struct workspace *w);

/* What is new in the layer and acts outside of the box: paths that end in zero bytes. What was there before is read-only in it. */
void layer_held(const struct layer *l, struct buf *ret);

/* Its plan, on disk: -EBADMSG, also when it is not this rein's. */
bool layer_is_ours(const struct layer *l);
int layer_put_plan(struct layer *l, bool sync);
int layer_get_plan(struct layer *l);

/* Whether all steps of its plan are in place. */
bool layer_is_kept(const struct layer *l);

#define STATE     "state"               /* in a layer */

int layer_put_state(struct layer *l, const char *state, bool sync);

/* What the layer's state is, "" before it was kept. */
int layer_state(struct layer *l, char ret[16]);
