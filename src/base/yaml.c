#include "base/yaml.h"

#include <yaml.h>

#define YAML_DEPTH_MAX 32

static int bad(yaml_parser_t *p, struct err *e)
{
    return err_set(e, -EBADMSG, "line %zu: %s", p->problem_mark.line + 1, p->problem ? p->problem : "not valid YAML");
}

static json_t *scalar(const yaml_event_t *ev)
{
    const char *s = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;
    char *end;
    long long v;

    if (ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return json_stringn(s, n);
    if (n == 0 || strcmp(s, "~") == 0 || strcmp(s, "null") == 0)
        return json_null();
    if (strcmp(s, "true") == 0 || strcmp(s, "false") == 0)
        return json_boolean(s[0] == 't');
    errno = 0;
    v = strtoll(s, &end, 10);
    if (errno == 0 && *end == 0 && end != s && (*s == '-' || (*s >= '0' && *s <= '9')))
        return json_integer(v);
    return json_stringn(s, n);
}

/* Reads the value that starts with the event ev, which this function deletes. */
static int value(yaml_parser_t *p, yaml_event_t *ev, int depth, json_t **ret, struct err *e)
{
    cleanup(json_unrefp) json_t *out = NULL;
    yaml_event_type_t type = ev->type;
    size_t line = ev->start_mark.line + 1;
    int r;

    if (depth > YAML_DEPTH_MAX || type == YAML_ALIAS_EVENT) {
        yaml_event_delete(ev);
        return err_set(e, -EBADMSG, "line %zu: aliases and deep nesting are not read", line);
    }
    if (type == YAML_SCALAR_EVENT)
        out = scalar(ev);
    else if (type == YAML_SEQUENCE_START_EVENT)
        out = json_array();
    else if (type == YAML_MAPPING_START_EVENT)
        out = json_object();
    yaml_event_delete(ev);
    if (!out)
        return err_set(e, -EBADMSG, "line %zu: a value is missing or is not UTF-8", line);

    while (type != YAML_SCALAR_EVENT) {
        cleanup(json_unrefp) json_t *item = NULL;
        cleanup(freep) char *key = NULL;
        yaml_event_t next;

        if (!yaml_parser_parse(p, &next))
            return bad(p, e);
        line = next.start_mark.line + 1;
        if (next.type == YAML_SEQUENCE_END_EVENT || next.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&next);
            break;
        }
        if (type == YAML_MAPPING_START_EVENT) {
            if (next.type == YAML_SCALAR_EVENT)
                key = xstrdup((const char *)next.data.scalar.value);
            yaml_event_delete(&next);
            if (!key || json_object_get(out, key))
                return err_set(e, -EBADMSG, "line %zu: a key stands twice, or is not plain text", line);
            if (!yaml_parser_parse(p, &next))
                return bad(p, e);
        }
        r = value(p, &next, depth + 1, &item, e);
        if (r < 0)
            return r;
        r = key ? json_object_set(out, key, item) : json_array_append(out, item);
        if (r < 0)
            return err_set(e, -EBADMSG, "line %zu: the key is not UTF-8", line);
    }
    *ret = TAKE(out);
    return 0;
}

int yaml_parse(struct str text, json_t **ret, struct err *e)
{
    yaml_parser_t p;
    yaml_event_t ev;
    int r = 0;

    if (!yaml_parser_initialize(&p))
        return err_set(e, -ENOMEM, "out of memory");
    yaml_parser_set_input_string(&p, (const unsigned char *)text.p, text.n);
    for (;;) {
        yaml_event_type_t type;

        if (!yaml_parser_parse(&p, &ev)) {
            r = bad(&p, e);
            break;
        }
        type = ev.type;
        if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT) {
            yaml_event_delete(&ev);
            continue;
        }
        if (type == YAML_STREAM_END_EVENT) {
            yaml_event_delete(&ev);
            *ret = json_object();
            break;
        }
        r = value(&p, &ev, 0, ret, e);
        break;
    }
    yaml_parser_delete(&p);
    return r;
}
