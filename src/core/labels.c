#include "core/labels.h"

#include "core/session.h"

#include <ctype.h>
#include <nettle/base16.h>
#include <nettle/base64.h>
#include <stdio.h>

#define ENCODED_MIN 22                  /* characters of base64 that may hold a run of what is secret */
#define DEPTH_MAX   3                   /* encodings one in the other */

static const char secret_names[] =
#define SECRET(names) names " "
#include "core/labels.def"
#undef SECRET
    ;

#define UNTRUSTED (FROM_WORKSPACE | FROM_WEB | FROM_MCP | FROM_AGENT)

struct looking {
    struct privacy *secrets;
    struct labels *found;
};

/* Decoding. */

static bool is_base64(char c)
{
    return isalnum((unsigned char)c) || c == '+' || c == '/' || c == '-' || c == '_';
}

static bool is_hex(char c)
{
    return isxdigit((unsigned char)c);
}

static bool holds(const struct privacy *p, struct str text, int depth);

/* A stretch of base64, in its own letters or those for addresses. */
static bool base64_holds(const struct privacy *p, struct str s, int depth)
{
    cleanup(freep) char *mapped = str_dup(s), *out = xmalloc(BASE64_DECODE_LENGTH(s.n) + 4);
    struct base64_decode_ctx ctx;
    size_t n = BASE64_DECODE_LENGTH(s.n) + 4;

    for (size_t i = 0; i < s.n; i++)
        mapped[i] = mapped[i] == '-' ? '+' : mapped[i] == '_' ? '/' : mapped[i];
    base64_decode_init(&ctx);
    return base64_decode_update(&ctx, &n, (uint8_t *)out, s.n & ~(size_t)3, mapped) && holds(p, (struct str){ out, n }, depth + 1);
}

static bool hex_holds(const struct privacy *p, struct str s, int depth)
{
    cleanup(freep) char *out = xmalloc(BASE16_DECODE_LENGTH(s.n) + 1);
    struct base16_decode_ctx ctx;
    size_t n = BASE16_DECODE_LENGTH(s.n);

    base16_decode_init(&ctx);
    return base16_decode_update(&ctx, &n, (uint8_t *)out, s.n & ~(size_t)1, s.p) && holds(p, (struct str){ out, n }, depth + 1);
}

/* %41 as A, and + as a blank. */
static bool escaped_holds(const struct privacy *p, struct str s, int depth)
{
    cleanup(buf_done) struct buf out = {0};
    bool any = false;

    for (size_t i = 0; i < s.n; i++) {
        char two[3] = { i + 2 < s.n ? s.p[i + 1] : 0, i + 2 < s.n ? s.p[i + 2] : 0, 0 };
        bool is = s.p[i] == '%' && isxdigit((unsigned char)two[0]) && isxdigit((unsigned char)two[1]);

        buf_addc(&out, is ? (char)strtol(two, NULL, 16) : s.p[i] == '+' ? ' ' : s.p[i]);
        any = any || is || s.p[i] == '+';
        i += is ? 2 : 0;
    }
    return any && holds(p, buf_str(&out), depth + 1);
}

/* Stretches of an encoding's characters, over what may stand between. An encoding may begin with another word's end: so it is
 * looked at from each of its first characters on that could make a difference. */
static bool encoded_holds(const struct privacy *p, struct str text, int depth, bool is_of(char), const char *between, size_t starts,
                          bool decoded_holds(const struct privacy *, struct str, int))
{
    cleanup(buf_done) struct buf stretch = {0};

    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && is_of(text.p[i])) {
            buf_addc(&stretch, text.p[i]);
            continue;
        }
        if (i < text.n && text.p[i] && strchr(between, text.p[i]))
            continue;
        for (size_t from = 0; from < starts && stretch.n >= ENCODED_MIN + from; from++)
            if (decoded_holds(p, str_from(buf_str(&stretch), from), depth))
                return true;
        buf_clear(&stretch);
    }
    return false;
}

static bool holds(const struct privacy *p, struct str text, int depth)
{
    if (privacy_holds(p, text))
        return true;
    if (depth == DEPTH_MAX)
        return false;
    return escaped_holds(p, text, depth) || encoded_holds(p, text, depth, is_base64, "\r\n", 4, base64_holds) ||
           encoded_holds(p, text, depth, is_hex, " \t\r\n:,", 2, hex_holds);
}

/* Reading the log. */

static bool is_secret_file(const struct looking *l, const json_t *body)
{
    const json_t *file;
    size_t i;

    json_array_foreach(json_object_get(body, "files"), i, file)
        if (privacy_path(l->secrets, js_str(file, "path")))
            return true;
    return false;
}

static void note(uint64_t seq, const char *what, uint64_t *ret, char where[LABELS_WHERE])
{
    if (*ret)
        return;
    *ret = seq;
    snprintf(where, LABELS_WHERE, "%s", what);
}

static int look(void *arg, struct event *ev, struct err *e)
{
    struct looking *l = arg;
    cleanup(json_unrefp) json_t *b = NULL;
    struct str text;
    int r = ev->erased ? 0 : js_parse(ev->body, &b, e);

    if (r < 0)
        return r;
    text = js_str(b, "text");
    if (ev->kind == EV_RESULT) {
        cleanup(freep) char *what = xasprintf("result %.*s of %.*s", STR(js_str(b, "call")), STR(js_str(b, "tool")));
        /* A log from before results said where they are from. */
        bool told = ev->labels & (UNTRUSTED | FROM_USER | FROM_SYSTEM);

        if (text.n && ((ev->labels & UNTRUSTED) || (!told && (ev->labels & FROM_TOOL))))
            note(ev->seq, what, &l->found->untrusted, l->found->brought);
        if ((ev->labels & IS_PRIVATE) || is_secret_file(l, b) || holds(l->secrets, text, 0))
            note(ev->seq, what, &l->found->secret, l->found->held);
    } else if (ev->kind == EV_USER || ev->kind == EV_STEER) {
        if ((ev->labels & IS_PRIVATE) || holds(l->secrets, text, 0))
            note(ev->seq, "a message", &l->found->secret, l->found->held);
    }
    return 0;
}

CO int labels_look(struct session *s, struct str sends, struct labels *ret, struct err *e)
{
    struct looking l = { .found = ret };
    struct session_row row = s->log.row;
    struct log log;
    int r = privacy_load(s->with.env, s->view.cwd, str_of(secret_names), &l.secrets, e);

    *ret = (struct labels){0};
    if (r < 0)
        return r;
    row.cwd = NULL;
    log_init(&log, s->log.store, &row);
    r = log_read(&log, look, &l, e);
    log_done(&log);
    ret->sends = holds(l.secrets, sends, 0) || (s->with.privacy && holds(s->with.privacy, sends, 0));
    privacy_free(l.secrets);
    return r;
}

int labels_meet(const struct labels *l, const char *leaving, struct err *e)
{
    if (l->sends)
        return err_set(e, -EACCES, "what it would send holds something secret");
    if (l->untrusted && l->secret)
        return err_set(e, -EACCES, "three things would meet: what others may have written (event %llu, %s), something secret "
                       "(event %llu, %s), and %s", (unsigned long long)l->untrusted, l->brought,
                       (unsigned long long)l->secret, l->held, leaving);
    return 0;
}

void labels_names(uint32_t labels, struct buf *out)
{
    static const char *const names[] = { "user", "rein", "workspace", "tool", "mcp", "web", "agent", "model", "private" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (labels & 1u << i)
            buf_addf(out, "%s%s", out->n ? " " : "", names[i]);
}
