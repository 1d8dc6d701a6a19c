#include "files/worktree.h"

#include "base/path.h"
#include "files/ops.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define POINTER_MAX ((size_t)8192)      /* bytes of a file that names a folder */

/* The first line of a small file, or NULL. */
static char *first_line(int dir, const char *path)
{
    cleanup(closep) int fd = openat(dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char text[POINTER_MAX];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n <= 0)
        return NULL;
    text[n] = 0;
    text[strcspn(text, "\r\n")] = 0;
    return xstrdup(text);
}

static char *resolve(const char *base, const char *path)
{
    cleanup(freep) char *joined = *path == '/' ? xstrdup(path) : xasprintf("%s/%s", base, path);

    return realpath(joined, NULL);
}

/* A worktree's folder names the worktree's file .git. */
static bool is_worktree(const char *folder, const char *root)
{
    cleanup(freep) char *path = xasprintf("%s/gitdir", folder), *line = first_line(AT_FDCWD, path), *own = NULL;
    cleanup(freep) char *want = xasprintf("%s/.git", root);

    own = line ? resolve(folder, line) : NULL;
    return own && strcmp(own, want) == 0;
}

/* A submodule's configuration names the workspace. */
static bool is_submodule(const char *folder, const char *root)
{
    cleanup(freep) char *path = xasprintf("%s/config", folder);
    FILE *f = fopen(path, "re");
    char line[POINTER_MAX];
    bool is = false;

    while (f && !is && fgets(line, sizeof(line), f)) {
        char *at = line + strspn(line, " \t"), *eq = strchr(at, '=');
        cleanup(freep) char *own = NULL;

        if (strncmp(at, "worktree", 8) != 0 || !eq)
            continue;
        eq += 1 + strspn(eq + 1, " \t\"");
        eq[strcspn(eq, "\"\r\n")] = 0;
        own = resolve(folder, eq);
        is = own && strcmp(own, root) == 0;
    }
    if (f)
        fclose(f);
    return is;
}

static bool is_git(const char *folder)
{
    cleanup(freep) char *objects = xasprintf("%s/objects", folder), *head = xasprintf("%s/HEAD", folder);
    struct stat st;

    return lstat(objects, &st) == 0 && S_ISDIR(st.st_mode) && lstat(head, &st) == 0;
}

char *worktree_git(int fd, const char *root, const char **ret_index)
{
    cleanup(freep) char *line = NULL, *folder = NULL, *common_path = NULL, *common = NULL, *git = NULL;
    const char *below;
    struct stat st;

    if (fstatat(fd, ".git", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    line = first_line(fd, ".git");
    if (!line || strncmp(line, "gitdir: ", 8) != 0 || !(folder = resolve(root, line + 8)))
        return NULL;
    common_path = xasprintf("%s/commondir", folder);
    common = first_line(AT_FDCWD, common_path);
    if (common ? !is_worktree(folder, root) : !is_submodule(folder, root))
        return NULL;
    git = common ? resolve(folder, common) : xstrdup(folder);
    if (!git || path_beneath(root, git, &below) || path_beneath(git, root, &below) || !is_git(git) || stat(git, &st) < 0 ||
        st.st_uid != geteuid() || !path_beneath(git, folder, &below))
        return NULL;
    *ret_index = strcmp(below, ".") == 0 ? xstrdup("index") : xasprintf("%s/index", below);
    return TAKE(git);
}
