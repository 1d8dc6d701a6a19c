#include "files/ops.h"

#include "base/path.h"
#include "files/guard.h"
#include "files/layer.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKS_MAX 40

int open_beneath(int dir, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
    };
    int fd;

    /* EAGAIN: a rename elsewhere raced with a ".."; the kernel asks to try again. */
    for (int i = 0; i < 32; i++) {
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return fd < 0 ? -errno : fd;
}

int read_whole(int dir, const char *path, size_t max, struct buf *out)
{
    cleanup(closep) int fd = open_beneath(dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, RESOLVE_NO_LINKS);
    struct stat st;
    ssize_t n = 1;
    char *to;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fd < 0 ? fd : -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    while (n > 0 && (to = buf_room(out, 64 << 10)) && (n = read(fd, to, 64 << 10)) > 0) {
        out->n += (size_t)n;
        if (out->n > max)
            return -EFBIG;
    }
    return n < 0 ? -errno : buf_err(out);
}

static int say(struct op *o, int r, const char *doing)
{
    switch (r) {
    case -EXDEV:
        return err_set(&o->e, r, "%s leads out of the workspace %s", o->path, o->w->root);
    case -ELOOP:
        return err_set(&o->e, r, "%s: its links go in a circle", o->path);
    case -ENOSYS:
        return err_set(&o->e, r, "this kernel has no openat2 (Linux 5.6), without which files are not opened safely");
    default:
        return err_set(&o->e, r, "%s%s: %s", doing, o->path, strerror(-r));
    }
}

/* A box hides what is the same file as one outside that only its owner may read: a hard link. */
static bool is_hidden(const struct op *o, const struct stat *st)
{
    struct guard all;
    bool hidden;

    if (!o->w->boxed || !guard_may_hide(st))
        return false;
    guard_scan(o->w->fd, -1, NULL, &all);
    hidden = guard_hides(&all, st);
    guard_done(&all);
    return hidden;
}

/* Opens a regular file for reading and says in the answer what it is. */
static int open_file(struct op *o)
{
    cleanup(closep) int fd = open_beneath(o->w->fd, o->rel, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    struct stat st;

    if (fd < 0)
        return say(o, fd, "");
    if (fstat(fd, &st) < 0)
        return say(o, -errno, "");
    if (S_ISDIR(st.st_mode))
        return err_set(&o->e, -EISDIR, "%s is a directory", o->path);
    if (!S_ISREG(st.st_mode))
        return err_set(&o->e, -EINVAL, "%s is not a regular file", o->path);
    if (is_hidden(o, &st))
        return err_set(&o->e, -EPERM, "%s is a file outside of the workspace too (a hard link), which only its owner may read: it "
                       "is hidden in the box", o->path);
    o->a.exists = true;
    o->a.size = st.st_size;
    o->a.mode = st.st_mode & 07777;
    o->a.uid = st.st_uid;
    o->a.gid = st.st_gid;
    o->a.links = (int64_t)st.st_nlink;
    return TAKE_FD(fd);
}

static int hash_file(struct op *o, int fd, struct hash *ret)
{
    cleanup(freep) uint8_t *buf = xmalloc(64 << 10);
    struct hashing h;
    off_t at = 0;
    ssize_t n;

    hashing_init(&h);
    while ((n = pread(fd, buf, 64 << 10, at)) > 0) {
        hashing_add(&h, buf, (size_t)n);
        at += n;
    }
    if (n < 0)
        return say(o, -errno, "");
    *ret = hashing_end(&h);
    return 0;
}


static int op_read(struct op *o)
{
    cleanup(closep) int fd = open_file(o);
    size_t left = (size_t)o->q->max;
    ssize_t n = 1;

    if (fd < 0)
        return fd;
    if (o->q->offset < 0 || o->q->max < 0)
        return say(o, -EINVAL, "");
    o->text.max = left + 1;
    while (left && n > 0) {
        size_t want = MIN(left, (size_t)256 << 10);
        char *to = buf_room(&o->text, want);

        n = to ? pread(fd, to, want, o->q->offset + (off_t)o->text.n) : -1;
        if (n > 0) {
            o->text.n += (size_t)n;
            left -= (size_t)n;
        }
        if (o->q->offset + (int64_t)o->text.n == o->a.size)
            break;                      /* one call more would only say so */
    }
    return n < 0 ? say(o, -errno, "") : 0;
}

static int op_look(struct op *o)
{
    cleanup(closep) int fd = open_file(o);

    if (fd == -ENOENT || fd == -ENOTDIR)
        return 0;
    return fd < 0 ? fd : hash_file(o, fd, &o->hash);
}

/* Makes a directory and what is missing above it, each made durable in its parent. */
static int make_dir(struct op *o, const char *rel)
{
    cleanup(freep) char *up = xstrdup(rel);
    cleanup(closep) int dir = -1;
    char *slash = strrchr(up, '/');
    int r;

    if (slash)
        *slash = 0;
    dir = open_beneath(o->w->fd, slash ? up : ".", O_RDONLY | O_DIRECTORY, 0);
    if (dir == -ENOENT && slash) {
        r = make_dir(o, up);
        if (r < 0)
            return r;
        dir = open_beneath(o->w->fd, up, O_RDONLY | O_DIRECTORY, 0);
    }
    if (dir < 0)
        return dir;
    r = mkdirat(dir, slash ? slash + 1 : rel, 0777) < 0 ? -errno : 0;
    if (r < 0 && r != -EEXIST)
        return r;
    if (r == 0 && !o->made)
        o->made = xstrdup(rel);
    return fsync(dir) < 0 ? -errno : 0;
}

/* A path beneath the root without the links in it, which are followed name by name; what is missing at its end stays as it is. 0
 * or a negative errno. */
static int follow(struct op *o, const char *path, char **ret)
{
    cleanup(freep) char *rest = xstrdup(path), *real = xstrdup("");
    int links = 0;

    while (*rest) {
        size_t skip = strspn(rest, "/"), n = strcspn(rest + skip, "/");
        cleanup(freep) char *name = xstrndup(rest + skip, n), *next = NULL, *after = xstrdup(rest + skip + n);
        cleanup(closep) int fd = -1;
        char target[PATH_MAX];
        struct stat st;

        free(rest);
        rest = TAKE(after);
        if (n == 0 || strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") == 0) {
            char *slash = strrchr(real, '/');

            if (!*real)
                return -EXDEV;
            *(slash ? slash : real) = 0;
            continue;
        }
        next = xasprintf("%s%s%s", real, *real ? "/" : "", name);
        fd = open_beneath(o->w->fd, next, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
        if (fd == -ENOENT && !strstr(rest, "..")) {
            *ret = xasprintf("%s%s", next, rest);
            return 0;
        }
        if (fd < 0 || fstat(fd, &st) < 0)
            return fd < 0 ? fd : -errno;
        if (S_ISLNK(st.st_mode)) {
            ssize_t got = readlinkat(fd, "", target, sizeof(target) - 1);

            if (got < 0)
                return -errno;
            target[got] = 0;
            if (*target == '/')
                return -EXDEV;
            if (++links > LINKS_MAX)
                return -ELOOP;
            after = xasprintf("%s/%s", target, rest);
            free(rest);
            rest = TAKE(after);
            continue;
        }
        free(real);
        real = TAKE(next);
    }
    *ret = *real ? TAKE(real) : xstrdup(".");
    return 0;
}

/* The directory of the file that a path leads to, the file's name in it, and the path without links. Missing directories are made
 * when `make` is set. Returns the directory's descriptor. */
static int open_parent(struct op *o, bool make, char **ret_name, char **ret_real)
{
    cleanup(closep) int fd = open_beneath(o->w->fd, o->rel, O_PATH, 0);
    cleanup(freep) char *up = xstrdup(o->rel), *real = NULL;
    char *slash = strrchr(up, '/');
    int dir, r;

    if (fd < 0 && fd != -ENOENT)
        return say(o, fd, "");
    if (fd < 0) {                       /* a link that leads nowhere is not followed: it stands in the way */
        if (slash)
            *slash = 0;
        r = follow(o, slash ? up : ".", &real);
        *ret_real = r == 0 ? xasprintf("%s/%s", real, slash ? slash + 1 : up) : NULL;
    } else {
        r = follow(o, o->rel, ret_real);
    }
    if (r < 0)
        return say(o, r, "");
    if (strncmp(*ret_real, "./", 2) == 0)
        memmove(*ret_real, *ret_real + 2, strlen(*ret_real + 2) + 1);
    free(up);
    up = xstrdup(*ret_real);
    slash = strrchr(up, '/');
    *ret_name = xstrdup(slash ? slash + 1 : up);
    if (slash)
        *slash = 0;
    dir = open_beneath(o->w->fd, slash ? up : ".", O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (dir == -ENOENT && make) {
        dir = make_dir(o, up);
        if (dir == 0)
            dir = open_beneath(o->w->fd, up, O_RDONLY | O_DIRECTORY, 0);
    }
    return dir < 0 ? say(o, dir, "the directory of ") : dir;
}

/* Where links lead, too. */
static int check_guard(struct op *o, const char *real)
{
    if (!o->w->boxed || (!guard_covers(o->rel) && !guard_covers(real)))
        return 0;
    return err_set(&o->e, -EPERM,
                   "%s is protected, since programs outside the box run or believe it: only the user can change it", o->path);
}

/* Makes the names on the way from the root to a directory durable, and those in it: who made it may not have done so. */
static int sync_names(struct op *o, int dir)
{
    cleanup(closep) int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    struct stat root, st;

    if (at < 0 || fstat(o->w->fd, &root) < 0)
        return -errno;
    for (int depth = 0; depth < PATH_MAX / 2; depth++) {
        int up;

        if (fsync(at) < 0 || fstat(at, &st) < 0)
            return -errno;
        if (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
            break;
        up = openat(at, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (up < 0)
            return -errno;
        close(at);
        at = up;
    }
    return 0;
}

static int write_temp(struct op *o, int dir, const struct stat *old)
{
    cleanup(closep) int fd = -1;
    size_t at = 0;

    unlinkat(dir, o->temp, 0);          /* from an earlier try under the same key */
    fd = openat(dir, o->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return say(o, -errno, "cannot write beside ");
    while (at < o->q->data.n) {
        ssize_t n = write(fd, o->q->data.p + at, MIN(o->q->data.n - at, (size_t)1 << 20));

        if (n < 0 && errno != EINTR)
            return say(o, -errno, "cannot write ");
        at += (size_t)MAX(n, (ssize_t)0);
    }
    if (old) {
        /* Owner first: changing it clears setuid bits. A group that the user may not give is left as it is. */
        struct stat now;

        if (fstat(fd, &now) == 0 && (now.st_uid != old->st_uid || now.st_gid != old->st_gid) &&
            fchown(fd, old->st_uid, old->st_gid) < 0 && fchown(fd, (uid_t)-1, old->st_gid) < 0 && errno != EPERM)
            return say(o, -errno, "cannot keep the owner of ");
        if (fchmod(fd, old->st_mode & 07777) < 0)
            return say(o, -errno, "cannot keep the mode of ");
    }
    return fsync(fd) < 0 ? say(o, -errno, "cannot make durable: ") : 0;
}

static int op_write(struct op *o)
{
    cleanup(freep) char *name = NULL, *real = NULL;
    cleanup(closep) int dir = -1, fd = -1;
    struct stat old, new, now;
    struct hash hash, expected;
    int r;

    if (!wire_to_hash(o->q->hash, &expected) && o->q->expects)
        return say(o, -EINVAL, "");
    fd = open_file(o);
    if (fd < 0 && fd != -ENOENT && fd != -ENOTDIR)
        return fd;
    if (fd < 0 && o->q->expects)
        return err_set(&o->e, -ESTALE, "%s is gone", o->path);
    if (fd >= 0) {
        if (!o->q->expects)
            return err_set(&o->e, -ESTALE, "%s exists by now", o->path);
        r = hash_file(o, fd, &hash);
        if (r < 0)
            return r;
        if (!hash_eq(&hash, &expected))
            return err_set(&o->e, -ESTALE, "%s was changed by someone else just now", o->path);
        if (fstat(fd, &old) < 0)
            return say(o, -errno, "");
        if (faccessat(fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) < 0 && errno == EACCES)
            return say(o, -EACCES, "cannot write ");
    }
    if (o->w->boxed && guard_covers(o->rel))
        return check_guard(o, o->rel);
    dir = open_parent(o, fd < 0, &name, &real);
    if (dir < 0)
        return dir;
    r = check_guard(o, real);
    if (r < 0)
        return r;
    if (fd >= 0 && (fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_ino != old.st_ino ||
                    now.st_dev != old.st_dev))
        return err_set(&o->e, -ESTALE, "%s was replaced by someone else just now", o->path);
    if (fd < 0)
        old = (struct stat){ .st_mode = (mode_t)o->q->mode, .st_uid = (uid_t)o->q->uid, .st_gid = (gid_t)o->q->gid };
    r = write_temp(o, dir, fd >= 0 || o->q->alike ? &old : NULL);
    if (r == 0 && fstatat(dir, o->temp, &new, AT_SYMLINK_NOFOLLOW) < 0)
        r = say(o, -errno, "cannot write ");
    if (r == 0)
        kept_put(o, dir, name, real, fd >= 0 ? &old : NULL, &new);
    if (r == 0 && fd >= 0 && renameat(dir, o->temp, dir, name) < 0)
        r = say(o, -errno, "cannot replace ");
    if (r == 0 && fd < 0 && renameat2(dir, o->temp, dir, name, RENAME_NOREPLACE) < 0)
        r = errno == EEXIST ? err_set(&o->e, -ESTALE, "%s exists by now, or is a link that leads nowhere", o->path)
                            : say(o, -errno, "cannot create ");
    if (r < 0) {
        unlinkat(dir, o->temp, 0);
        kept_forget(o);
        return r;
    }
    if (o->q->all)
        kept_forget(o);
    r = fd < 0 ? sync_names(o, dir) : fsync(dir) < 0 ? -errno : 0;
    if (r < 0)
        return err_set(&o->e, -EUCLEAN, "%s was changed, but its directory could not be synced (%s): a power failure may undo "
                       "the change", o->path, strerror(-r));
    return 0;
}

static int op_remove(struct op *o)
{
    cleanup(freep) char *name = NULL, *real = NULL;
    cleanup(closep) int dir = -1, fd = open_beneath(o->w->fd, o->rel, O_PATH | O_NOFOLLOW, 0);
    struct stat st, now;
    struct hash hash, expected;
    int r;

    if (!wire_to_hash(o->q->hash, &expected))
        return say(o, -EINVAL, "");
    if (fd < 0)
        return fd == -ENOENT ? err_set(&o->e, -ESTALE, "%s is gone", o->path) : say(o, fd, "");
    if (fstat(fd, &st) < 0)
        return say(o, -errno, "");
    if (S_ISLNK(st.st_mode))
        return err_set(&o->e, -ELOOP, "%s is a link", o->path);
    close(fd);
    fd = open_file(o);
    if (fd < 0)
        return fd;
    r = hash_file(o, fd, &hash);
    if (r < 0)
        return r;
    if (!hash_eq(&hash, &expected))
        return err_set(&o->e, -ESTALE, "%s was changed by someone else just now", o->path);
    dir = open_parent(o, false, &name, &real);
    if (dir < 0)
        return dir;
    r = check_guard(o, real);
    if (r < 0)
        return r;
    if (fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_ino != st.st_ino || now.st_dev != st.st_dev)
        return err_set(&o->e, -ESTALE, "%s was replaced by someone else just now", o->path);
    kept_put(o, dir, name, real, &st, NULL);
    if (unlinkat(dir, name, 0) < 0) {
        r = -errno;
        kept_forget(o);
        return say(o, r, "cannot remove ");
    }
    if (o->q->all)
        kept_forget(o);
    return fsync(dir) < 0 ? err_set(&o->e, -EUCLEAN, "%s was removed, but its directory could not be synced (%s): a power failure "
                                    "may bring it back", o->path, strerror(errno)) : 0;
}

struct entry {
    char *name;
    char type;
    int64_t size;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* "TYPE SIZE NAME", each ended by a zero byte. */
static int op_list(struct op *o)
{
    int fd = open_beneath(o->w->fd, o->rel, O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct entry *v = NULL;
    size_t n = 0, cap = 0;
    struct dirent *de;

    if (!dir)
        return say(o, fd < 0 ? fd : -errno, "");
    while ((de = readdir(dir))) {
        struct stat st = {0};

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (n == ENV_ENTRIES_MAX) {
            o->a.more = true;
            break;
        }
        fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW);
        GROW(v, n, cap);
        v[n++] = (struct entry){ xstrdup(de->d_name), S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : S_ISREG(st.st_mode)
                                 ? '-' : '?', st.st_size };
    }
    closedir(dir);
    if (n)
        qsort(v, n, sizeof(*v), by_name);
    for (size_t i = 0; i < n; i++) {
        buf_addf(&o->text, "%c %lld %s", v[i].type, (long long)v[i].size, v[i].name);
        buf_addc(&o->text, 0);
        free(v[i].name);
    }
    free(v);
    return 0;
}

static int op_tidy(struct op *o)
{
    cleanup(freep) char *name = NULL, *real = NULL;
    cleanup(closep) int dir = open_parent(o, false, &name, &real);
    int r;

    if (dir < 0) {                      /* nothing was written there */
        kept_tidy(o);
        return 0;
    }
    if (*o->temp)
        unlinkat(dir, o->temp, 0);
    kept_tidy(o);
    r = sync_names(o, dir);
    return r < 0 ? say(o, r, "the directory of ") : 0;
}

static int op_guard(struct op *o)
{
    struct guard before, now;
    bool known = guard_read(o->q->data, &before);
    int shelf = o->q->all ? shelf_make(o->w) : -1;      /* before a command can: it is hidden from it then */

    if (shelf >= 0)
        close(shelf);
    if (*o->temp && op_layer(o) < 0)
        o->a.said = str_of(o->e.msg);
    guard_scan(o->w->fd, -1, known ? &before : NULL, &now);
    guard_write(&now, &o->text);
    guard_done(&before);
    guard_done(&now);
    return 0;
}

static int op_check(struct op *o)
{
    struct guard before;

    if (!guard_read(o->q->data, &before))
        return say(o, -EINVAL, "");
    guard_check(o->w->fd, -1, o->w->root, &before, &o->text);
    guard_done(&before);
    return 0;
}

static int op_git(struct op *o)
{
    return o->w->git_path ? buf_adds(&o->text, o->w->git_path) : 0;
}

static int op_purge(struct op *o)
{
    cleanup(freep) char *up = xstrdup(o->rel);
    char *slash = strrchr(up, '/'), *name = slash ? slash + 1 : up;
    cleanup(closep) int dir = -1;

    if (slash)
        *slash = 0;
    dir = open_beneath(o->w->fd, slash ? up : ".", O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (dir < 0 || !*name || strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
        return say(o, dir < 0 ? dir : -EINVAL, "");
    path_remove(dir, name);
    return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? say(o, -EBUSY, "cannot remove ") : 0;
}

void op_run(struct op *o, struct workspace *w, const struct files_ask *q, const bool *stop)
{
    static int (*const ops[FILES_WHATS])(struct op *) = {
        [FILES_READ] = op_read, [FILES_LOOK] = op_look, [FILES_WRITE] = op_write, [FILES_REMOVE] = op_remove,
        [FILES_TIDY] = op_tidy, [FILES_LIST] = op_list, [FILES_SEARCH] = op_search, [FILES_GUARD] = op_guard,
        [FILES_CHECK] = op_check, [FILES_PURGE] = op_purge, [FILES_LAYER] = op_layer, [FILES_CHANGES] = op_changes,
        [FILES_KEEP] = op_keep, [FILES_UNDO] = op_undo, [FILES_DROP] = op_drop,
        [FILES_LAYERS] = op_layers, [FILES_GIT] = op_git,
    };

    *o = (struct op){ .w = w, .q = q, .stop = stop, .rel = str_dup(q->rel), .temp = str_dup(q->temp),
                      .layer = str_dup(q->layer) };
    o->path = strcmp(o->rel, ".") == 0 ? xstrdup(w->root) : xasprintf("%s/%s", w->root, o->rel);
    o->a.result = strchr(o->temp, '/') || strchr(o->layer, '/') || o->layer[0] == '.' ? say(o, -EINVAL, "") : ops[q->what](o);
    if (o->a.result < 0)
        o->a.said = str_of(o->e.msg);
    o->a.hash = wire_hash(&o->hash);
    o->a.text = buf_str(&o->text);
}

void op_after(struct op *o)
{
    if (o->leaves)
        layer_leave(o);
    if (o->tidies)
        layer_tidy(o);
}

void op_done(struct op *o)
{
    free(o->rel);
    free(o->path);
    free(o->layer);
    free(o->made);
    free(o->temp);
    buf_done(&o->text);
}
