/* search.c - looking through the files of a workspace: names, or lines that match a pattern.
 *
 * A search is a stack of work: directories to be read and handfuls of files to be looked into. Threads take from it and put on it
 * until it is empty; the results are sorted by path in the end, so they do not depend on who was first. Files are opened relative
 * to the descriptor of their directory and no link is followed, so what is renamed meanwhile cannot lead out of the workspace.
 *
 * What git ignores is left out as git does it: .gitignore of every directory from the repository's top on, then .git/info/exclude,
 * then the user's own file. A repository within another has its own rules alone. */
#include "base/find.h"
#include "base/glob.h"
#include "base/path.h"
#include "base/utf8.h"
#include "files/guard.h"
#include "files/look.h"
#include "files/ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX     8
#define HANDFUL         64                      /* files of one piece of work */
#define KEPT_MAX        ((size_t)16 << 20)      /* bytes of results, before they are sorted and cut */
#define DEPTH_MAX       256

/* A directory that is being searched. Counted: work refers to it. */
struct dir {
    struct dir *up;
    struct repo *repo;                  /* NULL: in no repository */
    bool top;                           /* of its repository */
    struct ignore *rules;
    bool lent;                          /* they are the workspace's: the directory lies above it */
    char *shown;                        /* path from where the search began, with a slash at its end; "" */
    char *rel;                          /* path from the repository's top, the same way */
    unsigned depth;
    int fd, refs;
};

struct work {
    struct dir *dir;
    char *names;                        /* of files, each ended by a zero byte; NULL: read the directory `name` */
    size_t n;
    char name[];
};

struct hit {
    char *path;
    struct buf text;
    int64_t matches;
};

struct search {
    struct op *op;
    char *prefix;                       /* of the paths in the result: they are relative to the workspace's root */
    struct globs *globs;
    struct pattern *pattern;
    struct env_search what;

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
    struct guard hidden;                /* once a file made it worth the look */
    bool hides;
    struct env_found found;
};

static void search_done(struct search *s)
{
    for (size_t i = 0; i < s->nhits; i++) {
        free(s->hits[i].path);
        buf_done(&s->hits[i].text);
    }
    for (size_t i = 0; i < s->nrepos; i++)
        repo_free(s->repos[i]);
    free(s->hits);
    free(s->repos);
    free(s->stack);
    guard_done(&s->hidden);
    globs_free(s->globs);
    pattern_free(s->pattern);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s->prefix);
}

static bool abandoned(struct search *s)
{
    return __atomic_load_n(s->op->stop, __ATOMIC_RELAXED);
}

/* Directories. */

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
        if (!d->lent)
            ignore_free(d->rules);
        free(d->shown);
        free(d->rel);
        free(d);
        d = up;
    }
}

static bool is_root(const struct search *s, int fd)
{
    struct stat root, st;

    return fstat(s->op->w->fd, &root) == 0 && fstat(fd, &st) == 0 && root.st_ino == st.st_ino && root.st_dev == st.st_dev;
}

/* Takes the descriptor over. */
static struct dir *dir_new(struct search *s, struct dir *up, int fd, const char *name)
{
    struct dir *d = xcalloc(1, sizeof(*d));
    struct above *above = &s->op->w->above;
    bool known = above->here && !s->what.all && is_root(s, fd);
    struct repo *own = s->what.all ? NULL : known ? above->repo : repo_open(fd, above->user);

    if (own && !known) {
        pthread_mutex_lock(&s->lock);
        GROW(s->repos, s->nrepos, s->repos_cap);
        s->repos[s->nrepos++] = own;
        pthread_mutex_unlock(&s->lock);
    }
    d->up = up ? dir_ref(up) : NULL;
    d->fd = fd;
    d->refs = 1;
    d->depth = up ? up->depth + 1 : 0;
    d->shown = up ? xasprintf("%s%s/", up->shown, name) : xstrdup("");
    d->top = own != NULL;
    d->repo = own ? own : up ? up->repo : NULL;
    d->rel = own || !d->repo ? xstrdup("") : xasprintf("%s%s/", up->rel, name);
    if (d->repo)
        d->rules = rules_read(fd, ".gitignore", O_NOFOLLOW);
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
    if (says == IGNORE_SAYS_NOTHING)
        says = repo_says(repo, whole, is_dir);
    return says == IGNORE_LEAVE_OUT;
}

/* Notes a file that was found, with its text, which is taken over. */
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
    while ((de = readdir(dir)) && !abandoned(s)) {
        const char *name = de->d_name;
        unsigned char type = de->d_type;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0 ||
            (strcmp(name, "layers") == 0 && strcmp(d->shown, ".rein/") == 0))
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

/* Whether the box hides a file (guard.h). */
static bool is_hidden(struct search *s, int fd)
{
    const struct workspace *w = s->op->w;
    bool hidden;
    struct stat st;

    if (!w->boxed || fstat(fd, &st) < 0 || !guard_may_hide(&st))
        return false;
    pthread_mutex_lock(&s->lock);
    if (!s->hides)
        guard_scan(w->fd, -1, NULL, &s->hidden);
    s->hides = true;
    hidden = guard_hides(&s->hidden, &st);
    pthread_mutex_unlock(&s->lock);
    return hidden;
}

static void do_work(struct search *s, struct looker *l, struct work *w)
{
    const char *name = w->names;

    if (!w->names) {
        int fd = openat(w->dir->fd, w->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct dir *d = fd < 0 ? NULL : dir_new(s, w->dir, fd, w->name);

        if (d)
            read_dir(s, d);
        dir_unref(d);
        return;
    }
    for (size_t i = 0; i < w->n && !abandoned(s); i++, name += strlen(name) + 1) {
        size_t matches;
        int fd;

        if (!s->pattern) {
            keep(s, w->dir->shown, name, &l->text, 0);
            continue;
        }
        fd = openat(w->dir->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (fd < 0)
            continue;
        matches = is_hidden(s, fd) ? 0 : look_into(l, fd);
        if (matches)
            keep(s, w->dir->shown, name, &l->text, (int64_t)matches);
        close(fd);
    }
}

static void work_until_done(struct search *s, struct looker *l)
{
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
        if (!abandoned(s))
            do_work(s, l, w);
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

static void *helper(void *arg)
{
    cleanup(looker_done) struct looker l;
    struct search *s = arg;

    looker_init(&l, &s->what, s->pattern, s->op->stop);
    work_until_done(s, &l);
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

/* The directories above the workspace, if it lies in a repository. */
static struct dir *dirs_above(struct above *a)
{
    struct dir *d = NULL;

    for (size_t i = 0; i < a->n; i++) {
        struct dir *next = xcalloc(1, sizeof(*next));

        *next = (struct dir){ .up = d, .repo = a->repo, .top = i == 0, .rules = a->v[i].rules, .lent = true, .fd = -1, .refs = 1 };
        next->shown = xstrdup("");
        next->rel = i == 0 ? xstrdup("") : xasprintf("%s%s/", d->rel, a->v[i].name);
        d = next;                       /* which has what it is `up` of */
    }
    return d;
}

static const char *last_name(const char *path)
{
    return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* The directory where the search begins, with the rules of those above it up to its repository's top. Takes the descriptor over. */
static struct dir *first_dir(struct search *s, int fd)
{
    const struct workspace *w = s->op->w;
    const char *rel = strcmp(s->op->rel, ".") == 0 ? "" : s->op->rel;
    size_t at = strlen(rel);
    struct dir *d = NULL, *below;
    struct stat st;
    bool found = s->what.all || fstatat(fd, ".git", &st, AT_SYMLINK_NOFOLLOW) == 0;

    if (!found) {
        while (!found && at) {
            cleanup(freep) char *git = NULL;
            cleanup(closep) int has = -1;
            const char *slash = memrchr(rel, '/', at);

            at = slash ? (size_t)(slash - rel) : 0;
            git = xasprintf("%.*s%s.git", (int)at, rel, at ? "/" : "");
            has = open_beneath(w->fd, git, O_PATH | O_NOFOLLOW, 0);
            found = has >= 0;
        }
        if (!found)
            d = dirs_above(&s->op->w->above);
        while ((found || d) && at < strlen(rel)) {
            cleanup(freep) char *path = at ? xstrndup(rel, at) : xstrdup(".");
            int up = open_beneath(w->fd, path, O_RDONLY | O_DIRECTORY, 0);

            if (up < 0)
                break;
            below = dir_new(s, d, up, at ? last_name(path) : last_name(w->root));
            dir_unref(d);
            d = below;
            at += (at > 0) + strcspn(rel + at + (at > 0), "/");
        }
    }
    below = dir_new(s, d, fd, *rel ? last_name(rel) : last_name(w->root));
    dir_unref(d);
    free(below->shown);
    below->shown = xstrdup("");
    return below;
}

static int search_file(struct search *s, struct looker *l, int fd)
{
    bool named = !s->globs || globs_want(s->globs, str_of(last_name(s->op->rel)));
    size_t matches = named && s->pattern && !is_hidden(s, fd) ? look_into(l, fd) : 0;

    if (matches || (named && !s->pattern))
        keep(s, "", "", &l->text, (int64_t)matches);
    close(fd);
    s->found.searched = l->searched;
    s->found.binary = l->binary;
    s->found.large = l->large;
    s->found.given_up = l->given_up;
    return 0;
}

static int search_run(struct search *s)
{
    cleanup(looker_done) struct looker l;
    int fd = open_beneath(s->op->w->fd, s->op->rel, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    struct dir *d;
    struct stat st;

    looker_init(&l, &s->what, s->pattern, s->op->stop);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int r = fd < 0 ? fd : -errno;

        if (fd >= 0)
            close(fd);
        return err_set(&s->op->e, r, "%s: %s", s->op->rel, r == -EXDEV ? "it leads out of the workspace" : strerror(-r));
    }
    if (!S_ISDIR(st.st_mode))
        return search_file(s, &l, fd);
    d = first_dir(s, fd);
    if (*s->prefix) {
        free(s->prefix);
        s->prefix = xasprintf("%s/", s->op->rel);
    }
    read_dir(s, d);
    dir_unref(d);
    work_until_done(s, &l);
    for (size_t i = 0; i < s->nhelpers; i++)
        pthread_join(s->helpers[i], NULL);
    return 0;
}

int op_search(struct op *o)
{
    const struct files_ask *q = o->q;
    struct search s = { .op = o, .prefix = xstrdup(strcmp(o->rel, ".") == 0 ? "" : o->rel), .lock = PTHREAD_MUTEX_INITIALIZER,
                        .wake = PTHREAD_COND_INITIALIZER };
    int r = 0;

    s.what = (struct env_search){ .pattern = q->data, .literal = q->literal, .ignore_case = q->ignore_case, .globs = q->globs,
                                  .all = q->all, .find = (enum env_find)q->find, .context = (unsigned)q->context,
                                  .max = (size_t)q->max };
    above_read(&o->w->above);
    if (q->globs.n && !(s.globs = globs_new(q->globs)))
        r = err_set(&o->e, -EINVAL, "the glob cannot be read: a brace is not closed, or there are too many alternatives");
    if (r == 0 && q->data.n)
        r = pattern_new(q->data, (struct find_how){ q->literal, q->ignore_case }, &s.pattern, &o->e);
    if (r == 0)
        r = search_run(&s);
    if (r == 0)
        put_together(&s);
    o->text = s.found.text;
#define TOLD(name) o->a.name = s.found.name;
    TOLD(files) TOLD(matches) TOLD(shown) TOLD(searched) TOLD(binary) TOLD(large) TOLD(given_up)
#undef TOLD
    search_done(&s);
    return r;
}
