/* layer_apply.c - the plan of a layer: on disk, carried out, and the other way round. */
#include "files/layer_impl.h"

#include "base/path.h"
#include "files/git_index.h"

#include <dirent.h>
#include <linux/limits.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SYNCED_ALONE ((size_t)500)      /* steps; to sync so many folders takes as long as to sync a file system */
#define PARTS 4
#define DONE_ALONE ((size_t)2000)       /* steps */

/* Steps. Both sides of one lie in the same folder of the workspace and of the layer, which is held open for those that follow. */
struct sides {
    char *folder;
    int there, here;                    /* in the workspace, in the layer */
};

static void sides_done(struct sides *s)
{
    free(s->folder);
    if (s->there >= 0)
        close(s->there);
    if (s->here >= 0)
        close(s->here);
    *s = (struct sides){ NULL, -1, -1 };
}

/* `both`: else only that of the workspace is needed. */
static int open_sides(const struct layer *l, const char *path, bool both, struct sides *s, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    cleanup(freep) char *folder = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");

    *ret_name = slash ? slash + 1 : path;
    if (s->folder && strcmp(s->folder, folder) == 0 && (s->here >= 0 || !both))
        return 0;
    sides_done(s);
    s->there = open_dir(l->root, folder);
    s->here = s->there < 0 || !both ? -1 : open_dir(l->upper, folder);
    if (s->there < 0 || (both && s->here < 0)) {
        int r = s->there < 0 ? s->there : s->here;

        sides_done(s);
        return r;
    }
    s->folder = TAKE(folder);
    return 0;
}

static bool is_step(const struct step *s)
{
    return s->kind == 'x' || s->kind == 'a' || s->kind == 'r';
}

static bool is_that(const struct stat *st, const struct known *k)
{
    return st->st_ino == k->ino && st->st_dev == k->dev && (st->st_mode & S_IFMT) == (k->mode & S_IFMT);
}

static bool is(int dir, const char *name, const struct known *k)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_that(&st, k);
}

static bool is_missing(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* One of git's objects: it never changes, but its time does, whenever git would write the same again. */
static bool is_object(const char *path, const struct stat *st)
{
    return strstr(path, "objects/") && S_ISREG(st->st_mode) && (st->st_mode & 0222) == 0;
}

/* The same file, and nobody wrote to it since. What is below a folder is not looked at. */
static bool is_unchanged(int dir, const char *name, const char *path, const struct known *k)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_that(&st, k) &&
           (S_ISDIR(st.st_mode) || (st.st_size == k->size && (st.st_mtim.tv_sec * NS + st.st_mtim.tv_nsec == k->mtime ||
                                                              is_object(path, &st))));
}

static int open_folder(const struct layer *l, const struct step *s)
{
    return strcmp(s->path, ".") == 0 ? fcntl(l->root, F_DUPFD_CLOEXEC, 0) : open_dir(l->root, s->path);
}

static int put_meta(const struct layer *l, const struct step *s, bool forth)
{
    const struct known *k = forth ? &s->new : &s->old;
    cleanup(closep) int fd = open_folder(l, s);
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { k->mtime / NS, k->mtime % NS } };

    if (fd < 0)
        return fd;
    if ((s->old.uid != s->new.uid || s->old.gid != s->new.gid) && fchown(fd, k->uid, k->gid) < 0)
        return -errno;
    if ((s->old.mode & 03777) != (s->new.mode & 03777) && fchmod(fd, k->mode & 03777) < 0)
        return -errno;
    return futimens(fd, times) < 0 ? -errno : 0;
}

/* Makes what was done durable: folder by folder, or, where there is much, all of the file system, for which others are waited. A
 * command's plan has every folder that it touches, that of a file tool only the file's step. */
static int sync_folders(const struct layer *l)
{
    bool folders = l->plan.n && l->plan.v[l->plan.n - 1].kind == 'm';
    struct sides sides = { NULL, -1, -1 };
    int r = 0;

    if (l->plan.n > SYNCED_ALONE)
        return syncfs(l->root) < 0 ? -errno : 0;
    for (size_t i = 0; i < l->plan.n && r == 0; i++) {
        const struct step *s = &l->plan.v[i];
        cleanup(closep) int fd = s->kind == 'm' ? open_folder(l, s) : -1;
        const char *name;

        if (s->kind == 'm')
            r = fd < 0 ? fd : fsync(fd) < 0 ? -errno : 0;
        else if (!folders && is_step(s) && (r = open_sides(l, s->path, false, &sides, &name)) == 0)
            r = fsync(sides.there) < 0 ? -errno : 0;
    }
    sides_done(&sides);
    return r;
}

/* Does a step, or sees that it is done. What somebody else has put there is left alone: -ESTALE, or, on the way `back` from a step
 * that failed, as good as done. */
static int do_step(const struct layer *l, const struct step *s, bool forth, bool back, struct sides *sides)
{
    const struct known *in = forth ? &s->new : &s->old, *out = forth ? &s->old : &s->new;   /* what comes there, what goes */
    const char *name;
    int r = open_sides(l, s->path, true, sides, &name);
    bool comes = s->kind == 'x' || (s->kind == 'a') == forth, goes = s->kind == 'x' || !comes, there;
    struct stat st;

    if (r < 0)
        return r;
    there = fstatat(sides->there, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT)
        return -errno;
    if (comes ? there && is_that(&st, in) : !there)
        return 0;
    if (goes ? !there || !is_that(&st, out) : there)
        return back ? 0 : -ESTALE;
    if (!comes && fstatat(sides->here, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && layer_hides(sides->here, name, &st) &&
        unlinkat(sides->here, name, 0) < 0)
        return -errno;
    if (s->kind == 'x')
        r = renameat2(sides->here, name, sides->there, name, RENAME_EXCHANGE);
    else if (comes)
        r = renameat2(sides->here, name, sides->there, name, RENAME_NOREPLACE);
    else
        r = renameat2(sides->there, name, sides->here, name, RENAME_NOREPLACE);
    return r < 0 ? -errno : 0;
}

/* All of it, one way or the other, durable when it returns 0. `back`: as do_step. */
static int go_part(const struct layer *l, bool forth, bool back, const char **ret_path)
{
    struct sides sides = { NULL, -1, -1 };
    int r = 0;

    for (size_t i = 0; i < l->plan.n && r == 0; i++) {
        const struct step *s = &l->plan.v[forth ? i : l->plan.n - 1 - i];

        *ret_path = s->path;
        r = is_step(s) ? do_step(l, s, forth, back, &sides) : 0;
    }
    sides_done(&sides);
    /* Folders last, the innermost first: what is done in one changes its time. */
    for (size_t i = 0; i < l->plan.n && r == 0; i++)
        if (l->plan.v[i].kind == 'm') {
            *ret_path = l->plan.v[i].path;
            r = put_meta(l, &l->plan.v[i], forth);
        }
    return r < 0 ? r : sync_folders(l);
}

/* How much there is below a folder. */
static size_t count_below(int dir, const char *name, int depth)
{
    int fd = depth < DEPTH_MAX ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *de;
    size_t n = 0;

    while (d && (de = readdir(d))) {
        struct stat st;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
            fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || layer_hides(fd, de->d_name, &st))
            continue;
        n += 1 + (S_ISDIR(st.st_mode) ? count_below(fd, de->d_name, depth + 1) : 0);
    }
    if (d)
        closedir(d);
    return n;
}

/* Whether an index that was written anew says what it said: then it is taken for that. */
static bool is_renewed_index(struct layer *l, size_t at, bool forth, int dir, const char *name, struct known *there)
{
    const struct step *next = at + 1 < l->plan.n ? &l->plan.v[at + 1] : NULL;
    const char *hex = next && next->kind == 'i' ? next->path : NULL;
    char now[HASH_HEX];
    struct hash hash;
    struct stat st;

    if (hex && forth)
        hex = strchr(hex, ' ') ? strchr(hex, ' ') + 1 : "";
    if (!hex || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !git_index_digest_at(dir, name, &hash) ||
        strncmp(hash_hex(&hash, now), hex, strlen(now)) != 0)
        return false;
    *there = known_of(&st);
    l->renewed = true;
    return true;
}

/* Whether what a step takes away is as the plan has it, with all below it; what it brings finds nothing in its way. */
static int check_step(struct layer *l, size_t at, bool forth, struct sides *sides, const char **ret_path)
{
    struct step *s = &l->plan.v[at];
    struct known *there = forth ? &s->old : &s->new;
    bool something = s->kind == 'x' || (s->kind == 'r') == forth;
    size_t below = 0;
    const char *name;
    int r;

    *ret_path = s->path;
    r = open_sides(l, s->path, true, sides, &name);
    if (r < 0 || !something)
        return r < 0 || !is_missing(sides->there, name) ? -ESTALE : 0;
    if (!is_unchanged(sides->there, name, s->path, there) && !is_renewed_index(l, at, forth, sides->there, name, there))
        return -ESTALE;
    for (size_t i = at + 1; i < l->plan.n && (l->plan.v[i].kind == 'n' || l->plan.v[i].kind == 'o'); i++)
        below += l->plan.v[i].kind == (forth ? 'o' : 'n');
    return S_ISDIR(there->mode) && count_below(sides->there, name, 0) != below ? -ESTALE : 0;
}

/* A part of the plan. */
struct part {
    struct layer *l;
    size_t from, to;
    bool forth;
    int (*work)(struct part *part);
    int result;
    const char *path;                   /* where it failed */
    pthread_t thread;
};

static void *part_main(void *arg)
{
    struct part *part = arg;

    part->result = part->work(part);
    return NULL;
}

/* Several at once, where there is much: each waits for the kernel most of the time. The first that fails is what is returned. */
static int in_parts(struct layer *l, bool forth, int (*work)(struct part *), const char **ret_path)
{
    struct part parts[PARTS];
    size_t n = l->plan.n > DONE_ALONE ? PARTS : 1, each = l->plan.n / n + 1;
    bool runs[PARTS] = {0};
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        parts[i] = (struct part){ l, MIN(i * each, l->plan.n), MIN((i + 1) * each, l->plan.n), forth, work, 0, "", 0 };
        runs[i] = i + 1 < n && pthread_create(&parts[i].thread, NULL, part_main, &parts[i]) == 0;
        if (!runs[i])
            part_main(&parts[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (runs[i])
            pthread_join(parts[i].thread, NULL);
        if (r == 0 && parts[i].result < 0) {
            r = parts[i].result;
            if (ret_path)
                *ret_path = parts[i].path;
        }
    }
    return r;
}

static int check_part(struct part *part)
{
    struct layer *l = part->l;
    struct sides sides = { NULL, -1, -1 };
    const char *name;
    int r = 0;

    for (size_t i = part->from; i < part->to && r == 0; i++) {
        const struct step *s = &l->plan.v[i];

        if (is_step(s)) {
            r = check_step(l, i, part->forth, &sides, &part->path);
        } else if (s->kind == (part->forth ? 'o' : 'n')) {
            part->path = s->path;
            r = open_sides(l, s->path, false, &sides, &name);
            if (r == 0 && !is_unchanged(sides.there, name, s->path, part->forth ? &s->old : &s->new))
                r = -ESTALE;
        }
    }
    sides_done(&sides);
    return r;
}

/* Whether all is still as the plan has it, before the first step. */
static int check(struct layer *l, bool forth)
{
    const char *path = "";
    int r = in_parts(l, forth, check_part, &path);

    if (r == 0 && l->renewed)           /* who carries it on after a crash has to know */
        r = layer_put_plan(l, true);
    if (r == 0 && l->git)
        return check(l->git, forth);
    return r < 0 ? err_set(&l->o->e, -ESTALE, "%.300s was changed by someone else meanwhile; nothing was %s", path,
                           forth ? "kept" : "taken back") : 0;
}

bool layer_is_kept(const struct layer *l)
{
    struct sides sides = { NULL, -1, -1 };
    bool kept = true;

    for (size_t i = 0; i < l->plan.n && kept; i++) {
        const struct step *s = &l->plan.v[i];
        const char *name;

        if (is_step(s))
            kept = open_sides(l, s->path, false, &sides, &name) == 0 &&
                   (s->kind == 'r' ? is_missing(sides.there, name) : is(sides.there, name, &s->new));
    }
    sides_done(&sides);
    return kept;
}

/* Removes overlayfs's own attributes. What a command names so itself lies one level deeper, and comes up. */
static void strip_marks(int fd)
{
    static const char *const spaces[] = { "user.overlay.", "trusted.overlay." };
    char few[1024], value[1024];
    cleanup(freep) char *many = NULL;
    ssize_t n = flistxattr(fd, few, sizeof(few));
    const char *names = few;

    if (n < 0 && errno == ERANGE) {
        names = many = xmalloc(XATTR_LIST_MAX);
        n = flistxattr(fd, many, XATTR_LIST_MAX);
    }
    for (const char *at = names; at < names + MAX(n, (ssize_t)0); at += strlen(at) + 1)
        for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
            size_t k = strlen(spaces[i]);
            char up[XATTR_NAME_MAX + 1];
            ssize_t got;

            if (strncmp(at, spaces[i], k) != 0)
                continue;
            if (strncmp(at + k, "overlay.", 8) == 0 && (got = fgetxattr(fd, at, value, sizeof(value))) >= 0) {
                snprintf(up, sizeof(up), "%s%s", spaces[i], at + k + 8);
                fsetxattr(fd, up, value, (size_t)got, 0);
            }
            fremovexattr(fd, at);
        }
}

/* What belongs to overlayfs only, and bits that let others become the user. */
static void strip(int dir, const char *name, mode_t mode, int depth)
{
    cleanup(closep) int fd = -1;
    const mode_t needs = S_ISDIR(mode) ? 0700 : 0600;
    struct dirent *de;
    struct stat st;
    DIR *d;

    if (!S_ISREG(mode) && !S_ISDIR(mode))
        return;
    if ((mode & needs) != needs)        /* the user's own rights over it, for as long as it takes */
        fchmodat(dir, name, (mode & 0777) | needs, 0);
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    strip_marks(fd);
    if (S_ISREG(mode) && (mode & 06000 || (mode & needs) != needs))
        fchmod(fd, mode & 01777);
    if (!S_ISDIR(mode) || depth > DEPTH_MAX || fstat(fd, &st) < 0)
        return;
    d = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    while (d && (de = readdir(d))) {
        struct stat below;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
            fstatat(fd, de->d_name, &below, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (layer_hides(fd, de->d_name, &below))
            unlinkat(fd, de->d_name, 0);                /* in a folder that hides nothing */
        else
            strip(fd, de->d_name, below.st_mode, depth + 1);
    }
    if (d)
        closedir(d);
    fchmod(fd, mode & 07777);
    futimens(fd, (struct timespec[2]){ st.st_atim, st.st_mtim });
}

static int strip_part(struct part *part)
{
    struct sides sides = { NULL, -1, -1 };
    const char *name;

    for (size_t i = part->from; i < part->to; i++) {
        const struct step *s = &part->l->plan.v[i];

        if ((s->kind == 'a' || s->kind == 'x') && open_sides(part->l, s->path, true, &sides, &name) == 0)
            strip(sides.here, name, s->new.mode, 0);
    }
    sides_done(&sides);
    return 0;
}

static int go(const struct layer *l, bool forth, bool back, const char **ret_path)
{
    int r = go_part(l, forth, back, ret_path);

    return r == 0 && l->git ? go_part(l->git, forth, back, ret_path) : r;
}

/* From the state `from` to `to`, by way of `by`, in which a crash finds it. */
static int change(struct layer *l, const char *by, const char *to, const char *back, bool forth, bool begun)
{
    const char *at = "";
    int r = begun ? 0 : layer_put_state(l, by, true);

    if (r < 0)
        return layer_say(l->o, r, "the layer ", l->o->temp);
    r = go(l, forth, false, &at);
    if (r < 0) {
        const char *there;
        int again = go(l, !forth, true, &there);

        if (again == 0)
            again = layer_put_state(l, back, true);
        return err_set(&l->o->e, r, "%.300s: %s; %s", at, strerror(-r), again == 0 ? "nothing was changed" :
                       "what was changed could not be put back: it is tried again with the next call");
    }
    /* It is done, and durable. Where that cannot be noted, `by` stands there still, and who reads that does the same once more. */
    layer_put_state(l, to, true);
    return 0;
}

static int strip_all(struct layer *l)
{
    in_parts(l, true, strip_part, NULL);
    return syncfs(l->upper) < 0 ? -errno : 0;
}

/* Nobody needs it any more. */
static void remove_work(const struct layer *l)
{
    fchmodat(l->dir, "w/work", 0700, 0);    /* overlayfs leaves it without any rights */
    path_remove(l->dir, "w");
    if (l->git)
        remove_work(l->git);
}

/* The plan: that of an earlier time, or, before the first, made from what lies in the layer. */
static int have_plan(struct layer *l, const char *state)
{
    int r = layer_get_plan(l);

    if (r == 0 && l->git)
        r = layer_get_plan(l->git);
    if (r == -ENOENT && !*state) {
        plan_clear(&l->plan);           /* a rein that was killed had written one of two */
        r = layer_walk(l);
        if (r < 0)
            return r;
        r = layer_put_plan(l, true);
        if (r == 0 && l->git)
            r = layer_put_plan(l->git, true);
    }
    if (r == 0 && !*state)              /* what says how to read the layer goes, now that it was read */
        r = strip_all(l);
    if (r == 0 && !*state && l->git)
        r = strip_all(l->git);
    return r < 0 ? layer_say(l->o, r, "the plan of the layer ", l->o->temp) : 0;
}

static int open_with_state(struct op *o, struct layer *ret, char state[16])
{
    int r = layer_open_named(o, o->temp, ret);

    *state = 0;
    return r < 0 ? r : layer_state(ret, state);
}

int op_keep(struct op *o)
{
    cleanup(layer_done) struct layer l;
    char state[16];
    int r = open_with_state(o, &l, state);
    bool begun;

    if (r < 0)
        return r;
    if (o->q->expects && strcmp(state, "undone") != 0 && strcmp(state, "keeping") != 0)
        return err_set(&o->e, -EALREADY, "the layer %s was not taken back", o->temp);
    if (strcmp(state, "kept") == 0)
        return 0;
    begun = strcmp(state, "keeping") == 0;
    if (!*state && !o->q->all) {
        cleanup(buf_done) struct buf held = {0};

        layer_held(&l, &held);
        if (held.n) {
            syncfs(l.upper);            /* it may wait for days */
            return err_set(&o->e, -EPERM, "%.300s acts outside of the box: only a person can let it into the workspace", held.p);
        }
    }
    if (strcmp(state, "undoing") == 0)
        return err_set(&o->e, -EBUSY, "the layer %s is being taken back: finish that first", o->temp);
    r = have_plan(&l, state);
    if (r == 0 && !begun)
        r = check(&l, true);
    if (r == 0)
        r = change(&l, "keeping", "kept", "undone", true, begun);
    if (r == 0 && !*state) {
        shelf_add(o->w, layer_bytes(&l));
        remove_work(&l);
    }
    return r;
}

int op_undo(struct op *o)
{
    cleanup(layer_done) struct layer l;
    char state[16];
    int r = open_with_state(o, &l, state);
    bool begun;

    if (r < 0)
        return r;
    if (!*state || strcmp(state, "undone") == 0)
        return err_set(&o->e, *state ? -EALREADY : -ENODATA, "the layer %s is not in place", o->temp);
    begun = strcmp(state, "undoing") == 0;
    r = have_plan(&l, state);
    if (r == 0 && strcmp(state, "kept") == 0)
        r = check(&l, false);
    return r < 0 ? r : change(&l, "undoing", "undone", "kept", false, begun);
}
