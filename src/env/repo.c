#include "env/repo.h"

#include "base/buf.h"

#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define RULES_LIMIT ((size_t)1 << 20)

struct repo {
    struct ignore *exclude, *user;
};

/* Reads a small file. False when there is none. */
static bool slurp(int dir, const char *path, int flags, struct buf *out)
{
    cleanup(closep) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)RULES_LIMIT)
        return false;
    while ((n = read(fd, buf_room(out, 4096), 4096)) > 0)
        out->n += (size_t)n;
    return n == 0;
}

struct ignore *rules_read(int dir, const char *path, int flags)
{
    cleanup(buf_done) struct buf text = BUF_MAX(RULES_LIMIT + 8192);

    return slurp(dir, path, flags, &text) ? ignore_new(buf_str(&text)) : NULL;
}

/* A setting of git's configuration, the last one wins. Caller frees; NULL when it is not there. */
static char *core_excludes(struct str config, const char *home)
{
    bool core = false;
    char *ret = NULL;

    while (config.n) {
        const char *nl = memchr(config.p, '\n', config.n);
        size_t n = nl ? (size_t)(nl - config.p) : config.n;
        cleanup(freep) char *line = xstrndup(config.p, n);
        char *at = line + strspn(line, " \t"), value[4096];

        config = str_from(config, n + 1);
        if (*at == '[')
            core = strncasecmp(at, "[core]", 6) == 0;
        else if (core && strncasecmp(at, "excludesfile", 12) == 0 && sscanf(at + 12, " = %4095[^\n\r]", value) == 1) {
            char *path = value + (value[0] == '"');

            path[strcspn(path, "\"")] = 0;
            free(ret);
            ret = path[0] == '~' && path[1] == '/' ? xasprintf("%s%s", home, path + 1) : xstrdup(path);
        }
    }
    return ret;
}

/* The user's own rules: core.excludesFile, or git/ignore in the folder for configuration. */
static struct ignore *user_rules(const char *home)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    cleanup(freep) char *folder = xdg && *xdg ? xstrdup(xdg) : xasprintf("%s/.config", home), *path = NULL;
    cleanup(freep) char *own = xasprintf("%s/.gitconfig", home), *shared = xasprintf("%s/git/config", folder);
    cleanup(buf_done) struct buf text = {0}, more = {0};

    if (slurp(AT_FDCWD, own, 0, &text))
        path = core_excludes(buf_str(&text), home);
    if (!path && slurp(AT_FDCWD, shared, 0, &more))
        path = core_excludes(buf_str(&more), home);
    if (!path)
        path = xasprintf("%s/git/ignore", folder);
    return rules_read(AT_FDCWD, path, 0);
}

/* `.git` may be a file that names the folder. */
struct repo *repo_open(int dir, const char *home)
{
    struct repo *r = NULL;
    struct stat st;

    if (fstatat(dir, ".git", &st, AT_SYMLINK_NOFOLLOW) < 0 || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
        return NULL;
    r = xcalloc(1, sizeof(*r));
    if (S_ISDIR(st.st_mode)) {
        r->exclude = rules_read(dir, ".git/info/exclude", 0);
    } else {
        cleanup(buf_done) struct buf text = {0}, common = {0};

        if (slurp(dir, ".git", 0, &text) && strncmp(text.p, "gitdir: ", 8) == 0) {
            cleanup(freep) char *folder = xstrndup(text.p + 8, strcspn(text.p + 8, "\r\n"));
            cleanup(freep) char *file = xasprintf("%s/commondir", folder), *exclude = NULL;

            if (slurp(dir, file, 0, &common))
                exclude = xasprintf("%s/%.*s/info/exclude", folder, (int)strcspn(common.p, "\r\n"), common.p);
            else
                exclude = xasprintf("%s/info/exclude", folder);
            r->exclude = rules_read(dir, exclude, 0);
        }
    }
    r->user = user_rules(home);
    return r;
}

void repo_free(struct repo *r)
{
    if (!r)
        return;
    ignore_free(r->exclude);
    ignore_free(r->user);
    free(r);
}

enum ignored repo_says(const struct repo *r, struct str path, bool is_dir)
{
    enum ignored says = r->exclude ? ignore_match(r->exclude, path, is_dir) : IGNORE_SAYS_NOTHING;

    if (says == IGNORE_SAYS_NOTHING && r->user)
        says = ignore_match(r->user, path, is_dir);
    return says;
}
