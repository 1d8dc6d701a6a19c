#include "base/mend.h"

#include "base/utf8.h"

#include <ctype.h>
#include <stdio.h>

struct mend {
    struct str in;
    size_t at;
    bool close, closed;                 /* missing brackets may be added; some were */
    struct buf *out;
    unsigned did;
    struct err *e;
};

enum { MARKUP = 1, CONTROL = 2, QUOTES = 4, WORDS = 8, KEYS = 16, COMMAS = 32, CLOSED = 64, TWICE = 128 };

static const char *const did_names[] = {
    "markup around the arguments", "raw control characters in a string", "single quotes", "True, False or None",
    "keys without quotes", "a comma before a closing bracket", "closing brackets missing at the end", "the same object twice",
};

/* Marks of chat templates that servers leave in. A name in angle brackets stands for its opening and closing tag. */
static const char *const tags[] = {
    "tool_call", "tool_calls", "function", "function_call", "function_calls", "parameter", "parameters", "invoke", "arguments",
    "tool_use", "tool", "think",
};

static bool more(const struct mend *m)
{
    return m->at < m->in.n;
}

static char now(const struct mend *m)
{
    return more(m) ? m->in.p[m->at] : 0;
}

static void skip_space(struct mend *m)
{
    while (more(m) && strchr(" \t\r\n", m->in.p[m->at]))
        m->at++;
}

static bool starts(const struct mend *m, const char *text)
{
    return m->in.n - m->at >= strlen(text) && memcmp(m->in.p + m->at, text, strlen(text)) == 0;
}

/* Length of `<name>`, `</name>` or `<name=...>` here, or 0. */
static size_t tag_here(const struct mend *m)
{
    struct str rest = str_from(m->in, m->at);
    size_t name = rest.n > 1 && rest.p[1] == '/' ? 2 : 1;
    const char *end = memchr(rest.p, '>', MIN(rest.n, (size_t)80));

    for (size_t i = 0; end && i < ARRAY_SIZE(tags); i++) {
        size_t n = strlen(tags[i]);

        if (rest.n > name + n && memcmp(rest.p + name, tags[i], n) == 0 && strchr("> =", rest.p[name + n]))
            return (size_t)(end - rest.p) + 1;
    }
    return 0;
}

/* Length of `<|...|>` here, with the wide bars of some templates too, or 0. */
static size_t mark_here(const struct mend *m)
{
    static const char wide[] = "\xef\xbd\x9c";
    bool is_wide = starts(m, "<\xef\xbd\x9c");
    struct str rest = str_head(str_from(m->in, m->at), 80);
    ssize_t end;

    if (!is_wide && !starts(m, "<|"))
        return 0;
    end = is_wide ? str_find(rest, (struct str){ "\xef\xbd\x9c>", sizeof(wide) }, 2) : str_find(rest, LIT("|>"), 2);
    return end < 0 ? 0 : (size_t)end + (is_wide ? sizeof(wide) : 2);
}

/* Steps over what is not part of the value, before or after it. */
static void skip_markup(struct mend *m)
{
    for (;;) {
        size_t n;

        skip_space(m);
        if (starts(m, "```")) {
            n = 3;
            while (m->at + n < m->in.n && isalpha((unsigned char)m->in.p[m->at + n]))
                n++;
        } else if (starts(m, "\xef\xbb\xbf")) {
            n = 3;
        } else {
            n = now(m) == '<' ? MAX(tag_here(m), mark_here(m)) : 0;
        }
        if (n == 0)
            return;
        m->at += n;
        m->did |= MARKUP;
    }
}

static int early(struct mend *m)
{
    return err_set(m->e, -ENODATA, "they end too early, after %zu bytes", m->in.n);
}

static int unexpected(struct mend *m, const char *wanted)
{
    char shown[16];
    struct str rest = str_from(m->in, m->at);

    snprintf(shown, sizeof(shown), "%.*s", STR(str_head(rest, utf8_cut(rest, 12))));
    return err_set(m->e, -EBADMSG, "%s is wanted at byte %zu, before `%s`", wanted, m->at, shown);
}

static int mend_string(struct mend *m)
{
    char quote = m->in.p[m->at++];

    if (quote == '\'')
        m->did |= QUOTES;
    buf_addc(m->out, '"');
    while (more(m)) {
        char c = m->in.p[m->at++];

        if (c == quote) {
            buf_addc(m->out, '"');
            return 0;
        }
        if (c == '\\') {
            if (!more(m))
                break;
            c = m->in.p[m->at++];
            if (c == '\'') {
                m->did |= QUOTES;
                buf_addc(m->out, c);
            } else if (strchr("\"\\/bfnrtu", c)) {
                buf_addc(m->out, '\\');
                buf_addc(m->out, c);
            } else {
                return err_set(m->e, -EBADMSG, "\\%c at byte %zu means nothing in JSON: a backslash itself is written \\\\",
                               isprint((unsigned char)c) ? c : '?', m->at - 2);
            }
        } else if ((unsigned char)c < 0x20) {
            m->did |= CONTROL;
            buf_addf(m->out, "\\u%04x", c);
        } else if (c == '"') {
            buf_adds(m->out, "\\\"");
        } else {
            buf_addc(m->out, c);
        }
    }
    return early(m);
}

static size_t word_here(const struct mend *m)
{
    size_t n = 0;

    while (m->at + n < m->in.n && (isalnum((unsigned char)m->in.p[m->at + n]) || strchr("_.+-", m->in.p[m->at + n])))
        n++;
    return n;
}

static int mend_word(struct mend *m)
{
    static const char *const python[][2] = { { "True", "true" }, { "False", "false" }, { "None", "null" } };
    struct str word = str_head(str_from(m->in, m->at), word_here(m));

    if (!word.n)
        return unexpected(m, "a value");
    m->at += word.n;
    if (!more(m))
        return early(m);                /* it might go on */
    for (size_t i = 0; i < ARRAY_SIZE(python); i++)
        if (str_is(word, python[i][0])) {
            m->did |= WORDS;
            return buf_adds(m->out, python[i][1]);
        }
    if (!isdigit((unsigned char)word.p[0]) && word.p[0] != '-' && !str_is(word, "true") && !str_is(word, "false") &&
        !str_is(word, "null")) {
        m->at -= word.n;
        return unexpected(m, "a value");
    }
    return buf_add_str(m->out, word);   /* what is no number fails when the whole is read */
}

static int mend_value(struct mend *m, unsigned depth);

static int mend_key(struct mend *m)
{
    size_t n;

    if (now(m) == '"' || now(m) == '\'')
        return mend_string(m);
    n = word_here(m);
    if (!n)
        return more(m) ? unexpected(m, "a key in double quotes") : early(m);
    m->did |= KEYS;
    buf_addc(m->out, '"');
    buf_add(m->out, m->in.p + m->at, n);
    m->at += n;
    return buf_addc(m->out, '"');
}

/* At the end of the text, behind a whole value or an opening bracket: closes what is open, if that is wanted. */
static int close_here(struct mend *m, char closing)
{
    if (!m->close)
        return early(m);
    m->closed = true;
    m->did |= CLOSED;
    return buf_addc(m->out, closing);
}

static int mend_members(struct mend *m, char closing, unsigned depth)
{
    buf_addc(m->out, m->in.p[m->at++]);
    for (size_t n = 0;; n++) {
        size_t before = m->out->n;
        int r = 0;

        skip_space(m);
        if (n && now(m) == ',') {
            m->at++;
            buf_addc(m->out, ',');
            skip_space(m);
            if (now(m) == closing || (!more(m) && m->close)) {
                m->did |= COMMAS;
                m->out->n = before;
            }
        } else if (n && more(m) && now(m) != closing) {
            return unexpected(m, closing == '}' ? "a comma or }" : "a comma or ]");
        }
        if (!more(m))
            return close_here(m, closing);
        if (now(m) == closing) {
            m->at++;
            return buf_addc(m->out, closing);
        }
        if (closing == '}') {
            r = mend_key(m);
            skip_space(m);
            if (r == 0 && now(m) != ':')
                r = more(m) ? unexpected(m, "a colon") : early(m);
            if (r == 0) {
                m->at++;
                buf_addc(m->out, ':');
                skip_space(m);
            }
        }
        if (r == 0)
            r = mend_value(m, depth + 1);
        if (r < 0)
            return r;
        if (m->closed)
            return close_here(m, closing);
    }
}

static int mend_value(struct mend *m, unsigned depth)
{
    if (!more(m))
        return early(m);
    if (depth > JS_DEPTH_MAX)
        return err_set(m->e, -EBADMSG, "they are nested deeper than %d", JS_DEPTH_MAX);
    switch (now(m)) {
    case '{':
        return mend_members(m, '}', depth);
    case '[':
        return mend_members(m, ']', depth);
    case '"':
    case '\'':
        return mend_string(m);
    default:
        return mend_word(m);
    }
}

/* Behind the value there may be markup, brackets too many, and the same value once more. */
static int mend_rest(struct mend *m, size_t begin)
{
    struct str value = { m->in.p + begin, m->at - begin };

    for (;;) {
        skip_markup(m);
        if (!more(m))
            return 0;
        if (now(m) == '}' || now(m) == ']') {
            m->did |= MARKUP;
            m->at++;
        } else if (starts(m, "{") && m->in.n - m->at >= value.n && memcmp(m->in.p + m->at, value.p, value.n) == 0) {
            m->did |= TWICE;
            m->at += value.n;
        } else {
            return unexpected(m, "nothing more");
        }
    }
}

int js_mend(struct str text, bool close, struct buf *out, struct buf *what, struct err *e)
{
    struct mend m = { .in = text, .close = close, .out = out, .e = e };
    unsigned n = 0;
    size_t begin;
    int r;

    skip_markup(&m);
    begin = m.at;
    if (now(&m) != '{')
        return more(&m) ? unexpected(&m, "an object") : early(&m);
    r = mend_value(&m, 0);
    if (r == 0)
        r = mend_rest(&m, begin);
    if (r == 0)
        r = buf_err(out);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(did_names); i++)
        if (m.did & (1u << i))
            buf_addf(what, "%s%s", n++ ? ", " : "", did_names[i]);
    return 0;
}
