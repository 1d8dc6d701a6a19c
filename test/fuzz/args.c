/* args.c - arguments that a model wrote: what is made of them fits the schema, is the same every time, and never comes from text that
 * ends too early when the tool acts. */
#include "base/mend.h"
#include "base/schema.h"
#include "core/args.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char schema_text[] =
    "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"start\":{\"type\":\"integer\",\"minimum\":1},"
    "\"all\":{\"type\":\"boolean\"},\"edits\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"old\":{\"type\":\"string\"},"
    "\"new\":{\"type\":\"string\"}},\"required\":[\"old\",\"new\"],\"additionalProperties\":false}}},"
    "\"required\":[\"path\"],\"additionalProperties\":false}";

static void one(struct str text, const json_t *schema, bool pure)
{
    struct args_form form = { schema, pure };
    struct buf mended = {0}, again = {0}, say = {0}, history = {0};
    json_t *v = args_read(text, &form, &mended, &say), *same = args_read(text, &form, &again, &say), *old = NULL;
    struct err e;

    if (v && (!json_is_object(v) || !schema_check(schema, v, NULL)))
        abort();
    if (!v != !same || (v && !json_equal(v, same)) || !str_eq(buf_str(&mended), buf_str(&again)))
        abort();
    if (!v && !say.n)
        abort();
    if (v && !pure && strstr(buf_str(&mended).p, "missing at the end"))
        abort();
    args_for_history(text, &history);
    if (js_parse(buf_str(&history), &old, &e) < 0 || !json_is_object(old))
        abort();
    json_decref(v);
    json_decref(same);
    json_decref(old);
    buf_done(&mended);
    buf_done(&again);
    buf_done(&say);
    buf_done(&history);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static json_t *schema;
    struct err e;

    if (!schema && js_parse(str_of(schema_text), &schema, &e) < 0)
        abort();
    one((struct str){ (const char *)data, n }, schema, false);
    one((struct str){ (const char *)data, n }, schema, true);
    return 0;
}
