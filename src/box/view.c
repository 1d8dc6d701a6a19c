#include "box/view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#define PLAIN (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define SHM_SIZE "size=256m,mode=1777"

struct view {
    int host, root;                     /* O_PATH: the host's root, the new one */
    int no_file, no_dir;                /* what stands where something is hidden */
    uint64_t processes;
    int *lower;                         /* below the layer */
};

static int open_at(int root, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = { .flags = (uint64_t)(O_PATH | O_CLOEXEC | flags),
                            .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve };

    for (int i = 0; i < 32; i++) {
        int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

        if (fd >= 0 || errno != EAGAIN)
            return fd;
    }
    return -1;
}

/* Makes the way to a path, and a directory or an empty file there. A descriptor of it; links on the way are an error. */
static int make(const struct view *v, const char *path, bool dir)
{
    int at = fcntl(v->root, F_DUPFD_CLOEXEC, 0);

    while (at >= 0) {
        char name[NAME_MAX + 1];
        size_t n;
        int next;
        bool last;

        path += strspn(path, "/");
        n = strcspn(path, "/");
        if (n == 0)
            return at;
        if (n > NAME_MAX) {
            close(at);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, n);
        name[n] = 0;
        path += n;
        last = path[strspn(path, "/")] == 0;
        if (last && !dir) {
            next = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
            if (next >= 0)
                close(next);
        } else {
            mkdirat(at, name, 0755);    /* it may be there; what counts is whether it can be opened */
        }
        next = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (last && !dir ? 0 : O_DIRECTORY));
        close(at);
        at = next;
    }
    return -1;
}

/* Puts what `from` is at `to`, with all that is mounted in it. */
static bool put(int from, int to, uint64_t attributes)
{
    struct mount_attr attr = { .attr_set = attributes };
    int tree = (int)syscall(SYS_open_tree, from, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    bool good = tree >= 0 && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) == 0 &&
                syscall(SYS_move_mount, tree, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;

    if (tree >= 0)
        close(tree);
    return good;
}

static bool is_dir(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool copy_link(const struct view *v, int link, const char *to)
{
    char target[PATH_MAX], up[PATH_MAX];
    ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);
    const char *slash = strrchr(to, '/');
    int dir;
    bool good;

    if (n < 0 || !slash || (size_t)(slash - to) >= sizeof(up))
        return false;
    target[n] = 0;
    memcpy(up, to, (size_t)(slash - to));
    up[slash - to] = 0;
    dir = make(v, up, true);
    good = dir >= 0 && (symlinkat(target, dir, slash + 1) == 0 || errno == EEXIST);
    if (dir >= 0)
        close(dir);
    return good;
}

/* Something of the host's, at its place or another. */
static bool bring(const struct view *v, const char *from, const char *to, uint64_t attributes, bool needed)
{
    int src = open_at(v->host, from, needed ? 0 : O_NOFOLLOW, needed ? RESOLVE_NO_SYMLINKS : 0), dst;
    struct stat st;
    bool good;

    if (!*to)
        to = from;
    if (src < 0)
        return !needed && (errno == ENOENT || errno == ENOTDIR || errno == EACCES);
    if (fstat(src, &st) == 0 && S_ISLNK(st.st_mode)) {
        good = copy_link(v, src, to);
        close(src);
        return good;
    }
    dst = make(v, to, S_ISDIR(st.st_mode));
    good = dst >= 0 && put(src, dst, attributes);
    if (dst >= 0)
        close(dst);
    close(src);
    return good;
}

/* Something of the new root's, mounted on itself. */
static bool again(const struct view *v, const char *path, uint64_t attributes)
{
    int at = open_at(v->root, path, 0, RESOLVE_NO_SYMLINKS);
    bool good = at >= 0 && put(at, at, attributes);

    if (at >= 0)
        close(at);
    return good;
}

static bool hide(const struct view *v, const char *path)
{
    int at = open_at(v->root, path, 0, RESOLVE_NO_SYMLINKS);
    bool good;

    if (at < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;       /* a link leads to what is hidden,
        or to what may be seen */
    good = put(is_dir(at) ? v->no_dir : v->no_file, at, PLAIN | MOUNT_ATTR_RDONLY);
    close(at);
    return good;
}

static bool mount_at(const struct view *v, const char *type, const char *path, unsigned long flags, const char *options)
{
    int at = make(v, path, true);
    bool good = at >= 0 && mount(type, path, type, MS_NOSUID | flags, options) == 0;

    if (at >= 0)
        close(at);
    return good;
}

static bool make_dev(const struct view *v)
{
    static const char *const nodes[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty" };
    static const struct { const char *at, *to; } links[] = {
        { "/dev/fd", "/proc/self/fd" }, { "/dev/stdin", "/proc/self/fd/0" }, { "/dev/stdout", "/proc/self/fd/1" },
        { "/dev/stderr", "/proc/self/fd/2" }, { "/dev/ptmx", "pts/ptmx" },
    };
    bool good = true;

    for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes) && good; i++)
        good = bring(v, nodes[i], "", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, false);
    for (size_t i = 0; i < sizeof(links) / sizeof(*links) && good; i++)
        good = symlink(links[i].to, links[i].at) == 0;
    return good && mount_at(v, "devpts", "/dev/pts", MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620") &&
           mount_at(v, "tmpfs", "/dev/shm", MS_NODEV, SHM_SIZE);
}

/* On newer kernels a pid namespace has a limit of its own, which holds for root too, and has to be set before all that is
 * read-only. */
static void limit_pids(uint64_t n)
{
    int fd = n ? open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        dprintf(fd, "%llu", (unsigned long long)n + 1);
        close(fd);
    }
}

/* Where the host's /proc is covered in part, as in many containers, no new one may be mounted: then the host's shows the names
 * of its processes, but nothing of theirs can be read or touched. What belongs to the machine is read-only, whoever the user is. */
static bool make_proc(const struct view *v)
{
    static const char *const of_machine[] = { "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs",
                                              "/proc/mtrr",
                                              "/proc/acpi", "/proc/scsi" };

    if (!mount_at(v, "proc", "/proc", MS_NODEV | MS_NOEXEC, NULL) &&
        !(errno == EPERM && (v->host < 0 || bring(v, "/proc", "", PLAIN | MOUNT_ATTR_NOEXEC, true))))
        return false;                   /* (the host's is there already where the view was made before) */
    limit_pids(v->processes);
    if (getuid() != 0)
        return true;
    for (size_t i = 0; i < sizeof(of_machine) / sizeof(*of_machine); i++)
        if (!again(v, of_machine[i], PLAIN | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY) && errno != ENOENT)
            return false;
    return true;
}

/* An overlay over something of the new root's. Paths are relative: what stands in a name means nothing to the mount's options. */
static bool make_layer(const struct view *v, const char *path, const char *layer, const char *more)
{
    char options[512];
    int n = snprintf(options, sizeof(options), "lowerdir=.,upperdir=%s/u,workdir=%s/w,userxattr%s", layer, layer, more);

    return strpbrk(layer, ",:\\") == NULL && n > 0 && (size_t)n < sizeof(options) && chdir(path) == 0 &&
           (*v->lower >= 0 || (*v->lower = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) >= 0) &&
           mount("overlay", ".", "overlay", MS_NOSUID | MS_NODEV, options) == 0;
}

static bool make_tmpfs(const struct view *v, const char *path, const char *size)
{
    char options[64];

    snprintf(options, sizeof(options), "mode=1777,size=%.40s", size);
    return mount_at(v, "tmpfs", path, MS_NODEV, options);
}

static bool make_dir(const struct view *v, const char *path)
{
    int fd = make(v, path, true);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool carry_out(const struct view *v, const struct record *r)
{
    if (strcmp(r->verb, "ro") == 0)
        return bring(v, r->a, r->b, PLAIN | MOUNT_ATTR_RDONLY, false);
    if (strcmp(r->verb, "rw") == 0)
        return bring(v, r->a, r->b, PLAIN, true);
    if (strcmp(r->verb, "keep") == 0)
        return again(v, r->a, PLAIN | MOUNT_ATTR_RDONLY);
    if (strcmp(r->verb, "pin") == 0)
        return again(v, r->a, PLAIN);
    if (strcmp(r->verb, "hide") == 0)
        return hide(v, r->a);
    if (strcmp(r->verb, "dir") == 0)
        return make_dir(v, r->a);
    if (strcmp(r->verb, "layer") == 0)
        return make_layer(v, r->a, r->b, ",volatile");
    if (strcmp(r->verb, "plan") == 0)
        return make_layer(v, r->a, r->b, "");
    if (strcmp(r->verb, "tmpfs") == 0)
        return make_tmpfs(v, r->a, r->b);
    if (strcmp(r->verb, "dev") == 0)
        return make_dev(v);
    if (strcmp(r->verb, "proc") == 0)
        return make_proc(v);
    return true;                        /* no matter of files */
}

/* An empty file system becomes the root, the host's lies in it at /old. */
static bool turn(struct view *v)
{
    static const char *const places[] = { "/tmp", "/usr", "/mnt" };
    size_t i = 0;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    while (i < sizeof(places) / sizeof(*places) && mount("tmpfs", places[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=4m") < 0)
        i++;
    if (i == sizeof(places) / sizeof(*places) || chdir(places[i]) < 0 || mkdir("old", 0700) < 0 ||
        syscall(SYS_pivot_root, ".", "old") < 0 || chdir("/") < 0 || mkdir(".dir", 0555) < 0)
        return false;
    v->no_file = open(".file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (v->no_file < 0)
        return false;
    close(v->no_file);
    v->host = open("/old", O_PATH | O_CLOEXEC);
    return v->host >= 0;
}

/* What is always there in the new root: nothing, to stand where something is hidden. */
static bool open_root(struct view *v)
{
    v->root = open("/", O_PATH | O_CLOEXEC);
    v->no_file = open("/.file", O_PATH | O_CLOEXEC);
    v->no_dir = open("/.dir", O_PATH | O_CLOEXEC);
    return v->root >= 0 && v->no_file >= 0 && v->no_dir >= 0;
}

static bool carry_out_from(const struct view *v, const struct profile *p, size_t first, const char **ret_what)
{
    for (size_t i = first; i < p->n; i++)
        if (!carry_out(v, &p->v[i])) {
            *ret_what = *p->v[i].a ? p->v[i].a : p->v[i].verb;
            return false;
        }
    *ret_what = p->cd ? p->cd : "/";
    return chdir(*ret_what) == 0;
}

static void close_root(const struct view *v)
{
    close(v->root);
    close(v->no_file);
    close(v->no_dir);
}

bool view_build(const struct profile *p, int *ret_lower, const char **ret_what)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
    struct view v = { .processes = p->limit[LIMIT_PROCESSES], .lower = ret_lower };

    *ret_lower = -1;
    *ret_what = "a new root";
    if (!turn(&v) || !open_root(&v) || !carry_out_from(&v, p, 0, ret_what))
        return false;
    *ret_what = "the new root";
    close(v.host);
    if (umount2("/old", MNT_DETACH) < 0 || rmdir("/old") < 0 ||
        syscall(SYS_mount_setattr, v.root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return false;
    close_root(&v);
    return true;
}

bool view_finish(const struct profile *p, int *ret_lower, const char **ret_what)
{
    struct view v = { .host = -1, .processes = p->limit[LIMIT_PROCESSES], .lower = ret_lower };
    size_t first = 0;

    *ret_lower = -1;
    while (first < p->n && strcmp(p->v[first].verb, "then") != 0)
        first++;
    *ret_what = "the root";
    if (!open_root(&v))
        return false;
    *ret_what = "proc";
    if (!make_proc(&v) || !carry_out_from(&v, p, first, ret_what))
        return false;
    close_root(&v);
    return true;
}
