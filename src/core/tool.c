#include "core/tool.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

#define TITLE_MAX 100

const char *outcome_name(enum outcome o)
{
    static const char *const name[] = { "open", "ok", "error", "denied", "cancelled", "not_done", "unknown" };

    return name[o];
}

const char *effect_name(enum effect e)
{
    static const char *const name[] = { "pure", "keyed", "probe", "atomic", "opaque" };

    return name[e];
}

int result_fail(struct result *res, int r, const char *fmt, ...)
{
    cleanup(freep) char *s = NULL;
    va_list ap;

    if (r == -ECANCELED)
        return r;
    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        s = NULL;
    va_end(ap);
    buf_clear(&res->text);
    buf_adds(&res->text, s ? s : "out of memory");
    res->outcome = OUT_ERROR;
    return 0;
}

void result_ok(struct result *res)
{
    res->outcome = OUT_OK;
}

void result_file(struct result *res, const char *path, const struct hash *h, const char *charset)
{
    char hex[HASH_HEX];

    buf_adds(&res->files, res->files.n ? ",{" : "{");
    js_add_text(&res->files, "path", path);
    if (h)
        js_add_text(&res->files, "hash", hash_hex(h, hex));
    js_add_text(&res->files, "charset", charset);
    buf_addc(&res->files, '}');
}

void result_ends(struct result *res, struct str head, struct str tail, int64_t left_out, const char *hint)
{
    size_t cut = utf8_cut(head, head.n ? head.n - 1 : 0), resume = utf8_align(tail, 0);
    const char *nl = memrchr(head.p, '\n', cut);

    if (nl && (size_t)(nl - head.p) + 1 > head.n / 2)
        cut = (size_t)(nl - head.p) + 1;
    nl = memchr(tail.p + resume, '\n', tail.n - resume);
    if (nl && (size_t)(nl - tail.p) + 1 < tail.n / 2)
        resume = (size_t)(nl - tail.p) + 1;
    left_out += (int64_t)(head.n - cut + resume);
    utf8_add_clean(&res->text, str_head(head, cut));
    buf_addf(&res->text, "%s[... %lld bytes left out%s%s ...]\n", cut && head.p[cut - 1] != '\n' ? "\n" : "",
             (long long)left_out, hint ? "; " : "", hint ? hint : "");
    utf8_add_clean(&res->text, str_from(tail, resume));
}

void result_bounded(struct result *res, struct str text, size_t head, size_t tail, const char *hint)
{
    if (text.n <= head + tail)
        utf8_add_clean(&res->text, text);
    else
        result_ends(res, str_head(text, head), str_from(text, text.n - tail), (int64_t)(text.n - head - tail), hint);
}

bool call_text(struct call *c, const char *name, struct str *ret)
{
    const json_t *v = json_object_get(c->args, name);

    if (!json_is_string(v)) {
        result_fail(c->result, -EINVAL, "%s needs the argument \"%s\", a string%s", c->tool->name, name,
                    v ? "; it was of another type" : "; it was missing");
        return false;
    }
    *ret = js_str(c->args, name);
    return true;
}

const char *call_hash(const struct tool *tool, const json_t *args, char ret[HASH_HEX])
{
    cleanup(freep) char *text = json_dumps(args, JSON_SORT_KEYS | JSON_COMPACT);
    struct hashing h;
    struct hash hash;

    hashing_init(&h);
    hashing_add(&h, tool ? tool->name : "", tool ? strlen(tool->name) + 1 : 1);
    if (text)
        hashing_add(&h, text, strlen(text));
    hash = hashing_end(&h);
    return hash_hex(&hash, ret);
}

void call_words(const json_t *args, struct buf *out)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)args, key, value) {
        cleanup(freep) char *dump = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        struct str text = dump ? str_of(dump) : js_str(args, key);

        utf8_add_escaped(out, str_of(key));
        buf_adds(out, memchr(text.p ? text.p : "", '\n', text.n) ? ":\n" : ": ");
        utf8_add_escaped(out, text);
        if (!text.n || text.p[text.n - 1] != '\n')
            buf_addc(out, '\n');
    }
}

void call_title(const struct tool *tool, const char *name, const json_t *args, struct buf *out)
{
    cleanup(freep) char *list = xstrdup(tool && tool->title_args ? tool->title_args : "");
    cleanup(buf_done) struct buf clean = {0};
    char *save = NULL;
    size_t n;

    utf8_add_printable(out, str_head(str_of(name), TITLE_MAX));
    for (char *each = strtok_r(list, " ", &save); each; each = strtok_r(NULL, " ", &save)) {
        struct str arg = js_str(args, each);

        if (clean.n && arg.n)
            buf_addc(&clean, ' ');
        utf8_add_printable(&clean, arg);
    }
    if (!clean.n)
        return;
    n = utf8_cut(buf_str(&clean), TITLE_MAX);
    buf_addc(out, ' ');
    for (size_t i = 0; i < n; i++)
        buf_addc(out, clean.p[i] == '\n' || clean.p[i] == '\t' ? ' ' : clean.p[i]);
    if (n < clean.n)
        buf_adds(out, "...");
}
