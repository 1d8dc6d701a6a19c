#include "files/layer_impl.h"

#include "base/path.h"
#include "files/guard.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define STEPS_MAX ((size_t)2000000)
#define IGNORE    ".rein/.gitignore"    /* git is not to see any of it */
#define SPARE     ".spare"              /* among the layers: one that is ready, and has no name yet */
#define STAMP     "stamp"               /* in a layer: made when it was, so that its time is that of this file system */

static void plan_done(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].path);
    free(p->v);
    *p = (struct plan){0};
}

/* What came of a walk, for who asks next. */
struct walked {
    char *name;
    struct plan plan;
};

static struct walked *set_walked(struct workspace *w, struct walked *new)
{
    struct walked *old;

    pthread_mutex_lock(&w->shelf.lock);
    old = w->shelf.walked;
    w->shelf.walked = new;
    pthread_mutex_unlock(&w->shelf.lock);
    return old;
}

static void walked_free(struct walked *walked)
{
    if (!walked)
        return;
    free(walked->name);
    plan_done(&walked->plan);
    free(walked);
}

static void remember_walk(struct layer *l)
{
    struct walked *walked = xmalloc(sizeof(*walked));

    *walked = (struct walked){ xstrdup(l->o->temp), l->plan };
    l->plan = (struct plan){0};
    walked_free(set_walked(l->o->w, walked));
}

void layer_done(struct layer *l)
{
    plan_done(&l->plan);
    if (l->dir >= 0)
        close(l->dir);
    if (l->upper >= 0)
        close(l->upper);
}

int layer_say(struct op *o, int r, const char *what, const char *path)
{
    return err_set(&o->e, r, "%s%.300s: %s", what, path, strerror(-r));
}

int layer_open_named(struct op *o, const char *name, struct layer *ret)
{
    cleanup(freep) char *path = xasprintf(LAYERS "/%s", name);
    struct stat st;

    *ret = (struct layer){ .o = o, .root = o->w->fd, .dir = -1, .upper = -1 };
    if (!*name || *name == '.')
        return layer_say(o, -EINVAL, "the layer ", name);
    ret->dir = open_dir(o->w->fd, path);
    if (ret->dir < 0)
        return layer_say(o, ret->dir, "the layer ", name);
    ret->upper = open_dir(ret->dir, "u");
    if (ret->upper < 0 || fstatat(ret->dir, STAMP, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_say(o, ret->upper < 0 ? ret->upper : -errno, "the changes of the layer ", name);
    ret->began = st.st_ctim;
    return 0;
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

/* The walk. */

static struct known known_of(const struct stat *st)
{
    return (struct known){ st->st_dev, st->st_ino, S_ISDIR(st->st_mode) ? 0 : st->st_size,
                           st->st_mtim.tv_sec * NS + st->st_mtim.tv_nsec, st->st_mode, st->st_uid, st->st_gid };
}

static bool has_mark(int fd, const char *name)
{
    static const char *const spaces[] = { "user.overlay.", "trusted.overlay." };
    char value[8], full[64];

    for (size_t i = 0; i < 2; i++) {
        snprintf(full, sizeof(full), "%s%s", spaces[i], name);
        if (fgetxattr(fd, full, value, sizeof(value)) == 1 && *value == 'y')
            return true;
    }
    return false;
}

/* A removed name: a device 0:0, or an empty file that is marked so. */
bool layer_hides(int dir, const char *name, const struct stat *st)
{
    cleanup(closep) int fd = -1;
    char value;

    if (S_ISCHR(st->st_mode))
        return st->st_rdev == makedev(0, 0);
    if (!S_ISREG(st->st_mode) || st->st_size)
        return false;
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && (fgetxattr(fd, "user.overlay.whiteout", &value, 1) >= 0 ||
                       fgetxattr(fd, "trusted.overlay.whiteout", &value, 1) >= 0);
}

void plan_add(struct plan *p, char kind, const char *path, const struct stat *old, const struct stat *new)
{
    GROW(p->v, p->n, p->cap);
    p->v[p->n++] = (struct step){ .kind = kind, .path = xstrdup(path), .old = old ? known_of(old) : (struct known){0},
                                  .new = new ? known_of(new) : (struct known){0} };
}

static void tell(struct layer *l, char kind, int64_t size, const char *path, bool dir)
{
    if (!l->told)
        return;
    buf_addf(l->told, "%c %lld %s%s", kind, (long long)size, path, dir ? "/" : "");
    buf_addc(l->told, 0);
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static int stale(struct layer *l, const char *path)
{
    return err_set(&l->o->e, -ESTALE, "%.300s was changed by someone else while the command ran", path);
}

/* All that is new in a folder (+), or goes with it (-): for the reader, and for the plan, which has to know it again. */
static int note_all(struct layer *l, int dir, const char *name, const char *path, char kind, int depth)
{
    int fd = depth < DEPTH_MAX ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1, r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *de;

    while (d && r == 0 && (de = readdir(d))) {
        cleanup(freep) char *below = NULL;
        struct stat st;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
            fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || layer_hides(fd, de->d_name, &st))
            continue;
        below = xasprintf("%s/%s", path, de->d_name);
        if (kind == '-' && is_later(&st.st_ctim, &l->began))
            r = stale(l, below);
        else if (l->plan.n > STEPS_MAX)
            r = layer_say(l->o, -E2BIG, "the changes in ", path);
        plan_add(&l->plan, kind == '-' ? 'o' : 'n', below, kind == '-' ? &st : NULL, kind == '-' ? NULL : &st);
        tell(l, kind, S_ISREG(st.st_mode) ? st.st_size : 0, below, S_ISDIR(st.st_mode));
        if (r == 0 && S_ISDIR(st.st_mode))
            r = note_all(l, fd, de->d_name, below, kind, depth + 1);
    }
    if (d)
        closedir(d);
    return r;
}

static bool same_kind(const struct stat *a, const struct stat *b)
{
    return (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT);
}

static int walk(struct layer *l, int upper, int lower, const char *path, int depth);

static int walk_entry(struct layer *l, int upper, int lower, const char *path, const char *name, int depth)
{
    cleanup(freep) char *below = xasprintf("%s%s%s", path, *path ? "/" : "", name);
    cleanup(closep) int up = -1, low = -1;
    struct stat new, old;
    bool was = fstatat(lower, name, &old, AT_SYMLINK_NOFOLLOW) == 0, was_dir = was && S_ISDIR(old.st_mode);
    int r = 0;

    if (fstatat(upper, name, &new, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_say(l->o, -errno, "", below);
    if (was && !(S_ISDIR(new.st_mode) && was_dir) && is_later(&old.st_ctim, &l->began))
        return stale(l, below);
    if (layer_hides(upper, name, &new)) {
        if (was) {
            plan_add(&l->plan, 'r', below, &old, NULL);
            tell(l, '-', S_ISREG(old.st_mode) ? old.st_size : 0, below, was_dir);
        }
        return was_dir ? note_all(l, lower, name, below, '-', depth) : 0;
    }
    /* Whether it was changed under this name, or another one came there, the overlay does not say. */
    if (was && S_ISREG(old.st_mode) && old.st_nlink > 1 && S_ISREG(new.st_mode))
        return err_set(&l->o->e, -EMLINK, "%.300s has %u names: to change it under one of them would part it from the others",
                       below, (unsigned)old.st_nlink);
    if (S_ISDIR(new.st_mode)) {
        up = openat(upper, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (up < 0)
            return layer_say(l->o, -errno, "", below);
        if (was_dir && !has_mark(up, "opaque")) {
            low = openat(lower, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (low < 0)
                return layer_say(l->o, -errno, "", below);
            return walk(l, up, low, below, depth + 1);
        }
    }
    plan_add(&l->plan, was ? 'x' : 'a', below, was ? &old : NULL, &new);
    if (was_dir)
        r = note_all(l, lower, name, below, '-', depth);
    tell(l, !was ? '+' : same_kind(&new, &old) ? 'M' : 'T', S_ISREG(new.st_mode) ? new.st_size : 0, below, S_ISDIR(new.st_mode));
    if (r == 0 && S_ISDIR(new.st_mode))
        r = note_all(l, upper, name, below, '+', depth);
    return r;
}

/* Attributes of a folder's own, which no exchange brings along. */
static bool same_attributes(int a, int b)
{
    char names[2][4096];
    int fds[2] = { a, b };

    for (int i = 0; i < 2; i++) {
        ssize_t n = flistxattr(fds[i], names[i], sizeof(names[i]));

        if (n < 0)
            return errno == EOPNOTSUPP;
        for (char *at = names[i]; at < names[i] + n; at += strlen(at) + 1) {
            char here[1024], there[1024];
            ssize_t h, t;

            if (strncmp(at, "user.overlay.", 13) == 0 || strncmp(at, "trusted.", 8) == 0 || strncmp(at, "security.", 9) == 0)
                continue;
            h = fgetxattr(fds[i], at, here, sizeof(here));
            t = fgetxattr(fds[1 - i], at, there, sizeof(there));
            if (h < 0 || h != t || memcmp(here, there, (size_t)h) != 0)
                return false;
        }
    }
    return true;
}

static int walk(struct layer *l, int upper, int lower, const char *path, int depth)
{
    int fd = openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct stat new, old;
    struct dirent *de;

    if (!d || depth > DEPTH_MAX || fstat(upper, &new) < 0 || fstat(lower, &old) < 0) {
        r = layer_say(l->o, d ? -ELOOP : -errno, "", path);
        if (d)
            closedir(d);
        return r;
    }
    if (!same_attributes(upper, lower))
        r = err_set(&l->o->e, -ENOTSUP, "%.300s/: the extended attributes of a folder were changed, which a layer does not "
                    "carry", path);
    while (r == 0 && (errno = 0, de = readdir(d)))
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 && (*path || strcmp(de->d_name, ".rein") != 0))
            r = l->plan.n > STEPS_MAX ? layer_say(l->o, -E2BIG, "the changes in ", path)
                                      : walk_entry(l, upper, lower, path, de->d_name, depth);
    closedir(d);
    if (r == 0) {
        plan_add(&l->plan, 'm', *path ? path : ".", &old, &new);
        if ((old.st_mode & 07777) != (new.st_mode & 07777) || old.st_uid != new.st_uid || old.st_gid != new.st_gid)
            tell(l, 'm', 0, *path ? path : ".", true);
    }
    return r;
}

int layer_walk(struct layer *l)
{
    struct walked *walked = l->told ? NULL : set_walked(l->o->w, NULL);
    bool same = walked && strcmp(walked->name, l->o->temp) == 0;

    if (same) {                         /* nobody has been in it since */
        l->plan = walked->plan;
        walked->plan = (struct plan){0};
    }
    walked_free(walked);
    return same ? 0 : walk(l, l->upper, l->root, "", 0);
}

void layer_held(const struct layer *l, struct buf *ret)
{
    guard_check(l->upper, l->root, l->o->w->root, &(struct guard){0}, ret);
}

int op_changes(struct op *o)
{
    cleanup(layer_done) struct layer l;
    cleanup(buf_done) struct buf held = {0};
    int r = layer_open_named(o, o->temp, &l);
    struct str rest;
    const char *each;

    if (r < 0)
        return r;
    if (o->q->expects) {
        char state[16];

        r = layer_state(&l, state);
        buf_adds(&o->text, state);
        return r;
    }
    l.told = &o->text;
    layer_held(&l, &held);
    for (rest = buf_str(&held); (each = wire_next(&rest));)
        tell(&l, '!', 0, each, false);
    r = layer_walk(&l);
    o->leaves = r == 0 && o->q->all && !o->text.n;
    if (r == 0 && !o->leaves)
        remember_walk(&l);
    return r;
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

int layer_drop_named(struct workspace *w, const char *name)
{
    cleanup(freep) char *work = xasprintf("%s/w/work", name);
    cleanup(closep) int layers = open_dir(w->fd, LAYERS);

    if (layers < 0)
        return layers;
    fchmodat(layers, work, 0700, 0);    /* overlayfs leaves it without any rights */
    path_remove(layers, name);
    return faccessat(layers, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? -EBUSY : 0;
}

/* With the last layer what holds them goes, too, as if there never had been one. */
static void drop_shelf(struct workspace *w)
{
    cleanup(closep) int layers = open_dir(w->fd, LAYERS);
    struct timespec times[2];
    struct stat root;

    if (layers < 0 || !is_alone(layers) || fstat(w->fd, &root) < 0)
        return;
    path_remove(layers, SPARE);
    times[0] = root.st_atim;
    times[1] = root.st_mtim;
    unlinkat(w->fd, LAYERS, AT_REMOVEDIR);
    unlinkat(w->fd, IGNORE, 0);
    unlinkat(w->fd, ".rein", AT_REMOVEDIR);
    futimens(w->fd, times);
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
    int layers = open_dir(o->w->fd, LAYERS);
    DIR *d = layers < 0 ? NULL : fdopendir(layers);
    struct dirent *de;

    *ret = (struct rows){0};
    while (d && (de = readdir(d))) {
        struct op one = { .w = o->w, .temp = de->d_name };
        cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };
        struct row row = {0};
        struct stat st;

        if (de->d_name[0] == '.' || layer_open_named(&one, de->d_name, &l) < 0 || layer_state(&l, row.state) < 0 ||
            fstatat(l.dir, *row.state ? STATE : STAMP, &st, AT_SYMLINK_NOFOLLOW) < 0)
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

/* What a crash cut short is brought to its end, before there is anything new. */
static int carry_on(struct op *o, const struct row *row)
{
    struct op one = { .w = o->w, .q = &(struct files_ask){ .all = true }, .temp = (char *)row->name };
    int r = strcmp(row->state, "keeping") == 0 ? op_keep(&one) : strcmp(row->state, "undoing") == 0 ? op_undo(&one) : 0;

    if (r < 0)
        o->e = one.e;
    return r;
}

static int by_age(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return is_later(&x->since, &y->since) ? 1 : is_later(&y->since, &x->since) ? -1 : 0;
}

/* Makes order among the layers before there is one more. Only what is in place, or was taken back, is ever thrown away. */
static int tidy_shelf(struct op *o)
{
    struct shelf *s = &o->w->shelf;
    struct rows rows = {0};
    int r = 0;

    if (s->known && s->bytes <= LAYERS_BYTES_MAX)
        return 0;
    read_rows(o, &rows);
    if (rows.n)
        qsort(rows.v, rows.n, sizeof(*rows.v), by_age);
    s->bytes = 0;
    for (size_t i = 0; i < rows.n; i++) {
        s->bytes += rows.v[i].bytes;
        r = r < 0 ? r : carry_on(o, &rows.v[i]);
    }
    for (size_t i = 0; i < rows.n && r == 0 && s->bytes > LAYERS_BYTES_MAX; i++)
        if (strcmp(rows.v[i].state, "kept") == 0 || strcmp(rows.v[i].state, "undone") == 0) {
            layer_drop_named(o->w, rows.v[i].name);
            s->bytes -= rows.v[i].bytes;
        }
    s->known = r == 0;
    free(rows.v);
    return r;
}

void shelf_add(struct workspace *w, int64_t bytes)
{
    pthread_mutex_lock(&w->shelf.lock);
    w->shelf.bytes += bytes;
    pthread_mutex_unlock(&w->shelf.lock);
}

int shelf_make(struct workspace *w)
{
    cleanup(closep) int own = -1, layers = -1, ignore = -1;
    struct timespec times[2];
    struct stat root;

    layers = open_dir(w->fd, LAYERS);
    if (layers >= 0)
        return TAKE_FD(layers);
    if (fstat(w->fd, &root) < 0)
        return -errno;
    times[0] = root.st_atim;
    times[1] = root.st_mtim;
    own = folder(w->fd, ".rein", 0700);
    layers = own < 0 ? own : folder(own, "layers", 0700);
    ignore = layers < 0 ? -1 : openat(w->fd, IGNORE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (ignore >= 0 && write(ignore, "*\n", 2) != 2)
        return -ENOSPC;
    futimens(w->fd, times);             /* that there are layers is no change of the workspace */
    return layers < 0 ? layers : TAKE_FD(layers);
}

static int make(struct op *o, const char *name, struct layer *ret)
{
    cleanup(closep) int layers = shelf_make(o->w), stamp = -1;
    struct stat st;

    *ret = (struct layer){ .o = o, .root = o->w->fd, .dir = -1, .upper = -1 };
    ret->dir = layers < 0 ? layers : mkdirat(layers, name, 0700) < 0 ? -errno : open_dir(layers, name);
    ret->upper = ret->dir < 0 ? ret->dir : folder(ret->dir, "u", 0700);
    if (ret->upper >= 0)
        stamp = openat(ret->dir, STAMP, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (ret->upper < 0 || stamp < 0 || fstat(stamp, &st) < 0)
        return layer_say(o, ret->upper < 0 ? ret->upper : -errno, "the layer ", name);
    ret->began = st.st_ctim;
    return 0;
}

int layer_make(struct op *o, const char *name, struct layer *ret)
{
    int r;

    *ret = (struct layer){ .o = o, .root = o->w->fd, .dir = -1, .upper = -1 };
    if (!*name || *name == '.')
        return layer_say(o, -EINVAL, "the layer ", name);
    pthread_mutex_lock(&o->w->shelf.lock);
    r = tidy_shelf(o);
    pthread_mutex_unlock(&o->w->shelf.lock);
    if (r < 0)
        return o->e.msg[0] ? r : layer_say(o, r, "the layers of ", o->w->root);
    return make(o, name, ret);
}

/* What overlayfs needs beside the changes' folder. */
static int furnish(struct op *o, struct layer *l)
{
    cleanup(closep) int work = folder(l->dir, "w", 0700);
    int r = work < 0 ? work : o->w->shelf.carries ? 0 : can_carry(l->upper);

    o->w->shelf.carries = r == 0;
    /* No command is to meet it, as one that looks for what git does not know would. Where the kernel has no whiteouts for everybody
     * (Linux 5.8) the box hides it. */
    mknodat(l->upper, ".rein", S_IFCHR, makedev(0, 0));
    return r;
}

/* Gives the layer that is ready its name. */
static bool take_spare(struct op *o, const char *name, struct layer *ret)
{
    cleanup(closep) int layers = o->w->shelf.spare ? open_dir(o->w->fd, LAYERS) : -1;

    o->w->shelf.spare = false;
    return layers >= 0 && renameat2(layers, SPARE, layers, name, RENAME_NOREPLACE) == 0 && layer_open_named(o, name, ret) == 0 &&
           utimensat(ret->dir, STAMP, NULL, AT_SYMLINK_NOFOLLOW) == 0;
}

void layer_leave(struct op *o)
{
    cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };

    layer_drop_named(o->w, o->temp);
    pthread_mutex_lock(&o->w->shelf.lock);
    if (!o->w->shelf.spare) {
        layer_drop_named(o->w, SPARE);  /* another process's */
        o->w->shelf.spare = make(o, SPARE, &l) == 0 && furnish(o, &l) == 0;
    }
    pthread_mutex_unlock(&o->w->shelf.lock);
}

int op_layer(struct op *o)
{
    cleanup(layer_done) struct layer l = { .dir = -1, .upper = -1 };
    bool spare;
    int r = 0;

    if (!*o->temp || *o->temp == '.')
        return layer_say(o, -EINVAL, "the layer ", o->temp);
    walked_free(set_walked(o->w, NULL));
    pthread_mutex_lock(&o->w->shelf.lock);
    spare = o->w->shelf.known && o->w->shelf.bytes <= LAYERS_BYTES_MAX && take_spare(o, o->temp, &l);
    pthread_mutex_unlock(&o->w->shelf.lock);
    if (!spare) {
        layer_done(&l);
        layer_drop_named(o->w, o->temp);        /* an earlier try's, of which nothing came */
        r = layer_make(o, o->temp, &l);
        if (r < 0)
            return r;
        r = furnish(o, &l);
    }
    if (r == -EOPNOTSUPP) {
        layer_drop_named(o->w, o->temp);
        drop_shelf(o->w);
        return err_set(&o->e, r, "the file system of %.300s cannot carry one", o->w->root);
    }
    if (r == 0)
        r = look_like(l.upper, o->w->fd);
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
