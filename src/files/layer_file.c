/* layer_file.c - what a file tool replaces or removes, kept as a layer of one step (layer.h).
 *
 * The new file is written into the layer and exchanged into place, so that the one step which changes the file also keeps the old
 * one. The plan is there before; that the step was done is for the inode in its place to say. None of this is made durable by
 * itself: a power failure may take the layer, never the file. */
#include "files/layer_impl.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* The way to a folder in the changes of a layer, made. A descriptor or -errno. */
static int make_way(int upper, const char *path)
{
    cleanup(freep) char *way = xstrdup(path);

    for (char *slash = way; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        if (mkdirat(upper, way, 0700) < 0 && errno != EEXIST)
            return -errno;
    }
    if (strcmp(way, ".") != 0 && mkdirat(upper, way, 0700) < 0 && errno != EEXIST)
        return -errno;
    return open_dir(upper, way);
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
}

/* Folders that were made for the file, and the file, below the first of them. */
static int note_made(struct layer *l, const char *made, const char *real, const struct stat *file)
{
    size_t first = strlen(made);

    for (const char *at = real + first; (at = strchr(at + 1, '/'));) {
        cleanup(freep) char *path = xstrndup(real, (size_t)(at - real));
        struct stat st;

        if (fstatat(l->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        plan_add(&l->plan, 'n', path, NULL, &st);
    }
    plan_add(&l->plan, 'n', real, NULL, file);
    return 0;
}

void kept_done(struct kept *k)
{
    if (k->folder >= 0)
        close(k->folder);
    if (k->layer)
        layer_done(k->layer);
    free(k->layer);
    *k = (struct kept){ .folder = -1 };
}

void kept_drop(struct kept *k)
{
    struct op *o = k->layer->o;

    kept_done(k);
    layer_drop_named(o->w, o->layer);
}

int kept_begin(struct op *o, char kind, const char *real, struct kept *ret)
{
    cleanup(freep) char *way = folder_of(kind == 'a' && o->made ? o->made : real);
    const char *slash = strrchr(real, '/');
    int r;

    *ret = (struct kept){ .folder = -1, .kind = kind };
    if (!*o->layer || o->q->all || strlen(real) >= PATH_MAX)
        return -EOPNOTSUPP;
    layer_drop_named(o->w, o->layer);   /* an earlier try's, of which nothing came */
    ret->layer = xcalloc(1, sizeof(*ret->layer));
    r = layer_make(o, o->layer, ret->layer);
    if (r < 0) {
        kept_drop(ret);
        return r;
    }
    ret->folder = make_way(ret->layer->upper, way);
    if (ret->folder >= 0 && kind == 'a') {      /* where it comes from is where nothing may be, once it is there */
        close(ret->folder);
        ret->folder = fcntl(ret->layer->dir, F_DUPFD_CLOEXEC, 0);
    }
    ret->name = kind == 'a' ? "new" : slash ? slash + 1 : real;
    r = ret->folder;
    if (r < 0)
        kept_drop(ret);
    return MIN(r, 0);
}

/* Writes the plan, and does its step. */
int kept_step(struct op *o, struct kept *k, int dir, const char *name, const char *real, const struct stat *old)
{
    struct layer *l = k->layer;
    struct stat new;
    int r = 0;

    if (k->kind != 'r' && fstatat(k->folder, k->name, &new, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (k->kind == 'a' && o->made) {
        struct stat made;

        r = fstatat(l->root, o->made, &made, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
        if (r == 0) {
            plan_add(&l->plan, 'a', o->made, NULL, &made);
            r = note_made(l, o->made, real, &new);
        }
    } else {
        plan_add(&l->plan, k->kind, real, k->kind == 'a' ? NULL : old, k->kind == 'r' ? NULL : &new);
    }
    r = r < 0 ? r : layer_put_plan(l, false);
    r = r < 0 ? r : layer_put_state(l, "kept", false);
    if (r < 0)
        return r;
    if (k->kind == 'r')
        r = renameat2(dir, name, k->folder, k->name, RENAME_NOREPLACE);
    else
        r = renameat2(k->folder, k->name, dir, name, k->kind == 'x' ? RENAME_EXCHANGE : RENAME_NOREPLACE);
    if (r < 0)
        return -errno;
    shelf_add(o->w, layer_bytes(l));
    return 0;
}

void kept_forget(struct op *o)
{
    if (*o->layer)
        layer_drop_named(o->w, o->layer);
}

/* Whether its step is in place. */
static bool is_done(struct op *o)
{
    cleanup(layer_done) struct layer l;

    return layer_open_named(o, o->layer, &l) == 0 && layer_get_plan(&l) == 0 && layer_is_kept(&l);
}

void kept_tidy(struct op *o)
{
    if (*o->layer && !is_done(o))
        layer_drop_named(o->w, o->layer);
}
