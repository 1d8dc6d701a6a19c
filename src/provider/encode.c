/* encode.c - messages as OpenAI's Chat Completions API takes them. Everything that stays the same stands in front of the
 * messages, so that a body only grows at its end. */
#include "provider/encode.h"

#include "core/args.h"

#include <stdio.h>

void encode_effort(const struct model *m, const char *const api[EFFORTS], struct buf *out)
{
    const char *const *table = m->service->effort ? m->service->effort : api;

    if (table && table[m->effort])
        buf_addf(out, ",%s", table[m->effort]);
}

static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

const char *encode_name(struct str name, char ret[ENCODE_NAME_MAX])
{
    size_t n = MIN(name.n, (size_t)ENCODE_NAME_MAX - 1);

    for (size_t i = 0; i < n; i++)
        ret[i] = name.p[i] && strchr(allowed, name.p[i]) ? name.p[i] : '_';
    ret[n] = 0;
    return n ? ret : strcpy(ret, "_");
}

const char *encode_id(struct str id, char ret[ENCODE_ID_MAX])
{
    struct hash hash;
    char hex[HASH_HEX];

    if (id.n && id.n <= 40) {
        memcpy(ret, id.p, id.n);
        ret[id.n] = 0;
        if (strspn(ret, allowed) == id.n)
            return ret;
    }
    hash = hash_bytes(id);
    snprintf(ret, ENCODE_ID_MAX, "call_%.24s", hash_hex(&hash, hex));
    return ret;
}

int64_t encode_limit(const struct model *m, const struct harness *h)
{
    return m->max_output && h->max_output ? MIN(m->max_output, h->max_output) : m->max_output ? m->max_output : h->max_output;
}

static void make_strict(json_t *schema)
{
    json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    json_t *all, *value, *each;
    const char *key;
    size_t i;

    json_object_foreach(schema, key, value) {
        if (json_is_object(value) && strcmp(key, "properties") != 0)
            make_strict(value);
        json_array_foreach(value, i, each)
            make_strict(each);
    }
    if (!properties)
        return;
    all = json_array();
    json_object_foreach(properties, key, value) {
        bool needed = false;

        make_strict(value);
        json_array_foreach(required, i, each)
            needed = needed || (json_is_string(each) && strcmp(json_string_value(each), key) == 0);
        if (!needed)
            json_object_set_new(properties, key, json_pack("{s:[O,{s:s}]}", "anyOf", value, "type", "null"));
        json_array_append_new(all, json_string(key));
    }
    json_object_set_new(schema, "required", all);
    json_object_set_new(schema, "additionalProperties", json_false());
}

void encode_strict(const struct harness_tool *t, struct buf *out)
{
    json_t *copy = json_deep_copy(t->schema);
    cleanup(freep) char *text = NULL;

    make_strict(copy);
    text = json_dumps(copy, JSON_COMPACT | JSON_PRESERVE_ORDER);
    buf_adds(out, text);
    json_decref(copy);
}

static const char *const chat_efforts[EFFORTS] = {
    [EFFORT_OFF] = "\"reasoning_effort\":\"none\"",   [EFFORT_LOW] = "\"reasoning_effort\":\"low\"",
    [EFFORT_MEDIUM] = "\"reasoning_effort\":\"medium\"", [EFFORT_HIGH] = "\"reasoning_effort\":\"high\"",
    [EFFORT_MAX] = "\"reasoning_effort\":\"xhigh\"",
};

int encode_chat_head(const struct model *m, const struct harness *h, const char *system, const char *session, struct buf *out)
{
    const struct service *service = m->service;
    int64_t limit = encode_limit(m, h);

    buf_addc(out, '{');
    js_add_text(out, "model", m->name);
    js_add_bool(out, "stream", true);
    if (!service->bare_stream)
        js_add_raw(out, "stream_options", LIT("{\"include_usage\":true}"));
    if (limit)
        js_add_int(out, service->limit ? service->limit : "max_tokens", limit);
    encode_effort(m, chat_efforts, out);
    if (service->members)
        buf_addf(out, ",%s", service->members);
    if (service->cache_key)
        js_add_text(out, "prompt_cache_key", session);
    if (h->ntools) {
        js_key(out, "tools");
        buf_addc(out, '[');
        for (size_t i = 0; i < h->ntools; i++) {
            const struct harness_tool *t = &h->tools[i];

            buf_addf(out, "%s{\"type\":\"function\",\"function\":", i ? "," : "");
            if (service->strict) {
                buf_addf(out, "{%.*s,\"strict\":true,\"parameters\":", STR(t->about));
                encode_strict(t, out);
                buf_addc(out, '}');
            } else {
                buf_adds(out, t->json);
            }
            buf_addc(out, '}');
        }
        buf_addc(out, ']');
    }
    js_key(out, "messages");
    buf_adds(out, "[{\"role\":\"system\",\"content\":");
    js_add(out, str_of(system));
    return buf_addc(out, '}');
}

static void add_calls(const struct msg *m, struct buf *out)
{
    js_key(out, "tool_calls");
    buf_addc(out, '[');
    for (size_t i = 0; i < m->ncalls; i++) {
        const struct msg_call *c = &m->calls[i];
        cleanup(buf_done) struct buf args = {0};
        char id[ENCODE_ID_MAX], name[ENCODE_NAME_MAX];

        buf_adds(out, i ? ",{" : "{");
        js_add_text(out, "id", encode_id(c->id, id));
        js_add_text(out, "type", "function");
        js_key(out, "function");
        buf_addc(out, '{');
        js_add_text(out, "name", encode_name(c->name, name));
        /* Services parse the arguments of the history and refuse the whole request for broken ones; what was broken stands
         * in the call's result. */
        args_for_history(c->args, &args);
        js_add_str(out, "arguments", buf_str(&args));
        buf_adds(out, "}}");
    }
    buf_addc(out, ']');
}

/* The text and the image behind it, as a data URL. */
static void add_image(const struct msg *m, struct buf *out)
{
    js_key(out, "content");
    buf_adds(out, "[{");
    js_add_text(out, "type", "text");
    js_add_str(out, "text", m->text);
    buf_adds(out, "},{");
    js_add_text(out, "type", "image_url");
    buf_addf(out, ",\"image_url\":{\"url\":\"data:%.*s;base64,", STR(m->image_type));
    buf_add_str(out, m->image);
    buf_adds(out, "\"}}]");
}

/* The reasoning goes back where and as the service wants it. */
static void add_reasoning(const struct model *m, const struct msg *msg, struct buf *out)
{
    if (msg->extra.n > 2) {
        buf_addc(out, ',');
        buf_add(out, msg->extra.p + 1, msg->extra.n - 2);       /* the members of the object */
    }
    if (m->service->reasons_always && str_find(msg->extra, LIT("\"reasoning_content\":"), 0) < 0)
        js_add_str(out, "reasoning_content", msg->reasoning);
}

int encode_chat_message(const struct model *m, const struct msg *msg, struct buf *out)
{
    static const char *const roles[] = { "user", "assistant", "tool" };
    char id[ENCODE_ID_MAX];

    buf_addc(out, '{');
    js_add_text(out, "role", roles[msg->role]);
    if (msg->role == ROLE_TOOL)
        js_add_text(out, "tool_call_id", encode_id(msg->call_id, id));
    if (msg->role == ROLE_ASSISTANT && msg->ncalls && msg->text.n == 0)
        js_add_raw(out, "content", LIT("null"));
    else if (msg->image.n)
        add_image(msg, out);
    else
        js_add_str(out, "content", msg->text);
    if (msg->role == ROLE_ASSISTANT)
        add_reasoning(m, msg, out);
    if (msg->ncalls)
        add_calls(msg, out);
    return buf_addc(out, '}');
}

char *encode_url(const char *base, const char *below)
{
    size_t n = strlen(base);

    while (n && base[n - 1] == '/')
        n--;
    return xasprintf("%.*s%s", (int)n, base, below);
}
