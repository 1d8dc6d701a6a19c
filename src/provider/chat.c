/* chat.c - OpenAI's Chat Completions API and what speaks its dialects.
 *
 * The stream is a list of chunks; each brings pieces of text, of reasoning and of calls, which are joined here. An answer
 * is complete when a finish_reason came and the stream ended well. What dialects are known to get wrong is listed where
 * it is handled; what tells services apart by data is a row of services.def. */
#include "provider/encode.h"
#include "provider/exchange.h"

/* Reasoning comes under one of these names and goes back under the same. */
static const char *const reasoning_fields[] = { "reasoning_content", "reasoning" };

struct chat {
    struct buf reasoning[ARRAY_SIZE(reasoning_fields)];
    struct buf details;                 /* elements of reasoning_details, as received, joined by commas */
    int64_t *index;                     /* of each call, as the service numbers them */
    size_t index_cap;
};

static void chat_done(void *arg)
{
    struct chat *c = arg;

    for (size_t i = 0; i < ARRAY_SIZE(reasoning_fields); i++)
        buf_done(&c->reasoning[i]);
    buf_done(&c->details);
    free(c->index);
}

/* The call that a piece belongs to. `index` may be missing, or the same for several calls that differ in id. A piece with neither
 * belongs to the last call, unless it names another tool. */
static struct answer_call *call_for(struct exchange *x, const json_t *piece)
{
    struct chat *chat = x->state;
    struct answer *a = x->a;
    struct str id = js_str(piece, "id"), name = js_str(json_object_get(piece, "function"), "name");
    int64_t index = js_int(piece, "index", -1);
    struct answer_call *c = NULL;

    for (size_t i = a->ncalls; i > 0 && !c; i--)
        if (index >= 0 ? chat->index[i - 1] == index : !id.n || str_eq(id, buf_str(&a->calls[i - 1].id)))
            c = &a->calls[i - 1];
    if (c && id.n && c->id.n && !str_eq(id, buf_str(&c->id)) && name.n)
        c = NULL;                       /* another call under the same index: it brings an id and a name of its own */
    if (c && index < 0 && !id.n && name.n && c->name.n && !str_eq(name, buf_str(&c->name)))
        c = NULL;
    if (c)
        return c;
    if (a->ncalls == chat->index_cap) {
        chat->index_cap = MAX(chat->index_cap * 2, (size_t)8);
        chat->index = xrealloc(chat->index, chat->index_cap * sizeof(*chat->index));
    }
    chat->index[a->ncalls] = index;
    return exchange_call(x);
}

static void on_call(struct exchange *x, const json_t *piece)
{
    struct answer_call *c = call_for(x, piece);
    const json_t *function = json_object_get(piece, "function"), *args = json_object_get(function, "arguments");
    struct str id = js_str(piece, "id"), name = js_str(function, "name");

    x->content = true;
    if (!c->id.n)
        buf_add_str(&c->id, id);
    if (!c->name.n)
        buf_add_str(&c->name, name);        /* some repeat it in every piece */
    if (json_is_string(args)) {
        buf_add_str(&c->args, js_str(function, "arguments"));
    } else if (json_is_object(args)) {
        cleanup(freep) char *text = json_dumps(args, JSON_COMPACT | JSON_PRESERVE_ORDER);

        buf_adds(&c->args, text ? text : "{}");
    }
}

static void on_delta(struct exchange *x, const json_t *d)
{
    struct chat *chat = x->state;
    const json_t *content = json_object_get(d, "content"), *part;
    bool heard = false;
    size_t i;

    if (json_is_string(content))
        exchange_text(x, js_str(d, "content"));
    json_array_foreach(content, i, part)
        exchange_text(x, js_str(part, "text"));
    exchange_text(x, js_str(d, "refusal"));
    for (i = 0; i < ARRAY_SIZE(reasoning_fields); i++) {
        struct str r = js_str(d, reasoning_fields[i]);

        buf_add_str(&chat->reasoning[i], r);
        if (!heard)                     /* a service that sends both says the same twice */
            exchange_reasoning(x, r);
        heard = heard || r.n;
    }
    json_array_foreach(json_object_get(d, "reasoning_details"), i, part) {
        cleanup(freep) char *text = json_dumps(part, JSON_COMPACT | JSON_PRESERVE_ORDER);

        x->content = true;
        buf_addf(&chat->details, "%s%s", chat->details.n ? "," : "", text ? text : "null");
    }
    json_array_foreach(json_object_get(d, "tool_calls"), i, part)
        on_call(x, part);
}

/* Counts come in the last chunk, in every chunk, or in several; the last ones stand. */
static void on_usage(struct answer *a, const json_t *u)
{
    const json_t *in = json_object_get(u, "prompt_tokens_details"), *out = json_object_get(u, "completion_tokens_details");

    if (!json_is_object(u))
        return;
    a->has_usage = true;
    a->usage.in = js_int(u, "prompt_tokens", 0);
    a->usage.out = js_int(u, "completion_tokens", 0);
    a->usage.cached = js_int(in, "cached_tokens", js_int(u, "prompt_cache_hit_tokens", 0));
    a->usage.reasoning = js_int(out, "reasoning_tokens", 0);
}

static int chat_event(struct exchange *x, struct str data, const json_t *j)
{
    const json_t *choice = json_array_get(json_object_get(j, "choices"), 0), *error = json_object_get(j, "error");
    struct str finish;

    (void)data;
    if (json_is_object(error) || json_is_string(error) || str_is(js_str(j, "object"), "error"))
        return exchange_error(x, j);
    on_delta(x, json_object_get(choice, json_object_get(choice, "message") ? "message" : "delta"));
    finish = js_str(choice, "finish_reason");
    if (str_is(finish, "insufficient_system_resource") || str_is(finish, "network_error") || str_is(finish, "error")) {
        x->fault->retry = x->fault->charged = true;
        return err_set(&x->fault->e, -EREMOTEIO, "the service broke off its answer: %.*s", STR(finish));
    }
    if (finish.n)
        exchange_finish(x, finish);
    exchange_model(x, js_str(j, "model"));
    on_usage(x->a, json_object_get(j, "usage"));
    return 0;
}

/* Servers without a parser for it leave a model's thinking in its text, between marks, in front of all else. It has been shown as
 * text by now; it is not kept as such. */
static void split_thinking(struct answer *a)
{
    struct str text = str_trim(buf_str(&a->text)), open = LIT("<think>"), close = LIT("</think>");
    ssize_t end = str_find(text, close, 0);
    cleanup(buf_done) struct buf rest = {0};

    if (end < 0 || text.n < open.n || memcmp(text.p, open.p, open.n) != 0)
        return;
    buf_add_str(&a->reasoning, str_trim((struct str){ text.p + open.n, (size_t)end - open.n }));
    buf_add_str(&rest, str_trim(str_from(text, (size_t)end + close.n)));
    buf_clear(&a->text);
    buf_add_str(&a->text, buf_str(&rest));
}

/* What goes back with the answer. */
static void chat_end(struct exchange *x)
{
    struct chat *chat = x->state;
    struct buf *extra = &x->a->extra;

    if (!x->a->reasoning.n)
        split_thinking(x->a);
    if (!chat->reasoning[0].n && !chat->reasoning[1].n && !chat->details.n)
        return;
    buf_addc(extra, '{');
    for (size_t i = 0; i < ARRAY_SIZE(reasoning_fields); i++)
        if (chat->reasoning[i].n)
            js_add_str(extra, reasoning_fields[i], buf_str(&chat->reasoning[i]));
    if (chat->details.n) {
        js_key(extra, "reasoning_details");
        buf_addf(extra, "[%s]", chat->details.p);
    }
    buf_addc(extra, '}');
    if (chat->reasoning[0].n || chat->reasoning[1].n)
        buf_clear(&x->a->reasoning);    /* it is in there */
}

static char *chat_url(const struct model *m)
{
    return encode_url(m->base_url, "/chat/completions");
}

static size_t chat_headers(const struct model *m, char **ret)
{
    ret[0] = m->key ? xasprintf("Authorization: Bearer %s", m->key) : NULL;
    return m->key ? 1 : 0;
}

static const struct exchange_form chat_form = {
    .url = chat_url, .list = "/models", .headers = chat_headers, .event = chat_event, .end = chat_end, .state = sizeof(struct chat),
    .done = chat_done,
};

static CO int chat_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    return exchange_run(&chat_form, rq, sink, ret, f);
}

static CO int chat_list(const struct model *m, struct listing *ret, struct err *e)
{
    return exchange_list(&chat_form, m, ret, e);
}

const struct provider provider_chat = {
    .name      = "chat",
    .about     = "Chat Completions over HTTP, with streaming",
    .needs_url = true,
    .tail      = ENCODE_CHAT_TAIL,
    .head      = encode_chat_head,
    .message   = encode_chat_message,
    .run       = chat_run,
    .list          = chat_list,
};
