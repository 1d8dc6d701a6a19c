#include "files/layer_impl.h"

#include "base/path.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define IGNORE    ".rein/.gitignore"    /* git is not to see any of it; in its own folder it does not look */
#define SPARE     ".spare"              /* among the layers: one that is ready, and has no name yet */
#define STAMP     "stamp"               /* in a layer: made when it was, so that its time is that of this file system */

struct root root_of(const struct workspace *w, bool git)
{
    return git ? (struct root){ w->git, "rein-layers", "rein-layers", ".git/" }
               : (struct root){ w->fd, ".rein/layers", ".rein", "" };
}

void layer_done(struct layer *l)
{
    if (l->git)
        layer_done(l->git);
    free(l->git);
    git_names_done(&l->names);
    plan_clear(&l->plan);
    if (l->dir >= 0)
        close(l->dir);
    if (l->upper >= 0)
        close(l->upper);
}

int layer_say(struct op *o, int r, const char *what, const char *path)
{
    return err_set(&o->e, r, "%s%.300s: %s", what, path, strerror(-r));
}

static void begin(struct op *o, const struct root *root, const char *name, struct layer *ret)
{
    *ret = (struct layer){ .o = o, .name = name, .own = root->own, .shown = root->told, .root = root->fd, .dir = -1, .upper = -1 };
}

static int open_part(struct op *o, const struct root *root, const char *name, struct layer *ret)
{
    cleanup(freep) char *path = xasprintf("%s/%s", root->layers, name);
    struct stat st;

    begin(o, root, name, ret);
    ret->dir = open_dir(root->fd, path);
    if (ret->dir < 0)
        return layer_say(o, ret->dir, "the layer ", name);
    ret->upper = open_dir(ret->dir, "u");
    if (ret->upper < 0 || fstatat(ret->dir, STAMP, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_say(o, ret->upper < 0 ? ret->upper : -errno, "the changes of the layer ", name);
    ret->began = st.st_ctim;
    return 0;
}

/* The part for git's folder of a layer, for a name that may have none. */
static int open_git(struct op *o, const char *name, struct layer *ret)
{
    struct root root = root_of(o->w, true);
    cleanup(freep) char *path = xasprintf("%s/%s", root.layers, name);
    struct stat st;

    if (root.fd < 0 || fstatat(root.fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    ret->git = xcalloc(1, sizeof(*ret->git));
    return open_part(o, &root, name, ret->git);
}

int layer_open_named(struct op *o, const char *name, struct layer *ret)
{
    struct root root = root_of(o->w, false);
    int r;

    begin(o, &root, name, ret);
    if (!*name || *name == '.')
        return layer_say(o, -EINVAL, "the layer ", name);
    r = open_part(o, &root, name, ret);
    return r < 0 ? r : open_git(o, name, ret);
}

/* A folder in a folder, made if it is not there. A descriptor or -errno. */
static int folder(int dir, const char *name, mode_t mode)
{
    if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
        return -errno;
    return open_dir(dir, name);
}

/* What shows through as the root of the workspace is the layer's own folder: it has to look the same. */
static int look_like(int dir, int like)
{
    struct timespec times[2];
    struct stat st;

    if (fstat(like, &st) < 0)
        return -errno;
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    if (fchown(dir, st.st_uid, st.st_gid) < 0 && errno != EPERM)
        return -errno;
    return fchmod(dir, st.st_mode & 07777) < 0 || futimens(dir, times) < 0 ? -errno : 0;
}

/* Whether there is no layer left. */
static bool is_alone(int layers)
{
    int fd = openat(layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool alone = d != NULL;
    struct dirent *de;

    while (d && (de = readdir(d)))
        alone = alone && (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 || strcmp(de->d_name, SPARE) == 0);
    if (d)
        closedir(d);
    return alone;
}

static int drop_part(const struct root *root, const char *name)
{
    cleanup(freep) char *work = xasprintf("%s/w/work", name);
    cleanup(closep) int layers = open_dir(root->fd, root->layers);

    if (layers < 0)
        return layers;
    fchmodat(layers, work, 0700, 0);    /* overlayfs leaves it without any rights */
    path_remove(layers, name);
    return faccessat(layers, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? -EBUSY : 0;
}

int layer_drop_named(struct workspace *w, const char *name)
{
    struct root root = root_of(w, false), git = root_of(w, true);

    if (git.fd >= 0)
        drop_part(&git, name);
    return drop_part(&root, name);
}

/* With the last layer what holds them goes, too, as if there never had been one. */
static void drop_shelf_of(const struct root *root, bool git)
{
    cleanup(closep) int layers = open_dir(root->fd, root->layers);
    struct timespec times[2];
    struct stat st;

    if (layers < 0 || !is_alone(layers) || fstat(root->fd, &st) < 0)
        return;
    path_remove(layers, SPARE);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    unlinkat(root->fd, root->layers, AT_REMOVEDIR);
    if (!git) {
        unlinkat(root->fd, IGNORE, 0);
        unlinkat(root->fd, root->own, AT_REMOVEDIR);
    }
    futimens(root->fd, times);
}

static void drop_shelf(struct workspace *w)
{
    struct root root = root_of(w, false), git = root_of(w, true);

    w->shelf.spare = false;
    if (git.fd >= 0)
        drop_shelf_of(&git, true);
    drop_shelf_of(&root, false);
}

int op_drop(struct op *o)
{
    int r = *o->temp == '.' ? -EINVAL : *o->temp ? layer_drop_named(o->w, o->temp) : 0;

    drop_shelf(o->w);
    return r < 0 ? layer_say(o, r, "the layer ", o->temp) : 0;
}

/* Whether this file system can carry the changes of an overlay: 0 or -EOPNOTSUPP. */
static int can_carry(int upper)
{
    static const unsigned long cannot[] = { 0x794c7630 /* overlayfs */, 0x6969 /* NFS */, 0x65735546 /* FUSE */,
                                            0x01021997 /* 9p */, 0xff534d42 /* CIFS */, 0xfe534d42 /* SMB */,
                                            0xf15f /* ecryptfs */ };
    struct statfs fs;
    char value = 0;

    if (fstatfs(upper, &fs) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_SIZE(cannot); i++)
        if ((unsigned long)fs.f_type == cannot[i])
            return -EOPNOTSUPP;
    if (fsetxattr(upper, "user.rein", "y", 1, 0) < 0 || fgetxattr(upper, "user.rein", &value, 1) != 1 || value != 'y')
        return -EOPNOTSUPP;
    return fremovexattr(upper, "user.rein") < 0 ? -errno : 0;
}

/* One of the layers there are. */
struct row {
    char name[256];
    char state[16];
    struct timespec since;
    int64_t bytes;
};

struct rows {
    struct row *v;
    size_t n, cap;
};

static void read_rows(struct op *o, struct rows *ret)
{
    struct root root = root_of(o->w, false);
    int layers = open_dir(root.fd, root.layers);
    DIR *d = layers < 0 ? NULL : fdopendir(layers);
    struct dirent *de;

    *ret = (struct rows){0};
    while (d && (de = readdir(d))) {
        struct op one = { .w = o->w, .temp = de->d_name };
        cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };
        struct row row = {0};
        struct stat st;

        if (de->d_name[0] == '.' || layer_open_named(&one, de->d_name, &l) < 0 || layer_state(&l, row.state) < 0 ||
            (*row.state && !layer_is_ours(&l)) || fstatat(l.dir, *row.state ? STATE : STAMP, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        snprintf(row.name, sizeof(row.name), "%s", de->d_name);
        row.since = st.st_mtim;
        row.bytes = layer_bytes(&l);
        GROW(ret->v, ret->n, ret->cap);
        ret->v[ret->n++] = row;
    }
    if (d)
        closedir(d);
}

/* What a crash cut short is brought to its end, before there is anything new. Where that cannot be, since somebody has changed the
 * same files meanwhile, it stays as it is, for a person who names it. */
static void carry_on(struct op *o, const struct row *row)
{
    struct op one = { .w = o->w, .q = &(struct files_ask){ .all = true }, .temp = (char *)row->name };

    if (strcmp(row->state, "keeping") == 0)
        op_keep(&one);
    else if (strcmp(row->state, "undoing") == 0)
        op_undo(&one);
}

static int by_age(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return is_later(&x->since, &y->since) ? 1 : is_later(&y->since, &x->since) ? -1 : 0;
}

/* Makes order among the layers. Only what is in place, or was taken back, is ever thrown away. */
static void tidy_shelf(struct op *o)
{
    struct shelf *s = &o->w->shelf;
    struct rows rows = {0};

    if (s->known && s->bytes <= LAYERS_BYTES_MAX)
        return;
    read_rows(o, &rows);
    if (rows.n)
        qsort(rows.v, rows.n, sizeof(*rows.v), by_age);
    s->bytes = 0;
    for (size_t i = 0; i < rows.n; i++) {
        s->bytes += rows.v[i].bytes;
        carry_on(o, &rows.v[i]);
    }
    for (size_t i = 0; i < rows.n && s->bytes > LAYERS_BYTES_MAX; i++)
        if (strcmp(rows.v[i].state, "kept") == 0 || strcmp(rows.v[i].state, "undone") == 0) {
            layer_drop_named(o->w, rows.v[i].name);
            s->bytes -= rows.v[i].bytes;
        }
    s->known = true;
    free(rows.v);
}

void layer_tidy(struct op *o)
{
    pthread_mutex_lock(&o->w->shelf.lock);
    tidy_shelf(o);
    pthread_mutex_unlock(&o->w->shelf.lock);
}

void shelf_add(struct workspace *w, int64_t bytes)
{
    pthread_mutex_lock(&w->shelf.lock);
    w->shelf.bytes += bytes;
    pthread_mutex_unlock(&w->shelf.lock);
}

static int make_shelf(const struct root *root, bool git)
{
    cleanup(closep) int own = -1, layers = open_dir(root->fd, root->layers), ignore = -1;
    struct timespec times[2];
    struct stat st;

    if (layers >= 0)
        return TAKE_FD(layers);
    if (fstat(root->fd, &st) < 0)
        return -errno;
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    own = folder(root->fd, root->own, 0700);
    layers = own < 0 ? own : git ? fcntl(own, F_DUPFD_CLOEXEC, 0) : folder(own, "layers", 0700);
    ignore = layers < 0 || git ? -1 : openat(root->fd, IGNORE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (ignore >= 0 && write(ignore, "*\n", 2) != 2)
        return -ENOSPC;
    futimens(root->fd, times);          /* that there are layers is no change of the workspace */
    return layers < 0 ? layers : TAKE_FD(layers);
}

int shelf_make(struct workspace *w)
{
    struct root root = root_of(w, false);

    return make_shelf(&root, false);
}

static int make_part(struct op *o, const struct root *root, bool git, const char *name, struct layer *ret)
{
    cleanup(closep) int layers = make_shelf(root, git), stamp = -1;
    struct stat st;

    begin(o, root, name, ret);
    ret->dir = layers < 0 ? layers : mkdirat(layers, name, 0700) < 0 ? -errno : open_dir(layers, name);
    ret->upper = ret->dir < 0 ? ret->dir : folder(ret->dir, "u", 0700);
    if (ret->upper >= 0)
        stamp = openat(ret->dir, STAMP, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (ret->upper < 0 || stamp < 0 || fstat(stamp, &st) < 0)
        return layer_say(o, ret->upper < 0 ? ret->upper : -errno, "the layer ", name);
    ret->began = st.st_ctim;
    return 0;
}

static int make(struct op *o, const char *name, bool git, struct layer *ret)
{
    struct root root = root_of(o->w, false), other = root_of(o->w, true);
    int r = make_part(o, &root, false, name, ret);

    if (r < 0 || !git || other.fd < 0)
        return r;
    ret->git = xcalloc(1, sizeof(*ret->git));
    return make_part(o, &other, true, name, ret->git);
}

int layer_make(struct op *o, const char *name, bool git, struct layer *ret)
{
    struct root root = root_of(o->w, false);

    begin(o, &root, name, ret);
    if (!*name || *name == '.')
        return layer_say(o, -EINVAL, "the layer ", name);
    return make(o, name, git, ret);
}

/* What overlayfs needs beside the changes' folder. */
static int furnish(struct op *o, struct layer *l)
{
    cleanup(closep) int work = folder(l->dir, "w", 0700);
    int r = work < 0 ? work : o->w->shelf.carries ? 0 : can_carry(l->upper);

    /* No command is to meet it, as one that looks for what git does not know would. Where the kernel has no whiteouts for everybody
     * (Linux 5.8) the box hides it. */
    mknodat(l->upper, l->own, S_IFCHR, makedev(0, 0));
    if (r == 0 && l->git)
        r = furnish(o, l->git);
    return r;
}

/* What shows through as a root is the layer's own folder. */
static int look_like_below(const struct layer *l)
{
    int r = look_like(l->upper, l->root);

    return r == 0 && l->git ? look_like_below(l->git) : r;
}

static bool name_spare(const struct root *root, const char *name)
{
    cleanup(closep) int layers = open_dir(root->fd, root->layers);

    return layers >= 0 && renameat2(layers, SPARE, layers, name, RENAME_NOREPLACE) == 0;
}

/* Gives the layer that is ready its name, and now as its time. */
static bool take_spare(struct op *o, const char *name, struct layer *ret)
{
    struct root root = root_of(o->w, false), git = root_of(o->w, true);

    if (!o->w->shelf.spare)
        return false;
    o->w->shelf.spare = false;
    if ((git.fd >= 0 && !name_spare(&git, name)) || !name_spare(&root, name) || layer_open_named(o, name, ret) < 0)
        return false;
    return utimensat(ret->dir, STAMP, NULL, AT_SYMLINK_NOFOLLOW) == 0 &&
           (!ret->git || utimensat(ret->git->dir, STAMP, NULL, AT_SYMLINK_NOFOLLOW) == 0);
}

void layer_leave(struct op *o)
{
    cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };

    layer_drop_named(o->w, o->temp);
    pthread_mutex_lock(&o->w->shelf.lock);
    if (!o->w->shelf.spare) {
        layer_drop_named(o->w, SPARE);  /* another process's */
        o->w->shelf.spare = make(o, SPARE, true, &l) == 0 && furnish(o, &l) == 0;
    }
    pthread_mutex_unlock(&o->w->shelf.lock);
}

/* Git's index, as it is before a command. */
static void hold_index(struct workspace *w)
{
    int dir = w->git >= 0 ? w->git : w->fd;

    if (w->shelf.index >= 0)
        close(w->shelf.index);
    w->shelf.index = open_beneath(dir, w->git >= 0 ? w->git_index : ".git/index", O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
                                  RESOLVE_NO_LINKS);
}

int op_layer(struct op *o)
{
    cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };
    bool spare;
    int r = 0;

    if (!*o->temp || *o->temp == '.')
        return layer_say(o, -EINVAL, "the layer ", o->temp);
    layer_forget_walk(o->w);
    pthread_mutex_lock(&o->w->shelf.lock);
    hold_index(o->w);
    spare = o->w->shelf.known && o->w->shelf.bytes <= LAYERS_BYTES_MAX && take_spare(o, o->temp, &l);
    pthread_mutex_unlock(&o->w->shelf.lock);
    if (!spare) {
        layer_done(&l);
        layer_tidy(o);
        layer_drop_named(o->w, o->temp);        /* an earlier try's, of which nothing came */
        r = layer_make(o, o->temp, true, &l);
        if (r < 0)
            return r;
        r = furnish(o, &l);
        o->w->shelf.carries = r == 0;
    }
    if (r == -EOPNOTSUPP) {
        layer_drop_named(o->w, o->temp);
        drop_shelf(o->w);
        return err_set(&o->e, r, "the file system of %.300s cannot carry one", o->w->root);
    }
    if (r == 0)
        r = look_like_below(&l);
    return r < 0 ? layer_say(o, r, "the layer ", o->temp) : 0;
}

int op_layers(struct op *o)
{
    struct rows rows;

    read_rows(o, &rows);
    for (size_t i = 0; i < rows.n; i++) {
        const struct row *row = &rows.v[i];

        buf_addf(&o->text, "%s %lld %s", *row->state ? row->state : "new", (long long)(row->since.tv_sec * NS + row->since.tv_nsec),
                 row->name);
        buf_addc(&o->text, 0);
    }
    free(rows.v);
    return 0;
}
