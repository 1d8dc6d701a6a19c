#include "base/glob.h"

#include "base/buf.h"

#include <ctype.h>

#define ALTERNATIVES_MAX 64
#define WORK_MAX         200000         /* steps */

/* A set in brackets: its length, and whether the byte is in it. 0: the bracket is not closed. */
static size_t set_match(struct str p, unsigned char c, bool *ret)
{
    static const struct {
        const char *name;
        int (*is)(int);
    } classes[] = {
        { "alnum", isalnum }, { "alpha", isalpha }, { "blank", isblank }, { "cntrl", iscntrl }, { "digit", isdigit },
        { "graph", isgraph },
        { "lower", islower }, { "print", isprint }, { "punct", ispunct }, { "space", isspace }, { "upper", isupper },
        { "xdigit", isxdigit },
    };
    bool negated = p.n > 1 && (p.p[1] == '!' || p.p[1] == '^'), in = false;
    size_t i = 1 + negated;

    for (bool first = true; i < p.n && (first || p.p[i] != ']'); first = false) {
        unsigned char from = (unsigned char)p.p[i], to;

        if (from == '[' && i + 1 < p.n && p.p[i + 1] == ':') {
            ssize_t end = str_find(p, LIT("]"), i + 2);
            struct str name = end > 0 ? (struct str){ p.p + i + 2, (size_t)end - i - 2 } : (struct str){0};

            if (end < 0)
                return 0;
            if (name.n && name.p[name.n - 1] == ':') {
                bool known = false;

                name.n--;
                for (size_t k = 0; k < ARRAY_SIZE(classes); k++)
                    if (str_is(name, classes[k].name)) {
                        known = true;
                        in = in || classes[k].is(c);
                    }
                if (!known)
                    return 0;
                i = (size_t)end + 1;
                continue;
            }
        }
        if (from == '\\' && ++i < p.n)
            from = (unsigned char)p.p[i];
        if (i >= p.n)
            return 0;
        i++;
        to = from;
        if (i + 1 < p.n && p.p[i] == '-' && p.p[i + 1] != ']') {
            i++;
            if (p.p[i] == '\\' && ++i >= p.n)
                return 0;
            to = (unsigned char)p.p[i++];
        }
        in = in || (c >= from && c <= to);
    }
    if (i >= p.n)
        return 0;
    *ret = in != negated;
    return i + 1;
}

/* The state of a match is a place in the pattern and one in the name; `star` is the last * that may still take more. A ** tries the
 * places behind it in turn, of which there are as many as the name has parts; `work` ends what would take for ever. */
static bool match(struct str p, struct str s, bool path, unsigned *work)
{
    size_t i = 0, k = 0, star = SIZE_MAX, star_k = 0;

    for (;;) {
        bool in = false;
        size_t n;

        if (*work == 0)
            return false;
        --*work;
        if (i < p.n && p.p[i] == '*') {
            size_t end = i;

            while (end < p.n && p.p[end] == '*')
                end++;
            if (path && end - i > 1 && (i == 0 || p.p[i - 1] == '/') && (end == p.n || p.p[end] == '/' ||
                (p.p[end] == '\\' && end + 1 < p.n && p.p[end + 1] == '/'))) {
                if (end == p.n)
                    return true;
                /* As no part at all; then with the slash in front of every later part. */
                if (p.p[end] == '/' && match(str_from(p, end + 1), str_from(s, k), true, work))
                    return true;
                for (size_t at = k; at < s.n; at++)
                    if (s.p[at] == '/' && match(str_from(p, end), str_from(s, at), true, work))
                        return true;
                goto again;
            }
            i = end;
            star = i;
            star_k = k;
            continue;
        }
        if (i == p.n && k == s.n)
            return true;
        if (i < p.n && k < s.n) {
            unsigned char c = (unsigned char)s.p[k];

            if (p.p[i] == '?' && !(path && c == '/')) {
                i++, k++;
                continue;
            }
            if (p.p[i] == '[') {
                n = set_match(str_from(p, i), c, &in);
                if (n == 0)
                    return false;
                if (in && !(path && c == '/')) {
                    i += n;
                    k++;
                    continue;
                }
            } else if (p.p[i] == '\\' && i + 1 == p.n) {
                return false;
            } else if (p.p[i] != '?') {
                n = p.p[i] == '\\' && i + 1 < p.n;
                if ((unsigned char)p.p[i + n] == c) {
                    i += 1 + n;
                    k++;
                    continue;
                }
            }
        }
again:
        if (star == SIZE_MAX || star_k >= s.n || (path && s.p[star_k] == '/'))
            return false;
        i = star;
        k = ++star_k;
    }
}

bool glob_match(struct str pattern, struct str name, bool path)
{
    unsigned work = WORK_MAX;

    return match(pattern, name, path, &work);
}

/* Lists. */

struct globs {
    struct glob {
        char *pattern;
        bool not, anchored, dirs;
    } *v;
    size_t n, cap;
    bool wants;                         /* some pattern has no ! */
};

void globs_free(struct globs *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n; i++)
        free(g->v[i].pattern);
    free(g->v);
    free(g);
}

static bool add(struct globs *g, struct str s)
{
    struct glob one = { .not = s.n && s.p[0] == '!' };

    s = str_from(s, one.not);
    one.dirs = s.n && s.p[s.n - 1] == '/';
    s.n -= one.dirs;
    one.anchored = memchr(s.p, '/', s.n) != NULL;
    if (s.n && s.p[0] == '/')
        s = str_from(s, 1);
    else if (s.n > 1 && s.p[0] == '.' && s.p[1] == '/')
        s = str_from(s, 2);
    if (!s.n)
        return true;
    if (g->n == ALTERNATIVES_MAX)
        return false;
    one.pattern = str_dup(s);
    GROW(g->v, g->n, g->cap);
    g->v[g->n++] = one;
    g->wants |= !one.not;
    return true;
}

/* Adds a pattern for each way of choosing from its braces. */
static bool expand(struct globs *g, struct str s)
{
    size_t open = SIZE_MAX, depth = 0, from = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '\\') {
            i++;
        } else if (c == '{') {
            if (depth++ == 0) {
                open = i;
                from = i + 1;
            }
        } else if (depth && (c == '}' ? --depth == 0 : c == ',' && depth == 1)) {
            cleanup(buf_done) struct buf one = {0};
            size_t end = i, inner = depth;

            for (size_t k = i; c == ',' && k < s.n; k++) {      /* the end of these braces */
                inner += s.p[k] == '{';
                inner -= s.p[k] == '}';
                end = k;
                if (inner == 0)
                    break;
            }
            if (s.p[end] != '}')
                return false;
            buf_add_str(&one, str_head(s, open));
            buf_add(&one, s.p + from, i - from);
            buf_add_str(&one, str_from(s, end + 1));
            if (!expand(g, buf_str(&one)))
                return false;
            from = i + 1;
            if (c == '}')
                return true;
        }
    }
    return depth == 0 && add(g, s);
}

struct globs *globs_new(struct str list)
{
    struct globs *g = xcalloc(1, sizeof(*g));

    while (list.n) {
        size_t n = 0;

        while (n < list.n && list.p[n] != ' ')
            n++;
        if (n && !expand(g, str_head(list, n))) {
            globs_free(g);
            return NULL;
        }
        list = str_from(list, n + 1);
    }
    return g;
}

static bool one_matches(const struct glob *g, struct str path, bool dir)
{
    const char *slash = memrchr(path.p, '/', path.n);

    if (g->dirs && !dir)
        return false;
    if (g->anchored)
        return glob_match(str_of(g->pattern), path, true);
    return glob_match(str_of(g->pattern), slash ? str_from(path, (size_t)(slash - path.p) + 1) : path, false);
}

bool globs_want(const struct globs *g, struct str path)
{
    bool want = !g->wants;

    for (size_t i = 0; i < g->n; i++) {
        bool matches = one_matches(&g->v[i], path, false);

        for (size_t at = 0; at < path.n && !matches && (g->v[i].not || g->v[i].dirs); at++)
            matches = path.p[at] == '/' && one_matches(&g->v[i], str_head(path, at), true);
        if (matches)
            want = !g->v[i].not;
    }
    return want;
}
