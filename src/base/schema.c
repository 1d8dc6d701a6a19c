#include "base/schema.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>

#define DEPTH_MAX      64               /* of schemas within schemas, references included */
#define MATCH_LIMIT    100000
#define NAMES_SHOWN    12

enum form { ANY, BOOLEAN, NUMBER, COUNT, STRING, STRINGS, SCHEMA, SCHEMAS, NAMED_SCHEMAS, NAMED_STRINGS, ARRAY, TYPES };

static const struct {
    const char *name;
    enum form form;
} keywords[] = {
    { "type", TYPES }, { "enum", ARRAY }, { "const", ANY }, { "properties", NAMED_SCHEMAS }, { "patternProperties", NAMED_SCHEMAS },
    { "additionalProperties", SCHEMA }, { "propertyNames", SCHEMA }, { "required", STRINGS }, { "minProperties", COUNT },
    { "maxProperties", COUNT }, { "items", SCHEMA }, { "prefixItems", SCHEMAS }, { "minItems", COUNT }, { "maxItems", COUNT },
    { "uniqueItems", BOOLEAN }, { "minLength", COUNT }, { "maxLength", COUNT }, { "pattern", STRING }, { "minimum", NUMBER },
    { "maximum", NUMBER }, { "exclusiveMinimum", NUMBER }, { "exclusiveMaximum", NUMBER }, { "multipleOf", NUMBER },
    { "allOf", SCHEMAS }, { "anyOf", SCHEMAS }, { "oneOf", SCHEMAS }, { "not", SCHEMA }, { "if", SCHEMA }, { "then", SCHEMA },
    { "else", SCHEMA }, { "dependentRequired", NAMED_STRINGS }, { "$ref", STRING }, { "$defs", NAMED_SCHEMAS },
    { "definitions", NAMED_SCHEMAS }, { "title", ANY }, { "description", ANY }, { "default", ANY }, { "examples", ANY },
    { "format", ANY }, { "deprecated", ANY }, { "readOnly", ANY }, { "writeOnly", ANY }, { "$schema", ANY }, { "$id", ANY },
    { "$anchor", ANY }, { "$comment", ANY },
};

static const char *const types[] = { "null", "boolean", "integer", "number", "string", "array", "object" };

static unsigned type_bit(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
        if (strcmp(name, types[i]) == 0)
            return 1u << i;
    return 0;
}

unsigned schema_types(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type"), *each;
    unsigned bits = 0;
    size_t i;

    if (json_is_string(type))
        return type_bit(json_string_value(type));
    json_array_foreach(type, i, each)
        bits |= json_is_string(each) ? type_bit(json_string_value(each)) : 0;
    return bits;
}

/* Draft 4 and later count 1.0 as an integer. */
static bool whole(const json_t *v)
{
    return json_is_integer(v) || (json_is_real(v) && floor(json_real_value(v)) == json_real_value(v));
}

static unsigned types_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL:
        return SCHEMA_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return SCHEMA_BOOLEAN;
    case JSON_STRING:
        return SCHEMA_STRING;
    case JSON_ARRAY:
        return SCHEMA_ARRAY;
    case JSON_OBJECT:
        return SCHEMA_OBJECT;
    default:
        return SCHEMA_NUMBER | (whole(v) ? SCHEMA_INTEGER : 0);
    }
}

/* The schema itself. */

static bool strings(const json_t *v)
{
    const json_t *each;
    size_t i;

    json_array_foreach(v, i, each)
        if (!json_is_string(each))
            return false;
    return json_is_array(v);
}

static int known(const json_t *s, unsigned depth, struct err *e);

static int known_all(const json_t *v, unsigned depth, struct err *e)
{
    const json_t *each;
    const char *key;
    size_t i;
    int r = 0;

    if (json_is_array(v)) {
        json_array_foreach(v, i, each)
            if (r == 0)
                r = known(each, depth, e);
        return r;
    }
    json_object_foreach((json_t *)v, key, each)
        if (r == 0)
            r = known(each, depth, e);
    return r;
}

static bool types_known(const json_t *v)
{
    const json_t *each;
    size_t i;

    if (json_is_string(v))
        return type_bit(json_string_value(v));
    json_array_foreach(v, i, each)
        if (!json_is_string(each) || !type_bit(json_string_value(each)))
            return false;
    return json_array_size(v) > 0;
}

static bool right_form(const json_t *v, enum form form)
{
    const json_t *each;
    const char *key;

    switch (form) {
    case ANY:
        return true;
    case BOOLEAN:
        return json_is_boolean(v);
    case NUMBER:
        return json_is_number(v);
    case COUNT:
        return json_is_integer(v) && json_integer_value(v) >= 0;
    case STRING:
        return json_is_string(v);
    case STRINGS:
        return strings(v);
    case SCHEMA:
        return json_is_object(v) || json_is_boolean(v);
    case SCHEMAS:
        return json_is_array(v) && json_array_size(v) > 0;
    case NAMED_SCHEMAS:
        return json_is_object(v);
    case NAMED_STRINGS:
        json_object_foreach((json_t *)v, key, each)
            if (!strings(each))
                return false;
        return json_is_object(v);
    case ARRAY:
        return json_is_array(v);
    case TYPES:
        return types_known(v);
    }
    return false;
}

static int known(const json_t *s, unsigned depth, struct err *e)
{
    const json_t *v;
    const char *key;
    int r;

    if (json_is_boolean(s))
        return 0;
    if (!json_is_object(s) || depth > DEPTH_MAX)
        return err_set(e, -EBADMSG, "a schema is an object, at most %d deep", DEPTH_MAX);
    json_object_foreach((json_t *)s, key, v) {
        size_t i = 0;

        while (i < ARRAY_SIZE(keywords) && strcmp(key, keywords[i].name) != 0)
            i++;
        if (i == ARRAY_SIZE(keywords))
            return err_set(e, -EBADMSG, "the schema's keyword \"%s\" is not one that is checked", key);
        if (!right_form(v, keywords[i].form))
            return err_set(e, -EBADMSG, "the schema's \"%s\" has a wrong form", key);
        if (keywords[i].form == SCHEMA)
            r = known(v, depth + 1, e);
        else if (keywords[i].form == SCHEMAS || keywords[i].form == NAMED_SCHEMAS)
            r = known_all(v, depth + 1, e);
        else
            r = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int schema_known(const json_t *schema, struct err *e)
{
    return known(schema, 0, e);
}

/* A value. */

struct check {
    const json_t *root;
    struct buf *say;                    /* NULL while only yes or no is wanted */
    struct buf path;                    /* of the value: edits[0].old */
    unsigned depth;
};

static bool check(struct check *c, const json_t *s, const json_t *v);

/* Appends the sentence, the path in front. Always false. */
static bool wrong(struct check *c, const char *fmt, ...) printf_fmt(2, 3);

static bool wrong(struct check *c, const char *fmt, ...)
{
    cleanup(freep) char *text = NULL;
    va_list ap;

    if (!c->say)
        return false;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    buf_addf(c->say, "%s %s", c->path.n ? c->path.p : "it", text ? text : "is wrong");
    return false;
}

static bool quietly(struct check *c, const json_t *s, const json_t *v)
{
    struct buf *say = c->say;
    bool ok;

    c->say = NULL;
    ok = check(c, s, v);
    c->say = say;
    return ok;
}

static bool check_member(struct check *c, const json_t *s, const char *name, const json_t *v)
{
    size_t n = c->path.n;
    bool ok;

    buf_addf(&c->path, "%s%s", n ? "." : "", name);
    ok = check(c, s, v);
    c->path.n = n;
    c->path.p[n] = 0;
    return ok;
}

static bool check_item(struct check *c, const json_t *s, size_t i, const json_t *v)
{
    size_t n = c->path.n;
    bool ok;

    buf_addf(&c->path, "[%zu]", i);
    ok = check(c, s, v);
    c->path.n = n;
    c->path.p[n] = 0;
    return ok;
}

static bool matches(const char *pattern, const char *text, size_t n)
{
    PCRE2_SIZE at;
    int code, r;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_match_data *found = re ? pcre2_match_data_create_from_pattern(re, NULL) : NULL;

    if (!re || !limits || !found) {
        r = 1;                          /* a pattern that cannot be read forbids nothing */
    } else {
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        r = pcre2_match(re, (PCRE2_SPTR)text, n, 0, 0, found, limits);
    }
    pcre2_match_data_free(found);
    pcre2_match_context_free(limits);
    pcre2_code_free(re);
    return r > 0;
}

static size_t characters(const json_t *v)
{
    const char *p = json_string_value(v);
    size_t n = 0;

    for (size_t i = 0; i < json_string_length(v); i++)
        n += (p[i] & 0xc0) != 0x80;
    return n;
}

/* -1, 0, 1 */
static int compare(const json_t *a, const json_t *b)
{
    double x = json_number_value(a), y = json_number_value(b);

    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) < json_integer_value(b) ? -1 : json_integer_value(a) > json_integer_value(b);
    return x < y ? -1 : x > y;
}

/* Equality of values: 1 and 1.0 are the same number. */
static bool same(const json_t *a, const json_t *b)
{
    const json_t *v;
    const char *key;
    size_t i;

    if (json_is_number(a) && json_is_number(b))
        return compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        json_array_foreach(a, i, v)
            if (!same(v, json_array_get(b, i)))
                return false;
        return true;
    }
    if (json_is_object(a)) {
        if (json_object_size(a) != json_object_size(b))
            return false;
        json_object_foreach((json_t *)a, key, v) {
            const json_t *other = json_object_get(b, key);

            if (!other || !same(v, other))
                return false;
        }
        return true;
    }
    return json_equal((json_t *)a, (json_t *)b);
}

static void add_value(struct buf *b, const json_t *v)
{
    cleanup(freep) char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

    buf_adds(b, text ? text : "?");
}

static void add_types(struct buf *b, unsigned bits)
{
    static const char *const say[] = { "null", "true or false", "an integer", "a number", "a string", "a list", "an object" };
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(say); i++)
        if (bits & (1u << i))
            buf_addf(b, "%s%s", n++ ? " or " : "", say[i]);
}

static bool check_type(struct check *c, const json_t *s, const json_t *v)
{
    unsigned wanted = schema_types(s), has = types_of(v);
    cleanup(buf_done) struct buf text = {0};

    if (!wanted || (wanted & has))
        return true;
    if (!c->say)
        return false;
    buf_adds(&text, "has to be ");
    add_types(&text, wanted);
    buf_adds(&text, ", and is ");
    add_types(&text, has & SCHEMA_INTEGER ? SCHEMA_INTEGER : has);
    return wrong(c, "%s", text.p);
}

static bool check_enum(struct check *c, const json_t *list, const json_t *v)
{
    cleanup(buf_done) struct buf text = {0};
    const json_t *each;
    size_t i;

    json_array_foreach(list, i, each)
        if (same(each, v))
            return true;
    if (!c->say)
        return false;
    json_array_foreach(list, i, each) {
        buf_adds(&text, i ? ", " : "");
        if (i == NAMES_SHOWN) {
            buf_adds(&text, "...");
            break;
        }
        add_value(&text, each);
    }
    return wrong(c, "has to be one of %s", text.n ? text.p : "nothing");
}

static bool check_number(struct check *c, const json_t *s, const json_t *v)
{
    const json_t *bound;

    if ((bound = json_object_get(s, "minimum")) && compare(v, bound) < 0)
        return wrong(c, "has to be at least %g", json_number_value(bound));
    if ((bound = json_object_get(s, "maximum")) && compare(v, bound) > 0)
        return wrong(c, "may be at most %g", json_number_value(bound));
    if ((bound = json_object_get(s, "exclusiveMinimum")) && json_is_number(bound) && compare(v, bound) <= 0)
        return wrong(c, "has to be above %g", json_number_value(bound));
    if ((bound = json_object_get(s, "exclusiveMaximum")) && json_is_number(bound) && compare(v, bound) >= 0)
        return wrong(c, "has to be below %g", json_number_value(bound));
    if ((bound = json_object_get(s, "multipleOf")) && json_number_value(bound) > 0) {
        double times = json_number_value(v) / json_number_value(bound);

        if (json_is_integer(v) && json_is_integer(bound) ? json_integer_value(v) % json_integer_value(bound) != 0
            : floor(times) != times)
            return wrong(c, "has to be a multiple of %g", json_number_value(bound));
    }
    return true;
}

static bool check_string(struct check *c, const json_t *s, const json_t *v)
{
    const json_t *bound;

    if ((bound = json_object_get(s, "minLength")) && (json_int_t)characters(v) < json_integer_value(bound))
        return json_integer_value(bound) == 1 ? wrong(c, "may not be empty")
                                              : wrong(c, "needs at least %lld characters", (long long)json_integer_value(bound));
    if ((bound = json_object_get(s, "maxLength")) && (json_int_t)characters(v) > json_integer_value(bound))
        return wrong(c, "may have at most %lld characters, and has %zu", (long long)json_integer_value(bound), characters(v));
    if ((bound = json_object_get(s, "pattern")) && !matches(json_string_value(bound), json_string_value(v), json_string_length(v)))
        return wrong(c, "has to match the pattern %s", json_string_value(bound));
    return true;
}

static bool check_array(struct check *c, const json_t *s, const json_t *v)
{
    const json_t *bound, *items = json_object_get(s, "items"), *prefix = json_object_get(s, "prefixItems"), *each;
    size_t i, n = json_array_size(v);

    if ((bound = json_object_get(s, "minItems")) && (json_int_t)n < json_integer_value(bound))
        return wrong(c, "needs at least %lld item%s", (long long)json_integer_value(bound), json_integer_value(bound) == 1 ? ""
                     : "s");
    if ((bound = json_object_get(s, "maxItems")) && (json_int_t)n > json_integer_value(bound))
        return wrong(c, "may have at most %lld items, and has %zu", (long long)json_integer_value(bound), n);
    json_array_foreach(v, i, each) {
        const json_t *each_schema = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;

        if (each_schema && !check_item(c, each_schema, i, each))
            return false;
    }
    if (json_is_true(json_object_get(s, "uniqueItems")))
        for (i = 0; i < n; i++)
            for (size_t k = 0; k < i; k++)
                if (same(json_array_get(v, i), json_array_get(v, k)))
                    return wrong(c, "has the same item twice, at %zu and %zu", k, i);
    return true;
}

static bool has_all(struct check *c, const json_t *names, const json_t *v, const json_t *properties, const char *why)
{
    const json_t *name;
    size_t i;

    json_array_foreach(names, i, name) {
        cleanup(buf_done) struct buf text = {0};
        const char *key = json_string_value(name);
        unsigned bits;

        if (!key || json_object_get(v, key))
            continue;
        if (!c->say)
            return false;
        bits = schema_types(json_object_get(properties, key));
        buf_addf(&text, "needs \"%s\"", key);
        if (bits) {
            buf_adds(&text, ", ");
            add_types(&text, bits);
        }
        return wrong(c, "%s%s", text.p, why);
    }
    return true;
}

static bool not_a_property(struct check *c, const json_t *properties, const char *name)
{
    cleanup(buf_done) struct buf text = {0};
    const json_t *v;
    const char *key;
    unsigned n = 0;

    if (!c->say)
        return false;
    buf_addf(&text, "has no \"%.60s\"; it takes", name);
    json_object_foreach((json_t *)properties, key, v)
        if (n++ < NAMES_SHOWN)
            buf_addf(&text, "%s %s", n > 1 ? "," : "", key);
    if (n == 0)
        buf_adds(&text, " nothing");
    return wrong(c, "%s%s", text.p, n > NAMES_SHOWN ? ", ..." : "");
}

/* What the property's own schemas say of it. */
static bool check_property(struct check *c, const json_t *s, const char *name, size_t n, const json_t *v)
{
    const json_t *properties = json_object_get(s, "properties"), *own = json_object_getn(properties, name, n);
    const json_t *more = json_object_get(s, "additionalProperties"), *each;
    bool declared = own;
    const char *pattern;

    if (own && !check_member(c, own, name, v))
        return false;
    json_object_foreach(json_object_get(s, "patternProperties"), pattern, each) {
        if (!matches(pattern, name, n))
            continue;
        declared = true;
        if (!check_member(c, each, name, v))
            return false;
    }
    if (declared || !more)
        return true;
    return json_is_false(more) ? not_a_property(c, properties, name) : check_member(c, more, name, v);
}

static bool check_object(struct check *c, const json_t *s, const json_t *v)
{
    const json_t *bound, *names = json_object_get(s, "propertyNames"), *each;
    const char *key;
    size_t n;

    json_object_keylen_foreach((json_t *)v, key, n, each) {
        if (!check_property(c, s, key, n, each))
            return false;
        if (names) {
            cleanup(json_unrefp) json_t *name = json_stringn(key, n);

            if (!quietly(c, names, name))
                return wrong(c, "may not have the name \"%.60s\"", key);
        }
    }
    if (!has_all(c, json_object_get(s, "required"), v, json_object_get(s, "properties"), ""))
        return false;
    json_object_foreach(json_object_get(s, "dependentRequired"), key, each)
        if (json_object_get(v, key) && !has_all(c, each, v, json_object_get(s, "properties"), ", together with what is given"))
            return false;
    if ((bound = json_object_get(s, "minProperties")) && (json_int_t)json_object_size(v) < json_integer_value(bound))
        return wrong(c, "needs at least %lld members", (long long)json_integer_value(bound));
    if ((bound = json_object_get(s, "maxProperties")) && (json_int_t)json_object_size(v) > json_integer_value(bound))
        return wrong(c, "may have at most %lld members", (long long)json_integer_value(bound));
    return true;
}

/* The one of several shapes that the value seems to mean: it says best what is wrong. */
static const json_t *meant(const json_t *list, const json_t *v)
{
    const json_t *each;
    size_t i;

    json_array_foreach(list, i, each)
        if (schema_types(each) & types_of(v))
            return each;
    return json_array_get(list, 0);
}

static bool check_combined(struct check *c, const json_t *s, const json_t *v)
{
    const json_t *list, *each;
    size_t i, n = 0;

    json_array_foreach(json_object_get(s, "allOf"), i, each)
        if (!check(c, each, v))
            return false;
    if ((list = json_object_get(s, "anyOf"))) {
        json_array_foreach(list, i, each)
            n += quietly(c, each, v);
        if (n == 0)
            return check(c, meant(list, v), v);
    }
    if ((list = json_object_get(s, "oneOf"))) {
        n = 0;
        json_array_foreach(list, i, each)
            n += quietly(c, each, v);
        if (n == 0)
            return check(c, meant(list, v), v);
        if (n > 1)
            return wrong(c, "fits %zu of the shapes of which it has to fit one", n);
    }
    if ((each = json_object_get(s, "not")) && quietly(c, each, v))
        return wrong(c, "is of a shape that is not allowed");
    if ((each = json_object_get(s, "if"))) {
        each = json_object_get(s, quietly(c, each, v) ? "then" : "else");
        if (each && !check(c, each, v))
            return false;
    }
    return true;
}

/* "#", or "#/$defs/x" with ~0, ~1 and %XX in it (RFC 6901, section 6). NULL when it leads nowhere. */
static const json_t *resolve(const json_t *root, const char *ref)
{
    const json_t *at = root;

    if (*ref++ != '#')
        return NULL;
    while (at && *ref == '/') {
        cleanup(buf_done) struct buf name = {0};
        unsigned code;
        int used;

        for (ref++; *ref && *ref != '/'; ref++) {
            if (*ref == '%' && sscanf(ref + 1, "%2x%n", &code, &used) == 1 && used == 2) {
                buf_addc(&name, (char)code);
                ref += 2;
            } else {
                buf_addc(&name, *ref);
            }
        }
        for (size_t i = 0; i + 1 < name.n; i++)
            if (name.p[i] == '~' && (name.p[i + 1] == '0' || name.p[i + 1] == '1')) {
                name.p[i] = name.p[i + 1] == '0' ? '~' : '/';
                memmove(name.p + i + 1, name.p + i + 2, name.n - i - 1);
                name.n--;
            }
        at = json_is_array(at) ? json_array_get(at, strtoul(buf_str(&name).p, NULL, 10)) : json_object_get(at, buf_str(&name).p);
    }
    return *ref ? NULL : at;
}

static bool check_all(struct check *c, const json_t *s, const json_t *v)
{
    const json_t *each;

    if ((each = json_object_get(s, "$ref"))) {
        const json_t *there = json_is_string(each) ? resolve(c->root, json_string_value(each)) : NULL;

        if (there && !check(c, there, v))
            return false;
    }
    if (!check_type(c, s, v))
        return false;
    if ((each = json_object_get(s, "enum")) && !check_enum(c, each, v))
        return false;
    if ((each = json_object_get(s, "const")) && !same(each, v)) {
        cleanup(buf_done) struct buf text = {0};

        add_value(&text, each);
        return wrong(c, "has to be %s", text.p);
    }
    if (json_is_number(v) && !check_number(c, s, v))
        return false;
    if (json_is_string(v) && !check_string(c, s, v))
        return false;
    if (json_is_array(v) && !check_array(c, s, v))
        return false;
    if (json_is_object(v) && !check_object(c, s, v))
        return false;
    return check_combined(c, s, v);
}

static bool check(struct check *c, const json_t *s, const json_t *v)
{
    bool ok;

    if (json_is_boolean(s))
        return json_is_true(s) || wrong(c, "may not be there");
    if (c->depth == DEPTH_MAX)
        return wrong(c, "cannot be checked: its schema refers to itself too deeply");
    c->depth++;
    ok = check_all(c, s, v);
    c->depth--;
    return ok;
}

bool schema_check(const json_t *schema, const json_t *value, struct buf *say)
{
    struct check c = { .root = schema, .say = say };
    bool ok;

    buf_adds(&c.path, "");
    ok = check(&c, schema, value);
    buf_done(&c.path);
    return ok;
}
