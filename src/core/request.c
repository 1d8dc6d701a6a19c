#include "core/request.h"

#include "base/clock.h"
#include "base/utf8.h"
#include "core/redact.h"
#include "core/retry.h"
#include "core/wire.h"

#include <stdio.h>
#include <sys/random.h>

#define PARTIAL_MAX     ((size_t)64 << 10)
#define TRUNCATED_RATIO 16              /* bytes per counted token from which on a request was not read to its end */

static uint64_t put_request(struct session *s, const struct request *rq, const struct hash *hash, size_t repeated,
                            const struct reserve *reserve)
{
    struct buf body = {0};
    char hex[HASH_HEX];

    buf_addc(&body, '{');
    js_add_text(&body, "model", rq->model->name);
    js_add_int(&body, "bytes", (int64_t)rq->bytes);
    js_add_int(&body, "repeated", (int64_t)repeated);
    js_add_text(&body, "hash", hash_hex(hash, hex));
    js_add_int(&body, "reserve", reserve->tokens);
    if (reserve->cost)
        js_add_int(&body, "reserve_cost", reserve->cost);
    buf_addc(&body, '}');
    return session_put(s, EV_REQUEST, s->view.seq, FROM_SYSTEM, &body);
}

static const char *fault_class(int r, const struct fault *f)
{
    return r == -ECANCELED ? "cancelled" : r == -EPERM ? "private" : f->overflow ? "overflow" : f->limited ? "limit" :
           f->status ? "http" :
           r == -ETIMEDOUT ? "timeout" : r == -EPROTO || r == -E2BIG || r == -EREMOTEIO ? "protocol" : "network";
}

/* Returns what the request has cost. */
static int64_t put_fault(struct session *s, uint64_t cause, int r, const struct fault *f, struct str partial,
                         const struct reserve *reserve, int64_t *ret_wait)
{
    struct retry retry = {0};
    int64_t cost = f->charged ? budget_wasted(&s->with.model->facts.price, reserve, partial.n) : 0;
    struct buf body = {0};
    uint32_t chance;

    if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
        chance = (uint32_t)clock_steady();
    if (r != -ECANCELED)
        retry = retry_judge(&s->view.limits, f, f->limited ? s->view.limited : s->view.faults, chance);
    buf_addc(&body, '{');
    js_add_text(&body, "class", fault_class(r, f));
    if (f->status)
        js_add_int(&body, "status", f->status);
    js_add_bool(&body, "retry", retry.again);
    if (f->wait_ms >= 0)
        js_add_int(&body, "asked", f->wait_ms);
    if (retry.again) {
        js_add_int(&body, "wait", retry.wait_ms);
        js_add_int(&body, "jitter", retry.jitter);
        js_add_int(&body, "retry_at", clock_even() + retry.wait_ms * NS_PER_MS);
    }
    js_add_text(&body, "why", r == -ECANCELED ? "stopped while the model was answering" : f->e.msg);
    if (cost)
        js_add_int(&body, "cost", cost);
    if (partial.n)
        js_add_str(&body, "partial", str_head(partial, utf8_cut(partial, PARTIAL_MAX)));
    buf_addc(&body, '}');
    session_put(s, EV_FAULT, cause, FROM_SYSTEM, &body);
    *ret_wait = retry.again ? retry.wait_ms : 0;
    return cost;
}

/* What the provider did not count, or counted so that it cannot be true, is estimated and marked. */
static struct usage usage_of(const struct answer *a, const struct request *rq)
{
    struct usage u = a->usage;
    int64_t out = (int64_t)(a->text.n + MAX(a->extra.n, a->reasoning.n));

    for (size_t i = 0; i < a->ncalls; i++)
        out += (int64_t)a->calls[i].args.n;
    u.estimated = !a->has_usage || u.in <= 0 || u.out < 0 || (u.out == 0 && out) || u.cached < 0 || u.written < 0 ||
                  u.cached + u.written > u.in;
    if (!u.estimated)
        return u;
    if (!a->has_usage || u.in <= 0)
        u.in = (int64_t)rq->bytes / 4;
    if (!a->has_usage || u.out <= 0)
        u.out = out / 4;
    u.cached = u.written = 0;           /* the dearer reading */
    u.reasoning = MIN(MAX(u.reasoning, INT64_C(0)), u.out);
    return u;
}

static void answer_body(struct buf *body, const struct session *s, const struct answer *a, const struct usage *u, int64_t ms)
{
    int64_t cost = budget_cost(&s->with.model->facts.price, u);

    buf_addc(body, '{');
    js_add_str(body, "text", buf_str(&a->text));
    if (a->reasoning.n)
        js_add_str(body, "reasoning", buf_str(&a->reasoning));
    if (a->extra.n)
        js_add_raw(body, "extra", buf_str(&a->extra));
    js_key(body, "calls");
    buf_addc(body, '[');
    for (size_t i = 0; i < a->ncalls; i++) {
        buf_adds(body, i ? ",{" : "{");
        if (a->calls[i].id.n)
            js_add_str(body, "id", buf_str(&a->calls[i].id));
        js_add_str(body, "name", buf_str(&a->calls[i].name));
        js_add_str(body, "args", buf_str(&a->calls[i].args));
        if (a->calls[i].custom)
            js_add_bool(body, "custom", true);
        buf_addc(body, '}');
    }
    buf_addc(body, ']');
    js_add_text(body, "finish", a->finish);
    js_key(body, "usage");
    buf_addc(body, '{');
    js_add_int(body, "in", u->in);
    js_add_int(body, "out", u->out);
    js_add_int(body, "cached", u->cached);
    if (u->written)
        js_add_int(body, "written", u->written);
    if (u->reasoning)
        js_add_int(body, "reasoning", u->reasoning);
    js_add_bool(body, "estimated", u->estimated);
    buf_addc(body, '}');
    if (cost)
        js_add_int(body, "cost", cost);
    js_add_text(body, "model", a->model);
    js_add_int(body, "ms", ms);
    buf_addc(body, '}');
}

/* Some servers cut a request that is longer than they have room for, and answer what is left. */
static void check_truncated(struct session *s, const struct request *rq, const struct usage *u, uint64_t cause)
{
    bool fewer = s->view.last_in && !s->view.shortened && u->in < s->view.last_in;
    struct buf body = {0};

    if (u->estimated || (!fewer && u->in * TRUNCATED_RATIO >= (int64_t)rq->bytes))
        return;
    buf_addc(&body, '{');
    js_add_text(&body, "what", "truncated");
    js_add_text(&body, "why", "the service counted fewer tokens than it was sent: it may have cut off the beginning of the "
                              "conversation. Give the model a larger context there, or choose another one");
    js_add_int(&body, "bytes", (int64_t)rq->bytes);
    js_add_int(&body, "tokens", u->in);
    js_add_int(&body, "before", s->view.last_in);
    buf_addc(&body, '}');
    session_put(s, EV_ANOMALY, cause, FROM_SYSTEM, &body);
}

/* What a person watches while it comes: of each kind what is certain to be no part of a secret. */
struct watched {
    struct session *s;
    struct redactor text, reasoning;
};

static void show(struct session *s, enum delta what, const struct buf *text)
{
    if (text->n && s->with.observer.delta)
        s->with.observer.delta(s->with.observer.arg, what, buf_str(text));
}

static void forward(void *arg, enum delta what, struct str text)
{
    struct watched *w = arg;
    cleanup(buf_done) struct buf out = {0};

    redactor_feed(what == DELTA_TEXT ? &w->text : &w->reasoning, text, &out);
    show(w->s, what, &out);
}

/* Returns how many secrets were in what was said. */
static size_t watched_done(struct watched *w)
{
    size_t found;
    cleanup(buf_done) struct buf text = {0}, reasoning = {0};

    redactor_end(&w->reasoning, &reasoning);
    redactor_end(&w->text, &text);
    show(w->s, DELTA_REASONING, &reasoning);
    show(w->s, DELTA_TEXT, &text);
    found = w->text.found + w->reasoning.found;
    redactor_done(&w->text);
    redactor_done(&w->reasoning);
    return found;
}

struct reserve request_reserve(const struct session *s)
{
    return budget_reserve(&s->view, s->with.model, s->with.longest, s->context.bytes);
}

static int64_t patience_ms(const struct session *s)
{
    return (s->view.limits.patience ? s->view.limits.patience : PATIENCE_S) * 1000;
}

/* What the ledger has to say before a request leaves: the key's quota, and money of a budget that is shared. 1: it had to queue. */
static CO int step_ledger(struct session *s, const struct reserve *reserve, const char *entry, struct err *e)
{
    int queued = 0, r = 0;

    if (s->with.quota && !ledger_open(s->with.ledger, s->with.quota))
        queued = ledger_pass(s->with.ledger, s->with.quota, s->log.row.id, patience_ms(s), e);
    if (queued >= 0 && s->with.budget)
        r = ledger_reserve(s->with.ledger, s->with.budget, s->with.budget_cap, entry, reserve->cost, patience_ms(s), e);
    return r < 0 ? r : queued;
}

/* Tells the ledger how a request went. What fails there fails the session: other sessions build on it. */
static CO int settle(struct session *s, const char *entry, int64_t cost, int64_t wait, bool queued, const char *why,
                     struct err *e)
{
    int r = 0;

    if (s->with.quota && wait)
        r = ledger_strike(s->with.ledger, s->with.quota, s->log.row.id, queued, wait, why, e);
    if (r == 0 && s->with.budget)
        r = ledger_settle(s->with.ledger, s->with.budget, entry, cost, e);
    return r;
}

/* A request that does not leave, and why; what was set aside for it in a shared budget is given back. */
static CO int held_back(struct session *s, uint64_t cause, int r, const struct err *why, const char *entry, struct err *e)
{
    struct fault f = { .wait_ms = -1, .e = *why };
    int64_t wait;
    int settled;

    put_fault(s, cause, r, &f, LIT(""), &(struct reserve){0}, &wait);
    settled = entry ? settle(s, entry, 0, 0, false, why->msg, e) : 0;
    return r == -ECANCELED ? r : settled;
}

/* The last look at the bytes themselves, whatever the labels say: what is new in them holds nothing private, or the model is
 * local. */
static bool may_leave(const struct session *s, const struct request *rq, size_t repeated, struct err *e)
{
    size_t at = 0;

    if (!s->with.privacy || s->with.model->service->local)
        return true;
    for (size_t i = 0; i < rq->nparts; i++) {
        struct str part = rq->parts[i];
        size_t seen = repeated > at + PRIVATE_RUN ? MIN(repeated - at - PRIVATE_RUN, part.n) : 0;

        if (privacy_holds(s->with.privacy, str_from(part, seen))) {
            err_set(e, -EPERM, "the request holds private data, and %s is not local", s->with.model->id);
            return false;
        }
        at += part.n;
    }
    return true;
}

CO int request_make(struct session *s, struct err *e)
{
    cleanup(answer_done) struct answer a = {0};
    struct request rq = { .model = s->with.model, .harness = s->with.harness, .answers = s->view.answers };
    struct watched watched = { .s = s };
    struct sink sink = { forward, &watched };
    size_t secrets;
    struct fault f = { .wait_ms = -1 };
    struct buf body = { .max = EVENT_BODY_MAX };
    struct reserve reserve = request_reserve(s);
    int64_t began, cost, wait = 0;
    struct usage usage;
    struct hash hash;
    size_t repeated;
    char entry[SESSION_ID_MAX + 24];
    struct err held = {0};
    uint64_t seq;
    int queued, settled, r;

    snprintf(entry, sizeof(entry), "%s.%llu", s->log.row.id, (unsigned long long)s->view.seq + 1);
    r = queued = step_ledger(s, &reserve, entry, &held);
    if (r == -EDQUOT) {
        s->out_of_money = true;
        return 0;
    }
    if (r == -ETIMEDOUT || r == -ECANCELED)
        return held_back(s, s->view.seq, r, &held, NULL, e);
    if (r < 0) {
        *e = held;
        return r;
    }
    began = clock_even();
    context_request(&s->context, &rq, &hash, &repeated);
    seq = put_request(s, &rq, &hash, repeated, &reserve);
    log_flush(&s->log);
    r = 0;
    if (s->with.quota)                  /* the store does both in one go; what was refused meanwhile counts */
        r = ledger_read(s->with.ledger, e);
    if (r == 0)
        r = session_commit(s, e);
    if (r == 0 && s->with.quota && !ledger_open(s->with.ledger, s->with.quota))
        r = queued = ledger_pass(s->with.ledger, s->with.quota, s->log.row.id, patience_ms(s), &held);
    if (r == -ETIMEDOUT || r == -ECANCELED)
        return held_back(s, seq, r, &held, entry, e);
    if (r < 0)
        return r;
    assert(log_clean(&s->log));         /* the request is on disk; now its bytes may leave */
    if (!may_leave(s, &rq, repeated, &held))
        return held_back(s, seq, -EPERM, &held, entry, e);

    r = s->with.provider->run(&rq, &sink, &a, &f);
    secrets = watched_done(&watched);
    if (r == 0) {
        usage = usage_of(&a, &rq);
        answer_body(&body, s, &a, &usage, (clock_even() - began) / NS_PER_MS);
        secrets += redact(&body);       /* in the arguments of a call, for one */
        r = buf_err(&body);
        if (r < 0) {
            err_set(&f.e, r, "the answer is larger than an event may be (%zu KiB)", EVENT_BODY_MAX >> 10);
            f.charged = true;
        }
    }
    wire_put(s, seq, &a, f.status, secrets > 0);
    if (r == 0) {
        check_truncated(s, &rq, &usage, seq);
        session_put(s, EV_ANSWER, seq, FROM_MODEL, &body);
        cost = budget_cost(&s->with.model->facts.price, &usage);
    } else {
        cost = put_fault(s, seq, r, &f, buf_str(&a.text), &reserve, &wait);
    }
    buf_done(&body);
    settled = settle(s, entry, cost, f.limited ? wait : 0, queued > 0, f.e.msg, e);     /* also of one that was cut short */
    return r == -ECANCELED ? r : settled;
}

