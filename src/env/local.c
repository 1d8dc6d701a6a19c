/* local.c - env on this machine. Commands are command.c's business; files are asked for at a process of their own (worker.h), which
 * resolves paths and does the work (src/files/ops.h). */
#include "env/local_impl.h"

#include "base/path.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define TRIES 8         /* after the first, when the process that works on files ends over a question */

static char *local_resolve(struct env *v, struct str path)
{
    return path_resolve(local(v)->root, path);
}

static CO int ask_once(struct local *l, const struct files_ask *q, const char *why, struct buf *in, struct files_answer *ret,
                       struct err *e)
{
    int r = worker_ask(&l->worker, l->box, q, why, in, ret, e);

    return r == 0 && ret->result < 0 ? err_set(e, (int)ret->result, "%.*s", STR(ret->said)) : r;
}

CO int local_ask(struct local *l, const struct files_ask *q, const char *why, struct buf *in, struct files_answer *ret,
                 struct err *e)
{
    int r;

    for (int tries = 0; (r = ask_once(l, q, why, in, ret, e)) == -EPIPE && tries < TRIES; tries++)
        fiber_sleep(tries);
    return r;
}

/* The path beneath the root, or -EXDEV in words when the path's text already leads out. Caller frees. */
static int place(struct local *l, struct str path, char **ret, struct err *e)
{
    cleanup(freep) char *full = path_resolve(l->root, path);
    const char *rel;

    if (path.n == 0 || memchr(path.p, 0, path.n))
        return err_set(e, -EINVAL, "the path is empty or holds a zero byte");
    if (!path_beneath(l->root, full, &rel))
        return err_set(e, -EXDEV, "%s is outside the workspace %s", full, l->root);
    *ret = xstrdup(rel);
    return 0;
}

static struct env_stat stat_of(const struct files_answer *a)
{
    return (struct env_stat){ a->exists, a->size, (uint32_t)a->mode, (uint32_t)a->uid, (uint32_t)a->gid, (unsigned)a->links };
}

static CO int local_read(struct env *v, struct str path, int64_t offset, size_t max, struct buf *out, struct env_stat *st,
                         struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    cleanup(freep) char *rel = NULL;
    struct files_answer a = {0};
    int r = place(local(v), path, &rel, e);

    if (r == 0)
        r = local_ask(local(v), &(struct files_ask){ FILES_READ, .rel = str_of(rel), .offset = offset, .max = (int64_t)max },
                      "a file to be read", &in, &a, e);
    *st = stat_of(&a);
    if (r == 0 && a.text.n > max)
        return err_set(e, -EIO, "%s: more was read than was asked for", rel);
    return r < 0 ? r : buf_add_str(out, a.text);
}

static CO int local_look(struct env *v, struct str path, struct env_stat *st, struct hash *ret, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    cleanup(freep) char *rel = NULL;
    struct files_answer a = {0};
    int r = place(local(v), path, &rel, e);

    if (r == 0)
        r = local_ask(local(v), &(struct files_ask){ FILES_LOOK, .rel = str_of(rel) }, "a file to be hashed", &in, &a, e);
    *st = stat_of(&a);
    if (r == 0 && st->exists && !wire_to_hash(a.hash, ret))
        return err_set(e, -EIO, "%s could not be hashed", rel);
    return r;
}

static char *temp_name(const char *key)
{
    return xasprintf(".rein-%s.tmp", key);
}

/* In a plan there is one layer for all. */
static char *layer_name(const struct local *l, const char *key, unsigned part)
{
    return key && !(l->box && l->box->plan) ? xasprintf("%s-%u", key, part) : xstrdup("");
}

static CO int tidy(struct local *l, const char *rel, const char *key, unsigned part, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    cleanup(freep) char *temp = key ? temp_name(key) : xstrdup(""), *layer = layer_name(l, key, part);
    struct files_answer a;

    return local_ask(l, &(struct files_ask){ FILES_TIDY, .rel = str_of(rel), .temp = str_of(temp), .layer = str_of(layer) },
               "what a killed rein left of a file to be put in order", &in, &a, e);
}

/* Changes a file. The process that does it may be lost on the way, as rein may be: then the file tells whether it was done, and if
 * not, it is done now. */
static CO int change(struct local *l, const struct files_ask *q, const struct env_write *w, const struct hash *after,
                     const char *why, struct err *e)
{
    cleanup(freep) char *rel = str_dup(q->rel);
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    bool done = false;
    int r;

    fiber_shield();                     /* it has to be known whether it happened */
    for (int tries = 0; (r = ask_once(l, q, why, &in, &a, e)) == -EPIPE && tries < TRIES && !done; tries++) {
        struct env_stat st = {0};
        struct hash now;

        r = local_look(&l->env, q->rel, &st, &now, e);
        done = r == 0 && (after ? st.exists && hash_eq(&now, after) : !st.exists);
        if (done)
            r = tidy(l, rel, w->key, w->part, e);
        if (r < 0 || done)
            break;
    }
    fiber_unshield();
    if (r == -EPIPE)
        return err_set(e, -EUCLEAN, "%s/%s: whether it was changed is not known, since the process that works on the workspace's "
                       "files ended each time", l->root, rel);
    return r;
}

static CO int local_write(struct env *v, const struct env_write *w, struct err *e)
{
    cleanup(freep) char *rel = NULL, *temp = temp_name(w->key), *layer = layer_name(local(v), w->key, w->part);
    int r = place(local(v), w->path, &rel, e);
    struct files_ask q = { .what = FILES_WRITE, .temp = str_of(temp), .data = w->data, .expects = w->expect != NULL,
                           .layer = str_of(layer), .all = w->back };
    struct hash after;

    if (r < 0)
        return r;
    q.rel = str_of(rel);
    if (w->expect)
        q.hash = wire_hash(w->expect);
    if (w->like) {
        q.alike = true;
        q.mode = w->like->mode;
        q.uid = w->like->uid;
        q.gid = w->like->gid;
    }
    after = hash_bytes(w->data);
    return change(local(v), &q, w, &after, "a file to be written", e);
}

static CO int local_remove(struct env *v, const struct env_write *w, struct err *e)
{
    cleanup(freep) char *rel = NULL, *layer = layer_name(local(v), w->key, w->part);
    int r = place(local(v), w->path, &rel, e);

    if (r < 0)
        return r;
    return change(local(v), &(struct files_ask){ FILES_REMOVE, .rel = str_of(rel), .hash = wire_hash(w->expect),
                                                 .layer = str_of(layer), .all = w->back }, w, NULL, "a file to be removed", e);
}

static CO int local_list(struct env *v, struct str path, struct env_entries *ret, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    cleanup(freep) char *rel = NULL;
    struct files_answer a;
    int r = place(local(v), path, &rel, e);

    if (r == 0)
        r = local_ask(local(v), &(struct files_ask){ FILES_LIST, .rel = str_of(rel) }, "a directory to be read", &in, &a, e);
    if (r < 0)
        return r;
    *ret = (struct env_entries){ .more = a.more };
    for (const char *each; ret->n < ENV_ENTRIES_MAX && (each = wire_next(&a.text));) {
        long long size;
        char type;
        int at = 0;

        if (sscanf(each, "%c %lld%n", &type, &size, &at) != 2 || each[at] != ' ')
            break;
        GROW(ret->v, ret->n, ret->cap);
        ret->v[ret->n++] = (struct env_entry){ xstrdup(each + at + 1), type, size };
    }
    return 0;
}

static CO int local_search(struct env *v, const struct env_search *s, struct env_found *ret, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    cleanup(freep) char *full = path_resolve(local(v)->root, s->path);
    struct files_ask q = { .what = FILES_SEARCH, .data = s->pattern, .globs = s->globs, .literal = s->literal,
                           .ignore_case = s->ignore_case, .all = s->all, .find = s->find, .context = s->context,
                           .max = (int64_t)s->max };
    struct files_answer a;
    const char *rel;
    int r;

    if (!path_beneath(local(v)->root, full, &rel))
        return err_set(e, -EXDEV, "%s is outside the workspace %s", full, local(v)->root);
    q.rel = str_of(rel);
    *ret = (struct env_found){0};
    r = local_ask(local(v), &q, "a search", &in, &a, e);
    if (r < 0)
        return r;
    buf_add_str(&ret->text, a.text);
#define TOLD(name) ret->name = a.name;
    TOLD(files) TOLD(matches) TOLD(shown) TOLD(searched) TOLD(binary) TOLD(large) TOLD(given_up)
#undef TOLD
    return 0;
}

static CO int local_tidy(struct env *v, struct str path, const char *key, unsigned part, struct err *e)
{
    cleanup(freep) char *rel = NULL;
    int r = place(local(v), path, &rel, e);

    return r < 0 ? r : tidy(local(v), rel, key, part, e);
}

static const char *local_life(struct env *v)
{
    (void)v;
    return proc_boot();
}

static void local_free(struct env *v)
{
    struct local *l = local(v);

    local_jobs_free(l);
    worker_end(&l->worker);
    close(l->root_fd);
    free(l->root);
    free(l->home);
    free(l->session);
    free(l->path);
    free(l->spool);
    free(l->shown);
    free(l->spare);
    if (l->box)
        boxing_done(l->box);
    free(l->box);
    free(l);
}

static const struct env_ops ops = {
    .read = local_read, .look = local_look, .write = local_write, .remove = local_remove, .list = local_list,
        .search = local_search, .tidy = local_tidy,
        .ready = local_ready, .run = local_run,
    .job_start = local_job_start, .job_look = local_job_look, .job_waits = local_job_waits, .job_send = local_job_send,
        .job_sent = local_job_sent,
    .drop = local_drop, .settle = local_settle, .output = local_output, .keep = local_keep, .resolve = local_resolve,
        .life = local_life,
    .free = local_free,
};

void env_box(struct env *v, struct boxing *box)
{
    struct local *l = local(v);

    worker_end(&l->worker);             /* one that was needed before works outside of it */
    if (l->box)
        boxing_done(l->box);
    free(l->box);
    l->box = box;
}

CO int env_git(struct env *v, char **ret, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    struct stat st;
    int r;

    *ret = NULL;
    if (fstatat(local(v)->root_fd, ".git", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    r = local_ask(local(v), &(struct files_ask){ FILES_GIT, .rel = LIT(".") }, "git's folder to be found", &in, &a, e);
    if (r == 0 && a.text.n)
        *ret = str_dup(a.text);
    return r;
}

void env_session(struct env *v, const char *id)
{
    struct local *l = local(v);

    worker_end(&l->worker);
    free(l->session);
    l->worker.session = l->session = xstrdup(id);
}

int env_local(const char *root, const char *home, struct env **ret, struct err *e)
{
    const char *user = getenv("HOME"), *below;
    cleanup(freep) char *real_user = user ? realpath(user, NULL) : NULL, *real_home = realpath(home, NULL);
    struct local *l;
    int fd;

    if (real_home)
        home = real_home;               /* else it does not exist yet */
    if (strcmp(root, "/") == 0 || (real_user && strcmp(root, real_user) == 0))
        return err_set(e, -EPERM, "%s cannot be a workspace: start rein in a project's folder, or name one with -C", root);
    if (path_beneath(root, home, &below) || path_beneath(home, root, &below))
        return err_set(e, -EPERM, "%s cannot be a workspace: rein keeps its own records in %s", root, home);
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, -errno, "the workspace %s cannot be opened: %s", root, strerror(errno));
    l = xcalloc(1, sizeof(*l));
    l->env.ops = &ops;
    l->root = xstrdup(root);
    l->home = xstrdup(home);
    l->spool = xasprintf("%s/spool", home);
    l->worker = (struct worker){ .root = l->root, .home = l->home, .root_fd = fd, .control = -1 };
    l->root_fd = fd;
    *ret = &l->env;
    return 0;
}
