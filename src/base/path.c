#include "base/path.h"

#include "base/buf.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_resolve(const char *cwd, struct str path)
{
    cleanup(buf_done) struct buf all = {0};
    struct buf out = {0};
    char *save = NULL;

    if (path.n == 0 || path.p[0] != '/') {
        buf_adds(&all, cwd);
        buf_addc(&all, '/');
    }
    buf_add_str(&all, path);
    for (char *part = strtok_r(all.p, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            while (out.n && out.p[out.n - 1] != '/')
                out.n--;
            if (out.n)
                out.n--;
            if (out.p)
                out.p[out.n] = 0;
            continue;
        }
        buf_addc(&out, '/');
        buf_adds(&out, part);
    }
    if (out.n == 0)
        buf_addc(&out, '/');
    return buf_take(&out);
}

bool path_beneath(const char *root, const char *path, const char **ret_rest)
{
    size_t n = strlen(root);

    if (strncmp(root, path, n) != 0)
        return false;
    if (path[n] == 0) {
        *ret_rest = ".";
        return true;
    }
    if (n && root[n - 1] == '/')
        n--;
    if (path[n] != '/')
        return false;
    *ret_rest = path + n + 1;
    return true;
}

int path_mkdirs(const char *path)
{
    cleanup(freep) char *p = xstrdup(path);

    for (char *slash = strchr(p + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = 0;
        if (mkdir(p, 0700) < 0 && errno != EEXIST)
            return -errno;
        if (!slash)
            return 0;
        *slash = '/';
    }
}

static void remove_at(int dir, const char *name, int depth)
{
    int fd = unlinkat(dir, name, 0) < 0 && depth ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    struct dirent *de;
    DIR *d;

    if (fd < 0 && errno == EACCES && fchmodat(dir, name, 0700, 0) == 0)
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    fchmod(fd, 0700);
    d = fdopendir(fd);
    while (d && (de = readdir(d)))
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
            remove_at(fd, de->d_name, depth - 1);
    if (d)
        closedir(d);
    unlinkat(dir, name, AT_REMOVEDIR);
}

void path_remove(int dir, const char *name)
{
    remove_at(dir, name, 1000);
}
