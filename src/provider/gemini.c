/* gemini.c - Google's Gemini API (streamGenerateContent).
 *
 * An answer is a list of parts. A part may carry a signature of the thinking that led to it, which goes back with that part; a
 * stream has no end of its own but the end of the body, after a finishReason. */
#include "core/args.h"
#include "provider/encode.h"
#include "provider/exchange.h"

#include <fnmatch.h>

/* Encoding. Models up to 2.5 are told tokens to think with, later ones a level. */

static const char *const levels[EFFORTS] = {
    [EFFORT_OFF] = "\"thinkingLevel\":\"minimal\"",  [EFFORT_LOW] = "\"thinkingLevel\":\"low\"",
    [EFFORT_MEDIUM] = "\"thinkingLevel\":\"medium\"", [EFFORT_HIGH] = "\"thinkingLevel\":\"high\"",
    [EFFORT_MAX] = "\"thinkingLevel\":\"high\"",
};
static const char *const budgets[EFFORTS] = {
    [EFFORT_OFF] = "\"thinkingBudget\":0",           [EFFORT_LOW] = "\"thinkingBudget\":2048",
    [EFFORT_MEDIUM] = "\"thinkingBudget\":8192",     [EFFORT_HIGH] = "\"thinkingBudget\":24576",
    [EFFORT_MAX] = "\"thinkingBudget\":-1",
};

static int gemini_head(const struct model *m, const struct harness *h, const char *system, const char *session, struct buf *out)
{
    const char *const *table = fnmatch("*-[12].*", m->name, 0) == 0 ? budgets : levels;
    int64_t limit = encode_limit(m, h);

    (void)session;
    buf_adds(out, "{\"systemInstruction\":{\"parts\":[{\"text\":");
    js_add(out, str_of(system));
    buf_adds(out, "}]}");
    if (h->ntools) {
        buf_adds(out, ",\"tools\":[{\"functionDeclarations\":[");
        for (size_t i = 0; i < h->ntools; i++)
            buf_addf(out, "%s{%.*s,\"parametersJsonSchema\":%.*s}", i ? "," : "", STR(h->tools[i].about),
                     STR(h->tools[i].parameters));
        buf_adds(out, "]}]");
    }
    buf_adds(out, ",\"generationConfig\":{");
    if (limit)
        js_add_int(out, "maxOutputTokens", limit);
    if (m->effort) {
        js_key(out, "thinkingConfig");
        buf_addf(out, "{\"includeThoughts\":%s,%s}", m->effort == EFFORT_OFF ? "false" : "true", table[m->effort]);
    }
    buf_addc(out, '}');
    if (m->service->members)
        buf_addf(out, ",%s", m->service->members);
    return buf_adds(out, ",\"contents\":[");
}

static void add_signature(const json_t *own, struct buf *out)
{
    struct str sig = js_str(own, "sig");

    if (sig.n)
        js_add_str(out, "thoughtSignature", sig);
    buf_addc(out, '}');
}

static void add_part(const struct part *p, struct buf *out)
{
    cleanup(buf_done) struct buf args = {0};
    char id[ENCODE_ID_MAX], name[ENCODE_NAME_MAX];

    if (p->call) {
        args_for_history(p->call->args, &args);
        buf_adds(out, "{\"functionCall\":{");
        js_add_text(out, "id", encode_id(p->call->id, id));
        js_add_text(out, "name", encode_name(p->call->name, name));
        js_add_raw(out, "args", buf_str(&args));
        buf_addc(out, '}');
        add_signature(p->own, out);
    } else if (p->raw.n) {
        buf_add_str(out, p->raw);
    } else if (p->say.n || js_str(p->own, "sig").n) {
        buf_addc(out, '{');
        js_add_str(out, "text", p->say.n ? p->say : LIT(""));
        add_signature(p->own, out);
    }
}

static void add_image(const struct msg *msg, struct buf *out)
{
    buf_adds(out, ",{\"inlineData\":{");
    js_add_str(out, "mimeType", msg->image_type);
    js_add_str(out, "data", msg->image);
    buf_adds(out, "}}");
}

static int gemini_message(const struct model *m, const struct msg *msg, struct buf *out)
{
    cleanup(buf_done) struct buf parts = {0};
    char id[ENCODE_ID_MAX], name[ENCODE_NAME_MAX];

    (void)m;
    switch (msg->role) {
    case ROLE_USER:
        buf_adds(out, "{\"role\":\"user\",\"parts\":[{");
        js_add_str(out, "text", msg->text);
        buf_addc(out, '}');
        if (msg->image.n)
            add_image(msg, out);
        return buf_adds(out, "]}");
    case ROLE_ASSISTANT:
        encode_parts(msg, add_part, &parts);
        return parts.n ? buf_addf(out, "{\"role\":\"model\",\"parts\":[%s]}", parts.p) : 0;
    case ROLE_TOOL:
        buf_adds(out, "{\"functionResponse\":{");
        js_add_text(out, "id", encode_id(msg->call_id, id));
        js_add_text(out, "name", encode_name(msg->tool, name));
        buf_adds(out, ",\"response\":{");
        js_add_str(out, msg->is_error ? "error" : "output", msg->text);
        buf_adds(out, "}}}");
        if (msg->image.n)
            add_image(msg, out);
        return buf_err(out);
    }
    return 0;
}

/* Reading. */

static void on_part(struct exchange *x, const json_t *part, struct str raw)
{
    struct parts *parts = x->state;
    const json_t *call = json_object_get(part, "functionCall"), *args = json_object_get(call, "args");
    struct str sig = js_str(part, "thoughtSignature");
    cleanup(buf_done) struct buf own = {0};

    if (sig.n) {
        buf_adds(&own, "\"sig\":");
        js_add(&own, sig);
    }
    if (call) {
        struct answer_call *c = exchange_call(x);
        cleanup(freep) char *text = json_is_object(args) ? json_dumps(args, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

        buf_add_str(&c->id, js_str(call, "id"));
        buf_add_str(&c->name, js_str(call, "name"));
        buf_adds(&c->args, text ? text : "{}");
        parts_call(parts, x->a, x->a->ncalls, own.n ? own.p : NULL);
    } else if (js_bool(part, "thought", false)) {
        exchange_reasoning(x, js_str(part, "text"));
    } else if (json_is_string(json_object_get(part, "text"))) {
        if (own.n)
            parts_say(parts, x->a, NULL);       /* the signature is this part's alone */
        exchange_text(x, js_str(part, "text"));
        if (own.n)
            parts_say(parts, x->a, own.p);
    } else if (json_object_size(part)) {
        x->content = true;
        parts_say(parts, x->a, NULL);
        parts_raw(parts, raw);
    }
}

static void on_usage(struct answer *a, const json_t *u)
{
    if (!json_is_object(u))
        return;
    a->has_usage = true;
    a->usage.in = js_int(u, "promptTokenCount", 0) + js_int(u, "toolUsePromptTokenCount", 0);
    a->usage.cached = js_int(u, "cachedContentTokenCount", 0);
    a->usage.reasoning = js_int(u, "thoughtsTokenCount", 0);
    a->usage.out = js_int(u, "candidatesTokenCount", 0) + a->usage.reasoning;
}

static int on_chunk(struct exchange *x, const json_t *j)
{
    const json_t *candidate = json_array_get(json_object_get(j, "candidates"), 0), *part;
    struct str finish = js_str(candidate, "finishReason"), blocked = js_str(json_object_get(j, "promptFeedback"), "blockReason");
    size_t i;

    if (json_is_object(json_object_get(j, "error")))
        return exchange_error(x, j);
    json_array_foreach(json_object_get(json_object_get(candidate, "content"), "parts"), i, part) {
        cleanup(freep) char *raw = json_dumps(part, JSON_COMPACT | JSON_PRESERVE_ORDER);

        on_part(x, part, str_of(raw));
    }
    exchange_model(x, js_str(j, "modelVersion"));
    on_usage(x->a, json_object_get(j, "usageMetadata"));
    if (str_is(finish, "MALFORMED_FUNCTION_CALL") || str_is(finish, "UNEXPECTED_TOOL_CALL")) {
        x->fault->retry = x->fault->charged = true;
        return err_set(&x->fault->e, -EREMOTEIO, "the model made a call that the service could not read");
    }
    if (blocked.n)
        exchange_finish(x, LIT("content_filter"));
    else if (finish.n)
        exchange_finish(x, finish);
    return 0;
}

static int gemini_event(struct exchange *x, struct str data, const json_t *j)
{
    const json_t *each;
    size_t i;
    int r = 0;

    (void)data;
    if (!json_is_array(j))
        return on_chunk(x, j);
    json_array_foreach(j, i, each)      /* without alt=sse a service sends all chunks as one list */
        if (r == 0)
            r = on_chunk(x, each);
    return r;
}

static char *gemini_url(const struct model *m)
{
    cleanup(freep) char *below = xasprintf("/models/%s:streamGenerateContent?alt=sse", m->name);

    return encode_url(m->base_url, below);
}

static size_t gemini_headers(const struct model *m, char **ret)
{
    ret[0] = m->key ? xasprintf("x-goog-api-key: %s", m->key) : NULL;
    return m->key ? 1 : 0;
}

static void gemini_end(struct exchange *x)
{
    parts_end(x->state, x->a);
}

static void gemini_done(void *arg)
{
    parts_done(arg);
}

static const struct exchange_form gemini_form = {
    .url = gemini_url, .list = "/models", .headers = gemini_headers, .event = gemini_event,
    .end = gemini_end, .state = sizeof(struct parts),
    .done = gemini_done,
};

static CO int gemini_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    return exchange_run(&gemini_form, rq, sink, ret, f);
}

static CO int gemini_list(const struct model *m, struct listing *ret, struct err *e)
{
    return exchange_list(&gemini_form, m, ret, e);
}

const struct provider provider_gemini = {
    .name          = "gemini",
    .about         = "Google's Gemini over HTTP, with streaming",
    .needs_url     = true,
    .tail          = "]}",
    .results_open  = "{\"role\":\"user\",\"parts\":[",
    .results_close = "]}",
    .images_in_results = true,
    .sealed        = true,
    .head          = gemini_head,
    .message       = gemini_message,
    .run           = gemini_run,
    .list          = gemini_list,
};
