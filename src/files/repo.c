#include "files/repo.h"

#include "base/buf.h"

#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define RULES_LIMIT ((size_t)1 << 20)
#define RULES_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

struct repo {
    struct ignore *exclude;
    const struct ignore *user;          /* its owner's */
};

/* Reads a small file, which is closed. False when it is none. */
static bool slurp_fd(int opened, struct buf *out)
{
    cleanup(closep) int fd = opened;
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)RULES_LIMIT)
        return false;
    while ((n = read(fd, buf_room(out, 4096), 4096)) > 0)
        out->n += (size_t)n;
    return n == 0;
}

static bool slurp(int dir, const char *path, int flags, struct buf *out)
{
    return slurp_fd(openat(dir, path, RULES_FLAGS | flags), out);
}

/* The rules in a file, which is closed. */
static struct ignore *rules_take(int fd)
{
    cleanup(buf_done) struct buf text = BUF_MAX(RULES_LIMIT + 8192);

    return slurp_fd(fd, &text) ? ignore_new(buf_str(&text)) : NULL;
}

struct ignore *rules_read(int dir, const char *path, int flags)
{
    return rules_take(openat(dir, path, RULES_FLAGS | flags));
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

/* The file of the user's own rules: core.excludesFile, or git/ignore in the folder for configuration. */
static int user_rules_open(const char *home)
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
    return open(path, RULES_FLAGS);
}

/* The file info/exclude of the repository whose top that is: a descriptor, -1 for none, -2 where there is no repository. `.git` may
 * be a file that names the folder. */
static int exclude_open(int dir)
{
    cleanup(buf_done) struct buf text = {0}, common = {0};
    cleanup(freep) char *folder = NULL, *file = NULL, *exclude = NULL;
    struct stat st;

    if (fstatat(dir, ".git", &st, AT_SYMLINK_NOFOLLOW) < 0 || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
        return -2;
    if (S_ISDIR(st.st_mode))
        return openat(dir, ".git/info/exclude", RULES_FLAGS);
    if (!slurp(dir, ".git", 0, &text) || strncmp(text.p, "gitdir: ", 8) != 0)
        return -1;
    folder = xstrndup(text.p + 8, strcspn(text.p + 8, "\r\n"));
    file = xasprintf("%s/commondir", folder);
    if (slurp(dir, file, 0, &common))
        exclude = xasprintf("%s/%.*s/info/exclude", folder, (int)strcspn(common.p, "\r\n"), common.p);
    else
        exclude = xasprintf("%s/info/exclude", folder);
    return openat(dir, exclude, RULES_FLAGS);
}

static struct repo *repo_new(struct ignore *exclude, const struct ignore *user)
{
    struct repo *r = xcalloc(1, sizeof(*r));

    *r = (struct repo){ exclude, user };
    return r;
}

struct repo *repo_open(int dir, const struct ignore *user)
{
    int fd = exclude_open(dir);

    return fd == -2 ? NULL : repo_new(rules_take(fd), user);
}

void repo_free(struct repo *r)
{
    if (!r)
        return;
    ignore_free(r->exclude);
    free(r);
}

void above_open(struct above *a, const char *root, const char *home)
{
    cleanup(freep) char *git = xasprintf("%s/.git", root), *at = xstrdup(root);
    struct stat st;
    size_t top;

    *a = (struct above){ .user_fd = user_rules_open(home), .exclude_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER };
    if (lstat(git, &st) == 0) {
        cleanup(closep) int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

        a->exclude_fd = dir < 0 ? -1 : exclude_open(dir);
        a->here = true;
        return;
    }
    for (;;) {
        char *slash = strrchr(at, '/');

        if (!slash)
            return;                     /* no repository above */
        *slash = 0;
        free(git);
        git = xasprintf("%s/.git", at);
        if (lstat(git, &st) == 0)
            break;
    }
    top = strlen(at);
    strcpy(at, root);
    for (size_t end = top; end < strlen(root); end += 1 + strcspn(root + end + 1, "/")) {
        cleanup(closep) int dir = -1;
        const char *slash;

        at[end] = 0;
        dir = open(end ? at : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (end == top)
            a->exclude_fd = dir < 0 ? -1 : exclude_open(dir);
        a->v = xrealloc(a->v, (a->n + 1) * sizeof(*a->v));
        slash = strrchr(at, '/');
        a->v[a->n++] = (struct above_dir){ .name = xstrdup(slash ? slash + 1 : ""),
                                           .fd = dir < 0 ? -1 : openat(dir, ".gitignore", RULES_FLAGS) };
        at[end] = '/';
    }
}

void above_read(struct above *a)
{
    pthread_mutex_lock(&a->lock);
    if (!a->read) {
        a->user = rules_take(a->user_fd);
        for (size_t i = 0; i < a->n; i++)
            a->v[i].rules = rules_take(a->v[i].fd);
        if (a->n || a->here)
            a->repo = repo_new(rules_take(a->exclude_fd), a->user);
        a->read = true;
    }
    pthread_mutex_unlock(&a->lock);
}

enum ignored repo_says(const struct repo *r, struct str path, bool is_dir)
{
    enum ignored says = r->exclude ? ignore_match(r->exclude, path, is_dir) : IGNORE_SAYS_NOTHING;

    if (says == IGNORE_SAYS_NOTHING && r->user)
        says = ignore_match(r->user, path, is_dir);
    return says;
}
