/* local.c - env on this machine.
 *
 * Paths are resolved by openat2 beneath a descriptor of the root, links included, so nothing that is swapped while rein
 * looks can lead out of it. Blocking calls run on the pool, each with its arguments and results in one heap object.
 *
 * A file is written like this, for a call with key K:
 *
 *     1  hash what is there, compare with what is expected
 *     2  write .rein-K.tmp in the same directory, with the old mode and owner; fsync
 *     3  rename it over the name (or, for a new file, rename without replacing)
 *     4  fsync the directory
 *
 * After a crash the file is either old or new, and env_tidy removes what step 2 left. */
#include "env/local_impl.h"

#include "base/path.h"
#include "rt/offload.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char *local_resolve(struct env *v, struct str path)
{
    return path_resolve(local(v)->root, path);
}

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

int openat2_beneath(int dir, const char *path, int flags, unsigned mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
    };
    int fd;

    /* EAGAIN: a rename elsewhere raced with a ".."; the kernel asks to try again. */
    for (int i = 0; i < 32; i++) {
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
        if (fd >= 0 || errno != EAGAIN || (resolve & RESOLVE_CACHED))
            break;
    }
    return fd < 0 ? -errno : fd;
}

/* Everything a job needs is its own, root descriptor included: one that was abandoned may outlive the environment. */
struct file_job {
    struct job job;
    int root_fd;
    char *root, *path, *rel;
    char *temp;
    int64_t offset;
    size_t max;
    struct buf out;
    struct str data;
    bool alike;                         /* a new file gets mode and owner of `like` */
    struct env_stat like;
    struct env_entries entries;
    struct env_stat st;
    struct hash hash;
    bool expects, cached;               /* cached: nothing may block, -EAGAIN instead */
    bool boxed;                         /* nothing that guard.h is about may be written */
    int result;
    struct err e;
};

static void file_job_free(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);

    close(j->root_fd);
    free(j->root);
    free(j->path);
    free(j->rel);
    free(j->temp);
    env_entries_done(&j->entries);
    buf_done(&j->out);
    free(j);
}

static int say(struct file_job *j, int r, const char *doing)
{
    switch (r) {
    case -EXDEV:
        return err_set(&j->e, r, "%s leads out of the workspace %s", j->path, j->root);
    case -ELOOP:
        return err_set(&j->e, r, "%s: its links go in a circle", j->path);
    case -ENOSYS:
        return err_set(&j->e, r, "this kernel has no openat2 (Linux 5.6), without which files are not opened safely");
    default:
        return err_set(&j->e, r, "%s%s: %s", doing, j->path, strerror(-r));
    }
}

/* Opens a regular file for reading and fills in j->st. */
static int open_file(struct file_job *j)
{
    struct stat st;
    int fd = openat2_beneath(j->root_fd, j->rel, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, j->cached ? RESOLVE_CACHED : 0);

    if (fd < 0)
        return say(j, fd, "");
    if (fstat(fd, &st) < 0) {
        close(fd);
        return say(j, -errno, "");
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return S_ISDIR(st.st_mode) ? err_set(&j->e, -EISDIR, "%s is a directory", j->path)
                                   : err_set(&j->e, -EINVAL, "%s is not a regular file", j->path);
    }
    j->st = (struct env_stat){ true, st.st_size, st.st_mode & 07777, st.st_uid, st.st_gid, (unsigned)st.st_nlink };
    return fd;
}

static int hash_file(struct file_job *j, int fd, struct hash *ret)
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
        return say(j, -errno, "");
    *ret = hashing_end(&h);
    return 0;
}

static void read_run(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);
    cleanup(closep) int fd = open_file(j);
    size_t left = j->max;
    ssize_t n = 1;

    if (fd < 0) {
        j->result = fd;
        return;
    }
    j->out.max = j->max + 1;
    while (left && n > 0) {
        size_t want = MIN(left, (size_t)256 << 10);
        char *to = buf_room(&j->out, want);

        n = to ? preadv2(fd, &(struct iovec){ to, want }, 1, j->offset + (off_t)(j->max - left), j->cached ? RWF_NOWAIT : 0) : -1;
        if (n > 0) {
            j->out.n += (size_t)n;
            left -= (size_t)n;
        }
        if (j->offset + (int64_t)j->out.n == j->st.size)
            break;                      /* one call more would only say so */
    }
    if (n < 0)
        j->result = say(j, -errno, "");
}

static void look_run(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);
    cleanup(closep) int fd = open_file(j);

    if (fd == -ENOENT || fd == -ENOTDIR)
        return;
    j->result = fd < 0 ? fd : hash_file(j, fd, &j->hash);
}

/* Makes a directory and what is missing above it, each made durable in its parent. */
static int make_dir(struct file_job *j, const char *rel)
{
    cleanup(freep) char *up = xstrdup(rel);
    cleanup(closep) int dir = -1;
    char *slash = strrchr(up, '/');
    int r;

    if (slash)
        *slash = 0;
    dir = openat2_beneath(j->root_fd, slash ? up : ".", O_RDONLY | O_DIRECTORY, 0, 0);
    if (dir == -ENOENT && slash) {
        r = make_dir(j, up);
        if (r < 0)
            return r;
        dir = openat2_beneath(j->root_fd, up, O_RDONLY | O_DIRECTORY, 0, 0);
    }
    if (dir < 0)
        return dir;
    if (mkdirat(dir, slash ? slash + 1 : rel, 0777) < 0 && errno != EEXIST)
        return -errno;
    return fsync(dir) < 0 ? -errno : 0;
}

/* The path below the root that a descriptor leads to by now, links followed. NULL when it is not below. */
static char *real_path(struct file_job *j, int fd)
{
    char link[64], root[PATH_MAX], real[PATH_MAX];
    const char *below;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", j->root_fd);
    n = readlink(link, root, sizeof(root) - 1);
    root[MAX(n, (ssize_t)0)] = 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, real, sizeof(real) - 1);
    real[MAX(n, (ssize_t)0)] = 0;
    return path_beneath(root, real, &below) ? xstrdup(below) : NULL;
}

/* The directory and last name of the file that a path leads to. Missing directories are made when `make` is set. Returns
 * the directory's descriptor. */
static int open_parent(struct file_job *j, bool make, char **ret_name)
{
    cleanup(closep) int fd = openat2_beneath(j->root_fd, j->rel, O_PATH, 0, 0);
    cleanup(freep) char *rel = NULL;
    char *slash;
    int dir;

    if (fd < 0 && fd != -ENOENT)
        return say(j, fd, "");
    rel = fd < 0 ? xstrdup(j->rel) : real_path(j, fd);
    if (!rel)
        return say(j, -EXDEV, "");
    slash = strrchr(rel, '/');
    *ret_name = xstrdup(slash ? slash + 1 : rel);
    if (slash)
        *slash = 0;
    dir = openat2_beneath(j->root_fd, slash ? rel : ".", O_RDONLY | O_DIRECTORY, 0, fd >= 0 ? RESOLVE_NO_SYMLINKS : 0);
    if (dir == -ENOENT && make) {
        dir = make_dir(j, rel);
        if (dir == 0)
            dir = openat2_beneath(j->root_fd, rel, O_RDONLY | O_DIRECTORY, 0, 0);
    }
    return dir < 0 ? say(j, dir, "the directory of ") : dir;
}

/* Where links lead, too. */
static int check_guard(struct file_job *j, int dir, const char *name)
{
    cleanup(freep) char *below = j->boxed ? real_path(j, dir) : NULL, *rel = NULL;

    if (!j->boxed)
        return 0;
    rel = !below || strcmp(below, ".") == 0 ? xstrdup(name) : xasprintf("%s/%s", below, name);
    if (!guard_covers(j->rel) && !guard_covers(rel))
        return 0;
    return err_set(&j->e, -EPERM,
                   "%s is protected, since programs outside the box run or believe it: only the user can change it", j->path);
}

/* Makes the names on the way from the root to a directory durable, and those in it: who made it may not have done so. */
static int sync_names(struct file_job *j, int dir)
{
    cleanup(closep) int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    struct stat root, st;

    if (at < 0 || fstat(j->root_fd, &root) < 0)
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

static int write_temp(struct file_job *j, int dir, const struct stat *old)
{
    cleanup(closep) int fd = -1;
    size_t at = 0;

    unlinkat(dir, j->temp, 0);          /* from an earlier try under the same key */
    fd = openat(dir, j->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return say(j, -errno, "cannot write beside ");
    while (at < j->data.n) {
        ssize_t n = write(fd, j->data.p + at, MIN(j->data.n - at, (size_t)1 << 20));

        if (n < 0 && errno != EINTR)
            return say(j, -errno, "cannot write ");
        at += (size_t)MAX(n, (ssize_t)0);
    }
    if (old) {
        /* Owner first: changing it clears setuid bits. A group that the user may not give is left as it is. */
        struct stat now;

        if (fstat(fd, &now) == 0 && (now.st_uid != old->st_uid || now.st_gid != old->st_gid) &&
            fchown(fd, old->st_uid, old->st_gid) < 0 && fchown(fd, (uid_t)-1, old->st_gid) < 0 && errno != EPERM)
            return say(j, -errno, "cannot keep the owner of ");
        if (fchmod(fd, old->st_mode & 07777) < 0)
            return say(j, -errno, "cannot keep the mode of ");
    }
    return fsync(fd) < 0 ? say(j, -errno, "cannot make durable: ") : 0;
}

static int write_file(struct file_job *j)
{
    cleanup(freep) char *name = NULL;
    cleanup(closep) int dir = -1, fd = -1;
    struct stat old, now;
    struct hash hash;
    int r;

    fd = open_file(j);
    if (fd < 0 && fd != -ENOENT && fd != -ENOTDIR)
        return fd;
    if (fd < 0 && j->expects)
        return err_set(&j->e, -ESTALE, "%s is gone", j->path);
    if (fd >= 0) {
        if (!j->expects)
            return err_set(&j->e, -ESTALE, "%s exists by now", j->path);
        r = hash_file(j, fd, &hash);
        if (r < 0)
            return r;
        if (!hash_eq(&hash, &j->hash))
            return err_set(&j->e, -ESTALE, "%s was changed by someone else just now", j->path);
        if (fstat(fd, &old) < 0)
            return say(j, -errno, "");
        if (faccessat(fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) < 0 && errno == EACCES)
            return say(j, -EACCES, "cannot write ");
    }
    if (j->boxed && guard_covers(j->rel))
        return check_guard(j, j->root_fd, j->rel);
    dir = open_parent(j, fd < 0, &name);
    if (dir < 0)
        return dir;
    r = check_guard(j, dir, name);
    if (r < 0)
        return r;
    if (fd >= 0 && (fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_ino != old.st_ino ||
                    now.st_dev != old.st_dev))
        return err_set(&j->e, -ESTALE, "%s was replaced by someone else just now", j->path);
    if (fd < 0)
        old = (struct stat){ .st_mode = j->like.mode, .st_uid = j->like.uid, .st_gid = j->like.gid };
    r = write_temp(j, dir, fd >= 0 || j->alike ? &old : NULL);
    if (r == 0 && fd >= 0 && renameat(dir, j->temp, dir, name) < 0)
        r = say(j, -errno, "cannot replace ");
    if (r == 0 && fd < 0 && renameat2(dir, j->temp, dir, name, RENAME_NOREPLACE) < 0)
        r = errno == EEXIST ? err_set(&j->e, -ESTALE, "%s exists by now, or is a link that leads nowhere", j->path)
                            : say(j, -errno, "cannot create ");
    if (r < 0) {
        unlinkat(dir, j->temp, 0);
        return r;
    }
    r = fd < 0 ? sync_names(j, dir) : fsync(dir) < 0 ? -errno : 0;
    if (r < 0)
        return err_set(&j->e, -EUCLEAN, "%s was changed, but its directory could not be synced (%s): a power failure may undo "
                       "the change", j->path, strerror(-r));
    return 0;
}

static void write_run(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);

    j->result = write_file(j);
}

static int remove_file(struct file_job *j)
{
    cleanup(freep) char *name = NULL;
    cleanup(closep) int dir = -1, fd = openat2_beneath(j->root_fd, j->rel, O_PATH | O_NOFOLLOW, 0, 0);
    struct stat st, now;
    struct hash hash;
    int r;

    if (fd < 0)
        return fd == -ENOENT ? err_set(&j->e, -ESTALE, "%s is gone", j->path) : say(j, fd, "");
    if (fstat(fd, &st) < 0)
        return say(j, -errno, "");
    if (S_ISLNK(st.st_mode))
        return err_set(&j->e, -ELOOP, "%s is a link", j->path);
    close(fd);
    fd = open_file(j);
    if (fd < 0)
        return fd;
    r = hash_file(j, fd, &hash);
    if (r < 0)
        return r;
    if (!hash_eq(&hash, &j->hash))
        return err_set(&j->e, -ESTALE, "%s was changed by someone else just now", j->path);
    dir = open_parent(j, false, &name);
    if (dir < 0)
        return dir;
    r = check_guard(j, dir, name);
    if (r < 0)
        return r;
    if (fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_ino != st.st_ino || now.st_dev != st.st_dev)
        return err_set(&j->e, -ESTALE, "%s was replaced by someone else just now", j->path);
    if (unlinkat(dir, name, 0) < 0)
        return say(j, -errno, "cannot remove ");
    return fsync(dir) < 0 ? err_set(&j->e, -EUCLEAN, "%s was removed, but its directory could not be synced (%s): a power failure "
                                    "may bring it back", j->path, strerror(errno)) : 0;
}

static void remove_run(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);

    j->result = remove_file(j);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct env_entry *)a)->name, ((const struct env_entry *)b)->name);
}

static void list_run(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);
    struct env_entries *l = &j->entries;
    int fd = openat2_beneath(j->root_fd, j->rel, O_RDONLY | O_DIRECTORY, 0, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *de;

    if (!dir) {
        j->result = say(j, fd < 0 ? fd : -errno, "");
        return;
    }
    while ((de = readdir(dir))) {
        struct stat st = {0};
        bool is_dir, is_link, is_file;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (l->n == ENV_ENTRIES_MAX) {
            l->more = true;
            break;
        }
        fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW);
        is_dir = S_ISDIR(st.st_mode);
        is_link = S_ISLNK(st.st_mode);
        is_file = S_ISREG(st.st_mode);
        GROW(l->v, l->n, l->cap);
        l->v[l->n++] = (struct env_entry){ xstrdup(de->d_name), is_dir ? 'd' : is_link ? 'l' : is_file ? '-' : '?', st.st_size };
    }
    closedir(dir);
    if (l->n)
        qsort(l->v, l->n, sizeof(*l->v), by_name);
}

static void tidy_run(struct job *job)
{
    struct file_job *j = container_of(job, struct file_job, job);
    cleanup(freep) char *name = NULL;
    cleanup(closep) int dir = open_parent(j, false, &name);
    int r;

    if (dir < 0)
        return;                         /* nothing was written there */
    if (j->temp)
        unlinkat(dir, j->temp, 0);
    r = sync_names(j, dir);
    if (r < 0)
        j->result = say(j, r, "the directory of ");
}

/* A job for a path, or -EXDEV in words when the path's text already leads out. */
static int file_job_new(struct local *l, struct str path, void (*run)(struct job *), struct file_job **ret, struct err *e)
{
    cleanup(freep) char *full = path_resolve(l->root, path);
    struct file_job *j;
    const char *rel;

    if (path.n == 0 || memchr(path.p, 0, path.n))
        return err_set(e, -EINVAL, "the path is empty or holds a zero byte");
    if (!path_beneath(l->root, full, &rel))
        return err_set(e, -EXDEV, "%s is outside the workspace %s", full, l->root);
    j = xcalloc(1, sizeof(*j));
    j->job.run = run;
    j->job.free = file_job_free;
    j->root_fd = fcntl(l->root_fd, F_DUPFD_CLOEXEC, 0);
    j->boxed = l->box;
    j->root = xstrdup(l->root);
    j->rel = xstrdup(rel);
    j->path = TAKE(full);
    if (j->root_fd < 0) {
        int r = err_set(e, -errno, "%s: %s", j->path, strerror(errno));

        file_job_free(&j->job);
        return r;
    }
    *ret = j;
    return 0;
}

static CO int file_job_do(struct file_job *j, const char *why, struct err *e)
{
    int r = offload(&j->job, why, FIBER_FOREVER);

    if (r < 0)
        return err_set(e, r, "stopped");
    if (j->result < 0)
        *e = j->e;
    return j->result;
}

static CO int local_read(struct env *v, struct str path, int64_t offset, size_t max, struct buf *out, struct env_stat *st,
                         struct err *e)
{
    struct file_job *j;
    int r = file_job_new(local(v), path, read_run, &j, e);

    if (r < 0)
        return r;
    j->offset = offset;
    j->max = max;
    /* What is in the page cache is read here and now: two switches of thread cost more than the read. */
    j->cached = true;
    read_run(&j->job);
    r = j->result;
    if (r == -EAGAIN || r == -EOPNOTSUPP || r == -EINVAL) {
        j->cached = false;
        j->result = 0;
        buf_clear(&j->out);
        r = file_job_do(j, "a file to be read", e);
        if (r == -ECANCELED)
            return r;
    } else if (r < 0) {
        *e = j->e;
    }
    *st = j->st;
    if (r == 0)
        r = buf_add_str(out, buf_str(&j->out));
    job_free(&j->job);
    return r;
}

static CO int local_look(struct env *v, struct str path, struct env_stat *st, struct hash *ret, struct err *e)
{
    struct file_job *j;
    int r = file_job_new(local(v), path, look_run, &j, e);

    if (r < 0)
        return r;
    r = file_job_do(j, "a file to be hashed", e);
    if (r == -ECANCELED)
        return r;
    *st = j->st;
    *ret = j->hash;
    job_free(&j->job);
    return r;
}

static char *temp_name(const char *key)
{
    return xasprintf(".rein-%s.tmp", key);
}

static CO int local_write(struct env *v, const struct env_write *w, struct err *e)
{
    struct file_job *j;
    int r = file_job_new(local(v), w->path, write_run, &j, e);

    if (r < 0)
        return r;
    j->temp = temp_name(w->key);
    j->data = w->data;
    j->expects = w->expect != NULL;
    if (w->expect)
        j->hash = *w->expect;
    j->alike = w->like != NULL;
    if (w->like)
        j->like = *w->like;
    fiber_shield();                     /* it borrows the data, and it has to be known whether it happened */
    r = file_job_do(j, "a file to be written", e);
    fiber_unshield();
    job_free(&j->job);
    return r;
}

static CO int local_remove(struct env *v, struct str path, const struct hash *expect, struct err *e)
{
    struct file_job *j;
    int r = file_job_new(local(v), path, remove_run, &j, e);

    if (r < 0)
        return r;
    j->hash = *expect;
    fiber_shield();
    r = file_job_do(j, "a file to be removed", e);
    fiber_unshield();
    job_free(&j->job);
    return r;
}

static CO int local_list(struct env *v, struct str path, struct env_entries *ret, struct err *e)
{
    struct file_job *j;
    int r = file_job_new(local(v), path, list_run, &j, e);

    if (r < 0)
        return r;
    r = file_job_do(j, "a directory to be read", e);
    if (r == -ECANCELED)
        return r;
    *ret = j->entries;
    j->entries = (struct env_entries){0};
    job_free(&j->job);
    return r;
}

static CO int local_tidy(struct env *v, struct str path, const char *key, struct err *e)
{
    struct file_job *j;
    int r = file_job_new(local(v), path, tidy_run, &j, e);

    if (r < 0)
        return r;
    j->temp = key ? temp_name(key) : NULL;
    r = file_job_do(j, "what a killed rein left of a file to be put in order", e);
    if (r != -ECANCELED)
        job_free(&j->job);
    return r;
}

static const char *local_life(struct env *v)
{
    (void)v;
    return proc_boot();
}

static void local_free(struct env *v)
{
    struct local *l = local(v);

    local_jobs_free(l);
    close(l->root_fd);
    free(l->root);
    free(l->path);
    free(l->spool);
    free(l->shown);
    free(l->spare);
    if (l->box)
        boxing_done(l->box);
    free(l->box);
    free(l);
}

static const struct env_ops ops = {
    .read = local_read, .look = local_look, .write = local_write, .remove = local_remove, .list = local_list,
        .search = local_search, .tidy = local_tidy,
        .ready = local_ready, .run = local_run,
    .job_start = local_job_start, .job_look = local_job_look, .job_waits = local_job_waits, .job_send = local_job_send,
        .job_sent = local_job_sent,
    .drop = local_drop, .settle = local_settle, .output = local_output, .keep = local_keep, .resolve = local_resolve,
        .life = local_life,
    .free = local_free,
};

void env_box(struct env *v, struct boxing *box)
{
    local(v)->box = box;
}

int env_local(const char *root, const char *home, struct env **ret, struct err *e)
{
    const char *user = getenv("HOME"), *below;
    cleanup(freep) char *real_user = user ? realpath(user, NULL) : NULL, *real_home = realpath(home, NULL);
    struct local *l;
    int fd;

    if (real_home)
        home = real_home;               /* else it does not exist yet */
    if (strcmp(root, "/") == 0 || (real_user && strcmp(root, real_user) == 0))
        return err_set(e, -EPERM, "%s cannot be a workspace: start rein in a project's folder, or name one with -C", root);
    if (path_beneath(root, home, &below) || path_beneath(home, root, &below))
        return err_set(e, -EPERM, "%s cannot be a workspace: rein keeps its own records in %s", root, home);
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, -errno, "the workspace %s cannot be opened: %s", root, strerror(errno));
    l = xcalloc(1, sizeof(*l));
    l->env.ops = &ops;
    l->root = xstrdup(root);
    l->spool = xasprintf("%s/spool", home);
    l->root_fd = fd;
    *ret = &l->env;
    return 0;
}
