/* layer_walk.c - what lies in a layer: its changes, as a plan and for a reader. */
#include "files/layer_impl.h"

#include "files/git_index.h"
#include "files/guard.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define STEPS_MAX ((size_t)2000000)
#define LARGE     ((int64_t)10 << 20)   /* bytes: a file of that size is told with a mark */

void plan_clear(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].path);
    free(p->v);
    *p = (struct plan){0};
}

/* What came of a walk, for who asks next. */
struct walked {
    char *name;
    struct plan plan, git;
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
    plan_clear(&walked->plan);
    plan_clear(&walked->git);
    free(walked);
}

static void remember_walk(struct layer *l)
{
    struct walked *walked = xmalloc(sizeof(*walked));

    *walked = (struct walked){ xstrdup(l->o->temp), l->plan, l->git ? l->git->plan : (struct plan){0} };
    l->plan = (struct plan){0};
    if (l->git)
        l->git->plan = (struct plan){0};
    walked_free(set_walked(l->o->w, walked));
}

struct known known_of(const struct stat *st)
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

/* Whether it is a file that runs when somebody builds, tests or commits. */
static bool runs_later(const char *path, const struct stat *st)
{
    static const char *const files[] = {
#define FILE_(name) name,
#define FOLDER(name)
#include "files/later.def"
#undef FILE_
#undef FOLDER
    };
    static const char *const folders[] = {
#define FILE_(name)
#define FOLDER(name) name,
#include "files/later.def"
#undef FILE_
#undef FOLDER
    };
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

    if (!S_ISREG(st->st_mode))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (strcmp(base, files[i]) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        const char *at = strstr(path, folders[i]);

        if (at && (at == path || at[-1] == '/'))
            return true;
    }
    return st->st_mode & 0111;
}

/* Whether git has no copy of what goes: the index from before the command does not name it. */
static bool is_untracked(struct layer *l, const char *path)
{
    if (*l->shown)
        return false;
    if (!l->names_read)
        l->names_known = l->o->w->shelf.index >= 0 && git_index_names(l->o->w->shelf.index, &l->names);
    l->names_read = true;
    return l->names_known && !git_names_have(&l->names, path);
}

/* One change, for a reader. `st` is what came, or, with -, what goes; NULL: it is no file. */
static void tell(struct layer *l, char kind, const char *path, const struct stat *st)
{
    bool dir = st && S_ISDIR(st->st_mode);
    int64_t size = st && S_ISREG(st->st_mode) ? st->st_size : 0;

    if (!l->told)
        return;
    buf_addc(l->told, kind);
    if (st && !dir && kind == '-' && is_untracked(l, path))
        buf_addc(l->told, 'u');
    if (st && kind != '-' && !*l->shown && runs_later(path, st))
        buf_addc(l->told, 'r');
    if (size >= LARGE)
        buf_addc(l->told, 'l');
    buf_addf(l->told, " %lld %s%s%s", (long long)size, l->shown, path, dir ? "/" : "");
    buf_addc(l->told, 0);
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
        tell(l, kind, below, &st);
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

/* Whether what lies below is an index which says what it said when the layer was made. */
static bool is_renewed_index(const struct layer *l, int lower, const char *name)
{
    struct hash before, now;

    return strcmp(name, "index") == 0 && l->o->w->shelf.index >= 0 && git_index_digest(l->o->w->shelf.index, &before) &&
           git_index_digest_at(lower, name, &now) && hash_eq(&before, &now);
}

static void note_index(struct layer *l, int upper, int lower, const char *name)
{
    char new[HASH_HEX], old[HASH_HEX] = "-";
    cleanup(freep) char *both = NULL;
    struct stat none = {0};
    struct hash hash;

    if (!git_index_digest_at(upper, name, &hash))
        return;
    hash_hex(&hash, new);
    if (git_index_digest_at(lower, name, &hash))
        hash_hex(&hash, old);
    both = xasprintf("%s %s", new, old);
    plan_add(&l->plan, 'i', both, NULL, &none);
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
    if (was && !(S_ISDIR(new.st_mode) && was_dir) && is_later(&old.st_ctim, &l->began) && !is_renewed_index(l, lower, name))
        return stale(l, below);
    if (layer_hides(upper, name, &new)) {
        if (was) {
            plan_add(&l->plan, 'r', below, &old, NULL);
            tell(l, '-', below, &old);
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
    if (strcmp(name, "index") == 0)
        note_index(l, upper, lower, name);
    if (was_dir)
        r = note_all(l, lower, name, below, '-', depth);
    tell(l, !was ? '+' : same_kind(&new, &old) ? 'M' : 'T', below, &new);
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
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 && (*path || strcmp(de->d_name, l->own) != 0))
            r = l->plan.n > STEPS_MAX ? layer_say(l->o, -E2BIG, "the changes in ", path)
                                      : walk_entry(l, upper, lower, path, de->d_name, depth);
    closedir(d);
    if (r == 0) {
        plan_add(&l->plan, 'm', *path ? path : ".", &old, &new);
        if ((old.st_mode & 07777) != (new.st_mode & 07777) || old.st_uid != new.st_uid || old.st_gid != new.st_gid)
            tell(l, 'm', *path ? path : ".", &new);
    }
    return r;
}

int layer_walk(struct layer *l)
{
    struct walked *walked = l->told ? NULL : set_walked(l->o->w, NULL);
    bool same = walked && strcmp(walked->name, l->o->temp) == 0;
    int r = 0;

    if (same) {                         /* nobody has been in it since */
        l->plan = walked->plan;
        walked->plan = (struct plan){0};
        if (l->git)
            l->git->plan = walked->git;
        walked->git = (struct plan){0};
    }
    walked_free(walked);
    if (same)
        return 0;
    r = walk(l, l->upper, l->root, "", 0);
    if (r == 0 && l->git) {
        l->git->told = l->told;
        r = walk(l->git, l->git->upper, l->git->root, "", 0);
    }
    return r;
}

void layer_held(const struct layer *l, struct buf *ret)
{
    cleanup(buf_done) struct buf git = {0};
    struct str rest;
    const char *each;

    guard_check(l->upper, l->root, l->o->w->root, &(struct guard){0}, ret);
    if (!l->git)
        return;
    guard_check(l->git->upper, l->git->root, "/", &(struct guard){0}, &git);
    for (rest = buf_str(&git); (each = wire_next(&rest));) {
        buf_addf(ret, "%s%s", l->git->shown, each);
        buf_addc(ret, 0);
    }
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
        tell(&l, '!', each, NULL);
    r = layer_walk(&l);
    o->leaves = r == 0 && o->q->all && !o->text.n;
    if (r == 0 && !o->leaves)
        remember_walk(&l);
    return r;
}

void layer_forget_walk(struct workspace *w)
{
    walked_free(set_walked(w, NULL));
}
