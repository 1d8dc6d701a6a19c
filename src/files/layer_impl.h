/* layer_impl.h - what layer.c (a layer, and the walk through it) and layer_apply.c (its plan, carried out) share. */
#pragma once

#include "files/layer.h"

#include <fcntl.h>
#include <sys/stat.h>

#define LAYERS    ".rein/layers"
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
    int root, dir, upper;               /* the workspace, the layer, its changes */
    struct timespec began;
    struct plan plan;
    struct buf *told;                   /* the changes for a reader; NULL: they are not wanted */
};

static inline int open_dir(int dir, const char *path)
{
    return open_beneath(dir, path, O_RDONLY | O_DIRECTORY, RESOLVE_NO_LINKS);
}

void plan_add(struct plan *p, char kind, const char *path, const struct stat *old, const struct stat *new);

/* A sentence about a path, or another thing, and what the kernel said. Returns r. */
int layer_say(struct op *o, int r, const char *what, const char *path);

/* A layer, there or made; ended with layer_done also when that failed. */
int layer_open_named(struct op *o, const char *name, struct layer *ret);
int layer_make(struct op *o, const char *name, struct layer *ret);
void layer_done(struct layer *l);

int layer_drop_named(struct workspace *w, const char *name);

/* There is a layer more that holds so many bytes. */
void shelf_add(struct workspace *w, int64_t bytes);

/* A removed name, in either of the forms that overlayfs has for it. */
bool layer_hides(int dir, const char *name, const struct stat *st);

/* Bytes that a layer holds of what it replaced, or will when it is kept: by its plan, 0 without one. */
int64_t layer_bytes(const struct layer *l);

/* Walks through the changes and makes the plan; says them for a reader where l->told is set. */
int layer_walk(struct layer *l);

/* What is new in the layer and acts outside of the box: paths that end in zero bytes. What was there before is read-only in it. */
void layer_held(const struct layer *l, struct buf *ret);

/* Its plan, on disk. */
int layer_put_plan(struct layer *l, bool sync);
int layer_get_plan(struct layer *l);

/* Whether all steps of its plan are in place. */
bool layer_is_kept(const struct layer *l);

#define STATE     "state"               /* in a layer */

int layer_put_state(struct layer *l, const char *state, bool sync);

/* What the layer's state is, "" before it was kept. */
int layer_state(struct layer *l, char ret[16]);
