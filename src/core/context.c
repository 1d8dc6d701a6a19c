#include "core/context.h"

#define BLOCK_SIZE ((size_t)64 << 10)
#define NO_RESULT  "No result: rein was stopped before this call's outcome was recorded. Do not assume that it took " \
                   "effect; check before you repeat it."

void context_init(struct context *c, const struct provider *p, const struct model *m, bool images)
{
    *c = (struct context){ .provider = p, .model = m, .images = images };
    hashing_init(&c->prefix);
}

static void slots_clear(struct context *c)
{
    for (size_t i = 0; i < c->nslots; i++) {
        free(c->slots[i].id);
        free(c->slots[i].tool);
        free(c->slots[i].image_type);
        free(c->slots[i].image);
        buf_done(&c->slots[i].text);
    }
    free(c->slots);
    c->slots = NULL;
    c->nslots = 0;
}

void context_done(struct context *c)
{
    slots_clear(c);
    for (size_t i = 0; i < c->nblocks; i++)
        free(c->blocks[i].p);
    for (size_t i = 0; i < c->nheld; i++)
        free(c->held[i]);
    for (size_t i = 0; i < c->nresults; i++) {
        free(c->results[i].call_id);
        free(c->results[i].tool);
    }
    free(c->results);
    free(c->held);
    free(c->blocks);
    free(c->parts);
    *c = (struct context){0};
}

static void append(struct context *c, struct str s)
{
    struct context_block *b = c->nblocks ? &c->blocks[c->nblocks - 1] : NULL;

    hashing_add(&c->prefix, s.p, s.n);
    c->bytes += s.n;
    if (!b || b->cap - b->n < s.n) {
        GROW(c->blocks, c->nblocks, c->cap);
        b = &c->blocks[c->nblocks++];
        b->n = 0;
        b->cap = MAX(s.n, MIN(BLOCK_SIZE, c->bytes));       /* small sessions stay small */
        b->p = xmalloc(b->cap);
    }
    memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
}

int context_head(struct context *c, const struct harness *h, const char *system, const char *session)
{
    cleanup(buf_done) struct buf out = {0};
    int r = c->provider->head(c->model, h, system, session, &out);

    if (r == 0)
        append(c, buf_str(&out));
    return r;
}

/* `first`: it opens a list, so no comma goes before it. */
static int add_element(struct context *c, const struct msg *m, bool first)
{
    cleanup(buf_done) struct buf out = {0};
    char last = c->nblocks ? c->blocks[c->nblocks - 1].p[c->blocks[c->nblocks - 1].n - 1] : 0;
    size_t comma = first || last == '[' ? 0 : 1;        /* some APIs have the first message open their list too */
    int r;

    if (comma)
        buf_addc(&out, ',');
    r = c->provider->message(c->model, m, &out);
    if (r == 0 && out.n > comma)
        append(c, buf_str(&out));
    return r;
}

static int add_message(struct context *c, const struct msg *m)
{
    return add_element(c, m, false);
}

static int add_user(struct context *c, struct str text)
{
    return add_message(c, &(struct msg){ .role = ROLE_USER, .text = text });
}

static int add_result(struct context *c, const struct context_slot *slot, bool first)
{
    bool image = slot->image && c->images && c->provider->images_in_results;
    size_t at = c->bytes;
    int r = add_element(c, &(struct msg){
        .role = ROLE_TOOL,
        .call_id = str_of(slot->id),
        .tool = str_of(slot->tool),
        .text = slot->filled ? buf_str(&slot->text) : LIT(NO_RESULT),
        .is_error = !slot->filled || slot->is_error,
        .custom = slot->custom,
        .image_type = image ? str_of(slot->image_type) : (struct str){0},
        .image = image ? str_of(slot->image) : (struct str){0},
    }, first);

    c->dropped.images += slot->image && !c->images;
    if (r == 0 && slot->filled) {
        GROW(c->results, c->nresults, c->results_cap);
        c->results[c->nresults++] = (struct context_result){ slot->seq, at, c->bytes - at, xstrdup(slot->id), xstrdup(slot->tool),
                                                             slot->stays, slot->custom, first };
    }
    return r;
}

static int flush(struct context *c)
{
    const char *open = c->provider->results_open;
    int r = 0;

    if (open && c->nslots) {
        append(c, LIT(","));
        append(c, str_of(open));
    }
    for (size_t i = 0; i < c->nslots && r == 0; i++)
        r = add_result(c, &c->slots[i], open && i == 0);
    if (open && c->nslots)
        append(c, str_of(c->provider->results_close));
    /* Where a service takes images from people only, they do not stand between the results of one answer. */
    for (size_t i = 0; i < c->nslots && r == 0; i++)
        if (c->slots[i].image && c->images && !c->provider->images_in_results)
            r = add_message(c, &(struct msg){ .role = ROLE_USER, .text = LIT("The image that was read:"),
                                              .image_type = str_of(c->slots[i].image_type), .image = str_of(c->slots[i].image) });
    slots_clear(c);
    for (size_t i = 0; i < c->nheld; i++) {
        if (r == 0)
            r = add_user(c, str_of(c->held[i]));
        free(c->held[i]);
    }
    c->nheld = 0;
    return r;
}

static struct str service_of(const char *id)
{
    return str_head(str_of(id), id ? strcspn(id, "/") : 0);
}

/* Whether what an answer brought along in its API's own form means something to the model that is asked now. Signatures and
 * encrypted reasoning are one model's; plain text is good for a service. */
static bool same_kind(const struct context *c, const struct view *v)
{
    if (v->api && strcmp(v->api, c->provider->name) != 0)
        return false;
    if (c->provider->sealed)
        return !v->model || strcmp(v->model, c->model->id) == 0;
    return !v->model || str_eq(service_of(v->model), service_of(c->model->id));
}

/* In words; an API that gives them back as they are keeps them among what it needs back. */
static struct str reasoning_of(const json_t *b)
{
    const json_t *extra = json_object_get(b, "extra");
    struct str r = js_str(b, "reasoning");

    if (!r.n)
        r = js_str(extra, "reasoning_content");
    return r.n ? r : js_str(extra, "reasoning");
}

#define WITHHELD "[withheld: private data, which this model is not given]"

/* Whether what an event says has to be kept from the model that is asked now. */
static bool withhold(struct context *c, const struct event *ev)
{
    bool w = (ev->labels & IS_PRIVATE) && !c->model->service->local;

    c->dropped.withheld += w;
    return w;
}

static int fold_answer(struct context *c, const struct view *v, const json_t *b, bool hide)
{
    cleanup(freep) struct msg_call *calls = xcalloc(v->ncalls, sizeof(*calls));
    cleanup(freep) char *extra = NULL;
    const json_t *kept = json_object_get(b, "extra");
    struct msg m = { .role = ROLE_ASSISTANT, .text = hide ? LIT(WITHHELD) : js_str(b, "text"),
                     .reasoning = hide ? LIT("") : reasoning_of(b), .calls = calls, .ncalls = v->ncalls };
    int r = flush(c);

    if (kept && same_kind(c, v) && !hide)
        extra = json_dumps(kept, JSON_COMPACT | JSON_PRESERVE_ORDER);
    else
        c->dropped.reasoning += kept || m.reasoning.n;
    m.extra = str_of(extra);
    c->slots = xcalloc(v->ncalls, sizeof(*c->slots));
    for (size_t i = 0; i < v->ncalls; i++) {
        const struct call_view *call = &v->calls[i];

        calls[i] = (struct msg_call){ str_of(call->id), str_of(call->name),
                                       hide ? LIT("{}") : (struct str){ call->args, call->args_len }, call->custom && !hide };
        c->slots[i].custom = call->custom;
        c->slots[i].id = xstrdup(call->id);
        c->slots[i].tool = xstrdup(call->name);
        c->slots[i].stays = strcmp(call->name, "ask") == 0 || strcmp(call->name, "todo") == 0;
        c->nslots++;
    }
    return r < 0 ? r : add_message(c, &m);
}

static int fold_result(struct context *c, const struct view *v, uint64_t seq, const json_t *b, bool hide)
{
    const struct call_view *call = view_call(v, js_str(b, "call"));
    struct context_slot *slot = call && call->index <= c->nslots ? &c->slots[call->index - 1] : NULL;

    if (!slot || slot->filled)
        return 0;
    slot->filled = true;
    slot->seq = seq;
    slot->is_error = !str_is(js_str(b, "outcome"), "ok");
    buf_add_str(&slot->text, hide ? LIT(WITHHELD) : js_str(b, "text"));
    if (json_object_get(b, "image") && !hide) {
        slot->image_type = str_dup(js_str(json_object_get(b, "image"), "type"));
        slot->image = str_dup(js_str(json_object_get(b, "image"), "data"));
    }
    for (size_t i = 0; i < c->nslots; i++)
        if (!c->slots[i].filled)
            return 0;
    return flush(c);
}

/* The message of a result that is folded into the outcome of its step. */
static int folded(const struct context *c, const struct context_result *r, const char *outcome, struct buf *out)
{
    cleanup(freep) char *text = xasprintf("[folded: %s]", outcome);

    if (!r->first)
        buf_addc(out, ',');
    return c->provider->message(c->model, &(struct msg){ .role = ROLE_TOOL, .call_id = str_of(r->call_id), .tool = str_of(r->tool),
                                                         .custom = r->custom, .text = str_of(text) }, out);
}

static bool can_fold(const struct context_result *r, uint64_t from, uint64_t to, size_t n)
{
    return !r->stays && r->seq > from && r->seq < to && n < r->n;
}

size_t context_saving(const struct context *c, uint64_t from, uint64_t to, const char *outcome)
{
    size_t saved = 0;

    for (size_t i = c->nresults; i-- > 0 && c->results[i].seq > from;) {
        cleanup(buf_done) struct buf out = {0};

        if (folded(c, &c->results[i], outcome, &out) == 0 && can_fold(&c->results[i], from, to, out.n))
            saved += c->results[i].n - out.n;
    }
    return saved;
}

size_t context_squeeze(const struct context *c, uint64_t *ret_to)
{
    size_t saved = 0;

    *ret_to = 0;
    for (size_t i = 0; i < c->nresults && saved < c->bytes / 2; i++) {
        const struct context_result *r = &c->results[i];
        cleanup(buf_done) struct buf out = {0};

        if (folded(c, r, CONTEXT_LEFT_OUT, &out) == 0 && can_fold(r, 0, UINT64_MAX, out.n)) {
            saved += r->n - out.n;
            *ret_to = MAX(*ret_to, r->seq + 1);
        }
    }
    return saved;
}

/* Puts the context together anew, with the results between two events folded. */
static int fold_compact(struct context *c, const json_t *b)
{
    uint64_t from = (uint64_t)js_int(b, "from", 0), to = (uint64_t)js_int(b, "to", 0);
    cleanup(buf_done) struct buf all = {0};
    size_t done = 0, first;
    int r = flush(c);

    first = c->bytes;
    all.max = c->bytes + 1;
    for (size_t i = 0; i < c->nblocks; i++) {
        buf_add(&all, c->blocks[i].p, c->blocks[i].n);
        free(c->blocks[i].p);
    }
    if (r < 0 || buf_err(&all) < 0)
        return r < 0 ? r : buf_err(&all);
    c->nblocks = c->bytes = 0;
    hashing_init(&c->prefix);
    for (size_t i = 0; i < c->nresults; i++) {
        struct context_result *res = &c->results[i];
        cleanup(buf_done) struct buf out = {0};
        size_t end = res->at + res->n;

        append(c, str_head(str_from(buf_str(&all), done), res->at - done));
        if (res->seq > from && res->seq < to && folded(c, res, js_str(b, "outcome").p, &out) == 0 &&
            can_fold(res, from, to, out.n)) {
            first = MIN(first, c->bytes);
            res->stays = true;          /* it is as short as it gets */
        } else {
            buf_clear(&out);
            buf_add_str(&out, str_head(str_from(buf_str(&all), res->at), res->n));
        }
        res->at = c->bytes;
        res->n = out.n;
        append(c, buf_str(&out));
        done = end;
    }
    append(c, str_from(buf_str(&all), done));
    c->last_bytes = MIN(c->last_bytes, first);
    return 0;
}

int context_fold(struct context *c, const struct view *v, const struct event *ev, const json_t *b)
{
    struct str text = js_str(b, "text");

    switch (ev->kind) {
    case EV_UNDO:
        if (!text.p)
            return 0;                   /* only its end has words for the model */
        __attribute__((fallthrough));
    case EV_USER:
    case EV_STEER:
        if (withhold(c, ev))
            text = LIT(WITHHELD);
        if (c->nslots) {
            GROW(c->held, c->nheld, c->held_cap);
            c->held[c->nheld++] = str_dup(text);
            return 0;
        }
        return add_user(c, text);
    case EV_ANSWER:
        return fold_answer(c, v, b, withhold(c, ev));
    case EV_RESULT:
        return fold_result(c, v, ev->seq, b, withhold(c, ev));
    case EV_COMPACT:
        return fold_compact(c, b);
    default:
        return 0;
    }
}

void context_request(struct context *c, struct request *rq, struct hash *ret_hash, size_t *ret_repeated)
{
    struct str tail = str_of(c->provider->tail);
    struct hashing whole;

    flush(c);
    whole = c->prefix;
    c->parts = xrealloc(c->parts, (c->nblocks + 1) * sizeof(*c->parts));
    for (size_t i = 0; i < c->nblocks; i++)
        c->parts[i] = (struct str){ c->blocks[i].p, c->blocks[i].n };
    c->parts[c->nblocks] = tail;
    rq->parts = c->parts;
    rq->nparts = c->nblocks + 1;
    rq->bytes = c->bytes + tail.n;
    hashing_add(&whole, tail.p, tail.n);
    *ret_hash = hashing_end(&whole);
    *ret_repeated = c->last_bytes;
    c->last_bytes = c->bytes;
}
