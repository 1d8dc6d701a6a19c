#include "provider/exchange.h"

#include "base/clock.h"
#include "base/utf8.h"
#include "provider/encode.h"
#include "provider/trouble.h"
#include "rt/http.h"

#include <stdio.h>
#include <strings.h>

#define TRAILER_MS      50              /* for the end of the body after the stream's own end, so that the connection can be kept */
#define ERROR_BODY_MAX  ((size_t)64 << 10)
#define ERROR_TEXT_MAX  300
#define STREAM_MAX      (64 * ANSWER_MAX)   /* bytes of events: a small answer in very many pieces is no answer */
#define FIRST_PATIENCE  2               /* with signs of life but nothing said, a limit holds so many times as long */
#define IDLE_PATIENCE   5

static void timers_of(const struct model *m, struct timers *ret)
{
    *ret = m->timers;
    if (!ret->connect)
        ret->connect = 15000;
    if (!ret->first)
        ret->first = 300000;            /* a model that thinks before it speaks may be silent for minutes */
    if (!ret->idle)
        ret->idle = 60000;
    if (!ret->total)
        ret->total = 1800000;
}

void exchange_text(struct exchange *x, struct str text)
{
    buf_add_str(&x->a->text, text);
    x->content = x->content || text.n;
    if (text.n)
        x->sink->fn(x->sink->arg, DELTA_TEXT, text);
}

void exchange_reasoning(struct exchange *x, struct str text)
{
    buf_add_str(&x->a->reasoning, text);
    x->content = x->content || text.n;
    if (text.n)
        x->sink->fn(x->sink->arg, DELTA_REASONING, text);
}

struct answer_call *exchange_call(struct exchange *x)
{
    struct answer *a = x->a;

    x->content = true;
    GROW(a->calls, a->ncalls, a->cap);
    a->calls[a->ncalls] = (struct answer_call){0};
    return &a->calls[a->ncalls++];
}

void exchange_finish(struct exchange *x, struct str word)
{
    /* Words of all APIs; what is not here stays as it is, and means that the answer ended. */
    static const struct {
        const char *theirs, *ours;
    } words[] = {
        { "end_turn", "stop" },         { "stop_sequence", "stop" },    { "STOP", "stop" },         { "completed", "stop" },
        { "eos", "stop" },              { "tool_use", "tool_calls" },   { "function_call", "tool_calls" },
        { "max_tokens", "length" },     { "MAX_TOKENS", "length" },     { "max_output_tokens", "length" },
        { "model_length", "length" },   { "model_context_window_exceeded", "length" },
        { "pause_turn", "pause" },      { "refusal", "content_filter" }, { "sensitive", "content_filter" },
        { "SAFETY", "content_filter" }, { "RECITATION", "content_filter" }, { "BLOCKLIST", "content_filter" },
        { "PROHIBITED_CONTENT", "content_filter" }, { "SPII", "content_filter" }, { "LANGUAGE", "content_filter" },
        { "IMAGE_SAFETY", "content_filter" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (str_is(word, words[i].theirs))
            word = str_of(words[i].ours);
    x->finished = true;
    snprintf(x->a->finish, sizeof(x->a->finish), "%.*s", (int)utf8_cut(word, MIN(word.n, sizeof(x->a->finish) - 1)), word.p);
}

void exchange_model(struct exchange *x, struct str name)
{
    char *to = x->a->model;

    if (name.n && !*to)
        snprintf(to, sizeof(x->a->model), "%.*s", (int)utf8_cut(name, MIN(name.n, sizeof(x->a->model) - 1)), name.p);
}

/* What others wrote, short, and without the key: a service may quote the one that it did not like. */
static void add_said(struct buf *out, struct str said, const char *key)
{
    struct str text = str_head(said, utf8_cut(said, ERROR_TEXT_MAX)), secret = str_of(key);
    size_t at = 0;
    ssize_t hit;

    while (secret.n && (hit = str_find(text, secret, at)) >= 0) {
        utf8_add_clean(out, (struct str){ text.p + at, (size_t)hit - at });
        buf_adds(out, "[key]");
        at = (size_t)hit + secret.n;
    }
    utf8_add_clean(out, str_from(text, at));
}

int exchange_error(struct exchange *x, const json_t *error)
{
    struct trouble t = trouble_of(0, error);
    cleanup(buf_done) struct buf said = {0};

    add_said(&said, t.said, x->rq->model->key);
    /* In a stream that broke trying again is worth it; an error in place of an answer has to say that it passes. */
    x->fault->retry = t.retry && (!x->whole || t.named);
    x->fault->limited = t.limited;
    x->fault->overflow = t.overflow;
    x->fault->charged = x->a->text.n || x->a->ncalls;
    return err_set(&x->fault->e, -EREMOTEIO, "the service %s%s%s", x->whole ? "refused" : "broke off its answer",
                   said.n ? ": " : "", said.n ? said.p : "");
}

void exchange_init(struct exchange *x, const struct exchange_form *form, const struct request *rq, const struct sink *sink,
                   struct answer *ret, struct fault *f)
{
    *x = (struct exchange){ .form = form, .rq = rq, .sink = sink, .a = ret, .fault = f, .state = xcalloc(1, form->state) };
}

void exchange_done(struct exchange *x)
{
    x->form->done(x->state);
    free(x->state);
    sse_done(&x->sse);
    redactor_done(&x->screen);
}

static int too_large(struct exchange *x)
{
    const struct answer *a = x->a;
    size_t held = a->text.n + a->reasoning.n + a->extra.n;

    for (size_t i = 0; i < a->ncalls; i++)
        held += a->calls[i].args.n + a->calls[i].name.n + a->calls[i].id.n;
    if (x->bytes <= STREAM_MAX && held <= ANSWER_MAX)
        return 0;
    return err_set(&x->fault->e, -E2BIG, "the answer is larger than %zu KiB", ANSWER_MAX >> 10);
}

static int on_event(void *arg, struct str name, struct str data)
{
    struct exchange *x = arg;
    cleanup(json_unrefp) json_t *j = NULL;
    cleanup(buf_done) struct buf clean = {0};
    int r;

    (void)name;                         /* the data says the same */
    if (str_is(data, "[DONE]")) {
        x->closed = true;
        return 0;
    }
    x->bytes += data.n;
    r = js_parse_clean(&data, &clean, &j, &x->fault->e);
    if (r < 0) {
        x->fault->retry = true;
        return err_prefix(&x->fault->e, -EPROTO, "a piece of the answer is not JSON: ");
    }
    r = x->form->event(x, data, j);
    return r < 0 ? r : too_large(x);
}

int exchange_feed(struct exchange *x, struct str bytes)
{
    int r = sse_feed(&x->sse, bytes, on_event, x);

    if (r == -E2BIG && !x->fault->e.msg[0])
        err_set(&x->fault->e, r, "an event of the answer is larger than %zu MiB", SSE_MAX_DEFAULT >> 20);
    return r;
}

int exchange_complete(struct exchange *x)
{
    if (!x->finished) {
        x->fault->retry = true;
        return err_set(&x->fault->e, -ECONNRESET, "the answer ended before it was complete");
    }
    x->form->end(x);
    return 0;
}

/* How long the next bytes may take: there is a limit for silence, a longer one for signs of life without content, and one
 * for all. */
struct patience {
    struct timers t;
    int64_t began, spoke;               /* steady clock, ns; spoke: when content last came, 0: not yet */
};

static int64_t left_of(const struct patience *p, int64_t *ret_limit, const char **ret_what)
{
    int64_t now = clock_steady(), quiet = p->spoke ? p->t.idle : p->t.first;
    int64_t content = quiet * (p->spoke ? IDLE_PATIENCE : FIRST_PATIENCE) - (now - (p->spoke ? p->spoke : p->began)) / NS_PER_MS;
    int64_t total = p->t.total - (now - p->began) / NS_PER_MS, left = MIN(quiet, content);

    *ret_limit = quiet;
    *ret_what = "nothing came";
    if (content < quiet) {
        *ret_limit = quiet * (p->spoke ? IDLE_PATIENCE : FIRST_PATIENCE);
        *ret_what = "signs of life came, but nothing of the answer";
    }
    if (total < left) {
        *ret_limit = p->t.total;
        *ret_what = "the answer was not complete";
        left = total;
    }
    return MAX(left, INT64_C(1));
}

/* Word for word, for the log; unless a secret is in it. */
static void record(struct exchange *x, struct str came)
{
    cleanup(buf_done) struct buf clean = {0};

    redactor_feed(&x->screen, came, &clean);
    x->a->secret = x->screen.found > 0;
    pack_add(&x->a->wire, came);
}

static CO ssize_t read_more(struct http *h, struct patience *p, struct buf *in, struct exchange *x, struct fault *f)
{
    const char *what;
    int64_t limit, wait = left_of(p, &limit, &what);
    ssize_t n;

    http_idle(h, wait);
    n = http_read(h, in, &f->e);
    if (n > 0)
        record(x, (struct str){ in->p + in->n - (size_t)n, (size_t)n });
    if (n == -ETIMEDOUT)
        err_set(&f->e, (int)n, "%s for %lld.%lld s", what, (long long)limit / 1000, (long long)limit / 100 % 10);
    return n;
}

static CO int read_stream(struct http *h, struct exchange *x, struct patience *p)
{
    cleanup(buf_done) struct buf in = {0};
    ssize_t n;
    int r;

    while ((n = read_more(h, p, &in, x, x->fault)) > 0) {
        x->content = false;
        r = exchange_feed(x, buf_str(&in));
        if (r < 0)
            return r;
        if (x->content)
            p->spoke = clock_steady();
        buf_clear(&in);
        if (x->closed) {
            struct err ignored;

            http_idle(h, TRAILER_MS);
            while ((n = http_read(h, &in, &ignored)) > 0)
                buf_clear(&in);
            break;
        }
    }
    if (n == -ECANCELED || (n < 0 && !x->closed)) {
        x->fault->retry = true;
        return (int)n;
    }
    return exchange_complete(x);
}

/* Not a stream: an error with status 200, a whole answer from a service that does not stream, or not an API at all. */
static CO int read_whole(struct http *h, struct exchange *x, struct patience *p)
{
    cleanup(buf_done) struct buf in = BUF_MAX(2 * ANSWER_MAX), clean = {0};
    cleanup(json_unrefp) json_t *j = NULL;
    struct str type = http_header(h, "content-type"), body;
    struct fault *f = x->fault;
    const char *where = x->rq->model->base_url;
    ssize_t n;

    while ((n = read_more(h, p, &in, x, f)) > 0)
        ;
    body = str_trim(buf_str(&in));      /* blank lines may come first, as a sign of life */
    f->retry = n < 0 || !body.n;
    if (n < 0)
        return (int)n;
    if (!body.n)
        return err_set(&f->e, -EPROTO, "%s answered with nothing", where);
    if (type.n < 16 || strncasecmp(type.p, "application/json", 16) != 0)
        return err_set(&f->e, -EPROTO, "%s answered with %.*s instead of a stream of events: is this the API's address?",
                       where, STR(type.n ? str_head(type, 60) : LIT("no content type")));
    if (js_parse_clean(&body, &clean, &j, &f->e) < 0) {
        f->retry = true;
        return err_prefix(&f->e, -EPROTO, "the answer is not JSON: ");
    }
    x->whole = true;
    n = x->form->event(x, body, j);
    if (n == 0 && !x->finished)
        return err_set(&f->e, -EPROTO, "%s answered with JSON that is no answer: is this the API's address?", where);
    if (n == 0)
        n = too_large(x);
    return n < 0 ? (int)n : exchange_complete(x);
}

/* What a status other than 200 means. */
static CO int read_error(struct http *h, struct exchange *x, long status, struct patience *p)
{
    static const struct {
        long status;
        const char *words;
    } meanings[] = {
        { 401, ", the key was not accepted" }, { 403, ", the key may not do this" }, { 402, ", there is no balance" },
        { 404, ", no such model or path" },
    };
    cleanup(buf_done) struct buf body = BUF_MAX(ERROR_BODY_MAX), said = {0};
    cleanup(json_unrefp) json_t *j = NULL;
    struct fault *f = x->fault, unread = {0};
    struct str where = http_header(h, "location");
    const char *meaning = "";
    struct trouble t;
    ssize_t n;

    while ((n = read_more(h, p, &body, x, &unread)) > 0)
        ;
    if (n == -ECANCELED)
        return (int)n;
    js_parse_wire(buf_str(&body), &j, NULL);
    t = trouble_of(status, j);
    f->status = status;
    f->retry = t.retry;
    f->limited = t.limited;
    f->overflow = t.overflow;
    f->wait_ms = trouble_wait(h, j, clock_wall());
    if (http_header(h, "x-should-retry").n)
        f->retry = str_is(http_header(h, "x-should-retry"), "true");
    add_said(&said, t.said, x->rq->model->key);
    for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
        if (meanings[i].status == status)
            meaning = meanings[i].words;
    if (status / 100 == 3)
        return err_set(&f->e, -EREMOTEIO, "%s sends requests on to %.*s: rein does not follow, since the key would go there too; "
                       "give that address with --base-url if it is right", x->rq->model->base_url, STR(str_head(where, 100)));
    return err_set(&f->e, -EREMOTEIO, "%s answered with status %ld%s%s%s", x->rq->model->base_url, status, meaning,
                   said.n ? ": " : "", said.n ? said.p : "");
}

static CO int run(struct exchange *x)
{
    const struct request *rq = x->rq;
    const struct model *m = rq->model;
    struct fault *f = x->fault;
    char *own[EXCHANGE_HEADERS] = {0};
    static const char agent[] = "User-Agent: rein/" REIN_VERSION;
    const char *headers[EXCHANGE_HEADERS + 4] = { "Content-Type: application/json", "Accept: text/event-stream", agent };
    cleanup(freep) char *url = x->form->url(m);
    cleanup(http_closep) struct http *h = NULL;
    struct patience p = { .began = clock_steady() };
    struct http_trail trail = {0};
    struct str type;
    long status;
    size_t n;
    int r;

    timers_of(m, &p.t);
    n = x->form->headers(m, own);
    memcpy(headers + 3, own, n * sizeof(*own));
    r = http_open(&(struct http_req){ .url = url, .headers = headers, .body = rq->parts, .nbody = rq->nparts, .trail = &trail,
                                      .connect_ms = p.t.connect, .idle_ms = MIN(p.t.first, p.t.total) }, &h, &status, &f->e);
    while (n)
        free(own[--n]);
    f->charged = trail.sent;
    if (r < 0) {
        f->retry = r != -EINVAL && r != -ENOPKG && !trail.hopeless;
        return r == -ECANCELED ? r : err_prefix(&f->e, r, "%s cannot be reached: ", m->base_url);
    }
    if (status != 200) {
        f->charged = false;
        return read_error(h, x, status, &p);
    }
    type = http_header(h, "content-type");
    return type.n >= 17 && strncasecmp(type.p, "text/event-stream", 17) == 0 ? read_stream(h, x, &p) : read_whole(h, x, &p);
}

static int finish_record(struct exchange *x, int r)
{
    cleanup(buf_done) struct buf rest = {0};

    redactor_end(&x->screen, &rest);
    x->a->secret = x->screen.found > 0;
    return r;
}

CO int exchange_run(const struct exchange_form *form, const struct request *rq, const struct sink *sink, struct answer *ret,
                    struct fault *f)
{
    cleanup(exchange_done) struct exchange x;

    exchange_init(&x, form, rq, sink, ret, f);
    return finish_record(&x, run(&x));
}

/* Every API has a list of objects, under one name or another, and in each the model's name. */
static void read_names(const json_t *j, const char *wanted, struct listing *ret)
{
    const json_t *list = json_object_get(j, "data"), *each;
    size_t i;

    if (!json_is_array(list))
        list = json_object_get(j, "models");
    if (!json_is_array(list))
        return;
    ret->names = json_array();
    json_array_foreach(list, i, each) {
        struct str name = js_str(each, "id");

        if (!name.n)
            name = js_str(each, "name");
        if (name.n > 7 && memcmp(name.p, "models/", 7) == 0)
            name = str_from(name, 7);
        if (!name.n)
            continue;
        json_array_append_new(ret->names, json_stringn(name.p, name.n));
        if (str_is(name, wanted))
            ret->context = js_int(each, "max_model_len", js_int(each, "context_length", js_int(each, "inputTokenLimit",
                           js_int(json_object_get(each, "meta"), "n_ctx_train", 0))));
    }
}

CO int exchange_list(const struct exchange_form *form, const struct model *m, struct listing *ret, struct err *e)
{
    cleanup(buf_done) struct buf body = BUF_MAX(4 * ANSWER_MAX);
    cleanup(http_closep) struct http *h = NULL;
    cleanup(json_unrefp) json_t *j = NULL;
    cleanup(freep) char *url = encode_url(m->base_url, form->list);
    char *own[EXCHANGE_HEADERS] = {0};
    const char *headers[EXCHANGE_HEADERS + 1] = {0};
    int64_t began = clock_steady();
    struct timers t;
    size_t n;
    ssize_t got;
    int r;

    timers_of(m, &t);
    n = form->headers(m, own);
    memcpy(headers, own, n * sizeof(*own));
    r = http_open(&(struct http_req){ .url = url, .headers = headers, .trail = &ret->trail, .connect_ms = t.connect,
                                      .idle_ms = t.idle }, &h, &ret->status, e);
    while (n)
        free(own[--n]);
    ret->ms = (clock_steady() - began) / NS_PER_MS;
    if (r < 0)
        return r;
    while ((got = http_read(h, &body, e)) > 0)
        ;
    if (got < 0)
        return (int)got;
    if (ret->status == 200 && js_parse_wire(buf_str(&body), &j, NULL) == 0)
        read_names(j, m->name ? m->name : "", ret);
    return 0;
}
