/* responses.c - OpenAI's Responses API and what speaks it.
 *
 * An answer is a list of items. Nothing is kept by the service (store: false), so that the log is all there is: reasoning comes
 * encrypted and goes back in front of the item that it led to. An answer is complete with response.completed or
 * response.incomplete; what ends otherwise is asked for again. */
#include "core/args.h"
#include "provider/encode.h"
#include "provider/exchange.h"

#include <stdio.h>

struct item {
    int64_t index;
    size_t call;                        /* from 1; 0: it is none */
    bool streamed, ended;               /* its text or arguments came in pieces; it is done */
};

struct responses {
    struct parts parts;
    struct item *items;
    size_t n, cap;
};

static void responses_done(void *arg)
{
    struct responses *r = arg;

    parts_done(&r->parts);
    free(r->items);
}

/* Encoding. */

static const char *const efforts[EFFORTS] = {
    [EFFORT_OFF] = "\"reasoning\":{\"effort\":\"none\"}",
    [EFFORT_LOW] = "\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"}",
    [EFFORT_MEDIUM] = "\"reasoning\":{\"effort\":\"medium\",\"summary\":\"auto\"}",
    [EFFORT_HIGH] = "\"reasoning\":{\"effort\":\"high\",\"summary\":\"auto\"}",
    [EFFORT_MAX] = "\"reasoning\":{\"effort\":\"xhigh\",\"summary\":\"auto\"}",
};

/* The name of a tool's one argument where that is plain text, or NULL: such a tool may be called without JSON around it. */
static const char *plain_argument(const json_t *schema)
{
    json_t *properties = json_object_get(schema, "properties");
    void *first = json_object_iter(properties);

    if (json_object_size(properties) != 1 || !str_is(js_str(json_object_iter_value(first), "type"), "string"))
        return NULL;
    return json_object_iter_key(first);
}

static int responses_head(const struct model *m, const struct harness *h, const char *system, const char *session, struct buf *out)
{
    const struct service *service = m->service;
    int64_t limit = encode_limit(m, h);

    buf_addc(out, '{');
    js_add_text(out, "model", m->name);
    js_add_bool(out, "stream", true);
    js_add_bool(out, "store", false);
    js_add_raw(out, "include", LIT("[\"reasoning.encrypted_content\"]"));
    if (limit)
        js_add_int(out, "max_output_tokens", limit);
    encode_effort(m, efforts, out);
    if (service->members)
        buf_addf(out, ",%s", service->members);
    if (service->cache_key)
        js_add_text(out, "prompt_cache_key", session);
    if (h->ntools) {
        js_key(out, "tools");
        buf_addc(out, '[');
        for (size_t i = 0; i < h->ntools; i++) {
            const struct harness_tool *t = &h->tools[i];

            if (service->custom_tools && plain_argument(t->schema)) {
                buf_addf(out, "%s{\"type\":\"custom\",%.*s}", i ? "," : "", STR(t->about));
                continue;
            }
            buf_addf(out, "%s{\"type\":\"function\",%.*s,\"strict\":%s,\"parameters\":", i ? "," : "", STR(t->about),
                     service->strict ? "true" : "false");
            if (service->strict)
                encode_strict(t, out);
            else
                buf_add_str(out, t->parameters);
            buf_addc(out, '}');
        }
        buf_addc(out, ']');
    }
    js_add_text(out, "instructions", system);
    return buf_adds(out, ",\"input\":[");
}

static void add_part(const struct part *p, struct buf *out)
{
    cleanup(buf_done) struct buf args = {0};
    cleanup(json_unrefp) json_t *plain = NULL;
    struct str phase = js_str(p->own, "phase");
    char id[ENCODE_ID_MAX], name[ENCODE_NAME_MAX];

    if (p->call && p->call->custom) {
        js_parse(p->call->args, &plain, NULL);
        buf_adds(out, "{\"type\":\"custom_tool_call\"");
        js_add_text(out, "call_id", encode_id(p->call->id, id));
        js_add_text(out, "name", encode_name(p->call->name, name));
        js_add_text(out, "input", json_string_value(json_object_iter_value(json_object_iter(plain))));
        buf_addc(out, '}');
    } else if (p->call) {
        args_for_history(p->call->args, &args);
        buf_adds(out, "{\"type\":\"function_call\"");
        js_add_text(out, "call_id", encode_id(p->call->id, id));
        js_add_text(out, "name", encode_name(p->call->name, name));
        js_add_str(out, "arguments", buf_str(&args));
        buf_addc(out, '}');
    } else if (p->raw.n) {
        buf_add_str(out, p->raw);
    } else if (p->say.n) {
        buf_adds(out, "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\"");
        js_add_str(out, "text", p->say);
        buf_adds(out, "}]");
        if (phase.n)
            js_add_str(out, "phase", phase);
        buf_addc(out, '}');
    }
}

static void add_content(const struct msg *msg, struct buf *out)
{
    buf_adds(out, "[{\"type\":\"input_text\"");
    js_add_str(out, "text", msg->text);
    if (msg->image.n) {
        buf_addf(out, "},{\"type\":\"input_image\",\"image_url\":\"data:%.*s;base64,", STR(msg->image_type));
        buf_add_str(out, msg->image);
        buf_addc(out, '"');
    }
    buf_adds(out, "}]");
}

static int responses_message(const struct model *m, const struct msg *msg, struct buf *out)
{
    char id[ENCODE_ID_MAX];

    (void)m;
    switch (msg->role) {
    case ROLE_USER:
        buf_adds(out, "{\"type\":\"message\",\"role\":\"user\",\"content\":");
        add_content(msg, out);
        return buf_addc(out, '}');
    case ROLE_ASSISTANT: {
        cleanup(buf_done) struct buf parts = {0};

        encode_parts(msg, add_part, &parts);
        return buf_add_str(out, buf_str(&parts));
    }
    case ROLE_TOOL:
        buf_addf(out, "{\"type\":\"%s\"", msg->custom ? "custom_tool_call_output" : "function_call_output");
        js_add_text(out, "call_id", encode_id(msg->call_id, id));
        if (msg->image.n) {
            js_key(out, "output");
            add_content(msg, out);
        } else {
            js_add_str(out, "output", msg->text);
        }
        return buf_addc(out, '}');
    }
    return 0;
}

/* Reading. */

static struct item *item_at(struct responses *r, int64_t index)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->items[i].index == index)
            return &r->items[i];
    GROW(r->items, r->n, r->cap);
    r->items[r->n] = (struct item){ .index = index };
    return &r->items[r->n++];
}

static bool is_call(struct str type)
{
    return str_is(type, "function_call") || str_is(type, "custom_tool_call");
}

static void begin_item(struct exchange *x, struct item *it, const json_t *item)
{
    struct str type = js_str(item, "type");
    struct answer_call *c;

    if (!is_call(type) || it->call)
        return;
    c = exchange_call(x);
    it->call = x->a->ncalls;
    c->custom = str_is(type, "custom_tool_call");
    buf_add_str(&c->id, js_str(item, "call_id"));
    buf_add_str(&c->name, js_str(item, "name"));
}

/* Plain text becomes the tool's one argument, so that all that follows reads it like any other call. */
static void wrap_custom(struct exchange *x, struct answer_call *c)
{
    const struct harness_tool *t = harness_tool(x->rq->harness, buf_str(&c->name));
    const char *name = t ? plain_argument(t->schema) : NULL;
    struct buf args = {0};

    buf_addc(&args, '{');
    js_add_str(&args, name ? name : "input", buf_str(&c->args));
    buf_addc(&args, '}');
    buf_done(&c->args);
    c->args = args;
}

/* Reasoning without its name at the service, which keeps nothing: what is encrypted, or open where a service does not encrypt. */
static void keep_reasoning(struct exchange *x, const json_t *item, struct str raw)
{
    struct responses *r = x->state;
    struct str summary = js_raw(raw, "summary"), content = js_raw(raw, "content"), sealed = js_str(item, "encrypted_content");
    cleanup(buf_done) struct buf out = {0};

    if (!sealed.n && !json_array_size(json_object_get(item, "content")))
        return;
    buf_adds(&out, "{\"type\":\"reasoning\"");
    js_add_raw(&out, "summary", summary.n ? summary : LIT("[]"));
    if (json_array_size(json_object_get(item, "content")))
        js_add_raw(&out, "content", content);
    if (sealed.n)
        js_add_str(&out, "encrypted_content", sealed);
    buf_addc(&out, '}');
    parts_say(&r->parts, x->a, NULL);
    parts_raw(&r->parts, buf_str(&out));
}

static void end_message(struct exchange *x, const struct item *it, const json_t *item)
{
    struct responses *r = x->state;
    struct str phase = js_str(item, "phase");
    cleanup(freep) char *own = phase.n ? xasprintf("\"phase\":\"%.*s\"", STR(phase)) : NULL;
    const json_t *part;
    size_t i;

    if (!it->streamed)
        json_array_foreach(json_object_get(item, "content"), i, part)
            exchange_text(x, js_str(part, str_is(js_str(part, "type"), "refusal") ? "refusal" : "text"));
    parts_say(&r->parts, x->a, phase.n && strspn(phase.p, "abcdefghijklmnopqrstuvwxyz_") == phase.n ? own : NULL);
}

static void end_item(struct exchange *x, struct item *it, const json_t *item, struct str raw)
{
    struct responses *r = x->state;
    struct str type = js_str(item, "type");

    if (it->ended)
        return;
    it->ended = x->content = true;
    begin_item(x, it, item);
    if (it->call) {
        struct answer_call *c = &x->a->calls[it->call - 1];
        struct str args = js_str(item, c->custom ? "input" : "arguments");

        if (args.n) {                   /* what the item says in the end is what counts */
            buf_clear(&c->args);
            buf_add_str(&c->args, args);
        }
        if (c->custom)
            wrap_custom(x, c);
        parts_call(&r->parts, x->a, it->call, NULL);
    } else if (str_is(type, "message")) {
        end_message(x, it, item);
    } else if (str_is(type, "reasoning")) {
        keep_reasoning(x, item, raw);
    } else if (raw.n) {                 /* a tool of the service's own, and what a later version adds */
        parts_say(&r->parts, x->a, NULL);
        parts_raw(&r->parts, raw);
    }
}

static void on_usage(struct answer *a, const json_t *u)
{
    if (!json_is_object(u))
        return;
    a->has_usage = true;
    a->usage.in = js_int(u, "input_tokens", 0);
    a->usage.out = js_int(u, "output_tokens", 0);
    a->usage.cached = js_int(json_object_get(u, "input_tokens_details"), "cached_tokens", 0);
    a->usage.reasoning = js_int(json_object_get(u, "output_tokens_details"), "reasoning_tokens", 0);
}

/* The response as a whole, which ends the stream; or comes in its place. */
static int on_response(struct exchange *x, const json_t *response)
{
    struct responses *r = x->state;
    struct str state = js_str(response, "status"), why = js_str(json_object_get(response, "incomplete_details"), "reason");
    const json_t *item;
    size_t i;

    if (json_is_object(json_object_get(response, "error")) || str_is(state, "failed"))
        return exchange_error(x, response);
    if (str_is(state, "in_progress") || str_is(state, "queued") ||
        (!state.n && !json_is_array(json_object_get(response, "output"))))
        return 0;
    json_array_foreach(json_object_get(response, "output"), i, item) {
        struct item *it = item_at(r, (int64_t)i);
        cleanup(freep) char *text = it->ended ? NULL : json_dumps(item, JSON_COMPACT | JSON_PRESERVE_ORDER);

        end_item(x, it, item, str_of(text));
    }
    exchange_model(x, js_str(response, "model"));
    on_usage(x->a, json_object_get(response, "usage"));
    exchange_finish(x, str_is(state, "incomplete") && why.n ? why : x->a->ncalls ? LIT("tool_calls") : LIT("stop"));
    x->closed = true;
    return 0;
}

static int responses_event(struct exchange *x, struct str data, const json_t *j)
{
    struct responses *r = x->state;
    struct str type = js_str(j, "type"), delta = js_str(j, "delta");
    const json_t *response = json_object_get(j, "response"), *item = json_object_get(j, "item");
    int64_t index = js_int(j, "output_index", -1);

    if (x->whole)
        return on_response(x, j);
    if (str_is(type, "error") || (!type.n && json_object_get(j, "error")))
        return exchange_error(x, j);
    if (str_is(type, "response.created")) {
        exchange_model(x, js_str(response, "model"));
    } else if (str_is(type, "response.output_item.added")) {
        begin_item(x, item_at(r, index), item);
    } else if (str_is(type, "response.output_text.delta") || str_is(type, "response.refusal.delta")) {
        item_at(r, index)->streamed = true;
        exchange_text(x, delta);
    } else if (str_is(type, "response.reasoning_summary_text.delta") || str_is(type, "response.reasoning_text.delta")) {
        exchange_reasoning(x, delta);
    } else if (str_is(type, "response.reasoning_summary_part.added") && x->a->reasoning.n) {
        exchange_reasoning(x, LIT("\n\n"));
    } else if (str_is(type, "response.function_call_arguments.delta") || str_is(type, "response.custom_tool_call_input.delta")) {
        struct item *it = item_at(r, index);

        x->content = true;
        if (it->call && !it->ended)
            buf_add_str(&x->a->calls[it->call - 1].args, delta);
    } else if (str_is(type, "response.output_item.done")) {
        end_item(x, item_at(r, index), item, js_raw(data, "item"));
    } else if (str_is(type, "response.completed") || str_is(type, "response.incomplete") || str_is(type, "response.failed")) {
        return on_response(x, response);
    }
    return 0;                           /* the API has many more events, and gets new ones */
}

static char *responses_url(const struct model *m)
{
    return encode_url(m->base_url, "/responses");
}

static size_t responses_headers(const struct model *m, char **ret)
{
    ret[0] = m->key ? xasprintf("Authorization: Bearer %s", m->key) : NULL;
    return m->key ? 1 : 0;
}

static void responses_end(struct exchange *x)
{
    struct responses *r = x->state;

    parts_end(&r->parts, x->a);
}

static const struct exchange_form responses_form = {
    .url = responses_url, .list = "/models", .headers = responses_headers, .event = responses_event,
    .end = responses_end, .done = responses_done,
    .state = sizeof(struct responses),
};

static CO int responses_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    return exchange_run(&responses_form, rq, sink, ret, f);
}

static CO int responses_list(const struct model *m, struct listing *ret, struct err *e)
{
    return exchange_list(&responses_form, m, ret, e);
}

const struct provider provider_responses = {
    .name      = "responses",
    .about     = "OpenAI's Responses over HTTP, with streaming",
    .needs_url = true,
    .tail      = "]}",
    .images_in_results = true,
    .sealed    = true,
    .head      = responses_head,
    .message   = responses_message,
    .run       = responses_run,
    .list          = responses_list,
};
