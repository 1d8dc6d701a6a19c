#include "core/rules_git.h"

#include "base/buf.h"
#include "base/path.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_MAX ((size_t)1 << 20)
#define INDEX_MAX  ((size_t)128 << 20)
#define NESTED_MAX 64                       /* repositories looked at in all */

static const struct { const char *section; bool named; const char *keys; } settings[] = {
#define SETTINGS(section, named, keys) { section, named, keys },
#include "core/rules_git.def"
#undef SETTINGS
};

struct look {
    struct env *env;
    const char *root;
    bool changes;
    int repositories;
    char *why;
};

static bool no(struct look *l, const char *fmt, ...) printf_fmt(2, 3);

static bool no(struct look *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->why, RULES_GIT_WHY, fmt, ap);
    va_end(ap);
    return false;
}

/* Whether it is the environment that has to open what lies there. */
static bool is_workspace(const struct look *l, const char *real)
{
    const char *below;

    return l->env && path_beneath(l->root, real, &below);
}

/* A whole regular file: 0, or a negative errno. */
static CO int slurp(const struct look *l, const char *path, size_t max, struct buf *ret)
{
    cleanup(freep) char *real = realpath(path, NULL);
    cleanup(closep) int fd = -1;
    struct env_stat seen = {0};
    struct err e;
    struct stat st;
    ssize_t n = 1;
    char *to;

    if (!real)
        return -errno;
    ret->max = max + 1;
    if (is_workspace(l, real)) {
        int r = env_read(l->env, str_of(real), 0, max, ret, &seen, &e);

        return r == 0 && (size_t)seen.size > max ? -E2BIG : r;
    }
    fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if ((size_t)st.st_size > max)
        return -E2BIG;
    while ((to = buf_room(ret, (size_t)st.st_size + 1)) && (n = read(fd, to, (size_t)st.st_size + 1)) > 0)
        ret->n += (size_t)n;
    return n < 0 ? -errno : buf_err(ret);
}

/* The configuration. Git's grammar knows values over several lines; such a file is not read at all, so that every line stands for
 * itself and none can be hidden in another. */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static struct str trim(struct str s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = str_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool is_listed(const char *list, struct str word)
{
    while (*list) {
        size_t n = strcspn(list, " ");

        if (*list == '*' || (n == word.n && strncasecmp(list, word.p, n) == 0))
            return true;
        list += n + (list[n] == ' ');
    }
    return false;
}

/* A remote may be a program: ext::, or an option where an address should stand. */
static bool is_address(struct str value)
{
    return str_find(value, LIT("::"), 0) < 0 && !(value.n && (*value.p == '-' || *value.p == '"'));
}

static bool is_harmless(struct str section, bool named, struct str key, struct str value)
{
    bool address = is_listed("url pushurl remote pushremote", key);

    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
        if (is_listed(settings[i].section, section) && settings[i].named == named && is_listed(settings[i].keys, key))
            return !address || is_address(value);
    return false;
}

/* A section's head, and what stands behind it on the line. False: it is none. */
static bool read_head(struct str line, struct str *ret_section, bool *ret_named, struct str *ret_rest)
{
    size_t i = 1, n;

    while (i < line.n && is_word(line.p[i]))
        i++;
    *ret_section = (struct str){ line.p + 1, i - 1 };
    *ret_named = false;
    n = i;
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'))
        i++;
    if (i > n && i < line.n && line.p[i] == '"') {
        *ret_named = true;
        for (i++; i < line.n && line.p[i] != '"'; i++)
            if (line.p[i] == '\\')
                i++;
        i++;
    }
    if (i >= line.n || line.p[i] != ']' || ret_section->n == 0 || (i > n && !*ret_named))
        return false;
    *ret_rest = trim(str_from(line, i + 1));
    return true;
}

static bool config_is_quiet(struct look *l, const char *path, struct str all, char **ret_hooks)
{
    struct str section = {0};
    bool named = false;

    for (size_t i = 0; i < all.n; i++)
        if ((unsigned char)all.p[i] < ' ' && all.p[i] != '\n' && all.p[i] != '\t')
            return no(l, "%.80s holds control characters", path);
    while (all.n) {
        ssize_t nl = str_find(all, LIT("\n"), 0);
        struct str line = trim(str_head(all, nl < 0 ? all.n : (size_t)nl)), key, value = {0};
        size_t n = 0;

        all = str_from(all, nl < 0 ? all.n : (size_t)nl + 1);
        if (line.n && line.p[line.n - 1] == '\\')
            return no(l, "%.80s has a setting over several lines", path);
        if (line.n && *line.p == '[' && !read_head(line, &section, &named, &line))
            return no(l, "%.80s cannot be read", path);
        if (!line.n || *line.p == '#' || *line.p == ';')
            continue;
        while (n < line.n && is_word(line.p[n]))
            n++;
        key = str_head(line, n);
        line = trim(str_from(line, n));
        if (!key.n || !section.n || (line.n && *line.p != '=' && *line.p != '#' && *line.p != ';'))
            return no(l, "%.80s cannot be read", path);
        if (line.n && *line.p == '=')
            value = trim(str_from(line, 1));
        if (!is_harmless(section, named, key, value))
            return no(l, "the repository's %.40s sets %.*s%s.%.*s, which may make git run a program", strrchr(path, '/') + 1,
                      STR(str_head(section, 20)), named ? ".*" : "", STR(str_head(key, 30)));
        if (is_listed("hookspath", key)) {
            free(*ret_hooks);
            *ret_hooks = str_dup(value);
        }
    }
    return true;
}

/* Reading runs but one hook, when the index is written anew. */
static bool hook_is_quiet(struct look *l, const char *dir, const char *name)
{
    cleanup(freep) char *path = xasprintf("%s/%s", dir, name);
    size_t n = strlen(name);

    if (*name == '.' || (n > 7 && strcmp(name + n - 7, ".sample") == 0))
        return true;
    if ((!l->changes && strcmp(name, "post-index-change") != 0) || access(path, X_OK) < 0)
        return true;
    return no(l, "the repository's hook %.60s may run", name);
}

static CO bool hooks_are_quiet(struct look *l, const char *dir)
{
    cleanup(freep) char *real = realpath(dir, NULL);
    cleanup(env_entries_done) struct env_entries all = {0};
    bool quiet = true;
    struct dirent *de;
    struct err e;
    DIR *d;

    if (!real)
        return true;
    if (is_workspace(l, real)) {
        if (env_list(l->env, str_of(real), &all, &e) < 0)
            return no(l, "%.100s cannot be read", dir);
        for (size_t i = 0; i < all.n && quiet; i++)
            quiet = hook_is_quiet(l, real, all.v[i].name);
        return quiet && !all.more;
    }
    d = opendir(real);
    while (d && quiet && (de = readdir(d)))
        quiet = hook_is_quiet(l, real, de->d_name);
    if (d)
        closedir(d);
    return quiet;
}

static CO bool repository_is_quiet(struct look *l, const char *top, const char *git);

/* The repository whose files a directory holds, if there is one. */
static CO bool place_is_quiet(struct look *l, const char *dir)
{
    cleanup(freep) char *at = xasprintf("%s/.git", dir), *git = NULL, *head = xasprintf("%s/HEAD", dir);
    cleanup(freep) char *objects = xasprintf("%s/objects", dir), *refs = xasprintf("%s/refs", dir);
    cleanup(buf_done) struct buf text = {0};
    struct stat st;

    if (access(head, F_OK) == 0 && access(objects, F_OK) == 0 && access(refs, F_OK) == 0 && !repository_is_quiet(l, dir, dir))
        return false;
    if (stat(at, &st) < 0)
        return true;
    if (S_ISDIR(st.st_mode))
        return repository_is_quiet(l, dir, at);
    if (slurp(l, at, 4096, &text) < 0 || text.n < 9 || memcmp(text.p, "gitdir: ", 8) != 0)
        return no(l, "%.100s cannot be read", at);
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
        text.n--;
    git = path_resolve(dir, str_from(buf_str(&text), 8));
    return repository_is_quiet(l, dir, git);
}

/* One entry of an index: 62 bytes, two more where flags are extended, and its name, of which version 4 writes only what differs
 * from the one before. The position behind it, or 0. */
static size_t read_entry(struct str all, size_t at, uint32_t version, struct buf *name, uint32_t *ret_mode)
{
    size_t begin = at, n;
    bool extended;
    const char *end;

    if (all.n - at < 64)
        return 0;
    *ret_mode = be32(all.p + at + 24);
    extended = all.p[at + 60] & 0x40;
    at += 62 + (extended ? 2 : 0);
    if (version == 4) {
        size_t strip = 0;
        unsigned char c;

        do {
            if (at >= all.n)
                return 0;
            c = (unsigned char)all.p[at++];
            strip = (strip << 7) + (c & 0x7f) + ((c & 0x80) ? 1 : 0);
        } while (c & 0x80);
        if (strip > name->n)
            return 0;
        name->n -= strip;
    } else {
        buf_clear(name);
    }
    end = at < all.n ? memchr(all.p + at, 0, all.n - at) : NULL;
    if (!end)
        return 0;
    n = (size_t)(end - all.p) - at;
    buf_add(name, all.p + at, n);
    at += n;
    return version == 4 ? at + 1 : begin + ((at - begin + 8) & ~(size_t)7);
}

/* Repositories that this one links to are looked into by git as well. */
static CO bool index_is_quiet(struct look *l, const char *top, const char *git)
{
    cleanup(freep) char *path = xasprintf("%s/index", git);
    cleanup(buf_done) struct buf text = {0}, name = {0};
    int r = slurp(l, path, INDEX_MAX, &text);
    struct str all = buf_str(&text);
    uint32_t version, n, mode;
    size_t at = 12;

    if (r == -ENOENT)
        return true;
    version = r == 0 && all.n >= 32 && memcmp(all.p, "DIRC", 4) == 0 ? be32(all.p + 4) : 0;
    if (version < 2 || version > 4)
        return no(l, "%.100s cannot be read", path);
    n = be32(all.p + 8);
    all.n -= 20;                        /* its hash */
    for (uint32_t i = 0; i < n; i++) {
        at = read_entry(all, at, version, &name, &mode);
        if (at == 0 || at > all.n || (mode & 0170000) == 0040000)
            return no(l, "%.100s cannot be read", path);
        if ((mode & 0170000) == 0160000) {
            cleanup(freep) char *below = xasprintf("%s/%s", top, name.p);

            if (!place_is_quiet(l, below))
                return false;
        }
    }
    for (; at + 8 <= all.n; at += 8 + (size_t)be32(all.p + at + 4))
        if (memcmp(all.p + at, "link", 4) == 0)
            return no(l, "%.100s is split", path);
    return true;
}

/* `top`: the directory of its files. `git`: of its own. */
static CO bool repository_is_quiet(struct look *l, const char *top, const char *git)
{
    cleanup(freep) char *shared = xasprintf("%s/commondir", git), *common = NULL, *config = NULL, *hooks = NULL, *path = NULL;
    cleanup(buf_done) struct buf text = {0};
    int r;

    if (++l->repositories > NESTED_MAX)
        return no(l, "there are too many repositories in this one");
    if (slurp(l, shared, 4096, &text) == 0 && text.n) {
        while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
            text.n--;
        common = path_resolve(git, buf_str(&text));
    } else {
        common = xstrdup(git);
    }
    buf_clear(&text);
    config = xasprintf("%s/config", common);
    r = slurp(l, config, CONFIG_MAX, &text);
    if (r < 0 && r != -ENOENT)
        return no(l, "%.100s cannot be read", config);
    if (r == 0 && !config_is_quiet(l, config, buf_str(&text), &path))
        return false;
    hooks = xasprintf("%s/hooks", common);
    if (!hooks_are_quiet(l, hooks))
        return false;
    if (path) {
        cleanup(freep) char *other = path_resolve(top, str_of(path));

        if (strpbrk(path, "\"'~\\#;%") || !hooks_are_quiet(l, other))
            return *l->why ? false : no(l, "the repository keeps hooks in %.80s", path);
    }
    return index_is_quiet(l, top, git);
}

CO bool rules_git_quiet(struct env *env, const char *root, const char *dir, bool changes, char why[RULES_GIT_WHY])
{
    struct look l = { .env = env, .root = root, .changes = changes, .why = why };
    cleanup(freep) char *at = xstrdup(dir);

    *why = 0;
    for (;;) {
        char *slash = strrchr(at, '/');

        if (!place_is_quiet(&l, *at ? at : "/"))
            return false;
        if (!slash || !*at)
            return true;
        *slash = 0;
    }
}
