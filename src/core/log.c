#include "core/log.h"

#include "base/clock.h"

#include <sys/random.h>

#define READ_BATCH 128

void log_init(struct log *l, struct store *store, struct session_row *row)
{
    *l = (struct log){ .store = store, .row = *row, .next_seq = 1 };
    row->cwd = NULL;
}

CO int log_drive(struct log *l, struct err *e)
{
    int r = store_lease(l->store, l->row.key, &l->lease, e);

    return r < 0 ? err_prefix(e, r, "session %s: ", l->row.id) : 0;
}

static int check(struct log *l, const struct event *ev, struct err *e)
{
    struct hash h;

    if (ev->seq != l->next_seq)
        return err_set(e, -EUCLEAN, "session %s: event %llu is missing", l->row.id, (unsigned long long)l->next_seq);
    if (ev->erased)
        return 0;                       /* its hash still carries the chain on */
    h = event_hash(ev, &l->head);
    if (!hash_eq(&h, &ev->hash))
        return err_set(e, -EUCLEAN, "session %s: event %llu does not match its hash: it was changed or damaged",
                       l->row.id, (unsigned long long)ev->seq);
    return 0;
}

CO int log_read(struct log *l, log_fn *fn, void *arg, struct err *e)
{
    struct event *evs[READ_BATCH];
    ssize_t n;
    int r = 0;

    do {
        n = store_load(l->store, l->row.key, l->next_seq, evs, READ_BATCH, e);
        if (n < 0)
            return err_prefix(e, (int)n, "session %s: ", l->row.id);
        for (ssize_t i = 0; i < n; i++) {
            if (r == 0)
                r = check(l, evs[i], e);
            if (r == 0) {
                l->head = evs[i]->hash;
                l->next_seq++;
                r = fn(arg, evs[i], e);
            }
            event_free(evs[i]);
        }
    } while (n == READ_BATCH && r == 0);
    return r;
}

struct event *log_stage(struct log *l, enum kind kind, uint64_t cause, uint32_t labels, struct buf *body)
{
    struct event *ev = event_new(kind, l->next_seq++, clock_wall(), cause, labels, body);

    assert(l->lease.epoch);
    assert(ev->body.n <= EVENT_BODY_MAX);
    if (l->salts_left == 0) {
        if (getrandom(l->salts, sizeof(l->salts), 0) != (ssize_t)sizeof(l->salts))
            abort();
        l->salts_left = ARRAY_SIZE(l->salts);
    }
    memcpy(ev->salt, l->salts[--l->salts_left], EVENT_SALT);
    ev->hash = event_hash(ev, &l->head);
    l->head = ev->hash;
    GROW(l->staged, l->nstaged, l->cap);
    l->staged[l->nstaged++] = ev;
    return ev;
}

CO int log_contend(struct log *l, enum kind kind, uint32_t labels, struct buf *body, log_fn *fn, void *arg, struct err *e)
{
    struct event *ev = event_new(kind, l->next_seq, clock_wall(), 0, labels, body);
    int r;

    if (getrandom(ev->salt, EVENT_SALT, 0) != EVENT_SALT)
        abort();
    ev->hash = event_hash(ev, &l->head);
    r = store_contend(l->store, l->row.key, ev, e);
    if (r == 0) {
        l->head = ev->hash;
        l->next_seq++;
        r = fn(arg, ev, e);
    }
    event_free(ev);
    return r;
}

/* Events on their way to the disk. */
struct batch {
    struct log *log;
    struct event **evs;
    size_t n;
};

static void answered(void *arg, int result, const struct err *e)
{
    struct batch *b = arg;
    struct log *l = b->log;

    if (result < 0 && !l->failed) {
        l->failed = true;
        l->why = *e;
        err_prefix(&l->why, result, result == -ENOSPC ? "session %s is paused: " : "session %s stopped: ", l->row.id);
    }
    for (size_t i = 0; i < b->n; i++) {
        if (!l->failed && l->durable)
            l->durable(l->durable_arg, b->evs[i]);
        event_free(b->evs[i]);
    }
    free(b->evs);
    free(b);
    l->under_way--;
    gate_open(&l->answered, 0);
}

void log_flush(struct log *l)
{
    struct batch *b;

    if (l->nstaged == 0 || l->failed)
        return;
    b = xcalloc(1, sizeof(*b));
    b->log = l;
    b->n = l->nstaged;
    b->evs = TAKE(l->staged);
    l->nstaged = l->cap = 0;
    l->under_way++;
    store_append(l->store, &l->lease, b->evs, b->n, answered, b);
}

static CO void wait_answered(struct log *l)
{
    fiber_shield();
    while (l->under_way)
        gate_wait(&l->answered, "a commit", FIBER_FOREVER);
    fiber_unshield();
}

CO int log_commit(struct log *l, struct err *e)
{
    log_flush(l);
    wait_answered(l);
    if (!l->failed)
        return 0;
    *e = l->why;
    return -EIO;
}

CO void log_done(struct log *l)
{
    wait_answered(l);
    if (l->lease.epoch)
        store_release(l->store, &l->lease);
    for (size_t i = 0; i < l->nstaged; i++)
        event_free(l->staged[i]);
    free(l->staged);
    session_row_done(&l->row);
    *l = (struct log){0};
}
