#include "core/privacy.h"

#include "base/buf.h"
#include "base/glob.h"

#define BYTES_MAX    ((size_t)64 << 20)
#define LIST_MAX     ((size_t)8 << 20)      /* bytes of their names */
#define DIFFERENT    6              /* bytes of a run that have to differ */
#define BASE         UINT64_C(1099511628211)

struct privacy {
    char *root;
    struct globs *names;
    uint64_t *runs;                 /* open addressing; 0: free */
    size_t n, cap, bytes;
};

static bool has(const struct privacy *p, uint64_t h)
{
    for (size_t i = h & (p->cap - 1); p->runs[i]; i = (i + 1) & (p->cap - 1))
        if (p->runs[i] == h)
            return true;
    return false;
}

static void put(struct privacy *p, uint64_t h)
{
    size_t i = h & (p->cap - 1);

    while (p->runs[i] && p->runs[i] != h)
        i = (i + 1) & (p->cap - 1);
    p->n += !p->runs[i];
    p->runs[i] = h;
}

static void grow(struct privacy *p)
{
    uint64_t *old = p->runs;
    size_t n = p->cap;

    if (p->cap && p->n * 2 < p->cap)
        return;
    p->cap = p->cap ? p->cap * 2 : 4096;
    p->runs = xcalloc(p->cap, sizeof(*p->runs));
    p->n = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i])
            put(p, old[i]);
    free(old);
}

/* A hash that moves along a text a byte at a time. */
struct run {
    uint64_t h, out;                /* out: what the byte that leaves counts for */
    size_t n;
};

static uint64_t step(struct run *r, struct str s, size_t at)
{
    uint64_t mixed;

    if (!r->out) {
        r->out = 1;
        for (int i = 0; i < PRIVATE_RUN; i++)
            r->out *= BASE;
    }
    r->h = r->h * BASE + (unsigned char)s.p[at] + 1;
    if (at >= PRIVATE_RUN)
        r->h -= r->out * ((unsigned char)s.p[at - PRIVATE_RUN] + 1u);
    mixed = r->h ^ r->h >> 29;
    mixed *= UINT64_C(0xbf58476d1ce4e5b9);
    mixed ^= mixed >> 32;
    return mixed ? mixed : 1;
}

static bool telling(struct str s, size_t end)
{
    uint64_t seen[4] = {0};
    int different = 0;

    for (size_t i = end - PRIVATE_RUN; i < end; i++) {
        unsigned char c = (unsigned char)s.p[i];

        different += !(seen[c >> 6] >> (c & 63) & 1);
        seen[c >> 6] |= UINT64_C(1) << (c & 63);
    }
    return different >= DIFFERENT;
}

static void learn(struct privacy *p, struct str s)
{
    struct run r = {0};

    for (size_t i = 0; i < s.n; i++) {
        uint64_t h = step(&r, s, i);

        if (i + 1 >= PRIVATE_RUN && telling(s, i + 1)) {
            grow(p);
            put(p, h);
        }
    }
}

bool privacy_holds(const struct privacy *p, struct str s)
{
    struct run r = {0};

    if (!p->n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint64_t h = step(&r, s, i);

        if (i + 1 >= PRIVATE_RUN && has(p, h))
            return true;
    }
    return false;
}

bool privacy_path(const struct privacy *p, struct str path)
{
    size_t n = strlen(p->root);

    if (path.n > n && memcmp(path.p, p->root, n) == 0 && path.p[n] == '/')
        path = str_from(path, n + 1);
    return path.n && path.p[0] != '/' && globs_want(p->names, path);
}

static CO int learn_file(struct privacy *p, struct env *env, struct str path, struct err *e)
{
    cleanup(buf_done) struct buf data = BUF_MAX(BYTES_MAX);
    struct env_stat st;
    int r = env_read(env, path, 0, BYTES_MAX - 1, &data, &st, e);

    if (r == -ENOENT || r == -EXDEV || r == -EACCES || r == -EPERM || r == -EINVAL || r == -EISDIR || r == -ELOOP)
        return 0;                       /* it is gone, is none, or nobody here can read it */
    if (r < 0)
        return r;
    p->bytes += (size_t)st.size;
    if (p->bytes > BYTES_MAX)
        return -E2BIG;
    learn(p, buf_str(&data));
    return 0;
}

CO int privacy_load(struct env *env, const char *root, struct str names, struct privacy **ret, struct err *e)
{
    struct env_search what = { .path = LIT("."), .globs = names, .all = true, .max = LIST_MAX };
    struct privacy *p = xcalloc(1, sizeof(*p));
    cleanup(buf_done) struct buf list = {0};
    struct env_found found;
    int64_t n = 0;
    int r;

    p->root = xstrdup(root);
    p->names = globs_new(names);
    if (!p->names) {
        privacy_free(p);
        return err_set(e, -EINVAL, "private: the patterns '%.*s' cannot be read", STR(names));
    }
    grow(p);
    r = env_search(env, &what, &found, e);
    if (r == 0) {
        list = found.text;
        if (found.shown < found.files)
            r = -E2BIG;
    }
    for (struct str rest = buf_str(&list); r == 0 && rest.n;) {
        ssize_t nl = str_find(rest, LIT("\n"), 0);
        struct str path = str_head(rest, nl < 0 ? rest.n : (size_t)nl);

        rest = str_from(rest, nl < 0 ? rest.n : (size_t)nl + 1);
        r = learn_file(p, env, path, e);
        n++;
    }
    if (r == 0 && n != found.shown)     /* somewhere one was read as two, and so not at all */
        r = err_set(e, -EILSEQ, "the name of a private file has several lines: what is in it could not be told from the rest");
    if (r < 0) {
        privacy_free(p);
        return r != -E2BIG ? err_prefix(e, r, "private: ") :
               err_set(e, r, "private: the files are larger than %zu MB together, or too many: what is in them could not be told "
                       "from the rest", BYTES_MAX >> 20);
    }
    *ret = p;
    return 0;
}

void privacy_free(struct privacy *p)
{
    if (!p)
        return;
    globs_free(p->names);
    free(p->runs);
    free(p->root);
    free(p);
}
