/* search.c - looking through the files of a workspace: names, or lines that match a pattern.
 *
 * A search is a stack of work: directories to be read and handfuls of files to be looked into. Threads take from it and put on it
 * until it is empty; the results are sorted by path in the end, so they do not depend on who was first. Files are opened relative
 * to the descriptor of their directory and no link is followed, so what is renamed meanwhile cannot lead out of the workspace.
 *
 * What git ignores is left out as git does it: .gitignore of every directory from the repository's top on, then .git/info/exclude,
 * then the user's own file. A repository within another has its own rules alone. */
#include "base/charset.h"
#include "base/find.h"
#include "base/glob.h"
#include "base/ignore.h"
#include "base/path.h"
#include "base/utf8.h"
#include "env/local_impl.h"
#include "rt/offload.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX     8
#define HANDFUL         64                      /* files of one piece of work */
#define FILE_LIMIT      ((size_t)64 << 20)      /* bytes; larger files are not searched */
#define RULES_LIMIT     ((size_t)1 << 20)
#define SNIFF           8192
#define LINE_SHOWN      300                     /* bytes of a line */
#define BEFORE_MATCH    100                     /* of them before the match, when the line is longer */
#define FILE_SHOWN      ((size_t)256 << 10)     /* bytes of text that one file may give */
#define KEPT_MAX        ((size_t)16 << 20)      /* and all files together, before they are sorted and cut */
#define DEPTH_MAX       256

/* The rules that hold for the whole of a repository. */
struct repo {
    struct ignore *exclude, *user;
};

/* A directory that is being searched. Counted: work refers to it. */
struct dir {
    struct dir *up;
    struct repo *repo;                  /* NULL: in no repository */
    bool top;                           /* of its repository */
    struct ignore *rules;
    char *shown;                        /* path from where the search began, with a slash at its end; "" */
    char *rel;                          /* path from the repository's top, the same way */
    unsigned depth;
    int fd, refs;
};

struct work {
    struct dir *dir;
    char *names;                        /* of files: one after the other,
        each ends in a zero byte; NULL: read the directory `name` */
    size_t n;
    char name[];
};

struct hit {
    char *path;
    struct buf text;
    int64_t matches;
};

struct search {
    struct job job;
    int root_fd;
    char *root, *rel, *home;
    char *prefix;                       /* of the paths in the result: they are relative to the workspace's root */
    struct globs *globs;
    struct pattern *pattern;
    struct env_search what;             /* its texts are the caller's, and not used by the threads */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct work **stack;
    size_t nstack, stack_cap;
    size_t busy;                        /* threads that hold work */
    bool helped;
    pthread_t helpers[THREADS_MAX];
    size_t nhelpers;
    struct hit *hits;
    size_t nhits, hits_cap, kept;
    struct repo **repos;
    size_t nrepos, repos_cap;
    struct env_found found;
    int result;
    struct err e;
};

/* What a thread looks into files with. */
struct looker {
    struct search *s;
    struct finder *finder;
    struct buf data, decoded, text;
    struct found *lines;
    size_t cap;
    int64_t searched, binary, large, given_up;
};

static void repo_free(struct repo *r)
{
    ignore_free(r->exclude);
    ignore_free(r->user);
    free(r);
}

static void search_free(struct job *job)
{
    struct search *s = container_of(job, struct search, job);

    for (size_t i = 0; i < s->nhits; i++) {
        free(s->hits[i].path);
        buf_done(&s->hits[i].text);
    }
    for (size_t i = 0; i < s->nrepos; i++)
        repo_free(s->repos[i]);
    free(s->hits);
    free(s->repos);
    free(s->stack);
    buf_done(&s->found.text);
    globs_free(s->globs);
    pattern_free(s->pattern);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    close(s->root_fd);
    free(s->root);
    free(s->rel);
    free(s->prefix);
    free(s->home);
    free(s);
}

static bool given_up(struct search *s)
{
    return __atomic_load_n(&s->job.abandoned, __ATOMIC_RELAXED);
}

/* Rules. */

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

static struct ignore *read_rules(int dir, const char *path, int flags)
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
    return read_rules(AT_FDCWD, path, 0);
}

/* Whether a directory is the top of a repository; then with the rules of that. `.git` may be a file that names the folder. */
static struct repo *find_repo(struct search *s, int dir)
{
    struct repo *r = NULL;
    struct stat st;

    if (fstatat(dir, ".git", &st, AT_SYMLINK_NOFOLLOW) < 0 || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
        return NULL;
    r = xcalloc(1, sizeof(*r));
    if (S_ISDIR(st.st_mode)) {
        r->exclude = read_rules(dir, ".git/info/exclude", 0);
    } else {
        cleanup(buf_done) struct buf text = {0}, common = {0};

        if (slurp(dir, ".git", 0, &text) && strncmp(text.p, "gitdir: ", 8) == 0) {
            cleanup(freep) char *folder = xstrndup(text.p + 8, strcspn(text.p + 8, "\r\n"));
            cleanup(freep) char *file = xasprintf("%s/commondir", folder), *exclude = NULL;

            if (slurp(dir, file, 0, &common))
                exclude = xasprintf("%s/%.*s/info/exclude", folder, (int)strcspn(common.p, "\r\n"), common.p);
            else
                exclude = xasprintf("%s/info/exclude", folder);
            r->exclude = read_rules(dir, exclude, 0);
        }
    }
    r->user = user_rules(s->home);
    pthread_mutex_lock(&s->lock);
    GROW(s->repos, s->nrepos, s->repos_cap);
    s->repos[s->nrepos++] = r;
    pthread_mutex_unlock(&s->lock);
    return r;
}

static struct dir *dir_ref(struct dir *d)
{
    __atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
    return d;
}

static void dir_unref(struct dir *d)
{
    while (d && __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        struct dir *up = d->up;

        if (d->fd >= 0)
            close(d->fd);
        ignore_free(d->rules);
        free(d->shown);
        free(d->rel);
        free(d);
        d = up;
    }
}

/* Takes the descriptor over. */
static struct dir *dir_new(struct search *s, struct dir *up, int fd, const char *name)
{
    struct dir *d = xcalloc(1, sizeof(*d));
    struct repo *own = s->what.all ? NULL : find_repo(s, fd);

    d->up = up ? dir_ref(up) : NULL;
    d->fd = fd;
    d->refs = 1;
    d->depth = up ? up->depth + 1 : 0;
    d->shown = up ? xasprintf("%s%s/", up->shown, name) : xstrdup("");
    d->top = own != NULL;
    d->repo = own ? own : up ? up->repo : NULL;
    d->rel = own || !d->repo ? xstrdup("") : xasprintf("%s%s/", up->rel, name);
    if (d->repo)
        d->rules = read_rules(fd, ".gitignore", O_NOFOLLOW);
    return d;
}

/* Whether git leaves out what is in a directory under a name. */
static bool is_ignored(const struct dir *d, const char *name, bool is_dir)
{
    char path[4096 + 256];
    const struct repo *repo = d->repo;
    enum ignored says = IGNORE_SAYS_NOTHING;
    struct str whole;
    int n;

    if (!repo)
        return false;
    n = snprintf(path, sizeof(path), "%s%s", d->rel, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return false;
    whole = (struct str){ path, (size_t)n };
    for (const struct dir *at = d; at && says == IGNORE_SAYS_NOTHING; at = at->top ? NULL : at->up)
        if (at->rules)
            says = ignore_match(at->rules, str_from(whole, strlen(at->rel)), is_dir);
    if (says == IGNORE_SAYS_NOTHING && repo->exclude)
        says = ignore_match(repo->exclude, whole, is_dir);
    if (says == IGNORE_SAYS_NOTHING && repo->user)
        says = ignore_match(repo->user, whole, is_dir);
    return says == IGNORE_LEAVE_OUT;
}

/* Files. */

/* The whole of a file in l->data. False: it cannot be had. */
static bool load(struct looker *l, int fd)
{
    ssize_t n;

    buf_clear(&l->data);
    for (;;) {
        size_t room = l->data.cap > l->data.n + 1 ? l->data.cap - l->data.n - 1 : MAX(l->data.n, (size_t)256 << 10);
        char *to = buf_room(&l->data, MIN(room, FILE_LIMIT + 1 - l->data.n));

        room = MIN(room, FILE_LIMIT + 1 - l->data.n);
        if (!to || room == 0)
            break;
        n = read(fd, to, room);
        if (n < 0)
            return false;               /* EISDIR and the like */
        l->data.n += (size_t)n;
        if ((size_t)n < room)
            break;                      /* of a regular file that is all */
    }
    if (l->data.n > FILE_LIMIT) {
        l->large++;
        return false;
    }
    return true;
}

/* The file's text as UTF-8 when it is in another encoding. False: it is not text. */
static bool as_text(struct looker *l, bool decode, struct str *text)
{
    struct charset charset;

    *text = buf_str(&l->data);
    if (memchr(text->p, 0, MIN(text->n, (size_t)SNIFF)))
        decode = true;
    if (!decode)
        return true;
    if (!charset_guess(*text, true, &charset))
        return false;
    *text = str_from(*text, charset.mark);
    if (charset_is_utf8(&charset))
        return true;
    buf_clear(&l->decoded);
    charset_decode_piece(&charset, *text, true, &l->decoded);
    *text = buf_str(&l->decoded);
    return true;
}

static void put_line(struct buf *out, struct str text, size_t begin, size_t number, char mark, size_t match)
{
    const char *nl = memchr(text.p + begin, '\n', text.n - begin);
    struct str line = { text.p + begin, (nl ? (size_t)(nl - text.p) : text.n) - begin };
    size_t from = 0, n;

    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n > LINE_SHOWN && match > begin + LINE_SHOWN - BEFORE_MATCH)
        from = utf8_align(line, match - begin - BEFORE_MATCH);
    n = utf8_cut(str_from(line, from), LINE_SHOWN);
    buf_addf(out, "%zu%c%s", number, mark, from ? "..." : "");
    buf_add_str(out, str_head(str_from(line, from), n));
    buf_adds(out, from + n < line.n ? "...\n" : "\n");
}

static size_t count_lines(struct str s)
{
    size_t n = 0;

    for (const char *p = s.p; (p = memchr(p, '\n', (size_t)(s.p + s.n - p))); p++)
        n++;
    return n;
}

static size_t next_line(struct str text, size_t at)
{
    const char *nl = memchr(text.p + at, '\n', text.n - at);

    return nl ? (size_t)(nl - text.p) + 1 : text.n;
}

static size_t line_before(struct str text, size_t at)
{
    const char *nl = at > 1 ? memrchr(text.p, '\n', at - 1) : NULL;

    return nl ? (size_t)(nl - text.p) + 1 : 0;
}

/* The matched lines with their numbers, and what is around them. */
static void put_lines(struct looker *l, struct str text, size_t n)
{
    size_t number = 1, at = 0, context = l->s->what.context;    /* `at` begins line `number`,
        and is the first that is not shown yet */

    for (size_t i = 0; i < n && l->text.n < FILE_SHOWN; i++) {
        size_t line = l->lines[i].begin, before = line, lines = 0, behind = i + 1 < n ? l->lines[i + 1].begin : text.n;

        if (line > at) {
            while (lines < context && before > at) {
                before = line_before(text, before);
                lines++;
            }
            number += count_lines((struct str){ text.p + at, before - at });
            if (i && before > at && context)
                buf_adds(&l->text, "--\n");
            for (at = before; at < line; at = next_line(text, at))
                put_line(&l->text, text, at, number++, '-', at);
        }
        put_line(&l->text, text, line, number++, ':', l->lines[i].at);
        at = next_line(text, line);
        for (size_t k = 0; k < context && at < behind && at < text.n; k++) {
            put_line(&l->text, text, at, number++, '-', at);
            at = next_line(text, at);
        }
    }
}

/* Finds the lines of a text. How many, or -E2BIG. */
static ssize_t find_lines(struct looker *l, struct str text)
{
    bool one = l->s->what.find == ENV_FIND_FILES;
    size_t from = 0, n = 0;
    struct found line;
    int r;

    while ((r = find_next(l->finder, text, from, &line)) == 1) {
        if (l->s->what.find == ENV_FIND_LINES) {
            GROW(l->lines, n, l->cap);
            l->lines[n] = line;
        }
        n++;
        from = next_line(text, line.end);
        if (one || from == text.n || given_up(l->s))
            break;
    }
    return r < 0 ? r : (ssize_t)n;
}

static void keep(struct search *s, const char *folder, const char *name, struct buf *text, int64_t matches)
{
    char *path = xasprintf("%s%s%s", s->prefix, folder, name);

    pthread_mutex_lock(&s->lock);
    s->found.files++;
    s->found.matches += matches;
    if (s->kept + text->n + strlen(path) > KEPT_MAX) {
        free(path);
        buf_clear(text);
    } else {
        s->kept += text->n + strlen(path);
        GROW(s->hits, s->nhits, s->hits_cap);
        s->hits[s->nhits++] = (struct hit){ path, *text, matches };
        *text = (struct buf){0};
    }
    pthread_mutex_unlock(&s->lock);
}

/* `folder` and `name` make its path, from where the search began. */
static void look_into(struct looker *l, int fd, const char *folder, const char *name)
{
    struct search *s = l->s;
    struct str text;
    ssize_t n;

    if (!load(l, fd))
        return;
    l->searched++;
    if (!as_text(l, pattern_is_wide(s->pattern) && !utf8_valid(buf_str(&l->data)), &text)) {
        l->binary++;
        return;
    }
    n = find_lines(l, text);
    if (n > 0 && s->what.find == ENV_FIND_LINES && text.p == l->data.p && !utf8_valid(text) && as_text(l, true, &text))
        n = find_lines(l, text);        /* once more, in characters that can be shown */
    if (n < 0)
        l->given_up++;
    if (n <= 0)
        return;
    if (s->what.find == ENV_FIND_LINES)
        put_lines(l, text, (size_t)n);
    keep(s, folder, name, &l->text, n);
}

/* The stack of work. */

static void *helper(void *arg);

static size_t processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (size_t)MAX(CPU_COUNT(&set), 1) : 1;
}

/* Takes the names over. */
static void push(struct search *s, struct dir *d, const char *name, char *names, size_t n)
{
    struct work *w = xcalloc(1, sizeof(*w) + strlen(name) + 1);

    w->dir = dir_ref(d);
    w->names = names;
    w->n = n;
    memcpy(w->name, name, strlen(name) + 1);
    pthread_mutex_lock(&s->lock);
    GROW(s->stack, s->nstack, s->stack_cap);
    s->stack[s->nstack++] = w;
    if (!s->helped && s->nstack > 3) {
        size_t threads = MIN(processors(), (size_t)THREADS_MAX) - 1;

        s->helped = true;
        while (s->nhelpers < threads && pthread_create(&s->helpers[s->nhelpers], NULL, helper, s) == 0)
            s->nhelpers++;
    }
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void work_free(struct work *w)
{
    dir_unref(w->dir);
    free(w->names);
    free(w);
}

/* What is in a directory: more directories, and files in handfuls. */
static void read_dir(struct search *s, struct dir *d)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct buf names = {0};
    struct dirent *de;
    size_t n = 0;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((de = readdir(dir)) && !given_up(s)) {
        const char *name = de->d_name;
        unsigned char type = de->d_type;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0)
            continue;
        if (type == DT_UNKNOWN) {
            struct stat st;

            if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : S_ISLNK(st.st_mode) ? DT_LNK : DT_FIFO;
        }
        /* Links are listed, and not followed. */
        if (type != DT_DIR && type != DT_REG && (type != DT_LNK || s->pattern))
            continue;
        if (!s->what.all && is_ignored(d, name, type == DT_DIR))
            continue;
        if (type == DT_DIR) {
            if (d->depth < DEPTH_MAX)
                push(s, d, name, NULL, 0);
            continue;
        }
        if (s->globs) {
            cleanup(freep) char *path = xasprintf("%s%s", d->shown, name);

            if (!globs_want(s->globs, str_of(path)))
                continue;
        }
        buf_add(&names, name, strlen(name) + 1);
        if (++n == HANDFUL) {
            push(s, d, "", buf_take(&names), n);
            names = (struct buf){0};
            n = 0;
        }
    }
    if (n)
        push(s, d, "", buf_take(&names), n);
    buf_done(&names);
    closedir(dir);
}

static void do_work(struct looker *l, struct work *w)
{
    const char *name = w->names;

    if (!w->names) {
        int fd = openat(w->dir->fd, w->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct dir *d = fd < 0 ? NULL : dir_new(l->s, w->dir, fd, w->name);

        if (d)
            read_dir(l->s, d);
        dir_unref(d);
        return;
    }
    for (size_t i = 0; i < w->n && !given_up(l->s); i++, name += strlen(name) + 1) {
        int fd;

        if (!l->s->pattern) {
            keep(l->s, w->dir->shown, name, &l->text, 0);
            continue;
        }
        fd = openat(w->dir->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (fd < 0)
            continue;
        look_into(l, fd, w->dir->shown, name);
        close(fd);
    }
}

static void work_until_done(struct looker *l)
{
    struct search *s = l->s;

    pthread_mutex_lock(&s->lock);
    while (s->nstack || s->busy) {
        struct work *w;

        if (!s->nstack) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        w = s->stack[--s->nstack];
        s->busy++;
        pthread_mutex_unlock(&s->lock);
        if (!given_up(s))
            do_work(l, w);
        work_free(w);
        pthread_mutex_lock(&s->lock);
        s->busy--;
    }
    s->found.searched += l->searched;
    s->found.binary += l->binary;
    s->found.large += l->large;
    s->found.given_up += l->given_up;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void looker_done(struct looker *l)
{
    finder_free(l->finder);
    buf_done(&l->data);
    buf_done(&l->decoded);
    buf_done(&l->text);
    free(l->lines);
}

static void looker_init(struct looker *l, struct search *s)
{
    *l = (struct looker){ .s = s, .finder = s->pattern ? finder_new(s->pattern) : NULL };
    l->data.max = FILE_LIMIT + 2;
    l->decoded.max = FILE_LIMIT * 2;
}

static void *helper(void *arg)
{
    cleanup(looker_done) struct looker l;

    looker_init(&l, arg);
    work_until_done(&l);
    return NULL;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct hit *)a)->path, ((const struct hit *)b)->path);
}

/* Puts the results together, as many as fit: of the first file at least a part. */
static void put_together(struct search *s)
{
    struct buf *out = &s->found.text;
    size_t max = s->what.max;

    if (s->nhits)
        qsort(s->hits, s->nhits, sizeof(*s->hits), by_path);
    for (size_t i = 0; i < s->nhits; i++) {
        struct hit *h = &s->hits[i];
        size_t room = max - MIN(out->n, max), need = strlen(h->path) + 24 + h->text.n;

        if (need > room && i)
            break;
        buf_addf(out, s->pattern && s->what.find == ENV_FIND_COUNTS ? "%s: %lld" : "%s", h->path, (long long)h->matches);
        buf_addc(out, '\n');
        if (h->text.n > room) {
            const char *nl = memrchr(h->text.p, '\n', room);

            h->text.n = nl ? (size_t)(nl - h->text.p) + 1 : utf8_cut(buf_str(&h->text), room);
        }
        buf_add_str(out, buf_str(&h->text));
        s->found.shown++;
    }
}

/* The directory where the search begins, with the rules of those above it up to its repository's top. Only these rules are read
 * outside the workspace, and only where it lies within a repository. Takes the descriptor over. */
static struct dir *first_dir(struct search *s, int fd)
{
    cleanup(freep) char *full = strcmp(s->rel, ".") == 0 ? xstrdup(s->root) : xasprintf("%s/%s", s->root, s->rel);
    struct dir *d = NULL, *below;
    size_t at = strlen(full);
    bool found = s->what.all;
    struct stat st;

    found = found || fstatat(fd, ".git", &st, AT_SYMLINK_NOFOLLOW) == 0;
    while (!found && at > 1) {
        cleanup(freep) char *git = NULL;

        at = (size_t)((const char *)memrchr(full, '/', at) - full);
        git = xasprintf("%.*s/.git", (int)at, full);
        found = lstat(git, &st) == 0;
    }
    while (found && at < strlen(full)) {
        cleanup(freep) char *path = at ? xstrndup(full, at) : xstrdup("/");
        int up = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (up < 0)
            break;
        below = dir_new(s, d, up, strrchr(path, '/') + 1);
        dir_unref(d);
        d = below;
        at += 1 + strcspn(full + at + 1, "/");
    }
    below = dir_new(s, d, fd, strrchr(full, '/') + 1);
    dir_unref(d);
    free(below->shown);
    below->shown = xstrdup("");
    return below;
}

static void search_run(struct job *job)
{
    struct search *s = container_of(job, struct search, job);
    cleanup(looker_done) struct looker l;
    int fd = openat2_beneath(s->root_fd, s->rel, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, 0);
    struct dir *d;
    struct stat st;

    looker_init(&l, s);
    if (fd < 0 || fstat(fd, &st) < 0) {
        s->result = err_set(&s->e, fd < 0 ? fd : -errno, "%s: %s", s->rel, fd == -EXDEV ? "it leads out of the workspace" :
                            strerror(fd < 0 ? -fd : errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        const char *slash = strrchr(s->rel, '/');
        bool named = !s->globs || globs_want(s->globs, str_of(slash ? slash + 1 : s->rel));

        if (named && s->pattern)
            look_into(&l, fd, "", "");
        else if (named)
            keep(s, "", "", &l.text, 0);
        close(fd);
        s->found.searched = l.searched;
        s->found.binary = l.binary;
        s->found.large = l.large;
        s->found.given_up = l.given_up;
    } else {
        d = first_dir(s, fd);
        if (*s->prefix) {
            free(s->prefix);
            s->prefix = xasprintf("%s/", s->rel);
        }
        read_dir(s, d);
        dir_unref(d);
        work_until_done(&l);
        for (size_t i = 0; i < s->nhelpers; i++)
            pthread_join(s->helpers[i], NULL);
    }
    put_together(s);
}

CO int local_search(struct env *v, const struct env_search *what, struct env_found *ret, struct err *e)
{
    cleanup(freep) char *full = path_resolve(local(v)->root, what->path);
    const char *rel, *home = getenv("HOME");
    struct search *s;
    int r = 0;

    if (!path_beneath(local(v)->root, full, &rel))
        return err_set(e, -EXDEV, "%s is outside the workspace %s", full, local(v)->root);
    s = xcalloc(1, sizeof(*s));
    s->job.run = search_run;
    s->job.free = search_free;
    s->what = *what;
    s->root = xstrdup(local(v)->root);
    s->rel = xstrdup(rel);
    s->prefix = xstrdup(strcmp(rel, ".") == 0 ? "" : rel);
    s->home = xstrdup(home ? home : "/");
    s->root_fd = fcntl(local(v)->root_fd, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    if (what->globs.n && !(s->globs = globs_new(what->globs)))
        r = err_set(e, -EINVAL, "the glob cannot be read: a brace is not closed, or there are too many alternatives");
    if (r == 0 && what->pattern.n)
        r = pattern_new(what->pattern, (struct find_how){ what->literal, what->ignore_case }, &s->pattern, e);
    if (r < 0) {
        search_free(&s->job);
        return r;
    }
    r = offload(&s->job, "a search", FIBER_FOREVER);
    if (r < 0)
        return r;
    r = s->result;
    if (r < 0)
        *e = s->e;
    *ret = s->found;
    s->found.text = (struct buf){0};
    job_free(&s->job);
    return r;
}
