#include "core/context.h"

#define BLOCK_SIZE ((size_t)64 << 10)
#define NO_RESULT  "No result: rein was stopped before this call's outcome was recorded. Do not assume that it took " \
                   "effect; check before you repeat it."

void context_init(struct context *c, const struct provider *p)
{
    *c = (struct context){ .provider = p };
    hashing_init(&c->prefix);
}

static void slots_clear(struct context *c)
{
    for (size_t i = 0; i < c->nslots; i++) {
        free(c->slots[i].id);
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

int context_head(struct context *c, const struct model *m, const struct harness *h, const char *system)
{
    cleanup(buf_done) struct buf out = {0};
    int r = c->provider->head(m, h, system, &out);

    if (r == 0)
        append(c, buf_str(&out));
    return r;
}

static int add_message(struct context *c, const struct msg *m)
{
    cleanup(buf_done) struct buf out = {0};
    int r;

    buf_addc(&out, ',');
    r = c->provider->message(m, &out);
    if (r == 0)
        append(c, buf_str(&out));
    return r;
}

static int add_user(struct context *c, struct str text)
{
    return add_message(c, &(struct msg){ .role = ROLE_USER, .text = text });
}

static int flush(struct context *c)
{
    int r = 0;

    for (size_t i = 0; i < c->nslots && r == 0; i++)
        r = add_message(c, &(struct msg){
            .role = ROLE_TOOL,
            .call_id = str_of(c->slots[i].id),
            .text = c->slots[i].filled ? buf_str(&c->slots[i].text) : LIT(NO_RESULT),
            .is_error = !c->slots[i].filled || c->slots[i].is_error,
        });
    slots_clear(c);
    for (size_t i = 0; i < c->nheld; i++) {
        if (r == 0)
            r = add_user(c, str_of(c->held[i]));
        free(c->held[i]);
    }
    c->nheld = 0;
    return r;
}

static int fold_answer(struct context *c, const struct view *v, const json_t *b)
{
    cleanup(freep) struct msg_call *calls = xcalloc(v->ncalls, sizeof(*calls));
    cleanup(freep) char *extra = NULL;
    const json_t *kept = json_object_get(b, "extra");
    struct msg m = { .role = ROLE_ASSISTANT, .text = js_str(b, "text"), .calls = calls, .ncalls = v->ncalls };
    int r = flush(c);

    if (kept)
        extra = json_dumps(kept, JSON_COMPACT | JSON_PRESERVE_ORDER);
    m.extra = str_of(extra);
    c->slots = xcalloc(v->ncalls, sizeof(*c->slots));
    for (size_t i = 0; i < v->ncalls; i++) {
        const struct call_view *call = &v->calls[i];

        calls[i] = (struct msg_call){ str_of(call->id), str_of(call->name), { call->args, call->args_len } };
        c->slots[i].id = xstrdup(call->id);
        c->nslots++;
    }
    return r < 0 ? r : add_message(c, &m);
}

static int fold_result(struct context *c, const struct view *v, const json_t *b)
{
    const struct call_view *call = view_call(v, js_str(b, "call"));
    struct context_slot *slot = call && call->index <= c->nslots ? &c->slots[call->index - 1] : NULL;

    if (!slot || slot->filled)
        return 0;
    slot->filled = true;
    slot->is_error = !str_is(js_str(b, "outcome"), "ok");
    buf_add_str(&slot->text, js_str(b, "text"));
    for (size_t i = 0; i < c->nslots; i++)
        if (!c->slots[i].filled)
            return 0;
    return flush(c);
}

int context_fold(struct context *c, const struct view *v, const struct event *ev, const json_t *b)
{
    switch (ev->kind) {
    case EV_USER:
    case EV_STEER:
        if (c->nslots) {
            GROW(c->held, c->nheld, c->held_cap);
            c->held[c->nheld++] = str_dup(js_str(b, "text"));
            return 0;
        }
        return add_user(c, js_str(b, "text"));
    case EV_ANSWER:
        return fold_answer(c, v, b);
    case EV_RESULT:
        return fold_result(c, v, b);
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
