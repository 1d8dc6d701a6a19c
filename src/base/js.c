#include "base/js.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>

/* jansson reads byte by byte, 11 us a KB. Long strings are most of what is read here, so they are taken out first, decoded at
 * the speed of memory, and put back into the tree: jansson parses what is left, and judges everything but the insides of those
 * strings. Whatever looks unusual goes to it whole. */

#define LONG_STRING 256
#define MARK "rein-cut-"

struct cuts {
    struct buf rest;            /* the document with a short string for each long one */
    struct buf *text;
    size_t n, cap;
};

static void cuts_done(struct cuts *c)
{
    for (size_t i = 0; i < c->n; i++)
        buf_done(&c->text[i]);
    free(c->text);
    buf_done(&c->rest);
}

static bool hex4(struct str s, size_t at, unsigned *ret)
{
    unsigned v = 0;

    if (at + 4 > s.n)
        return false;
    for (size_t i = at; i < at + 4; i++) {
        char c = s.p[i];

        if (c >= '0' && c <= '9')
            v = v * 16 + (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v * 16 + (unsigned)((c | 32) - 'a') + 10;
        else
            return false;
    }
    *ret = v;
    return true;
}

static void add_utf8(struct buf *b, unsigned u)
{
    char c[4];
    size_t n = u < 0x80 ? 1 : u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;

    if (n == 1) {
        c[0] = (char)u;
    } else {
        for (size_t i = n - 1; i > 0; i--, u >>= 6)
            c[i] = (char)(0x80 | (u & 0x3f));
        c[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | u);
    }
    buf_add(b, c, n);
}

/* Decodes the inside of a JSON string. False for anything that jansson has to judge. */
static bool decode(struct str s, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (!utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.n;) {
        size_t run = i;
        unsigned u, v;
        const char *e;

        while (run < s.n && s.p[run] != '\\' && (unsigned char)s.p[run] >= 0x20)
            run++;
        buf_add(out, s.p + i, run - i);
        i = run;
        if (i == s.n)
            break;
        if (s.p[i] != '\\' || i + 1 == s.n)
            return false;
        if (s.p[i + 1] != 'u') {
            e = strchr(from, s.p[i + 1]);
            if (!e || !*e)
                return false;
            buf_addc(out, to[e - from]);
            i += 2;
            continue;
        }
        if (!hex4(s, i + 2, &u) || u == 0)
            return false;
        i += 6;
        if (u >= 0xd800 && u < 0xe000) {
            if (u >= 0xdc00 || i + 6 > s.n || s.p[i] != '\\' || s.p[i + 1] != 'u' || !hex4(s, i + 2, &v) || v < 0xdc00 ||
                v >= 0xe000)
                return false;
            u = 0x10000 + ((u - 0xd800) << 10) + (v - 0xdc00);
            i += 6;
        }
        add_utf8(out, u);
    }
    return buf_err(out) == 0;
}

/* The end of the string whose inside begins at `at`: the offset of its closing quote, or s.n. */
static size_t string_end(struct str s, size_t at)
{
    for (;;) {
        const char *q = at < s.n ? memchr(s.p + at, '"', s.n - at) : NULL;
        size_t end, slashes = 0;

        if (!q)
            return s.n;
        end = (size_t)(q - s.p);
        while (end - slashes > at && q[-1 - (ssize_t)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return end;
        at = end + 1;
    }
}

/* jansson recurses once per level and has a compile-time limit of 2,048: too deep for a fiber's stack. */
static bool too_deep(struct str text)
{
    int depth = 0;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (c == '"')
            i = string_end(text, i + 1);
        else if ((c == '{' || c == '[') && ++depth > JS_DEPTH_MAX)
            return true;
        else if (c == '}' || c == ']')
            depth--;
    }
    return false;
}

/* True if there were long strings and all of them could be taken out. */
static bool cut(struct str text, struct cuts *c)
{
    size_t copied = 0, i = 0;

    c->rest.max = SIZE_MAX / 4;
    while (i < text.n) {
        const char *q = memchr(text.p + i, '"', text.n - i);
        size_t begin, end;

        if (!q)
            break;
        begin = (size_t)(q - text.p) + 1;
        end = string_end(text, begin);
        if (end == text.n)
            return false;
        if (end - begin >= LONG_STRING) {
            GROW(c->text, c->n, c->cap);
            c->text[c->n] = (struct buf){ .max = SIZE_MAX / 4 };
            if (!decode((struct str){ text.p + begin, end - begin }, &c->text[c->n++]))
                return false;
            buf_add(&c->rest, text.p + copied, begin - copied);
            buf_addf(&c->rest, MARK "%zu", c->n - 1);
            copied = end;
        }
        i = end + 1;
    }
    buf_add(&c->rest, text.p + copied, text.n - copied);
    return c->n > 0;
}

/* Puts the long strings back. Returns how many found their place: all, unless one was a key. */
static size_t restore(json_t *j, struct cuts *c)
{
    size_t n = 0, i, mark = strlen(MARK);
    const char *key;
    json_t *v;

    if (json_is_string(j) && strncmp(json_string_value(j), MARK, mark) == 0) {
        i = strtoul(json_string_value(j) + mark, NULL, 10);
        json_string_setn_nocheck(j, buf_str(&c->text[i]).p, c->text[i].n);
        return 1;
    }
    if (json_is_array(j))
        json_array_foreach(j, i, v)
            n += restore(v, c);
    if (json_is_object(j))
        json_object_foreach(j, key, v)
            n += restore(v, c);
    return n;
}

static bool parse_cut(struct str text, json_t **ret)
{
    cleanup(cuts_done) struct cuts c = {0};
    json_t *j;

    if (text.n < LONG_STRING || str_find(text, LIT(MARK), 0) >= 0 || !cut(text, &c))
        return false;
    j = json_loadb(c.rest.p, c.rest.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (!j)
        return false;
    if (restore(j, &c) != c.n) {
        json_decref(j);
        return false;
    }
    *ret = j;
    return true;
}

static int parse(struct str text, size_t flags, json_t **ret, struct err *e)
{
    json_error_t je;
    json_t *j;

    if (text.n && memchr(text.p, 0, text.n))        /* jansson does not see one behind a number */
        return err_set(e, -EBADMSG, "JSON is wrong: it has a NUL byte");
    if (too_deep(text))
        return err_set(e, -EBADMSG, "JSON is nested deeper than %d levels", JS_DEPTH_MAX);
    if (!flags && parse_cut(text, ret))
        return 0;
    j = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &je);
    if (!j)
        return err_set(e, -EBADMSG, "JSON is wrong at byte %d: %s", je.position, je.text);
    *ret = j;
    return 0;
}

int js_parse(struct str text, json_t **ret, struct err *e)
{
    return parse(text, 0, ret, e);
}

/* Integers of any size; their text stays exact, only what is looked at here is rounded. */
static int parse_loose(struct str text, json_t **ret, struct err *e)
{
    return js_parse(text, ret, e) == 0 ? 0 : parse(text, JSON_DECODE_INT_AS_REAL, ret, e);
}

/* Rewrites the escapes that jansson refuses; everything else is copied. */
static void add_tolerable(struct buf *b, struct str s)
{
    size_t i = 0, done = 0;

    while (i < s.n) {
        unsigned u, v;

        if (s.p[i] != '\\') {
            i++;
            continue;
        }
        if (i + 1 < s.n && s.p[i + 1] == 'u' && hex4(s, i + 2, &u)) {
            bool high = u >= 0xd800 && u < 0xdc00;
            bool pair = high && i + 7 < s.n && s.p[i + 6] == '\\' && s.p[i + 7] == 'u' &&
                        hex4(s, i + 8, &v) && v >= 0xdc00 && v < 0xe000;

            if (pair) {
                i += 12;
            } else if (u == 0 || (u >= 0xd800 && u < 0xe000)) {
                buf_add(b, s.p + done, i - done);
                buf_adds(b, "\\ufffd");
                i += 6;
                done = i;
            } else {
                i += 6;
            }
        } else {
            i += 2;
        }
    }
    if (done < s.n)
        buf_add(b, s.p + done, s.n - done);
}

int js_parse_clean(struct str *text, struct buf *clean, json_t **ret, struct err *e)
{
    cleanup(buf_done) struct buf utf8 = { .max = SIZE_MAX / 4 };

    if (parse_loose(*text, ret, e) == 0)
        return 0;
    clean->max = SIZE_MAX / 4;
    utf8_add_clean(&utf8, *text);
    add_tolerable(clean, buf_str(&utf8));
    *text = buf_str(clean);
    return parse_loose(*text, ret, e);
}

int js_parse_wire(struct str text, json_t **ret, struct err *e)
{
    cleanup(buf_done) struct buf clean = {0};

    return js_parse_clean(&text, &clean, ret, e);
}

/* The end of the value that begins at `at`. */
static size_t value_end(struct str s, size_t at)
{
    int depth = 0;

    for (; at < s.n; at++) {
        char c = s.p[at];

        if (c == '"')
            at = string_end(s, at + 1);
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth-- == 0)
            return at;
        else if (c == ',' && depth == 0)
            return at;
    }
    return MIN(at, s.n);
}

struct str js_raw(struct str s, const char *key)
{
    size_t at = strcspn(s.p ? s.p : "", "{") + 1;

    while (at < s.n) {
        size_t open = at, close, end;
        struct str name;

        while (open < s.n && s.p[open] != '"')
            open++;
        close = string_end(s, open + 1);
        if (close >= s.n)
            break;
        name = (struct str){ s.p + open + 1, close - open - 1 };
        at = close + 1;
        while (at < s.n && s.p[at] != ':')
            at++;
        at = MIN(at + 1, s.n);
        end = value_end(s, at);
        if (str_is(name, key))
            return str_trim((struct str){ s.p + at, end - at });
        if (end < s.n && s.p[end] != ',')
            break;
        at = end + 1;
    }
    return (struct str){ NULL, 0 };
}

struct str js_str(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);

    if (!json_is_string(v))
        return (struct str){ NULL, 0 };
    return (struct str){ json_string_value(v), json_string_length(v) };
}

int64_t js_int(const json_t *obj, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(obj, key);

    if (json_is_real(v) && fabs(json_real_value(v)) < 9e15 && json_real_value(v) == floor(json_real_value(v)))
        return (int64_t)json_real_value(v);
    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool js_bool(const json_t *obj, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(obj, key);

    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

int js_add(struct buf *b, struct str s)
{
    size_t i = 0;

    buf_addc(b, '"');
    while (i < s.n) {
        size_t run = i;
        unsigned char c;

        for (; run < s.n; run++) {
            c = (unsigned char)s.p[run];
            if (c < 0x20 || c == '"' || c == '\\' || c >= 0x7f)
                break;
        }
        buf_add(b, s.p + i, run - i);
        i = run;
        if (i == s.n)
            break;
        c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            buf_addc(b, '\\');
            buf_addc(b, (char)c);
            i++;
        } else if (c == '\n') {
            buf_adds(b, "\\n");
            i++;
        } else if (c == '\t') {
            buf_adds(b, "\\t");
            i++;
        } else if (c == '\r') {
            buf_adds(b, "\\r");
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            buf_addf(b, "\\u%04x", c);
            i++;
        } else {
            size_t len = utf8_seq(s.p + i, s.n - i);

            if (len)
                buf_add(b, s.p + i, len);
            else
                buf_adds(b, "\xef\xbf\xbd");
            i += len ? len : 1;
        }
    }
    return buf_addc(b, '"');
}

int js_key(struct buf *b, const char *key)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_addc(b, ',');
    js_add(b, str_of(key));
    return buf_addc(b, ':');
}

int js_add_str(struct buf *b, const char *key, struct str value)
{
    js_key(b, key);
    return js_add(b, value);
}

int js_add_text(struct buf *b, const char *key, const char *value)
{
    return value ? js_add_str(b, key, str_of(value)) : buf_err(b);
}

int js_add_int(struct buf *b, const char *key, int64_t value)
{
    js_key(b, key);
    return buf_addf(b, "%" PRId64, value);
}

int js_add_bool(struct buf *b, const char *key, bool value)
{
    js_key(b, key);
    return buf_adds(b, value ? "true" : "false");
}

int js_add_raw(struct buf *b, const char *key, struct str json)
{
    js_key(b, key);
    return buf_add_str(b, json);
}
