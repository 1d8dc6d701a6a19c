/* guard_judge.c - what is new in a workspace, or in a layer over it, and may not stay. */
#include "files/guard.h"

#include "base/path.h"
#include "files/ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#define CONFIG_MAX  ((size_t)1 << 20)
#define SAME_MAX    ((size_t)8 << 20)   /* bytes: above that nobody looks whether a file is the same */
#define DEPTH_MAX   200

/* Whether a line of git's configuration is ordinary: it names people, branches, plain addresses, and how files lie on this disk. */
static bool harmless(const char *section, const char *key, const char *value)
{
    static const char *const core[] = { "repositoryformatversion", "filemode", "bare", "logallrefupdates", "ignorecase",
                                        "precomposeunicode",
                                        "symlinks", "autocrlf", "eol", "safecrlf", "quotepath", "abbrev", "untrackedcache",
                                        "preloadindex" };
    static const char *const sections[] = { "user", "branch", "init", "extensions", "pull", "push", "rebase", "commit", "color",
                                            "advice", "index", "gc", "pack", "fetch", "status", "log", "submodule", "receive",
                                            "maintenance" };
    static const char *const programs[] = { "hook", "command", "cmd", "program", "helper", "proxy", "path", "exec", "pack",
                                            "update", "template", "editor", "driver", "textconv", "process", "clean", "smudge",
                                            "ssh", "pager", "receivepack",
                                            "uploadpack", "file", "gpgsign", "signingkey" };
    size_t n = strcspn(section, " .\"");

    if (value[0] == '!' || strstr(value, "ext::") || strstr(value, "`") || value[0] == '-')
        return false;
    if (n == 4 && strncasecmp(section, "core", 4) == 0 && section[4] == 0) {
        for (size_t i = 0; i < ARRAY_SIZE(core); i++)
            if (strcasecmp(key, core[i]) == 0)
                return true;
        return false;
    }
    if (n == 6 && strncasecmp(section, "remote", 6) == 0)
        return strcasecmp(key, "url") == 0 || strcasecmp(key, "fetch") == 0 || strcasecmp(key, "pushurl") == 0 || strcasecmp(key,
            "push") == 0 ||
               strcasecmp(key, "tagopt") == 0 || strcasecmp(key, "prune") == 0 || strcasecmp(key, "promisor") == 0 ||
               strcasecmp(key, "partialclonefilter") == 0;
    if (strcasecmp(key, "signingkey") == 0 && n == 4)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
        if (strcasestr(key, programs[i]))
            return false;
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
        if (strlen(sections[i]) == n && strncasecmp(section, sections[i], n) == 0)
            return true;
    return false;
}

/* Whether a folder that a configuration names is one in the workspace, or in the layer over it: a submodule's is. */
static bool names_inside(int dir, int below, const char *rel, const char *value)
{
    cleanup(freep) char *config = xasprintf("/w/%s", rel), *abs = NULL;
    cleanup(closep) int in = -1;
    const char *at;

    *strrchr(config, '/') = 0;
    abs = path_resolve(config, str_of(value));
    if (!path_beneath("/w", abs, &at))
        return false;
    in = open_beneath(dir, at, O_PATH | O_DIRECTORY, RESOLVE_NO_LINKS);
    if (in < 0 && below >= 0)
        in = open_beneath(below, at, O_PATH | O_DIRECTORY, RESOLVE_NO_LINKS);
    return in >= 0;
}

/* What of a configuration is not ordinary, a line each, or false: it cannot be read as one. It is read as git writes it, a setting
 * a line. Whatever else may be in one (a setting behind a section's name, lines that go on) is nothing that git writes by itself,
 * and not believed; no more is what stands below a section's name that is none. */
static bool odd_settings(int dir, int below, const char *rel, struct buf *ret)
{
    cleanup(buf_done) struct buf text = {0};
    char section[512] = "?", line[4096];
    bool more = false;

    if (read_whole(dir, rel, CONFIG_MAX, &text) < 0 || (text.n && memchr(text.p, 0, text.n)))
        return false;
    for (struct str rest = buf_str(&text); rest.n;) {
        const char *nl = memchr(rest.p, '\n', rest.n);
        size_t n = nl ? (size_t)(nl - rest.p) : rest.n;
        char *at, *eq, *end;
        bool odd = more;

        if (n >= sizeof(line))
            return false;
        snprintf(line, sizeof(line), "%.*s", (int)n, rest.p);
        rest = str_from(rest, MIN(n + 1, rest.n));
        while (n && strchr("\r\n\t ", line[n - 1]))
            line[--n] = 0;
        at = line + strspn(line, " \t");
        if (!more && (*at == 0 || *at == '#' || *at == ';'))
            continue;
        more = line[n ? n - 1 : 0] == '\\';
        if (*at == '[') {
            end = strrchr(at, ']');
            odd = odd || more || !end || end[1] || strchr(at + 1, '[') || (size_t)(end - at) >= sizeof(section);
            snprintf(section, sizeof(section), "%.*s", odd ? 1 : (int)(end - at - 1), odd ? "?" : at + 1);
            if (odd)
                buf_addf(ret, "%s\n", line);
            continue;
        }
        if (odd || more) {
            buf_addf(ret, "[%s] %s\n", section, line);
            continue;
        }
        eq = strchr(at, '=');
        end = eq ? eq : at + strlen(at);
        while (end > at && strchr(" \t", end[-1]))
            end--;
        if (eq)
            eq += 1 + strspn(eq + 1, " \t");
        *end = 0;
        if (!harmless(section, at, eq ? eq : "") &&
            !(strcasecmp(section, "core") == 0 && strcasecmp(at, "worktree") == 0 && eq && names_inside(dir, below, rel, eq)))
            buf_addf(ret, "[%s] %s = %s\n", section, at, eq ? eq : "");
    }
    return true;
}

/* A configuration of ordinary settings, or with the others that it had below a layer. */
static bool is_ordinary(int dir, int below, const char *rel)
{
    cleanup(buf_done) struct buf odd = {0}, had = {0};

    if (!odd_settings(dir, below, rel, &odd))
        return false;
    if (below >= 0 && !odd_settings(below, -1, rel, &had))
        buf_clear(&had);
    return odd.n == had.n && (!odd.n || memcmp(odd.p, had.p, odd.n) == 0);
}

/* Whether a file, a link or a folder in a layer is what lies below it, under the same name. */
static bool is_as_below(int dir, int below, const char *name, int depth)
{
    cleanup(buf_done) struct buf a = {0}, b = {0};
    struct stat new, old;
    struct dirent *de;
    bool same = true;
    DIR *d;

    if (below < 0 || fstatat(dir, name, &new, AT_SYMLINK_NOFOLLOW) < 0 || fstatat(below, name, &old, AT_SYMLINK_NOFOLLOW) < 0 ||
        new.st_mode != old.st_mode || depth > DEPTH_MAX)
        return false;
    if (S_ISLNK(new.st_mode)) {
        char to[PATH_MAX], was[PATH_MAX];
        ssize_t n = readlinkat(dir, name, to, sizeof(to));

        return n > 0 && readlinkat(below, name, was, sizeof(was)) == n && memcmp(to, was, (size_t)n) == 0;
    }
    if (!S_ISDIR(new.st_mode))
        return S_ISREG(new.st_mode) && new.st_size == old.st_size && read_whole(dir, name, SAME_MAX, &a) == 0 &&
               read_whole(below, name, SAME_MAX, &b) == 0 && a.n == b.n && (!a.n || memcmp(a.p, b.p, a.n) == 0);
    {
        cleanup(closep) int up = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        cleanup(closep) int low = openat(below, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        d = up < 0 || low < 0 ? NULL : fdopendir(fcntl(up, F_DUPFD_CLOEXEC, 0));
        while (d && same && (de = readdir(d)))
            same = strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 || is_as_below(up, low, de->d_name, depth + 1);
    }
    if (d)
        closedir(d);
    return d && same;
}

/* Hooks that git does not run, or has run before: samples, and what lies below a layer. */
static bool only_samples(int root, int below, const char *rel)
{
    cleanup(closep) int up = open_beneath(root, rel, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_LINKS);
    cleanup(closep) int low = below < 0 ? -1 : open_beneath(below, rel, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_LINKS);
    DIR *d = up < 0 ? NULL : fdopendir(fcntl(up, F_DUPFD_CLOEXEC, 0));
    struct dirent *de;
    bool good = d != NULL;

    while (d && good && (de = readdir(d))) {
        size_t n = strlen(de->d_name);

        good = de->d_name[0] == '.' || (n > 7 && strcmp(de->d_name + n - 7, ".sample") == 0) ||
               is_as_below(up, low, de->d_name, 0);
    }
    if (d)
        closedir(d);
    return good;
}

static int open_parent(int dir, const char *path)
{
    const char *slash = strrchr(path, '/');
    cleanup(freep) char *up = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");

    return dir < 0 ? -1 : open_beneath(dir, up, O_RDONLY | O_DIRECTORY, RESOLVE_NO_LINKS);
}

/* Whether something is what lies below the layer at its own place, or at the top of the workspace under its name, as in one more
 * worktree: there it acts already. */
static bool is_known(int root, int below, const char *path)
{
    const char *places[] = { path, guard_name(path) }, *slash = strrchr(path, '/');
    cleanup(closep) int up = open_parent(root, path);
    bool known = false;

    for (size_t i = 0; i < 2 && up >= 0 && !known; i++) {
        cleanup(closep) int low = places[i] ? open_parent(below, places[i]) : -1;

        known = low >= 0 && is_as_below(up, low, slash ? slash + 1 : path, 0);
    }
    return known;
}

static bool is_whiteout(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

/* Whether a layer removes one of the files of such a folder: as good as to remove the folder, after which an editor does less. */
static bool is_dropped(int root, const char *path)
{
    cleanup(closep) int up = open_parent(root, path);
    const char *name = guard_name(path), *slash = name ? strrchr(name, '/') : NULL;

    return up >= 0 && slash && is_whiteout(up, slash + 1);
}

static bool may_stay(int root, int below, const struct guarded *g)
{
    if (g->below)                       /* it was no repository's: nothing of it has counted so far */
        root = below, below = -1;
    switch (g->kind) {
    case KIND_GIT:
        return true;                    /* what counts of it is in the list by itself */
    case KIND_SHARED:
    case KIND_SECRET:
        return true;                    /* a box cannot make one */
    case KIND_CONFIG:
        return is_ordinary(root, below, g->path);
    case KIND_HOOKS:
        return only_samples(root, below, g->path);
    case KIND_FILE:
        if (below >= 0 && strcmp(g->path, ".rein") == 0 && is_whiteout(root, g->path))
            return true;                /* a layer begins with that */
        __attribute__((fallthrough));
    default:
        return is_known(root, below, g->path) || is_dropped(root, g->path);
    }
}

/* A file that says where a repository is: new with a worktree or a submodule, and harmless if that is in the workspace, where
 * it has been looked at itself. `below`: what lies under a layer, or -1. */
static bool leads_inside(int root, int below, const char *named, const struct guarded *g)
{
    cleanup(closep) int fd = openat(root, g->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), in = -1;
    char text[4096];
    cleanup(freep) char *up = xasprintf("%s/%s", named, g->path), *abs = NULL;
    char *base = strrchr(up, '/');
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    const char *rel;

    if (strcasecmp(base + 1, ".git") != 0 || n <= 8 || strncmp(text, "gitdir: ", 8) != 0)
        return false;
    text[n] = 0;
    text[strcspn(text, "\r\n")] = 0;
    *base = 0;
    abs = path_resolve(up, str_of(text + 8));
    if (!path_beneath(named, abs, &rel) || strcmp(rel, ".") == 0)
        return false;
    in = open_beneath(root, rel, O_PATH | O_DIRECTORY, 0);
    if (in < 0 && below >= 0)
        in = open_beneath(below, rel, O_PATH | O_DIRECTORY, 0);
    return in >= 0;
}

void guard_check(int root, int below, const char *named, const struct guard *before, struct buf *ret)
{
    struct guard now;

    guard_scan(root, below, before, &now);
    for (size_t i = 0; i < now.n; i++) {
        const struct guarded *g = &now.v[i];

        if (!guard_has(before, g) && !may_stay(root, below, g) && !(g->kind == KIND_FILE && leads_inside(root, below, named, g)))
            buf_add(ret, g->path, strlen(g->path) + 1);
    }
    guard_done(&now);
}
