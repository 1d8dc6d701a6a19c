/* messages.c - Anthropic's Messages API and what speaks it.
 *
 * An answer is a list of blocks, which stream one after the other. Thinking goes back exactly as it came, in front of the calls it
 * led to: its signature covers every byte. What this file does not know goes back untouched as well. An answer is complete with
 * message_stop. */
#include "base/utf8.h"
#include "core/args.h"
#include "provider/encode.h"
#include "provider/exchange.h"

#include <stdio.h>

#define ANSWER_DEFAULT 16384            /* tokens; the API wants a number, and nobody has said another */

struct block {
    int64_t index;
    char type[32];
    struct buf text;                    /* thinking, or a foreign tool's arguments */
    struct buf signature, citations;
    struct buf start;                   /* as it came first, for what is given back untouched */
    size_t call;                        /* from 1 */
    bool open;
};

struct messages {
    struct parts parts;
    struct block block;                 /* blocks do not overlap */
    char finish[32];
    bool closed;
};

static void block_done(struct block *b)
{
    buf_done(&b->text);
    buf_done(&b->signature);
    buf_done(&b->citations);
    buf_done(&b->start);
    *b = (struct block){0};
}

static void messages_done(void *arg)
{
    struct messages *m = arg;

    parts_done(&m->parts);
    block_done(&m->block);
}

/* Encoding. */

static const char *const efforts[EFFORTS] = {
    [EFFORT_OFF] = "\"thinking\":{\"type\":\"disabled\"}",
    [EFFORT_LOW] = "\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"low\"}",
    [EFFORT_MEDIUM] = "\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"medium\"}",
    [EFFORT_HIGH] = "\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"high\"}",
    [EFFORT_MAX] = "\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"max\"}",
};

#define CACHE "\"cache_control\":{\"type\":\"ephemeral\"}"

static int messages_head(const struct model *m, const struct harness *h, const char *system, const char *session, struct buf *out)
{
    int64_t limit = encode_limit(m, h);

    (void)session;
    buf_addc(out, '{');
    js_add_text(out, "model", m->name);
    js_add_bool(out, "stream", true);
    js_add_int(out, "max_tokens", limit ? limit : ANSWER_DEFAULT);
    encode_effort(m, efforts, out);
    if (m->service->members)
        buf_addf(out, ",%s", m->service->members);
    buf_adds(out, "," CACHE);           /* the service marks the last block itself, so that no message has to change for it */
    if (h->ntools) {
        js_key(out, "tools");
        buf_addc(out, '[');
        for (size_t i = 0; i < h->ntools; i++)
            buf_addf(out, "%s{%.*s,\"input_schema\":%.*s}", i ? "," : "", STR(h->tools[i].about), STR(h->tools[i].parameters));
        buf_addc(out, ']');
    }
    if (*system) {                      /* what stands before this mark is the same in every session of this harness and folder */
        buf_adds(out, ",\"system\":[{\"type\":\"text\",\"text\":");
        js_add(out, str_of(system));
        buf_adds(out, "," CACHE "}]");
    }
    return buf_adds(out, ",\"messages\":[");
}

static bool blank(struct str s)
{
    return str_trim(s).n == 0;
}

static void add_text(struct str text, const json_t *citations, struct buf *out)
{
    cleanup(freep) char *list = citations ? json_dumps(citations, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

    buf_adds(out, "{\"type\":\"text\",\"text\":");
    js_add(out, text);
    if (list)
        js_add_raw(out, "citations", str_of(list));
    buf_addc(out, '}');
}

static void add_part(const struct part *p, struct buf *out)
{
    cleanup(buf_done) struct buf args = {0};
    char id[ENCODE_ID_MAX], name[ENCODE_NAME_MAX];

    if (p->call) {
        args_for_history(p->call->args, &args);
        buf_adds(out, "{\"type\":\"tool_use\"");
        js_add_text(out, "id", encode_id(p->call->id, id));
        js_add_text(out, "name", encode_name(p->call->name, name));
        js_add_raw(out, "input", buf_str(&args));
        buf_addc(out, '}');
    } else if (p->raw.n) {
        buf_add_str(out, p->raw);
    } else if (!blank(p->say)) {        /* the API refuses empty text */
        add_text(p->say, json_object_get(p->own, "citations"), out);
    }
}

static void add_image(const struct msg *msg, struct buf *out)
{
    buf_adds(out, ",{\"type\":\"image\",\"source\":{\"type\":\"base64\"");
    js_add_str(out, "media_type", msg->image_type);
    js_add_str(out, "data", msg->image);
    buf_adds(out, "}}");
}

static int messages_message(const struct model *m, const struct msg *msg, struct buf *out)
{
    cleanup(buf_done) struct buf parts = {0};
    char id[ENCODE_ID_MAX];

    (void)m;
    switch (msg->role) {
    case ROLE_USER:
        buf_adds(out, "{\"role\":\"user\",\"content\":[");
        add_text(blank(msg->text) ? LIT("(nothing)") : msg->text, NULL, out);
        if (msg->image.n)
            add_image(msg, out);
        return buf_adds(out, "]}");
    case ROLE_ASSISTANT:
        encode_parts(msg, add_part, &parts);
        return parts.n ? buf_addf(out, "{\"role\":\"assistant\",\"content\":[%s]}", parts.p) : 0;
    case ROLE_TOOL:
        buf_adds(out, "{\"type\":\"tool_result\"");
        js_add_text(out, "tool_use_id", encode_id(msg->call_id, id));
        buf_adds(out, ",\"content\":[");
        add_text(blank(msg->text) ? LIT("(no output)") : msg->text, NULL, out);
        if (msg->image.n)
            add_image(msg, out);
        return buf_adds(out, msg->is_error ? "],\"is_error\":true}" : "]}");
    }
    return 0;
}

/* Reading. */

static void on_usage(struct answer *a, const json_t *u)
{
    int64_t written = js_int(u, "cache_creation_input_tokens", -1), cached = js_int(u, "cache_read_input_tokens", -1);

    if (!json_is_object(u))
        return;
    if (json_is_integer(json_object_get(u, "input_tokens")) && (js_int(u, "input_tokens", 0) || written > 0 || cached > 0)) {
        a->usage.written = MAX(written, INT64_C(0));
        a->usage.cached = MAX(cached, INT64_C(0));
        a->usage.in = js_int(u, "input_tokens", 0) + a->usage.written + a->usage.cached;
    }
    a->usage.out = js_int(u, "output_tokens", a->usage.out);
    a->has_usage = true;
}

static void begin_block(struct exchange *x, int64_t index, const json_t *start, struct str raw)
{
    struct messages *m = x->state;
    struct block *b = &m->block;
    struct str type = js_str(start, "type");
    const json_t *input = json_object_get(start, "input");

    block_done(b);
    b->open = true;
    b->index = index;
    snprintf(b->type, sizeof(b->type), "%.*s", (int)MIN(type.n, sizeof(b->type) - 1), type.p ? type.p : "");
    if (str_is(type, "text")) {
        parts_say(&m->parts, x->a, NULL);
        exchange_text(x, js_str(start, "text"));
    } else if (str_is(type, "thinking")) {
        buf_add_str(&b->text, js_str(start, "thinking"));
        buf_add_str(&b->signature, js_str(start, "signature"));
        exchange_reasoning(x, js_str(start, "thinking"));
    } else if (str_is(type, "tool_use")) {
        struct answer_call *c = exchange_call(x);

        b->call = x->a->ncalls;
        buf_add_str(&c->id, js_str(start, "id"));
        buf_add_str(&c->name, js_str(start, "name"));
        if (json_object_size(input)) {
            cleanup(freep) char *text = json_dumps(input, JSON_COMPACT | JSON_PRESERVE_ORDER);

            buf_adds(&c->args, text);
        }
    } else {
        x->content = true;
        buf_add_str(&b->start, raw);
    }
}

static void on_delta(struct exchange *x, const json_t *d, struct str raw)
{
    struct messages *m = x->state;
    struct block *b = &m->block;
    struct str type = js_str(d, "type"), citation;

    if (str_is(type, "text_delta")) {
        exchange_text(x, js_str(d, "text"));
    } else if (str_is(type, "thinking_delta")) {
        buf_add_str(&b->text, js_str(d, "thinking"));
        exchange_reasoning(x, js_str(d, "thinking"));
    } else if (str_is(type, "signature_delta")) {
        buf_add_str(&b->signature, js_str(d, "signature"));
        x->content = true;
    } else if (str_is(type, "input_json_delta")) {
        buf_add_str(b->call ? &x->a->calls[b->call - 1].args : &b->text, js_str(d, "partial_json"));
        x->content = true;
    } else if (str_is(type, "citations_delta")) {
        citation = js_raw(raw, "citation");
        if (citation.n)
            buf_addf(&b->citations, "%s%.*s", b->citations.n ? "," : "", STR(citation));
    }
}

/* A block that goes back as it came: thinking with its signature, and all that this file does not know. */
static void end_block(struct exchange *x)
{
    struct messages *m = x->state;
    struct block *b = &m->block;
    cleanup(buf_done) struct buf raw = {0};

    if (!b->open)
        return;
    if (b->call) {
        parts_call(&m->parts, x->a, b->call, NULL);
    } else if (strcmp(b->type, "text") == 0) {
        cleanup(freep) char *own = b->citations.n ? xasprintf("\"citations\":[%s]", b->citations.p) : NULL;

        parts_say(&m->parts, x->a, own);
    } else if (strcmp(b->type, "thinking") == 0) {
        buf_adds(&raw, "{\"type\":\"thinking\"");
        js_add_str(&raw, "thinking", buf_str(&b->text));
        js_add_str(&raw, "signature", buf_str(&b->signature));
        buf_addc(&raw, '}');
        parts_raw(&m->parts, buf_str(&raw));
    } else if (b->text.n) {             /* a tool of the service's own: its arguments came in pieces */
        struct str start = buf_str(&b->start), input = js_raw(start, "input");

        if (input.n) {
            buf_add(&raw, start.p, (size_t)(input.p - start.p));
            buf_add_str(&raw, buf_str(&b->text));
            buf_add_str(&raw, str_from(start, (size_t)(input.p - start.p) + input.n));
            parts_raw(&m->parts, buf_str(&raw));
        }
    } else {
        parts_raw(&m->parts, buf_str(&b->start));
    }
    block_done(b);
}

static void on_stop(struct exchange *x, const json_t *delta)
{
    struct messages *m = x->state;
    struct str why = js_str(delta, "stop_reason");

    if (why.n)
        snprintf(m->finish, sizeof(m->finish), "%.*s", (int)MIN(why.n, sizeof(m->finish) - 1), why.p);
}

static int end_message(struct exchange *x)
{
    struct messages *m = x->state;

    end_block(x);
    if (m->finish[0])
        exchange_finish(x, str_of(m->finish));
    return 0;
}

/* A complete message in place of a stream. */
static int on_whole(struct exchange *x, const json_t *j)
{
    const json_t *block;
    size_t i;

    json_array_foreach(json_object_get(j, "content"), i, block) {
        cleanup(freep) char *raw = json_dumps(block, JSON_COMPACT | JSON_PRESERVE_ORDER);

        begin_block(x, (int64_t)i, block, str_of(raw));
        end_block(x);
    }
    exchange_model(x, js_str(j, "model"));
    on_usage(x->a, json_object_get(j, "usage"));
    on_stop(x, j);
    return end_message(x);
}

static int messages_event(struct exchange *x, struct str data, const json_t *j)
{
    struct messages *m = x->state;
    struct str type = js_str(j, "type");
    const json_t *message = json_object_get(j, "message");

    if (str_is(type, "error"))
        return exchange_error(x, j);
    if (str_is(type, "message"))
        return on_whole(x, j);
    if (str_is(type, "message_start")) {
        exchange_model(x, js_str(message, "model"));
        on_usage(x->a, json_object_get(message, "usage"));
    } else if (str_is(type, "content_block_start")) {
        end_block(x);
        begin_block(x, js_int(j, "index", -1), json_object_get(j, "content_block"), js_raw(data, "content_block"));
    } else if (str_is(type, "content_block_delta")) {
        if (m->block.open && js_int(j, "index", m->block.index) == m->block.index)
            on_delta(x, json_object_get(j, "delta"), js_raw(data, "delta"));
    } else if (str_is(type, "content_block_stop")) {
        end_block(x);
    } else if (str_is(type, "message_delta")) {
        on_stop(x, json_object_get(j, "delta"));
        on_usage(x->a, json_object_get(j, "usage"));
    } else if (str_is(type, "message_stop")) {
        x->closed = true;
        return end_message(x);
    } else if (json_object_get(j, "error")) {
        return exchange_error(x, j);
    }
    return 0;                           /* pings, and what a later version of the API adds */
}

/* Some write the base with the version, others without. */
static char *messages_url(const struct model *m)
{
    size_t n = strlen(m->base_url);

    while (n && m->base_url[n - 1] == '/')
        n--;
    return encode_url(m->base_url, n >= 3 && memcmp(m->base_url + n - 3, "/v1", 3) == 0 ? "/messages" : "/v1/messages");
}

static size_t messages_headers(const struct model *m, char **ret)
{
    size_t n = 0;

    ret[n++] = xstrdup("anthropic-version: 2023-06-01");
    if (m->key)
        ret[n++] = xasprintf("x-api-key: %s", m->key);
    return n;
}

static void messages_end(struct exchange *x)
{
    struct messages *m = x->state;

    parts_end(&m->parts, x->a);
}

static const struct exchange_form messages_form = {
    .url = messages_url, .list = "/v1/models", .headers = messages_headers, .event = messages_event,
    .end = messages_end, .done = messages_done,
    .state = sizeof(struct messages),
};

static CO int messages_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    return exchange_run(&messages_form, rq, sink, ret, f);
}

static CO int messages_list(const struct model *m, struct listing *ret, struct err *e)
{
    return exchange_list(&messages_form, m, ret, e);
}

const struct provider provider_messages = {
    .name          = "messages",
    .about         = "Anthropic's Messages over HTTP, with streaming",
    .needs_url     = true,
    .tail          = "]}",
    .results_open  = "{\"role\":\"user\",\"content\":[",
    .results_close = "]}",
    .images_in_results = true,
    .sealed        = true,
    .head          = messages_head,
    .message       = messages_message,
    .run           = messages_run,
    .list          = messages_list,
};
