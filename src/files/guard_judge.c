/* guard_judge.c - what is new in a workspace, or in a layer over it, and may not stay. */
#include "files/guard.h"

#include "base/path.h"
#include "files/ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#define CONFIG_MAX  ((size_t)1 << 20)

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

/* A configuration as git writes it, a setting a line. Whatever else may be in one (a setting behind a section's name, lines
 * that go on) is nothing that git writes by itself, and not believed. */
static bool is_ordinary(int dir, const char *rel)
{
    cleanup(closep) int fd = openat(dir, rel, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char section[512] = "", line[4096];
    bool good = true;
    struct stat st;
    FILE *f;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size > CONFIG_MAX)
        return false;
    f = fdopen(TAKE_FD(fd), "re");
    while (f && good && fgets(line, sizeof(line), f)) {
        size_t n = strlen(line);
        char *at = line + strspn(line, " \t"), *eq, *end;

        if (n == 0 || (line[n - 1] != '\n' && !feof(f)))
            good = false;
        while (n && strchr("\r\n\t ", line[n - 1]))
            line[--n] = 0;
        if (n && line[n - 1] == '\\')
            good = false;
        if (*at == 0 || *at == '#' || *at == ';')
            continue;
        if (*at == '[') {
            end = strrchr(at, ']');
            if (!end || end[1] || strchr(at + 1, '[') || (size_t)(end - at) >= sizeof(section))
                good = false;
            else
                snprintf(section, sizeof(section), "%.*s", (int)(end - at - 1), at + 1);
            continue;
        }
        eq = strchr(at, '=');
        end = eq ? eq : at + strlen(at);
        while (end > at && strchr(" \t", end[-1]))
            end--;
        if (eq)
            eq += 1 + strspn(eq + 1, " \t");
        *end = 0;
        good = good && harmless(section, at, eq ? eq : "");
    }
    if (f)
        fclose(f);
    return good && f;
}

/* Hooks that git does not run: samples. */
static bool only_samples(int root, const char *rel)
{
    int fd = openat(root, rel, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *de;
    bool good = d != NULL;

    while (d && good && (de = readdir(d))) {
        size_t n = strlen(de->d_name);

        good = de->d_name[0] == '.' || (n > 7 && strcmp(de->d_name + n - 7, ".sample") == 0);
    }
    if (d)
        closedir(d);
    return good;
}

static bool may_stay(int root, const struct guarded *g)
{
    switch (g->kind) {
    case KIND_GIT:
        return true;                    /* what counts of it is in the list by itself */
    case KIND_SHARED:
    case KIND_SECRET:
        return true;                    /* a box cannot make one */
    case KIND_CONFIG:
        return is_ordinary(root, g->path);
    case KIND_HOOKS:
        return only_samples(root, g->path);
    default:
        return false;
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

    guard_scan(root, before, &now);
    for (size_t i = 0; i < now.n; i++) {
        const struct guarded *g = &now.v[i];

        if (!guard_has(before, g) && !may_stay(root, g) && !(g->kind == KIND_FILE && leads_inside(root, below, named, g)))
            buf_add(ret, g->path, strlen(g->path) + 1);
    }
    guard_done(&now);
}
