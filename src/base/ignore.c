#include "base/ignore.h"

#include "base/glob.h"

struct rule {
    struct str pattern;
    bool not, dirs, anchored;
    size_t plain;                       /* characters at its beginning of which none is special */
    bool suffix;                        /* * and then plain */
};

struct ignore {
    char *text;
    struct rule *v;
    size_t n, cap;
};

void ignore_free(struct ignore *v)
{
    if (!v)
        return;
    free(v->text);
    free(v->v);
    free(v);
}

/* Blanks at the end do not count, unless a backslash stands before them. */
static struct str without_blanks(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        else if (s.p[i] == ' ')
            continue;
        n = i + 1;
    }
    return str_head(s, n);
}

static size_t plain_part(struct str s)
{
    size_t n = 0;

    while (n < s.n && !strchr("*?[\\", s.p[n]))
        n++;
    return n;
}

static void add_rule(struct ignore *v, struct str s)
{
    struct rule r = {0};

    s = without_blanks(s);
    if (s.n && s.p[0] == '!') {
        r.not = true;
        s = str_from(s, 1);
    }
    r.dirs = s.n && s.p[s.n - 1] == '/';
    s.n -= r.dirs;
    r.anchored = memchr(s.p, '/', s.n) != NULL;
    if (s.n && s.p[0] == '/')
        s = str_from(s, 1);
    r.pattern = s;
    r.plain = plain_part(s);
    r.suffix = !r.anchored && s.n && s.p[0] == '*' && plain_part(str_from(s, 1)) == s.n - 1;
    GROW(v->v, v->n, v->cap);
    v->v[v->n++] = r;
}

struct ignore *ignore_new(struct str text)
{
    struct ignore *v = xcalloc(1, sizeof(*v));
    struct str left;

    v->text = str_dup(text);
    left = (struct str){ v->text, text.n };
    if (left.n >= 3 && memcmp(left.p, "\xef\xbb\xbf", 3) == 0)
        left = str_from(left, 3);
    while (left.n) {
        const char *nl = memchr(left.p, '\n', left.n);
        struct str line = str_head(left, nl ? (size_t)(nl - left.p) : left.n);

        left = str_from(left, line.n + (nl != NULL));
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n && line.p[0] != '#')
            add_rule(v, line);
    }
    if (v->n)
        return v;
    ignore_free(v);
    return NULL;
}

static bool rule_matches(const struct rule *r, struct str path, struct str name, bool is_dir)
{
    struct str against = r->anchored ? path : name;

    if (r->dirs && !is_dir)
        return false;
    if (r->plain == r->pattern.n)
        return str_eq(r->pattern, against);
    if (r->suffix)
        return name.n >= r->pattern.n - 1 && memcmp(name.p + name.n - (r->pattern.n - 1), r->pattern.p + 1, r->pattern.n - 1) == 0;
    if (!r->anchored)
        return glob_match(r->pattern, name, false);
    /* As git does it, the plain beginning is compared by itself: a ** behind it then begins a pattern. */
    return path.n >= r->plain && memcmp(path.p, r->pattern.p, r->plain) == 0 &&
           glob_match(str_from(r->pattern, r->plain), str_from(path, r->plain), true);
}

enum ignored ignore_match(const struct ignore *v, struct str path, bool is_dir)
{
    const char *slash = memrchr(path.p, '/', path.n);
    struct str name = slash ? str_from(path, (size_t)(slash - path.p) + 1) : path;

    for (size_t i = v->n; i-- > 0;)
        if (rule_matches(&v->v[i], path, name, is_dir))
            return v->v[i].not ? IGNORE_TAKE_IN : IGNORE_LEAVE_OUT;
    return IGNORE_SAYS_NOTHING;
}
