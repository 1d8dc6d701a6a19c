#include "base/js.h"

#include "base/utf8.h"

#include <inttypes.h>

/* jansson recurses once per level and has a compile-time limit of 2,048: too deep for a fiber's stack. */
static bool too_deep(struct str text)
{
    int depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JS_DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

int js_parse(struct str text, json_t **ret, struct err *e)
{
    json_error_t je;
    json_t *j;

    if (too_deep(text))
        return err_set(e, -EBADMSG, "JSON is nested deeper than %d levels", JS_DEPTH_MAX);
    j = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!j)
        return err_set(e, -EBADMSG, "JSON is wrong at byte %d: %s", je.position, je.text);
    *ret = j;
    return 0;
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

int js_parse_wire(struct str text, json_t **ret, struct err *e)
{
    cleanup(buf_done) struct buf clean = { .max = SIZE_MAX / 4 }, tolerable = { .max = SIZE_MAX / 4 };

    if (js_parse(text, ret, e) == 0)
        return 0;
    utf8_add_clean(&clean, text);
    add_tolerable(&tolerable, buf_str(&clean));
    return js_parse(buf_str(&tolerable), ret, e);
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
