#include "core/args.h"

#include "base/mend.h"
#include "base/schema.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>

#define QUOTE_MAX    200                /* bytes of broken arguments shown back to the model */
#define WRAPPED_MAX  2                  /* how often text may be encoded over again */
#define DRESS_MAX    2                  /* a string that holds an object where a list of objects is wanted */
#define EXACT_MAX    9007199254740992.0 /* 2^53: integers below are exact as doubles */

static void note(struct buf *mended, const char *what)
{
    if (!strstr(buf_str(mended).p, what))
        buf_addf(mended, "%s%s", mended->n ? ", " : "", what);
}

/* Adds what was wrong and the text, in one line. */
static void quote(struct buf *say, const char *why, struct str text)
{
    size_t from = say->n;

    buf_adds(say, why);
    buf_adds(say, ". They were: ");
    utf8_add_clean(say, str_head(text, utf8_cut(text, QUOTE_MAX)));
    for (size_t i = from; i < say->n; i++)
        if ((unsigned char)say->p[i] < ' ')
            say->p[i] = ' ';
    if (text.n > QUOTE_MAX)
        buf_adds(say, "...");
}

/* The text as a tree of any type. `pure` as in args_form. */
static int parse(struct str text, bool pure, json_t **ret, struct buf *mended, struct err *e)
{
    cleanup(buf_done) struct buf json = {0}, what = {0};
    struct err strict = {0};
    int r = js_parse(text, ret, &strict);

    if (r == 0)
        return 0;
    r = js_mend(text, pure, &json, &what, e);
    if (r == 0 && !what.n)
        return err_set(e, -EBADMSG, "%s", strict.msg);
    if (r == 0)
        r = js_parse(buf_str(&json), ret, e);
    if (r == 0)
        note(mended, what.p);
    return r;
}

/* Text in a string, and an object in the envelope {"name": ..., "arguments": ...}, are taken out. */
static json_t *unwrap(json_t *v, const struct args_form *form, struct buf *mended)
{
    static const char *const envelopes[] = { "arguments", "parameters", "input", "args" };

    for (int i = 0; i < WRAPPED_MAX && json_is_string(v); i++) {
        struct str inner = str_trim((struct str){ json_string_value(v), json_string_length(v) });
        struct err e;
        json_t *in;

        if (!inner.n || (inner.p[0] != '{' && inner.p[0] != '"') || parse(inner, form->pure, &in, mended, &e) < 0)
            break;
        json_decref(v);
        v = in;
        note(mended, "encoded twice");
    }
    for (size_t i = 0; i < ARRAY_SIZE(envelopes); i++) {
        const json_t *properties = json_object_get(form->schema, "properties"), *name = json_object_get(v, "name");
        json_t *in = json_object_get(v, envelopes[i]);

        if (json_is_object(in) && !json_object_get(properties, envelopes[i]) &&
            json_object_size(v) == 1u + (json_is_string(name) && !json_object_get(properties, "name"))) {
            json_incref(in);
            json_decref(v);
            note(mended, "arguments in an envelope");
            return in;
        }
    }
    return v;
}

static bool required(const json_t *schema, const char *name)
{
    const json_t *each;
    size_t i;

    json_array_foreach(json_object_get(schema, "required"), i, each)
        if (json_is_string(each) && strcmp(json_string_value(each), name) == 0)
            return true;
    return false;
}

/* A value of another type than the schema wants, in the type it wants, or NULL when that is not plain. */
static json_t *dressed(const json_t *s, const json_t *v)
{
    unsigned wanted = schema_types(s);
    double number = json_number_value(v);
    json_t *other = NULL;

    if ((wanted & SCHEMA_INTEGER) && json_is_real(v) && fabs(number) < EXACT_MAX && floor(number) == number)
        return json_integer((json_int_t)number);
    if (!wanted || schema_check(s, v, NULL))
        return NULL;
    if (json_is_string(v) && !(wanted & SCHEMA_STRING)) {
        struct str text = { json_string_value(v), json_string_length(v) };

        if ((wanted & SCHEMA_BOOLEAN) && (str_is(text, "True") || str_is(text, "False")))
            return json_boolean(text.p[0] == 'T');
        if (js_parse(text, &other, NULL) == 0 && !json_is_string(other))
            return other;
        json_decref(other);
    }
    if ((wanted & SCHEMA_ARRAY) && !json_is_array(v) && !json_is_null(v) && json_object_get(s, "items") &&
        schema_check(json_object_get(s, "items"), v, NULL))
        return json_pack("[O]", v);
    return NULL;
}

/* Dresses a value and all that is in it. Takes v over and returns what stands in its place. */
static json_t *dress(const json_t *s, json_t *v, struct buf *mended)
{
    const json_t *properties = json_object_get(s, "properties"), *items = json_object_get(s, "items");
    json_t *child, *other;
    const char *key;
    void *next;
    size_t i;

    for (int n = 0; n < DRESS_MAX && (other = dressed(s, v)); n++) {
        if (!json_is_number(v))
            note(mended, "values of another type");
        json_decref(v);
        v = other;
    }
    json_object_foreach_safe(v, next, key, child) {
        const json_t *own = json_object_get(properties, key);

        if (own && json_is_null(child) && !required(s, key) && !schema_check(own, child, NULL))
            json_object_del(v, key);        /* null for "not given" */
        else if (own)
            json_object_set_new(v, key, dress(own, json_incref(child), mended));
    }
    if (items && json_is_array(v))
        json_array_foreach(v, i, child)
            json_array_set_new(v, i, dress(items, json_incref(child), mended));
    return v;
}

/* The mark at the end of a string that leaked from a chat template and is no part of what was meant: a closing tag whose opening
 * one is not in the text. */
static const char *leaked(struct str text)
{
    static const char *const marks[][2] = {
        { "</tool_call>", "<tool_call" }, { "</parameter>", "<parameter" }, { "</function>", "<function" },
        { "</invoke>", "<invoke" }, { "</arguments>", "<arguments" },
        { "</arg_value>", "<arg_value" }, { "</function_calls>", "<function_calls" },
        { "<|im_end|>", "<|im_start|>" }, { "<|tool_call_end|>", "<|tool_call_begin|>" }, { "<|call|>", "<|start|>" },
        { "<|eot_id|>", "<|start_header_id|>" },
        { "<\xef\xbd\x9c" "tool\xe2\x96\x81" "call\xe2\x96\x81" "end\xef\xbd\x9c>", "<\xef\xbd\x9ctool" },
    };

    text = str_trim(text);
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
        struct str mark = str_of(marks[i][0]);

        if (text.n >= mark.n && memcmp(text.p + text.n - mark.n, mark.p, mark.n) == 0 &&
            str_find(str_head(text, text.n - mark.n), str_of(marks[i][1]), 0) < 0)
            return marks[i][0];
    }
    return NULL;
}

static const char *leaked_in(const json_t *v)
{
    const json_t *child;
    const char *key, *mark = NULL;
    size_t i;

    if (json_is_string(v))
        return leaked((struct str){ json_string_value(v), json_string_length(v) });
    json_array_foreach(v, i, child)
        if (!mark)
            mark = leaked_in(child);
    json_object_foreach((json_t *)v, key, child)
        if (!mark)
            mark = leaked_in(child);
    return mark;
}

json_t *args_read(struct str text, const struct args_form *form, struct buf *mended, struct buf *say)
{
    struct str inner = str_trim(text);
    struct err e = {0};
    const char *mark;
    json_t *v = NULL;
    int r;

    if (!inner.n || str_is(inner, "null") || str_is(inner, "\"\""))
        v = json_object();
    else if ((r = parse(inner, form->pure, &v, mended, &e)) < 0) {
        cleanup(freep) char *why = xasprintf(r == -ENODATA ? "the arguments are cut off: %s; repeat the call whole"
                                                           : "the arguments are not JSON: %s", e.msg);

        quote(say, why, inner);
        return NULL;
    }
    v = unwrap(v, form, mended);
    if (!json_is_object(v)) {
        quote(say, "the arguments are not a JSON object", inner);
    } else {
        v = dress(form->schema, v, mended);
        mark = leaked_in(v);
        if (mark)
            buf_addf(say, "a value ends in %s, which is no part of it; repeat the call without", mark);
        else if (schema_check(form->schema, v, say))
            return v;
    }
    json_decref(v);
    return NULL;
}

void args_for_history(struct str text, struct buf *out)
{
    cleanup(json_unrefp) json_t *v = NULL;
    cleanup(buf_done) struct buf json = {0}, what = {0};
    struct err e;

    if (js_parse(text, &v, &e) == 0 && json_is_object(v))
        buf_add_str(out, text);
    else if (!v && js_mend(text, false, &json, &what, &e) == 0 && js_parse(buf_str(&json), &v, &e) == 0)
        buf_add_str(out, buf_str(&json));
    else
        buf_adds(out, "{}");
}
