/* stream.h - a whole stream of a server, hostile or not: the answer that is put together can be written into an event, folded and
 * given back. The first byte says in which pieces it comes. Included after the API's own file. */
#include "provider/exchange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void ignore(void *arg, enum delta what, struct str text)
{
    (void)arg;
    (void)what;
    (void)text;
}

static void give_back(const struct provider *p, const struct model *model, const struct answer *a)
{
    struct msg_call *calls = xcalloc(a->ncalls + 1, sizeof(*calls));
    struct msg m = { .role = ROLE_ASSISTANT, .text = buf_str(&a->text), .reasoning = buf_str(&a->reasoning), .calls = calls,
                     .ncalls = a->ncalls };
    struct buf out = {0};
    json_t *j = NULL;
    char *kept = NULL;
    struct err e;

    if (a->extra.n) {                   /* as it comes out of the log */
        if (js_parse(buf_str(&a->extra), &j, &e) < 0)
            abort();
        kept = json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER);
        m.extra = str_of(kept);
        json_decref(j);
        j = NULL;
    }
    for (size_t c = 0; c < a->ncalls; c++)
        calls[c] = (struct msg_call){ buf_str(&a->calls[c].id), buf_str(&a->calls[c].name), buf_str(&a->calls[c].args), a->calls[c].custom };
    buf_addc(&out, '[');
    p->message(model, &m, &out);
    buf_addc(&out, ']');
    /* Strict but for one thing: what goes back as it came may hold integers of any size. */
    j = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    if (!j)
        abort();
    json_decref(j);
    free(kept);
    buf_done(&out);
    free(calls);
}

static int play(const struct exchange_form *form, const struct provider *p, const uint8_t *data, size_t n)
{
    static struct harness no_tools;
    static const struct service service = { .name = "fuzz", .reasons_always = true };
    struct model model = { .service = &service, .name = (char *)"m", .base_url = (char *)"http://127.0.0.1" };
    struct request rq = { .model = &model, .harness = &no_tools };
    struct sink sink = { ignore, NULL };
    struct answer a = {0};
    struct fault f = {0};
    struct exchange x;
    size_t piece = n ? data[0] + 1 : 1;
    int r = 0;

    exchange_init(&x, form, &rq, &sink, &a, &f);
    for (size_t at = 1; at < n && r == 0; at += piece)
        r = exchange_feed(&x, (struct str){ (const char *)data + at, MIN(piece, n - at) });
    if (r == 0)
        r = exchange_complete(&x);
    if (r == 0)
        give_back(p, &model, &a);
    else if (!f.e.msg[0])
        abort();                        /* a fault without a word about it */
    exchange_done(&x);
    answer_done(&a);
    return 0;
}

/* All that an answer is, as text. */
static void print(const struct answer *a, struct buf *out)
{
    buf_addf(out, "%s|%s|%s|%s|%s|", a->text.n ? a->text.p : "", a->reasoning.n ? a->reasoning.p : "", a->extra.n ? a->extra.p : "",
             a->finish, a->model);
    for (size_t i = 0; i < a->ncalls; i++)
        buf_addf(out, "%s(%s)=%s|", a->calls[i].name.p, a->calls[i].id.n ? a->calls[i].id.p : "", a->calls[i].args.n ? a->calls[i].args.p : "");
    buf_addf(out, "%d %lld %lld %lld", a->has_usage, (long long)a->usage.in, (long long)a->usage.out, (long long)a->usage.cached);
}

static void read_cut(const struct exchange_form *form, struct str data, size_t at, struct buf *out)
{
    static struct harness no_tools;
    static const struct service service = { .name = "split" };
    struct model model = { .service = &service, .name = (char *)"m", .base_url = (char *)"http://127.0.0.1" };
    struct request rq = { .model = &model, .harness = &no_tools };
    struct sink sink = { ignore, NULL };
    struct answer a = {0};
    struct fault f = {0};
    struct exchange x;

    exchange_init(&x, form, &rq, &sink, &a, &f);
    if (exchange_feed(&x, str_head(data, at)) < 0 || exchange_feed(&x, str_from(data, at)) < 0 || exchange_complete(&x) < 0)
        abort();
    print(&a, out);
    exchange_done(&x);
    answer_done(&a);
}

/* How many of the places where a stream can be cut in two give the same answer as the whole. */
static size_t equal_cuts(const struct exchange_form *form, struct str data)
{
    struct buf whole = {0};
    size_t equal = 0;

    read_cut(form, data, data.n, &whole);
    for (size_t at = 0; at < data.n; at++) {
        struct buf cut = {0};

        read_cut(form, data, at, &cut);
        equal += str_eq(buf_str(&whole), buf_str(&cut));
        buf_done(&cut);
    }
    buf_done(&whole);
    return equal;
}
