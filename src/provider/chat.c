/* chat.c - OpenAI's Chat Completions API and what speaks its dialects.
 *
 * The stream is a list of chunks; each brings pieces of text, of reasoning and of calls, which are joined here. An answer
 * is complete when a finish_reason came and the stream ended well. What dialects are known to get wrong is listed where
 * it is handled. */
#include "base/utf8.h"
#include "provider/encode.h"
#include "rt/http.h"
#include "rt/sse.h"

#include <stdio.h>
#include <strings.h>

#define CONNECT_MS      15000
#define IDLE_MS         300000
#define TRAILER_MS      50              /* for the end of the body after [DONE], so that the connection can be kept */
#define ERROR_BODY_MAX  ((size_t)64 << 10)
#define ERROR_TEXT_MAX  300

/* Reasoning comes under one of these names and goes back under the same. */
static const char *const reasoning_fields[] = { "reasoning_content", "reasoning" };

struct stream {
    struct answer *a;
    const struct sink *sink;
    struct fault *fault;
    struct buf reasoning[ARRAY_SIZE(reasoning_fields)];
    struct buf details;                 /* elements of reasoning_details, as received, joined by commas */
    int64_t *index;                     /* of each call, as the service numbers them */
    size_t index_cap;
    size_t bytes;
    bool done, finished;
};

static void stream_done(struct stream *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(reasoning_fields); i++)
        buf_done(&s->reasoning[i]);
    buf_done(&s->details);
    free(s->index);
}

static bool retry_status(long status)
{
    return status == 408 || status == 409 || status == 429 || status >= 500;
}

/* The sentence inside an error body, in any of the shapes that services use. */
static struct str error_text(const json_t *body)
{
    const json_t *error = json_object_get(body, "error");
    struct str s = js_str(error, "message");

    if (!s.n && json_is_string(error))
        s = js_str(body, "error");
    if (!s.n)
        s = js_str(body, "message");
    if (!s.n)
        s = js_str(body, "detail");
    return s;
}

/* A service may quote the key that it did not like. */
static void add_redacted(struct buf *out, struct str text, const char *key)
{
    struct str secret = str_of(key);
    size_t at = 0;
    ssize_t hit;

    while (secret.n && (hit = str_find(text, secret, at)) >= 0) {
        utf8_add_clean(out, (struct str){ text.p + at, (size_t)hit - at });
        buf_adds(out, "[key]");
        at = (size_t)hit + secret.n;
    }
    utf8_add_clean(out, str_from(text, at));
}

static int http_fault(struct fault *f, const struct model *m, long status, struct str body)
{
    cleanup(json_unrefp) json_t *j = NULL;
    cleanup(buf_done) struct buf text = {0};
    struct str said, code;

    js_parse_wire(body, &j, NULL);
    said = error_text(j);
    code = js_str(json_object_get(j, "error"), "code");
    add_redacted(&text, str_head(said, utf8_cut(said, ERROR_TEXT_MAX)), m->key);
    f->status = status;
    f->retry = retry_status(status) && !str_is(code, "insufficient_quota");
    return err_set(&f->e, -EREMOTEIO, "%s answered with status %ld%s%s%s", m->base_url, status,
                   status == 401 || status == 403 ? ", the key was not accepted" : status == 404 ? ", no such model or path" : "",
                   text.n ? ": " : "", text.n ? text.p : "");
}

/* The call that a piece belongs to. `index` may be missing, or the same for several calls that differ in id. */
static struct answer_call *call_for(struct stream *s, const json_t *piece)
{
    struct answer *a = s->a;
    struct str id = js_str(piece, "id");
    int64_t index = js_int(piece, "index", -1);
    struct answer_call *c = NULL;

    for (size_t i = a->ncalls; i > 0 && !c; i--)
        if (s->index[i - 1] == index || (index < 0 && (!id.n || str_eq(id, buf_str(&a->calls[i - 1].id)))))
            c = &a->calls[i - 1];
    if (c && !(id.n && c->id.n && !str_eq(id, buf_str(&c->id))))
        return c;
    if (a->ncalls == s->index_cap) {
        s->index_cap = MAX(s->index_cap * 2, (size_t)8);
        s->index = xrealloc(s->index, s->index_cap * sizeof(*s->index));
    }
    GROW(a->calls, a->ncalls, a->cap);
    s->index[a->ncalls] = index;
    a->calls[a->ncalls] = (struct answer_call){0};
    return &a->calls[a->ncalls++];
}

static void on_call(struct stream *s, const json_t *piece)
{
    struct answer_call *c = call_for(s, piece);
    const json_t *function = json_object_get(piece, "function"), *args = json_object_get(function, "arguments");
    struct str id = js_str(piece, "id"), name = js_str(function, "name");

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

static void on_text(struct stream *s, struct str text)
{
    buf_add_str(&s->a->text, text);
    if (text.n)
        s->sink->fn(s->sink->arg, DELTA_TEXT, text);
}

static void on_delta(struct stream *s, const json_t *d)
{
    const json_t *content = json_object_get(d, "content"), *part;
    size_t i;

    if (json_is_string(content))
        on_text(s, js_str(d, "content"));
    json_array_foreach(content, i, part)
        on_text(s, js_str(part, "text"));
    for (i = 0; i < ARRAY_SIZE(reasoning_fields); i++) {
        struct str r = js_str(d, reasoning_fields[i]);

        buf_add_str(&s->reasoning[i], r);
        if (r.n)
            s->sink->fn(s->sink->arg, DELTA_REASONING, r);
    }
    json_array_foreach(json_object_get(d, "reasoning_details"), i, part) {
        cleanup(freep) char *text = json_dumps(part, JSON_COMPACT | JSON_PRESERVE_ORDER);

        buf_addf(&s->details, "%s%s", s->details.n ? "," : "", text ? text : "null");
    }
    json_array_foreach(json_object_get(d, "tool_calls"), i, part)
        on_call(s, part);
}

static void on_usage(struct answer *a, const json_t *u)
{
    const json_t *details = json_object_get(u, "prompt_tokens_details");

    if (!json_is_object(u))
        return;
    a->has_usage = true;
    a->usage.in = MAX(js_int(u, "prompt_tokens", 0), INT64_C(0));
    a->usage.out = MAX(js_int(u, "completion_tokens", 0), INT64_C(0));
    a->usage.cached = MAX(js_int(details, "cached_tokens", js_int(u, "prompt_cache_hit_tokens", 0)), INT64_C(0));
}

static int on_chunk(void *arg, struct str event, struct str data)
{
    struct stream *s = arg;
    cleanup(json_unrefp) json_t *j = NULL;
    const json_t *choice;
    struct str finish, model, text;
    int r;

    (void)event;
    if (str_is(data, "[DONE]")) {
        s->done = true;
        return 0;
    }
    s->bytes += data.n;
    r = js_parse_wire(data, &j, &s->fault->e);
    if (r < 0) {
        s->fault->retry = true;
        return err_prefix(&s->fault->e, -EPROTO, "a chunk of the answer is not JSON: ");
    }
    text = error_text(j);
    if (json_object_get(j, "error") && text.n) {
        s->fault->retry = true;
        return err_set(&s->fault->e, -EREMOTEIO, "the service broke off its answer: %.*s",
                       STR(str_head(text, utf8_cut(text, ERROR_TEXT_MAX))));
    }
    choice = json_array_get(json_object_get(j, "choices"), 0);
    on_delta(s, json_object_get(choice, json_object_get(choice, "message") ? "message" : "delta"));
    finish = js_str(choice, "finish_reason");
    if (finish.n) {
        s->finished = true;
        snprintf(s->a->finish, sizeof(s->a->finish), "%.*s", STR(finish));
    }
    model = js_str(j, "model");
    if (model.n && !s->a->model[0])
        snprintf(s->a->model, sizeof(s->a->model), "%.*s", (int)utf8_cut(model, MIN(model.n, sizeof(s->a->model) - 1)), model.p);
    on_usage(s->a, json_object_get(j, "usage"));
    if (s->bytes > 64 * ANSWER_MAX || s->a->text.n + s->details.n + s->reasoning[0].n + s->reasoning[1].n > ANSWER_MAX)
        return err_set(&s->fault->e, -E2BIG, "the answer is larger than %zu KiB", ANSWER_MAX >> 10);
    return 0;
}

static void finish(struct stream *s)
{
    struct buf *extra = &s->a->extra;

    for (size_t i = 0; i < ARRAY_SIZE(reasoning_fields); i++)
        if (s->reasoning[i].n) {
            if (!extra->n)
                buf_addc(extra, '{');
            js_add_str(extra, reasoning_fields[i], buf_str(&s->reasoning[i]));
        }
    if (s->details.n) {
        if (!extra->n)
            buf_addc(extra, '{');
        js_key(extra, "reasoning_details");
        buf_addf(extra, "[%s]", s->details.p);
    }
    if (extra->n)
        buf_addc(extra, '}');
}

static CO int read_stream(struct http *h, struct stream *s)
{
    cleanup(buf_done) struct buf in = {0};
    cleanup(sse_done) struct sse sse = {0};
    ssize_t n;
    int r = 0;

    while ((n = http_read(h, &in, &s->fault->e)) > 0) {
        r = sse_feed(&sse, buf_str(&in), on_chunk, s);
        if (r < 0)
            return r == -E2BIG && !s->fault->e.msg[0]
                   ? err_set(&s->fault->e, r, "an event of the answer is larger than %zu MiB", SSE_MAX_DEFAULT >> 20) : r;
        buf_clear(&in);
        if (s->done)
            http_idle(h, TRAILER_MS);
    }
    if (s->done && s->finished)
        return n == -ECANCELED ? (int)n : 0;
    s->fault->retry = true;
    if (n < 0)
        return (int)n;
    return s->finished ? 0 : err_set(&s->fault->e, -ECONNRESET, "the answer ended before it was complete");
}

/* Not a stream: an error with status 200, a whole answer from a service that ignores "stream", or not an API at all. */
static CO int read_whole(struct http *h, struct stream *s, const struct model *m)
{
    cleanup(buf_done) struct buf in = BUF_MAX(ANSWER_MAX);
    struct str type = http_header(h, "content-type");
    ssize_t n;

    while ((n = http_read(h, &in, &s->fault->e)) > 0)
        ;
    if (n < 0) {
        s->fault->retry = true;
        return (int)n;
    }
    if (!in.n) {
        s->fault->retry = true;
        return err_set(&s->fault->e, -EPROTO, "%s answered with nothing", m->base_url);
    }
    if (strncmp(type.n ? type.p : "", "application/json", 16) != 0)
        return err_set(&s->fault->e, -EPROTO, "%s answered with %.*s instead of a stream of events: is this the API's address?",
                       m->base_url, STR(type.n ? str_head(type, 60) : LIT("no content type")));
    n = on_chunk(s, LIT(""), buf_str(&in));
    if (n == 0 && !s->finished)
        return err_set(&s->fault->e, -EPROTO, "%s answered with JSON that is no answer: is this the API's address?", m->base_url);
    return (int)n;
}

static CO int chat_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    const struct model *m = rq->model;
    cleanup(stream_done) struct stream s = { .a = ret, .sink = sink, .fault = f };
    cleanup(freep) char *auth = m->key ? xasprintf("Authorization: Bearer %s", m->key) : NULL;
    cleanup(freep) char *url = NULL;
    cleanup(http_closep) struct http *h = NULL;
    const char *headers[] = { "Content-Type: application/json", "Accept: text/event-stream", "User-Agent: rein/" REIN_VERSION, auth,
                              NULL };
    size_t n = strlen(m->base_url);
    struct str type;
    long status;
    int r;

    while (n && m->base_url[n - 1] == '/')
        n--;
    url = xasprintf("%.*s/chat/completions", (int)n, m->base_url);
    r = http_open(&(struct http_req){ url, headers, rq->parts, rq->nparts, CONNECT_MS, IDLE_MS }, &h, &status, &f->e);
    if (r < 0) {
        f->retry = r != -EINVAL && r != -ENOPKG;
        return r == -ECANCELED ? r : err_prefix(&f->e, r, "%s cannot be reached: ", m->base_url);
    }
    if (status != 200) {
        cleanup(buf_done) struct buf body = BUF_MAX(ERROR_BODY_MAX);
        struct str after = http_header(h, "retry-after");
        cleanup(freep) char *text = after.n ? str_dup(after) : NULL;
        struct err ignored;
        ssize_t got;

        if (text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10)
            f->wait_ms = atoll(text) * 1000;
        while ((got = http_read(h, &body, &ignored)) > 0)
            ;
        return got == -ECANCELED ? (int)got : http_fault(f, m, status, buf_str(&body));
    }
    type = http_header(h, "content-type");
    r = type.n >= 17 && strncasecmp(type.p, "text/event-stream", 17) == 0 ? read_stream(h, &s) : read_whole(h, &s, m);
    if (r == 0)
        finish(&s);
    return r;
}

const struct provider provider_chat = {
    .name      = "chat",
    .about     = "Chat Completions over HTTP, with streaming",
    .needs_url = true,
    .tail      = ENCODE_CHAT_TAIL,
    .head      = encode_chat_head,
    .message   = encode_chat_message,
    .run       = chat_run,
};
