#include "files/guard.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARED_MAX  200         /* mounts; above that whole folders are kept */
#define DEPTH_MAX   200

static const char *const anywhere[] = {
#define ANYWHERE(name) name,
#define TOP(name)
#include "files/guard.def"
#undef ANYWHERE
#undef TOP
};
static const char *const at_top[] = {
#define ANYWHERE(name)
#define TOP(name) name,
#include "files/guard.def"
#undef ANYWHERE
#undef TOP
};

/* Where in the path that name is: the whole of it, or what stands behind a slash; NULL when it does not end so. Case counts for
 * nothing: not every file system knows it. */
static const char *ends_in(const char *path, const char *name, bool top)
{
    size_t n = strlen(name), len = strlen(path);
    bool is;

    n -= name[n - 1] == '/';
    is = len >= n && strncasecmp(path + len - n, name, n) == 0 && (len == n || (!top && path[len - n - 1] == '/'));
    return is ? path + len - n : NULL;
}

const char *guard_name(const char *rel)
{
    const char *at = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(anywhere) && !at; i++)
        at = ends_in(rel, anywhere[i], false);
    for (size_t i = 0; i < ARRAY_SIZE(at_top) && !at; i++)
        at = ends_in(rel, at_top[i], true);
    return at;
}

static bool is_named(const char *rel)
{
    return guard_name(rel) != NULL;
}

bool guard_covers(const char *rel)
{
    cleanup(freep) char *path = xstrdup(rel);

    for (char *end = path; end; ) {
        char *slash = strchr(end, '/');

        if (slash)
            *slash = 0;
        if (is_named(path) || strcasecmp(end, ".git") == 0)
            return true;
        if (slash)
            *slash++ = '/';
        end = slash;
    }
    return false;
}

static void add(struct guard *g, const char *rel, const struct stat *st, char kind)
{
    GROW(g->v, g->n, g->cap);
    g->v[g->n++] = (struct guarded){ xstrdup(rel), st->st_dev, st->st_ino, S_ISLNK(st->st_mode) ? KIND_LINK : kind, false };
}

/* Files that have more than one name. */
struct shared {
    char *path;
    uint64_t dev, ino;
    unsigned links;
    bool secret;
};

struct scan {
    struct guard *guard;
    bool links;                 /* hard links are looked for, which needs a look at every file */
    struct shared *shared;
    size_t n, cap;
};

static bool has(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void scan(struct scan *s, int dir, int below, const char *rel, int depth);

static int open_folder(int dir, const char *name)
{
    return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static void scan_folder(struct scan *s, int dir, int below, const char *path, const char *name, int depth)
{
    int fd = depth < DEPTH_MAX ? open_folder(dir, name) : -1;
    cleanup(closep) int under = fd < 0 || below < 0 ? -1 : open_folder(below, name);

    if (fd >= 0)
        scan(s, fd, under, path, depth + 1);
}

static char git_kind(const char *name)
{
    return strcmp(name, "config") == 0 || strcmp(name, "config.worktree") == 0 ? KIND_CONFIG : strcmp(name,
        "hooks") == 0 ? KIND_HOOKS : 0;
}

/* Every name of guard.def begins with a dot, or lies in a folder that does, but for one: nearly all others need no second look. */
static bool may_be_named(const char *base, const char *name)
{
    return name[0] == '.' || base[0] == '.' || (name[0] | 32) == 'o';
}

static void scan_entry(struct scan *s, int dir, int below, const char *rel, const char *base, const struct dirent *de, bool git,
                       int depth)
{
    const char *name = de->d_name;
    bool may_be = may_be_named(base, name), own = git && git_kind(name);
    cleanup(freep) char *path = NULL;
    struct stat st;

    if (de->d_type != DT_DIR && de->d_type != DT_UNKNOWN && !may_be && !own && !(s->links && de->d_type == DT_REG))
        return;
    path = xasprintf("%s%s%s", rel, *rel ? "/" : "", name);
    if (de->d_type == DT_DIR && !own && !(may_be && is_named(path))) {
        scan_folder(s, dir, below, path, name, depth);
        return;
    }
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (own) {
        add(s->guard, path, &st, git_kind(name));
    } else if ((may_be && is_named(path)) || (!S_ISDIR(st.st_mode) && strcasecmp(name, ".git") == 0)) {
        add(s->guard, path, &st, S_ISDIR(st.st_mode) ? KIND_FOLDER : KIND_FILE);
    } else if (S_ISDIR(st.st_mode)) {
        scan_folder(s, dir, below, path, name, depth);
    } else if (s->links && S_ISREG(st.st_mode) && st.st_nlink > 1) {
        GROW(s->shared, s->n, s->cap);
        s->shared[s->n++] = (struct shared){ TAKE(path), st.st_dev, st.st_ino, (unsigned)st.st_nlink, guard_may_hide(&st) };
    }
}

/* A git directory is one by what is in it, whatever it is called. */
static bool holds_git(int dir, int below)
{
    static const char *const pairs[][2] = { { "objects", "refs" }, { "HEAD", "commondir" } };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
        if ((has(dir, pairs[i][0]) || has(below, pairs[i][0])) && (has(dir, pairs[i][1]) || has(below, pairs[i][1])))
            return true;
    return false;
}

/* What lies under a layer and meant nothing as long as its folder was no repository. */
static void add_below(struct scan *s, int dir, int below, const char *rel)
{
    static const char *const names[] = { "config", "config.worktree", "hooks" };
    struct stat st;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (!has(dir, names[i]) && fstatat(below, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0) {
            cleanup(freep) char *path = xasprintf("%s%s%s", rel, *rel ? "/" : "", names[i]);

            add(s->guard, path, &st, git_kind(names[i]));
            s->guard->v[s->guard->n - 1].below = true;
        }
}

/* Closes the directory. What git would not put into its own is looked at as anywhere else. */
static void scan(struct scan *s, int dir, int below, const char *rel, int depth)
{
    const char *base = strrchr(rel, '/') ? strrchr(rel, '/') + 1 : rel;
    bool named = strcasecmp(base, ".git") == 0 || strstr(rel, ".git/modules/");
    bool git = named || holds_git(dir, below);
    struct dirent *de;
    struct stat st;
    DIR *d;

    if (git && fstat(dir, &st) == 0)
        add(s->guard, rel, &st, KIND_GIT);
    if (git && !named && below >= 0 && !holds_git(below, -1))
        add_below(s, dir, below, rel);
    d = fdopendir(dir);
    while (d && (de = readdir(d))) {
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 && !(named && strcmp(de->d_name, "objects") == 0))
            scan_entry(s, dir, below, rel, base, de, git, depth);
    }
    if (d)
        closedir(d);
    else
        close(dir);
}

static int by_inode(const void *a, const void *b)
{
    const struct shared *x = a, *y = b;

    return x->dev != y->dev ? (x->dev < y->dev ? -1 : 1) : x->ino != y->ino ? (x->ino < y->ino ? -1 : 1) : 0;
}

/* Those whose other names are not all in the workspace. */
static void note_shared(struct scan *s)
{
    size_t same, outside = 0;
    bool folders;

    if (s->n)
        qsort(s->shared, s->n, sizeof(*s->shared), by_inode);
    for (int round = 0; round < 2; round++) {
        folders = outside > SHARED_MAX;
        for (size_t i = 0; i < s->n; i += same) {
            for (same = 1; i + same < s->n && by_inode(&s->shared[i], &s->shared[i + same]) == 0; same++)
                ;
            if (same >= s->shared[i].links)
                continue;
            if (round == 0) {
                outside += same;
                continue;
            }
            for (size_t k = i; k < i + same; k++) {
                const struct shared *f = &s->shared[k];
                cleanup(freep) char *path = xstrndup(f->path, folders && !f->secret ? strcspn(f->path, "/") : strlen(f->path));
                struct stat st = { .st_dev = f->dev, .st_ino = f->ino, .st_mode = S_IFREG };
                bool known = false;

                for (size_t g = 0; g < s->guard->n && folders && !known; g++)
                    known = strcmp(s->guard->v[g].path, path) == 0 && s->guard->v[g].kind == KIND_SHARED;
                if (!known)
                    add(s->guard, path, &st, f->secret ? KIND_SECRET : KIND_SHARED);
            }
        }
    }
    for (size_t i = 0; i < s->n; i++)
        free(s->shared[i].path);
    free(s->shared);
}

void guard_scan(int root, int below, const struct guard *before, struct guard *ret)
{
    int dir = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct scan s = { .guard = ret, .links = !before };

    *ret = (struct guard){0};
    if (dir >= 0)
        scan(&s, dir, below, "", 0);
    note_shared(&s);
    for (size_t i = 0; before && i < before->n; i++)
        if (before->v[i].kind == KIND_SHARED || before->v[i].kind == KIND_SECRET) {
            struct guarded g = before->v[i];

            g.path = xstrdup(g.path);
            GROW(ret->v, ret->n, ret->cap);
            ret->v[ret->n++] = g;
        }
}

void guard_done(struct guard *g)
{
    for (size_t i = 0; i < g->n; i++)
        free(g->v[i].path);
    free(g->v);
    *g = (struct guard){0};
}

bool guard_has(const struct guard *before, const struct guarded *g)
{
    for (size_t i = 0; i < before->n; i++)
        if (before->v[i].dev == g->dev && before->v[i].ino == g->ino && strcmp(before->v[i].path, g->path) == 0)
            return true;
    return false;
}

bool guard_equal(const struct guard *a, const struct guard *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (!guard_has(b, &a->v[i]))
            return false;
    return a->n == b->n;
}

bool guard_may_hide(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_nlink > 1 && (st->st_mode & 077) == 0;
}

bool guard_hides(const struct guard *g, const struct stat *st)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->v[i].kind == KIND_SECRET && g->v[i].dev == st->st_dev && g->v[i].ino == st->st_ino)
            return true;
    return false;
}

void guard_write(const struct guard *g, struct buf *out)
{
    for (size_t i = 0; i < g->n; i++) {
        buf_addf(out, "%c %llu %llu %s", g->v[i].kind, (unsigned long long)g->v[i].dev, (unsigned long long)g->v[i].ino,
                 g->v[i].path);
        buf_addc(out, 0);
    }
    buf_adds(out, "end");
}

bool guard_read(struct str text, struct guard *ret)
{
    *ret = (struct guard){0};
    while (text.n > 3) {
        const char *end = memchr(text.p, 0, text.n);
        unsigned long long dev, ino;
        int at = 0;
        char kind;

        if (!end || sscanf(text.p, "%c %llu %llu%n", &kind, &dev, &ino, &at) != 3 || text.p[at] != ' ')
            break;
        GROW(ret->v, ret->n, ret->cap);
        ret->v[ret->n++] = (struct guarded){ xstrdup(text.p + at + 1), dev, ino, kind, false };
        text = str_from(text, (size_t)(end - text.p) + 1);
    }
    if (str_is(text, "end"))
        return true;
    guard_done(ret);
    return false;
}
