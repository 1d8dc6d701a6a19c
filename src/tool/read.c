/* read.c - a text file, or a range of its lines, in pieces that fit the context. A file of any size costs one chunk of
 * memory. */
#include "base/utf8.h"
#include "core/harness.h"

#include <stdio.h>

#define CHUNK        ((size_t)256 << 10)
#define SNIFF        8192               /* bytes looked at to tell text from binary */
#define DEFAULT_COUNT 2000
#define OUTPUT_PREFIX "output:"         /* and the call's name */

/* Where the bytes come from: a file, or the kept output of a command. */
struct source {
    struct call *call;
    struct str path;
    char *output_key;                   /* NULL for a file */
    int64_t size;
};

static CO int fetch(struct source *src, int64_t offset, struct buf *out, struct err *e)
{
    struct env_stat st;
    int r;

    if (src->output_key)
        return env_output(src->call->env, src->output_key, offset, CHUNK, out, &src->size, e);
    r = env_read(src->call->env, src->path, offset, CHUNK, out, &st, e);
    if (r == 0)
        src->size = st.size;
    return r;
}

/* The lines that were asked for. */
struct range {
    int64_t start, count;
    size_t max;                         /* bytes */
    int64_t line;                       /* of the next byte fed, from 1 */
    int64_t last;                       /* last line that is in, whole or cut */
    bool cut_line, full;
    struct buf text;
};

static void feed(struct range *g, struct str s)
{
    size_t i = 0;

    while (i < s.n && !g->full) {
        const char *nl = memchr(s.p + i, '\n', s.n - i);
        size_t n = nl ? (size_t)(nl - s.p) - i + 1 : s.n - i;

        if (g->line >= g->start) {
            if (g->line >= g->start + g->count) {
                g->full = true;
                return;
            }
            if (g->text.n + n > g->max) {
                g->full = true;
                if (g->last >= g->start)
                    return;             /* whole lines only, unless the first one is too long by itself */
                n = g->max - g->text.n;
                g->cut_line = true;
            }
            buf_add(&g->text, s.p + i, n);
            if (nl || g->cut_line)
                g->last = g->line;
        }
        i += n;
        if (nl)
            g->line++;
    }
}

static void finish(struct call *c, struct range *g, struct source *src, bool at_end)
{
    struct result *res = c->result;
    struct str text = buf_str(&g->text);
    bool open_line = text.n && text.p[text.n - 1] != '\n';

    if (open_line && !g->cut_line)
        g->last = g->line;
    if (text.n == 0) {
        if (src->size == 0)
            buf_adds(&res->text, "[the file is empty]");
        else
            buf_addf(&res->text, "[there is no line %lld: the file has %lld lines]", (long long)g->start,
                     (long long)(g->line - 1));
        result_ok(res);
        return;
    }
    if (g->start == 1 && text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        text = str_from(text, 3);
    utf8_add_clean(&res->text, text);
    if (!utf8_valid(text))
        buf_addf(&res->text, "%s[not UTF-8 throughout: what is not is shown as \xef\xbf\xbd]", open_line ? "\n" : "");
    if (g->cut_line)
        buf_addf(&res->text, "\n[line %lld is cut after %zu bytes]", (long long)g->last, g->max);
    if (!at_end)
        buf_addf(&res->text, "%s[lines %lld-%lld of a file of %lld bytes; go on with start=%lld]", open_line ? "\n" : "",
                 (long long)g->start, (long long)g->last, (long long)src->size, (long long)g->last + 1);
    result_ok(res);
}

/* The model has seen this content: a later edit is checked against it. Files too large to edit need no hash. */
static CO int remember(struct call *c, struct str path, const struct buf *whole, int64_t size)
{
    cleanup(freep) char *full = env_resolve(c->env, path);
    struct env_stat st = {0};
    struct err e = {0};
    struct hash h;
    int r = 0;

    if (size > (int64_t)ENV_FILE_MAX)
        return 0;
    if ((int64_t)whole->n == size)
        h = hash_bytes(buf_str(whole));
    else
        r = env_look(c->env, path, &st, &h, &e);
    if (r == 0)
        result_file(c->result, full, &h);
    return r == -ECANCELED ? r : 0;
}

/* The key of a call, which begins with the session that made it: a fork reads its parent's outputs too. */
static char *output_key(struct call *c, const char *name)
{
    return xasprintf("%s-%s", view_writer(c->view, strtoull(name, NULL, 10), c->session), name);
}

static CO int read_run(struct call *c)
{
    cleanup(buf_done) struct buf chunk = BUF_MAX(CHUNK + 1);
    cleanup(freep) char *key = NULL;
    struct source src = { .call = c };
    struct range g = { .start = js_int(c->args, "start", 1), .count = js_int(c->args, "count", DEFAULT_COUNT), .line = 1 };
    struct err e = {0};
    int64_t offset = 0;
    int r;

    if (!call_text(c, "path", &src.path))
        return 0;
    if (g.start < 1 || g.count < 1)
        return result_fail(c->result, -EINVAL, "read: start and count begin at 1");
    g.count = MIN(g.count, INT64_MAX - g.start);
    g.max = c->harness->result_head + c->harness->result_tail;
    if (src.path.n > strlen(OUTPUT_PREFIX) && strncmp(src.path.p, OUTPUT_PREFIX, strlen(OUTPUT_PREFIX)) == 0)
        src.output_key = key = output_key(c, src.path.p + strlen(OUTPUT_PREFIX));

    do {
        buf_clear(&chunk);
        r = fetch(&src, offset, &chunk, &e);
        if (r < 0)
            break;
        if (offset == 0 && !key && memchr(buf_str(&chunk).p, 0, MIN(chunk.n, (size_t)SNIFF))) {
            r = result_fail(c->result, -EINVAL, "%.*s is a binary file of %lld bytes, and not shown", STR(src.path),
                            (long long)src.size);
            buf_done(&g.text);
            return r;
        }
        feed(&g, buf_str(&chunk));
        if (offset == 0 && !key)
            r = remember(c, src.path, &chunk, src.size);
        offset += (int64_t)chunk.n;
    } while (r == 0 && !g.full && chunk.n == CHUNK);

    if (r < 0)
        r = result_fail(c->result, r, "cannot read: %s", e.msg);
    else
        finish(c, &g, &src, !g.full);
    buf_done(&g.text);
    return r;
}

const struct tool tool_read = {
    .name      = "read",
    .effect    = EFFECT_PURE,
    .title_args = "path",
    .run       = read_run,
};
