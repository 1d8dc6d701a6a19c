#include "provider/hints.h"

#include <stdio.h>

struct str take_line(struct str *text)
{
    const char *nl = memchr(text->p, '\n', text->n);
    struct str line = str_head(*text, nl ? (size_t)(nl - text->p) : text->n);

    *text = str_from(*text, line.n + 1);
    return line;
}

static void fix_done(struct fix *f)
{
    free(f->file);
    free(f->text);
}

void report_done(struct report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < r->groups[i].n; k++)
            fix_done(&r->groups[i].fixes[k]);
        free(r->groups[i].fixes);
    }
    free(r->groups);
    free(r->undefined);
    free(r->folder);
}

/* A string in double quotes with the escapes of C. Steps over it. */
static bool quoted(const char **p, const char *end, struct buf *out)
{
    static const char from[] = "nrtbfv\\\"'", to[] = "\n\r\t\b\f\v\\\"'";

    if (*p >= end || **p != '"')
        return false;
    for (++*p; *p < end && **p != '"'; ++*p) {
        const char *at;

        if (**p != '\\') {
            buf_addc(out, **p);
            continue;
        }
        if (++*p >= end)
            return false;
        if (**p >= '0' && **p <= '7') {
            unsigned code = 0;

            for (int i = 0; i < 3 && *p < end && **p >= '0' && **p <= '7'; i++, ++*p)
                code = code * 8 + (unsigned)(**p - '0');
            buf_addc(out, (char)code);
            --*p;
        } else {
            at = strchr(from, **p);
            buf_addc(out, at && *at ? to[at - from] : **p);
        }
    }
    if (*p >= end)
        return false;
    ++*p;
    return true;
}

static void read_fix(struct report *r, struct str line)
{
    struct group *g = r->n ? &r->groups[r->n - 1] : NULL;
    cleanup(buf_done) struct buf file = {0}, text = {0};
    const char *p = line.p + strlen("fix-it:"), *end = line.p + line.n;
    struct fix f = {0};
    char place[64];
    int used = 0;
    size_t n;

    if (!g || !quoted(&p, end, &file) || !file.n)
        return;
    n = MIN((size_t)(end - p), sizeof(place) - 1);
    memcpy(place, p, n);
    place[n] = 0;
    if (sscanf(place, ":{%u:%u-%u:%u}:%n", &f.line, &f.from, &f.line_to, &f.to, &used) != 4 || !used)
        return;
    p += used;
    if (!quoted(&p, end, &text) || f.line == 0 || f.from == 0)
        return;
    f.file = file.p[0] == '/' || !r->folder ? xstrdup(file.p) : xasprintf("%s/%s", r->folder, file.p);
    f.text = buf_take(&text);
    GROW(g->fixes, g->n, g->cap);
    g->fixes[g->n++] = f;
}

static void read_line(struct report *r, struct str line)
{
    ssize_t at;

    if (line.n > 7 && memcmp(line.p, "fix-it:", 7) == 0) {
        read_fix(r, line);
    } else if ((at = str_find(line, LIT("Entering directory "), 0)) >= 0) {
        struct str name = str_from(line, (size_t)at + 20);

        free(r->folder);
        r->folder = str_dup(str_head(name, name.n ? name.n - 1 : 0));
    } else if (str_find(line, LIT("Leaving directory "), 0) >= 0) {
        free(TAKE(r->folder));
    } else if ((at = str_find(line, LIT("undefined reference to "), 0)) >= 0) {
        struct str name = str_from(line, (size_t)at + 24);

        GROW(r->undefined, r->nundefined, r->undefined_cap);
        r->undefined[r->nundefined++] = str_head(name, name.n ? name.n - 1 : 0);
    } else {
        static const char *const kinds[] = { ": error: ", ": fatal error: ", ": warning: " };

        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
            at = str_find(line, str_of(kinds[i]), 0);
            if (at < 0)
                continue;
            GROW(r->groups, r->n, r->cap);
            r->groups[r->n++] = (struct group){ .error = i < 2, .where = str_head(line, (size_t)at),
                                                .message = str_from(line, (size_t)at + strlen(kinds[i])) };
            break;
        }
    }
}

void report_read(struct report *r, struct str text)
{
    *r = (struct report){0};
    while (text.n) {
        const char *nl = memchr(text.p, '\n', text.n);
        size_t n = nl ? (size_t)(nl - text.p) : text.n;

        read_line(r, str_head(text, n));
        text = str_from(text, n + 1);
    }
}

/* Plans. */

void plan_done(struct plan *p)
{
    free(p->v);
}

static int by_place(const void *a, const void *b)
{
    const struct fix *x = *(struct fix *const *)a, *y = *(struct fix *const *)b;
    int c = strcmp(x->file, y->file);

    if (c)
        return c;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return strcmp(x->text, y->text);
}

/* Whether a warning is about a name that the linker did not find: then its hint is worth an error's. */
static bool about_undefined(const struct report *r, const struct group *g)
{
    for (size_t i = 0; i < r->nundefined; i++) {
        cleanup(freep) char *name = xasprintf("'%.*s'", STR(r->undefined[i]));

        if (r->undefined[i].n && str_find(g->message, str_of(name), 0) >= 0)
            return true;
    }
    return false;
}

void plan_make(struct plan *p, const struct report *r)
{
    const char *closed = NULL;          /* a file of which nothing more is taken */

    for (size_t i = 0; i < r->n; i++) {
        struct group *g = &r->groups[i];
        bool put_in = false, usable = g->n > 0;

        for (size_t k = 0; k < g->n; k++)
            usable = usable && g->fixes[k].line == g->fixes[k].line_to && !(closed && strcmp(closed, g->fixes[k].file) == 0);
        if (!usable || (!g->error && !about_undefined(r, g)))
            continue;
        for (size_t k = 0; k < g->n; k++) {
            GROW(p->v, p->n, p->cap);
            p->v[p->n++] = &g->fixes[k];
            put_in = put_in || (g->error && g->fixes[k].from == g->fixes[k].to);
        }
        if (put_in)
            closed = g->fixes[0].file;
    }
    if (!p->n)
        return;
    qsort(p->v, p->n, sizeof(*p->v), by_place);
    for (size_t i = 1; i < p->n;) {
        const struct fix *a = p->v[i - 1], *b = p->v[i];
        bool overlap = strcmp(a->file, b->file) == 0 && a->line == b->line && b->from < MAX(a->to, a->from + 1);

        if (overlap)                    /* the same hint twice, or one that does not go with the other */
            memmove(&p->v[i], &p->v[i + 1], (--p->n - i) * sizeof(*p->v));
        else
            i++;
    }
}

bool plan_same(const struct plan *a, const struct plan *b)
{
    for (size_t i = 0; i < a->n && a->n == b->n; i++)
        if (by_place(&a->v[i], &b->v[i]) != 0 || a->v[i]->to != b->v[i]->to)
            return false;
    return a->n == b->n;
}

bool plan_cluster(const struct plan *p, size_t from, unsigned around, struct cluster *ret)
{
    unsigned last;

    if (from >= p->n)
        return false;
    last = p->v[from]->line;
    ret->first = from;
    ret->n = 1;
    ret->start = last > around ? last - around : 1;
    while (from + ret->n < p->n && strcmp(p->v[from + ret->n]->file, p->v[from]->file) == 0 &&
           p->v[from + ret->n]->line <= last + 2 * around + 1)
        last = p->v[from + ret->n++]->line;
    ret->count = last + around - ret->start + 1;
    return true;
}

bool plan_apply(const struct plan *p, const struct cluster *c, struct str lines, struct buf *out)
{
    size_t at = c->first, end = c->first + c->n;

    for (unsigned number = c->start;; number++) {
        const char *nl = memchr(lines.p, '\n', lines.n);
        struct str line = take_line(&lines);
        size_t done = 0;

        for (; at < end && p->v[at]->line == number; at++) {
            const struct fix *f = p->v[at];

            if (f->from - 1 < done || f->to < f->from || f->to - 1 > line.n)
                return false;
            buf_add(out, line.p + done, f->from - 1 - done);
            buf_adds(out, f->text);
            done = f->to - 1;
        }
        buf_add_str(out, str_from(line, done));
        if (!nl)
            return at == end;
        buf_addc(out, '\n');
    }
}
