/* layer_file.c - what a file tool replaces or removes, kept as a layer of one step (layer.h).
 *
 * The old file gets a second name in the layer before its first one goes. None of this is made durable by itself, and where it
 * cannot be had, as where there are no hard links, the file is changed all the same: what a power failure may take is the layer. */
#include "files/layer_impl.h"

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

/* What is kept, and the plan; that its step was done is for the inode in its place to say. */
static int keep(struct op *o, struct layer *l, char kind, int dir, const char *name, const char *real, const struct stat *old,
                const struct stat *new)
{
    cleanup(freep) char *way = folder_of(kind == 'a' && o->made ? o->made : real);
    cleanup(closep) int folder = make_way(l->upper, way);
    struct stat made;
    int r = MIN(folder, 0);

    if (r == 0 && kind != 'a' && linkat(dir, name, folder, name, 0) < 0)
        r = -errno;
    if (r == 0 && kind == 'a' && o->made) {
        if (fstatat(l->root, o->made, &made, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        plan_add(&l->plan, 'a', o->made, NULL, &made);
        r = note_made(l, o->made, real, new);
    } else if (r == 0) {
        plan_add(&l->plan, kind, real, old, new);
    }
    if (r == 0)
        r = layer_put_plan(l, false);
    return r < 0 ? r : layer_put_state(l, "kept", false);
}

void kept_put(struct op *o, int dir, const char *name, const char *real, const struct stat *old, const struct stat *new)
{
    cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };
    int r;

    if (!*o->layer || o->q->all)
        return;
    layer_drop_named(o->w, o->layer);   /* an earlier try's, of which nothing came */
    r = layer_make(o, o->layer, false, &l);
    if (r == 0)
        r = keep(o, &l, !old ? 'a' : !new ? 'r' : 'x', dir, name, real, old, new);
    if (r == 0)
        shelf_add(o->w, layer_bytes(&l));
    else
        layer_drop_named(o->w, o->layer);
    o->tidies = r == 0;
    o->e = (struct err){0};             /* that there is none is no error */
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
