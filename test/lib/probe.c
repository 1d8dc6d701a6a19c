/* probe.c - parts of rein as a filter, for tests that compare them with another implementation: probe NAME, a JSON object per line
 * in, one line out for each.
 *
 *     schema   {"schema": ..., "value": ...}                   valid | what is wrong
 *     args     {"schema": ..., "pure": bool, "text": "..."}    {"args": ..., "mended": "..."} | {"say": "..."}
 *     glob     {"pattern": "...", "name": "...", "path": bool} 1 | 0
 *     globs    {"list": "...", "path": "..."}                  1 | 0 | refused */
#include "base/glob.h"
#include "base/schema.h"
#include "core/args.h"

#include <stdio.h>

static void schema(const json_t *in, struct buf *out)
{
    if (schema_check(json_object_get(in, "schema"), json_object_get(in, "value"), out))
        buf_adds(out, "valid");
}

static void args(const json_t *in, struct buf *out)
{
    struct args_form form = { json_object_get(in, "schema"), js_bool(in, "pure", false) };
    cleanup(buf_done) struct buf mended = {0}, say = {0};
    cleanup(json_unrefp) json_t *v = args_read(js_str(in, "text"), &form, &mended, &say);
    cleanup(freep) char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;

    buf_addc(out, '{');
    if (v) {
        js_add_raw(out, "args", str_of(text));
        js_add_str(out, "mended", buf_str(&mended));
    } else {
        js_add_str(out, "say", buf_str(&say));
    }
    buf_addc(out, '}');
}

static void glob(const json_t *in, struct buf *out)
{
    buf_addf(out, "%d", glob_match(js_str(in, "pattern"), js_str(in, "name"), js_bool(in, "path", true)));
}

static void globs(const json_t *in, struct buf *out)
{
    struct globs *g = globs_new(js_str(in, "list"));

    if (g)
        buf_addf(out, "%d", globs_want(g, js_str(in, "path")));
    else
        buf_adds(out, "refused");
    globs_free(g);
}

static const struct {
    const char *name;
    void (*fn)(const json_t *in, struct buf *out);
} parts[] = { { "schema", schema }, { "args", args }, { "glob", glob }, { "globs", globs } };

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (argc != 2 || strcmp(argv[1], parts[i].name) != 0)
            continue;
        while ((n = getline(&line, &cap, stdin)) > 0) {
            cleanup(buf_done) struct buf out = {0};
            cleanup(json_unrefp) json_t *in = NULL;
            struct err e;

            if (js_parse((struct str){ line, (size_t)n }, &in, &e) < 0)
                buf_addf(&out, "unreadable: %s", e.msg);
            else
                parts[i].fn(in, &out);
            printf("%s\n", buf_str(&out).p);
        }
        free(line);
        return 0;
    }
    fprintf(stderr, "usage: probe schema|args|glob|globs <LINES\n");
    return 2;
}
