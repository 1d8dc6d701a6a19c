/* read.c - a text file in any encoding, or a range of its lines, in pieces that fit the context; or the names in a directory. A
 * file of any size costs one chunk of memory. */
#include "base/base64.h"
#include "base/charset.h"
#include "base/magic.h"
#include "base/utf8.h"
#include "core/harness.h"

#include <stdio.h>

#define CHUNK        ((size_t)256 << 10)
#define DEFAULT_COUNT 2000
#define IMAGE_LIMIT  ((size_t)640 << 10)        /* bytes: with a third more, as base64, it fits into an event */
#define OUTPUT_PREFIX "output:"         /* and the call's name */

/* Where the bytes come from: a file, or the kept output of a command. */
struct source {
    struct call *call;
    struct str path;
    char *output_key;                   /* NULL for a file */
    int64_t size;
    struct charset charset;
    const char *image_type;             /* it is one, and the model takes images */
    struct buf pending;                 /* bytes of a character that the next chunk ends; not for UTF-8 */
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
    bool open;                          /* the last byte fed did not end a line */
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
        g->open = !nl;
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
            buf_adds(&res->text, "[it is empty]");
        else
            buf_addf(&res->text, "[there is no line %lld: it has %lld lines]", (long long)g->start,
                     (long long)(g->line - !g->open));
        result_ok(res);
        return;
    }
    utf8_add_clean(&res->text, text);
    if (!charset_is_utf8(&src->charset))
        buf_addf(&res->text, "%s[in %s, which edit and write keep%s]", open_line ? "\n" : "", src->charset.name,
                 str_find(text, LIT("\xef\xbf\xbd"), 0) >= 0 ? "; what is not is shown as \xef\xbf\xbd" : "");
    else if (!utf8_valid(text))
        buf_addf(&res->text, "%s[not UTF-8 throughout: what is not is shown as \xef\xbf\xbd]", open_line ? "\n" : "");
    if (g->cut_line)
        buf_addf(&res->text, "\n[line %lld is cut after %zu bytes]", (long long)g->last, g->max);
    if (!at_end)
        buf_addf(&res->text, "%s[lines %lld-%lld of %lld bytes in all; go on with start=%lld]", open_line ? "\n" : "",
                 (long long)g->start, (long long)g->last, (long long)src->size, (long long)g->last + 1);
    result_ok(res);
}

/* The model has seen this content: a later edit is checked against it. Files too large to edit need no hash. */
static CO int remember(struct call *c, struct source *src, const struct buf *whole)
{
    cleanup(freep) char *full = env_resolve(c->env, src->path);
    struct env_stat st = {0};
    struct err e = {0};
    struct hash h;
    int r = 0;

    if (src->size > (int64_t)ENV_FILE_MAX)
        return 0;
    if ((int64_t)whole->n == src->size)
        h = hash_bytes(buf_str(whole));
    else
        r = env_look(c->env, src->path, &st, &h, &e);
    if (r == 0)
        result_file(c->result, full, &h, charset_is_utf8(&src->charset) ? NULL : src->charset.name);
    return r == -ECANCELED ? r : 0;
}

/* The key of a call, which begins with the session that made it: a fork reads its parent's outputs too. */
static char *output_key(struct call *c, const char *name)
{
    return xasprintf("%s-%s", view_writer(c->view, strtoull(name, NULL, 10), c->session), name);
}

/* What is no Unicode is read as it was before: someone may have known better than a guess. */
static void keep_named(struct call *c, struct source *src, struct str chunk)
{
    cleanup(freep) char *full = env_resolve(c->env, src->path);
    const struct known_file *known = view_known(c->view, full);
    struct charset before;
    struct err e;

    if (known && known->charset && strncmp(src->charset.name, "UTF-", 4) != 0 &&
        charset_named(str_of(known->charset), chunk, &before, &e) == 0)
        src->charset = before;
}

/* What the file is in, by its first chunk. False: the call is closed. */
static bool find_charset(struct call *c, struct source *src, struct str chunk)
{
    struct str named = js_str(c->args, "encoding");
    cleanup(buf_done) struct buf what = {0};
    struct err e;

    if (src->output_key || named.n) {
        if (charset_named(named.n ? named : LIT("UTF-8"), chunk, &src->charset, &e) == 0)
            return true;
        result_fail(c->result, -EINVAL, "read: %s", e.msg);
        return false;
    }
    if (charset_guess(chunk, (int64_t)chunk.n == src->size, &src->charset)) {
        keep_named(c, src, chunk);
        return true;
    }
    src->image_type = c->view->images ? magic_image(chunk) : NULL;
    if (src->image_type)
        return false;
    magic_say(chunk, &what);
    result_fail(c->result, -EINVAL, "%.*s is not text but %s, of %lld bytes; it is not shown", STR(src->path), what.p,
                (long long)src->size);
    return false;
}

/* Feeds what was read, as UTF-8. */
static void feed_bytes(struct range *g, struct source *src, struct str chunk, bool first, bool last)
{
    cleanup(buf_done) struct buf text = {0};

    if (first)
        chunk = str_from(chunk, src->charset.mark);
    if (charset_is_utf8(&src->charset)) {
        feed(g, chunk);
        return;
    }
    buf_add_str(&src->pending, chunk);
    buf_skip(&src->pending, charset_decode_piece(&src->charset, buf_str(&src->pending), last, &text));
    feed(g, buf_str(&text));
}

static CO int read_lines(struct call *c, struct source *src, struct range *g, struct err *e)
{
    cleanup(buf_done) struct buf chunk = BUF_MAX(CHUNK + 1);
    int64_t offset = 0;
    int r;

    do {
        buf_clear(&chunk);
        r = fetch(src, offset, &chunk, e);
        if (r < 0)
            return r;
        if (offset == 0 && !find_charset(c, src, buf_str(&chunk)))
            return 0;
        feed_bytes(g, src, buf_str(&chunk), offset == 0, chunk.n < CHUNK);
        if (offset == 0 && !src->output_key)
            r = remember(c, src, &chunk);
        offset += (int64_t)chunk.n;
    } while (r == 0 && !g->full && chunk.n == CHUNK);
    return r;
}

/* An image for the model to look at. */
static CO int read_image(struct call *c, const struct source *src, struct err *e)
{
    cleanup(buf_done) struct buf bytes = BUF_MAX(IMAGE_LIMIT + 1);
    struct env_stat st;
    int r;

    if (src->size > (int64_t)IMAGE_LIMIT)
        return result_fail(c->result, -E2BIG, "%.*s is an image of %lld bytes; at most %zu can be shown. Make it smaller first.",
                           STR(src->path),
                           (long long)src->size, IMAGE_LIMIT);
    r = env_read(c->env, src->path, 0, IMAGE_LIMIT, &bytes, &st, e);
    if (r < 0)
        return r;
    magic_say(buf_str(&bytes), &c->result->text);
    buf_addf(&c->result->text, ", %zu bytes", bytes.n);
    c->result->image_type = src->image_type;
    c->result->image.max = IMAGE_LIMIT * 2;
    base64_add(&c->result->image, buf_str(&bytes));
    result_ok(c->result);
    return 0;
}

/* A name per line: directories end in /, links in @; files have their size in bytes. */
static CO int read_directory(struct call *c, struct source *src, struct range *g, struct err *e)
{
    cleanup(env_entries_done) struct env_entries list = {0};
    cleanup(buf_done) struct buf text = {0};
    int r = env_list(c->env, src->path, &list, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < list.n; i++) {
        const struct env_entry *each = &list.v[i];

        for (const char *p = each->name; *p; p++)
            buf_addc(&text, (unsigned char)*p < ' ' ? '?' : *p);
        if (each->type == '-')
            buf_addf(&text, "\t%lld\n", (long long)each->size);
        else
            buf_adds(&text, each->type == 'd' ? "/\n" : each->type == 'l' ? "@\n" : "?\n");
    }
    if (list.more)
        buf_adds(&text, "...\n");
    src->size = (int64_t)text.n;
    charset_named(LIT("UTF-8"), LIT(""), &src->charset, e);
    feed(g, buf_str(&text));
    return 0;
}

static CO int read_run(struct call *c)
{
    cleanup(freep) char *key = NULL;
    struct source src = { .call = c };
    struct range g = { .start = js_int(c->args, "start", 1), .count = js_int(c->args, "count", DEFAULT_COUNT), .line = 1 };
    struct err e = {0};
    int r;

    if (!call_text(c, "path", &src.path))
        return 0;
    if (g.start < 1 || g.count < 1)
        return result_fail(c->result, -EINVAL, "read: start and count begin at 1");
    g.count = MIN(g.count, INT64_MAX - g.start);
    g.max = c->harness->result_head + c->harness->result_tail;
    if (src.path.n > strlen(OUTPUT_PREFIX) && strncmp(src.path.p, OUTPUT_PREFIX, strlen(OUTPUT_PREFIX)) == 0)
        src.output_key = key = output_key(c, src.path.p + strlen(OUTPUT_PREFIX));

    r = read_lines(c, &src, &g, &e);
    if (r == -EISDIR)
        r = read_directory(c, &src, &g, &e);
    else if (r == 0 && src.image_type)
        r = read_image(c, &src, &e);
    if (r < 0)
        r = result_fail(c->result, r, "cannot read: %s", e.msg);
    else if (c->result->outcome == OUT_OPEN)
        finish(c, &g, &src, !g.full);
    buf_done(&g.text);
    buf_done(&src.pending);
    return r;
}

const struct tool tool_read = {
    .name      = "read",
    .effect    = EFFECT_PURE,
    .origin    = FROM_WORKSPACE,
    .title_args = "path",
    .run       = read_run,
};
