#include "core/ledger.h"

#include "base/clock.h"
#include "base/js.h"

#include <stdio.h>
#include <sys/random.h>

#define PACE_FIRST_MS   200
#define PACE_MAX_MS     10000
#define PACE_LEAST_MS   20
#define PACE_HALF_S     5           /* without a refusal, until the pace is half of what it was */
#define LOOK_AGAIN_MS   100
#define SNAPSHOT_EVERY  256         /* events: what a rein reads when it starts */

struct quota {
    char id[QUOTA_ID];
    int64_t until, struck, next;    /* clock_even; next: when the next request may leave */
    int64_t wait;                   /* ns, as it was demanded: a clock that was put back does not make it longer */
    int64_t pace;                   /* ms, when it was struck */
};

struct entry {
    char *name;
    int64_t reserve;
};

struct account {
    char *name;
    int64_t spent, reserved;
    struct entry *open;
    size_t nopen, cap;
};

struct session_row ledger_row(void)
{
    return (struct session_row){ .key = 0, .id = LEDGER_ID, .parent = -1 };
}

void ledger_init(struct ledger *l, struct store *store)
{
    struct session_row row = ledger_row();

    *l = (struct ledger){0};
    log_init(&l->log, store, &row);
}

void ledger_done(struct ledger *l)
{
    for (size_t i = 0; i < l->naccounts; i++) {
        for (size_t k = 0; k < l->accounts[i].nopen; k++)
            free(l->accounts[i].open[k].name);
        free(l->accounts[i].open);
        free(l->accounts[i].name);
    }
    free(l->accounts);
    free(l->quotas);
    grants_done(&l->grants);
    if (l->log.store)
        log_done(&l->log);
    *l = (struct ledger){0};
}

void quota_name(const char *base_url, const char *key, char ret[QUOTA_ID])
{
    struct hashing h;
    struct hash hash;
    char hex[HASH_HEX];

    hashing_init(&h);
    hashing_add(&h, "rein quota", 11);
    hashing_add(&h, base_url, strlen(base_url) + 1);
    if (key)
        hashing_add(&h, key, strlen(key));
    hash = hashing_end(&h);
    snprintf(ret, QUOTA_ID, "%.16s", hash_hex(&hash, hex));
}

static struct quota *quota_of(struct ledger *l, struct str id)
{
    for (size_t i = 0; i < l->nquotas; i++)
        if (str_is(id, l->quotas[i].id))
            return &l->quotas[i];
    return NULL;
}

static struct account *account_of(struct ledger *l, struct str name)
{
    for (size_t i = 0; i < l->naccounts; i++)
        if (str_is(name, l->accounts[i].name))
            return &l->accounts[i];
    GROW(l->accounts, l->naccounts, l->accounts_cap);
    l->accounts[l->naccounts] = (struct account){ .name = str_dup(name) };
    return &l->accounts[l->naccounts++];
}

static void fold_quota(struct ledger *l, const struct event *ev, const json_t *b)
{
    struct str id = js_str(b, "quota");
    struct quota *q = quota_of(l, id);

    if (id.n != QUOTA_ID - 1)
        return;
    if (!q) {
        GROW(l->quotas, l->nquotas, l->quotas_cap);
        q = &l->quotas[l->nquotas++];
        *q = (struct quota){0};
        memcpy(q->id, id.p, id.n);
    }
    if (json_object_get(b, "next")) {
        q->next = js_int(b, "next", 0);
        return;
    }
    q->until = MAX(q->until, js_int(b, "until", 0));
    q->wait = MAX(q->until - ev->time, INT64_C(0));
    q->struck = js_int(b, "struck", q->struck);
    q->pace = js_int(b, "pace", q->pace);
}

static void fold_budget(struct ledger *l, const json_t *b)
{
    struct account *a = account_of(l, js_str(b, "budget"));
    struct str name = js_str(b, "entry");
    size_t i = 0;

    if (json_object_get(b, "reserve")) {
        GROW(a->open, a->nopen, a->cap);
        a->open[a->nopen++] = (struct entry){ str_dup(name), js_int(b, "reserve", 0) };
        a->reserved += js_int(b, "reserve", 0);
        return;
    }
    while (i < a->nopen && !str_is(name, a->open[i].name))
        i++;
    if (i == a->nopen)
        return;
    a->spent += js_int(b, "spent", 0);
    a->reserved -= a->open[i].reserve;
    free(a->open[i].name);
    a->open[i] = a->open[--a->nopen];
}

static void fold_snapshot(struct ledger *l, uint64_t seq, const json_t *b)
{
    const json_t *each, *entry;
    size_t i, k;

    if (l->begun)
        return;                         /* it says what is known */
    l->snapshot = seq;
    json_array_foreach(json_object_get(b, "quotas"), i, each) {
        struct str id = js_str(each, "quota");

        if (id.n != QUOTA_ID - 1)
            continue;
        GROW(l->quotas, l->nquotas, l->quotas_cap);
        l->quotas[l->nquotas] = (struct quota){
            .until = js_int(each, "until", 0), .struck = js_int(each, "struck", 0), .next = js_int(each, "next", 0),
            .wait = js_int(each, "wait", 0), .pace = js_int(each, "pace", 0),
        };
        memcpy(l->quotas[l->nquotas++].id, id.p, id.n);
    }
    json_array_foreach(json_object_get(b, "budgets"), i, each) {
        struct account *a = account_of(l, js_str(each, "budget"));

        a->spent = js_int(each, "spent", 0);
        json_array_foreach(json_object_get(each, "open"), k, entry) {
            GROW(a->open, a->nopen, a->cap);
            a->open[a->nopen++] = (struct entry){ str_dup(js_str(entry, "entry")), js_int(entry, "reserve", 0) };
            a->reserved += js_int(entry, "reserve", 0);
        }
    }
    grants_read(&l->grants, json_object_get(b, "grants"));
}

static int fold(void *arg, struct event *ev, struct err *e)
{
    struct ledger *l = arg;
    cleanup(json_unrefp) json_t *b = NULL;
    int r = ev->erased ? 0 : js_parse(ev->body, &b, e);

    if (r == 0 && ev->kind == EV_QUOTA)
        fold_quota(l, ev, b);
    else if (r == 0 && ev->kind == EV_BUDGET)
        fold_budget(l, b);
    else if (r == 0 && ev->kind == EV_GRANT)
        grants_fold(&l->grants, ev->seq, ev->time, b);
    else if (r == 0 && ev->kind == EV_SNAPSHOT)
        fold_snapshot(l, ev->seq, b);
    return r;
}

/* The first reading begins at the last snapshot, whose own hash is taken as it stands; `rein log verify` checks all of a chain. */
static CO int begin(struct ledger *l, struct err *e)
{
    struct event *ev;
    int r = store_latest(l->log.store, 0, EV_SNAPSHOT, 0, &ev, e);

    if (r == 0) {
        r = fold(l, ev, e);
        l->log.head = ev->hash;
        l->log.next_seq = ev->seq + 1;
        event_free(ev);
    } else if (r == -ENOENT) {
        r = 0;
    }
    l->begun = true;
    return r;
}

CO int ledger_read(struct ledger *l, struct err *e)
{
    int r = l->begun ? 0 : begin(l, e);

    return r < 0 ? r : log_read(&l->log, fold, l, e);
}

static void add_quotas(const struct ledger *l, struct buf *out)
{
    bool any = false;

    for (size_t i = 0; i < l->nquotas; i++) {
        const struct quota *q = &l->quotas[i];

        if (ledger_open((struct ledger *)l, q->id))
            continue;                   /* it is as if it never was */
        buf_adds(out, any ? ",{" : "{");
        js_add_text(out, "quota", q->id);
        js_add_int(out, "until", q->until);
        js_add_int(out, "struck", q->struck);
        js_add_int(out, "next", q->next);
        js_add_int(out, "wait", q->wait);
        js_add_int(out, "pace", q->pace);
        buf_addc(out, '}');
        any = true;
    }
}

static void add_accounts(const struct ledger *l, struct buf *out)
{
    for (size_t i = 0; i < l->naccounts; i++) {
        const struct account *a = &l->accounts[i];

        buf_adds(out, i ? ",{" : "{");
        js_add_text(out, "budget", a->name);
        js_add_int(out, "spent", a->spent);
        js_key(out, "open");
        buf_addc(out, '[');
        for (size_t k = 0; k < a->nopen; k++) {
            buf_adds(out, k ? ",{" : "{");
            js_add_text(out, "entry", a->open[k].name);
            js_add_int(out, "reserve", a->open[k].reserve);
            buf_addc(out, '}');
        }
        buf_adds(out, "]}");
    }
}

/* Whoever is overtaken leaves it to the next. */
static CO void put_snapshot(struct ledger *l)
{
    struct buf body = { .max = EVENT_BODY_MAX };
    struct err ignored;

    buf_adds(&body, "{\"quotas\":[");
    add_quotas(l, &body);
    buf_adds(&body, "],\"budgets\":[");
    add_accounts(l, &body);
    buf_adds(&body, "],\"grants\":[");
    grants_add_json(&l->grants, clock_even(), &body);
    buf_adds(&body, "]}");
    if (buf_err(&body) == 0 && log_contend(&l->log, EV_SNAPSHOT, FROM_SYSTEM, &body, fold, l, &ignored) == 0)
        l->snapshot = l->log.next_seq - 1;
    buf_done(&body);
}

static CO int put(struct ledger *l, enum kind kind, struct buf *body, struct err *e)
{
    int r = log_contend(&l->log, kind, FROM_SYSTEM, body, fold, l, e);

    if (r == 0 && l->log.next_seq - l->snapshot > SNAPSHOT_EVERY)
        put_snapshot(l);
    return r;
}

/* The pace that is left of what it was when the key was last refused; 0: nobody has to queue. */
static int64_t pace_now(const struct quota *q, int64_t now)
{
    int64_t pace = q->pace;

    for (int64_t t = q->struck; pace && now - t >= PACE_HALF_S * NS_PER_S; t += PACE_HALF_S * NS_PER_S)
        pace /= 2;
    return pace < PACE_LEAST_MS ? 0 : pace;
}

static int64_t until_of(const struct quota *q, int64_t now)
{
    return MIN(q->until, now + q->wait);
}

bool ledger_open(struct ledger *l, const char *quota)
{
    const struct quota *q = quota_of(l, str_of(quota));
    int64_t now = clock_even();

    return !q || (!pace_now(q, now) && now >= until_of(q, now));
}

static CO int take_turn(struct ledger *l, const char *quota, const char *session, int64_t next, struct err *e)
{
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_text(&body, "quota", quota);
    js_add_int(&body, "next", next);
    js_add_text(&body, "session", session);
    buf_addc(&body, '}');
    return put(l, EV_QUOTA, &body, e);
}

/* Who waits looks again a little after the next turn is free: the longer it has waited, the less after. So turns are taken about in
 * the order of arrival, one at a time, and always at the pace that holds by then. */
CO int ledger_pass(struct ledger *l, const char *quota, const char *session, int64_t patience_ms, struct err *e)
{
    int64_t came = clock_even(), now, pace, free_at;
    const struct quota *q;
    uint32_t chance;
    int r;

    for (;;) {
        r = ledger_read(l, e);
        if (r < 0)
            return r;
        if (ledger_open(l, quota))
            return 0;
        q = quota_of(l, str_of(quota));
        now = clock_even();
        pace = pace_now(q, now);
        free_at = until_of(q, now);
        if (pace && q->next > free_at)
            free_at = MIN(q->next, now + PACE_MAX_MS * NS_PER_MS);
        if (free_at - came > patience_ms * NS_PER_MS)
            return err_set(e, -ETIMEDOUT, "the key was used too often, and has to wait for %lld s more",
                           (long long)((free_at - now) / NS_PER_S));
        if (now >= free_at) {
            r = take_turn(l, quota, session, now + pace * NS_PER_MS, e);
            if (r != -EAGAIN)
                return r < 0 ? r : 1;
            continue;
        }
        if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
            chance = (uint32_t)now;
        r = fiber_sleep((free_at - now) / NS_PER_MS + 1 + chance % (uint32_t)MAX(pace, (int64_t)PACE_LEAST_MS) /
                        (uint32_t)(1 + (now - came) / NS_PER_S));
        if (r < 0)
            return r;
    }
}

CO int ledger_strike(struct ledger *l, const char *quota, const char *session, bool queued, int64_t wait_ms, const char *why,
                     struct err *e)
{
    int r;

    do {
        struct buf body = {0};
        const struct quota *q;
        int64_t now, pace;

        r = ledger_read(l, e);
        if (r < 0)
            return r;
        now = clock_even();
        q = quota_of(l, str_of(quota));
        pace = q ? pace_now(q, now) : 0;
        buf_addc(&body, '{');
        js_add_text(&body, "quota", quota);
        js_add_int(&body, "until", now + wait_ms * NS_PER_MS);
        if (!pace || (queued && now - q->struck > NS_PER_S)) {
            js_add_int(&body, "pace", MIN(MAX(pace * 2, (int64_t)PACE_FIRST_MS), (int64_t)PACE_MAX_MS));
            js_add_int(&body, "struck", now);
        }
        js_add_text(&body, "why", why);
        js_add_text(&body, "session", session);
        buf_addc(&body, '}');
        r = put(l, EV_QUOTA, &body, e);
    } while (r == -EAGAIN);
    return r;
}

CO int ledger_reserve(struct ledger *l, const char *budget, int64_t cap, const char *entry, int64_t cost, int64_t patience_ms,
                      struct err *e)
{
    int64_t deadline = clock_even() + patience_ms * NS_PER_MS;
    int r;

    for (;;) {
        struct buf body = {0};
        const struct account *a;

        r = ledger_read(l, e);
        if (r < 0)
            return r;
        a = account_of(l, str_of(budget));
        if (a->spent + a->reserved + cost > cap) {
            if (a->spent + cost > cap || clock_even() > deadline)
                return err_set(e, -EDQUOT, "the next request may exceed the shared budget %s", budget);
            r = fiber_sleep(LOOK_AGAIN_MS);
            if (r < 0)
                return r;
            continue;
        }
        buf_addc(&body, '{');
        js_add_text(&body, "budget", budget);
        js_add_text(&body, "entry", entry);
        js_add_int(&body, "reserve", cost);
        buf_addc(&body, '}');
        r = put(l, EV_BUDGET, &body, e);
        if (r != -EAGAIN)
            return r;
    }
}

/* On top of whatever others write meanwhile. */
static CO int append(struct ledger *l, enum kind kind, struct buf *body, struct err *e)
{
    cleanup(buf_done) struct buf whole = *body;
    int r;

    *body = (struct buf){0};
    do {
        struct buf copy = {0};

        r = ledger_read(l, e);
        if (r < 0)
            return r;
        buf_add_str(&copy, buf_str(&whole));
        r = put(l, kind, &copy, e);
    } while (r == -EAGAIN);
    return r;
}

CO int ledger_settle(struct ledger *l, const char *budget, const char *entry, int64_t cost, struct err *e)
{
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_text(&body, "budget", budget);
    js_add_text(&body, "entry", entry);
    js_add_int(&body, "spent", cost);
    buf_addc(&body, '}');
    return append(l, EV_BUDGET, &body, e);
}

CO int ledger_approve(struct ledger *l, const struct grant *g, const char *by, const char *hash, struct err *e)
{
    struct buf body = {0};

    buf_addc(&body, '{');
    if (g) {
        js_add_text(&body, "kind", grant_kind_name(g->kind));
        js_add_text(&body, "what", g->what);
        js_add_text(&body, "root", g->root);
        js_add_text(&body, "session", g->session);
        js_add_int(&body, "until", g->until);
    } else {
        js_add_bool(&body, "once", true);
    }
    js_add_text(&body, "by", by);
    js_add_text(&body, "hash", hash);
    buf_addc(&body, '}');
    return append(l, EV_GRANT, &body, e);
}

CO int ledger_revoke(struct ledger *l, uint64_t id, struct err *e)
{
    struct buf body = {0};
    bool known = false;
    int r = ledger_read(l, e);

    for (size_t i = 0; r == 0 && i < l->grants.n; i++)
        known = known || l->grants.v[i].id == id;
    if (r == 0 && !known)
        return err_set(e, -ENOENT, "there is no grant %llu; `rein grants` lists them", (unsigned long long)id);
    if (r < 0)
        return r;
    buf_addc(&body, '{');
    js_add_int(&body, "revoke", (int64_t)id);
    buf_addc(&body, '}');
    return append(l, EV_GRANT, &body, e);
}
