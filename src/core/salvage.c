/* salvage.c - see salvage.h.
 *
 *   every page of the file and every frame of the log -> every cell that has the shape of a session, an event or a blob
 *   -> of each session the events that follow from each other, from the first on */
#include "core/salvage_impl.h"

#include <stdio.h>

static int by_key(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static int by_session(const void *a, const void *b)
{
    const struct salvaged *x = a, *y = b;

    return x->row.key < y->row.key ? -1 : x->row.key > y->row.key;
}

static int by_hash(const void *a, const void *b)
{
    return memcmp(((const struct blob_cell *)a)->hash.b, ((const struct blob_cell *)b)->hash.b, HASH_SIZE);
}

static bool find_blob(const struct salvage *s, const struct hash *hash, struct buf *out)
{
    struct blob_cell want = { .hash = *hash };
    const struct blob_cell *first = s->nblobs ? bsearch(&want, s->blobs, s->nblobs, sizeof(want), by_hash) : NULL;

    if (!first)
        return false;
    while (first > s->blobs && by_hash(first - 1, &want) == 0)
        first--;
    for (; first < s->blobs + s->nblobs && by_hash(first, &want) == 0; first++) {
        cleanup(buf_done) struct buf row = { .max = 2 * EVENT_BODY_MAX };
        struct value v[COLUMNS_MAX];
        struct hash h;

        if (!row_payload(s, &first->cell, &row) || row_columns((const uint8_t *)row.p, row.n, v) != 2 || v[1].at + v[1].n > row.n)
            continue;
        h = hash_bytes((struct str){ row.p + v[1].at, v[1].n });
        if (!hash_eq(&h, hash))
            continue;
        buf_add(out, row.p + v[1].at, v[1].n);
        return true;
    }
    return false;
}

/* The event of a cell as it was written, or NULL. Its hash is not checked yet. */
static struct event *read_event(const struct salvage *s, const struct cell *c)
{
    cleanup(buf_done) struct buf row = { .max = 2 * EVENT_BODY_MAX }, body = { .max = SIZE_MAX / 4 };
    const uint8_t *p;
    struct value v[COLUMNS_MAX];
    struct event *ev;
    struct hash blob;

    if (!row_payload(s, c, &row))
        return NULL;
    p = (const uint8_t *)row.p;
    if (row_shape(v, row_columns(p, row.n, v)) != EVENT_ROW || v[8].at + v[8].n > row.n || !kind_known((int)row_number(&v[2], p)))
        return NULL;
    if (v[7].type) {
        memcpy(blob.b, p + v[7].at, HASH_SIZE);
        if (!find_blob(s, &blob, &body))
            return NULL;
    } else if (v[6].type) {
        buf_add(&body, p + v[6].at, v[6].n);
    }
    ev = event_new((enum kind)row_number(&v[2], p), (uint64_t)c->key & UINT32_MAX, row_number(&v[1], p),
                   (uint64_t)row_number(&v[3], p), (uint32_t)row_number(&v[4], p), &body);
    ev->erased = !v[6].type && !v[7].type;
    if (v[5].n == EVENT_SALT)
        memcpy(ev->salt, p + v[5].at, EVENT_SALT);
    memcpy(ev->hash.b, p + v[8].at, HASH_SIZE);
    return ev;
}

static bool follows(const struct event *ev, const struct hash *previous)
{
    struct hash h = event_hash(ev, previous);

    return ev->erased || hash_eq(&h, &ev->hash);
}

static size_t lower_bound(const struct cells *c, int64_t key)
{
    size_t lo = 0, hi = c->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (c->v[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static ssize_t find_session(const struct salvage *s, int64_t key)
{
    for (size_t i = 0; i < s->nsessions; i++)
        if (s->sessions[i].row.key == key)
            return (ssize_t)i;
    return -1;
}

/* The hash of the event that a session's own first one follows. False when the parent does not reach that far. */
static bool hash_before(const struct salvage *s, const struct session_row *row, struct hash *ret)
{
    int64_t key = row->parent;
    uint64_t seq = row->parent_seq;

    *ret = (struct hash){0};
    while (seq) {
        ssize_t i = find_session(s, key);

        if (i < 0)
            return false;
        if (seq > s->sessions[i].row.parent_seq) {
            uint64_t at = seq - s->sessions[i].row.parent_seq - 1;

            if (at >= s->chains[i].n)
                return false;
            *ret = s->chains[i].hashes[at];
            return true;
        }
        key = s->sessions[i].row.parent;
    }
    return true;
}

/* Whether some event at `at` and behind, of that key, follows this hash. */
static bool has_successor(const struct salvage *s, size_t at, int64_t key, const struct hash *hash)
{
    bool found = false;

    while (at < s->events.n && s->events.v[at].key < key)
        at++;
    for (; at < s->events.n && s->events.v[at].key == key && !found; at++) {
        struct event *ev = read_event(s, &s->events.v[at]);

        found = ev && !ev->erased && follows(ev, hash);
        event_free(ev);
    }
    return found;
}

/* Follows a session's events from its first on, among all the cells that claim to be the next. */
static void build_chain(struct salvage *s, size_t index)
{
    struct salvaged *found = &s->sessions[index];
    struct chain *chain = &s->chains[index];
    int64_t first = found->row.key << 32, end = (found->row.key + 1) << 32;
    uint64_t seq = found->row.parent_seq;
    size_t at = lower_bound(&s->events, first + (int64_t)seq + 1), last = lower_bound(&s->events, end);
    struct hash head;

    if (!hash_before(s, &found->row, &head)) {
        found->why = "the session from which it was forked is damaged before that point";
        found->beyond = last - at;
        found->missing = seq;
        return;
    }
    while (at < last) {
        int64_t want = first + (int64_t)seq + 1;
        struct event *ev = NULL;
        size_t i = at;

        for (; i < last && s->events.v[i].key == want && !ev; i++) {
            ev = read_event(s, &s->events.v[i]);
            /* An erased one has no body to check: the next one has to follow it. */
            if (ev && (!follows(ev, &head) || (ev->erased && !has_successor(s, at, want + 1, &ev->hash)))) {
                event_free(ev);
                ev = NULL;
            }
        }
        if (!ev)
            break;
        GROW(chain->cells, chain->n, chain->cells_cap);
        if (chain->n == chain->hashes_cap) {
            chain->hashes_cap = chain->cells_cap;
            chain->hashes = xrealloc(chain->hashes, chain->hashes_cap * sizeof(*chain->hashes));
        }
        chain->cells[chain->n] = s->events.v[i - 1];
        chain->hashes[chain->n++] = head = ev->hash;
        event_free(ev);
        seq++;
        while (at < last && s->events.v[at].key <= want)
            at++;
    }
    found->events = chain->n;
    for (int64_t key = 0; at < last; at++)
        if (s->events.v[at].key != key) {
            key = s->events.v[at].key;
            found->beyond++;
        }
    if (found->beyond) {
        found->missing = seq + 1;
        found->why = "an event is missing or damaged";
    }
}

/* Sessions whose own row is lost show by their events. */
static void add_nameless(struct salvage *s)
{
    int64_t key = 0;

    for (size_t i = 0; i < s->events.n; i++) {
        int64_t of = s->events.v[i].key >> 32;

        if (of == key || of <= 0)
            continue;
        key = of;
        if (find_session(s, key) >= 0)
            continue;
        GROW(s->sessions, s->nsessions, s->sessions_cap);
        s->sessions[s->nsessions++] = (struct salvaged){ .row = { .key = key, .parent = -1, .cwd = xstrdup("") } };
    }
}

int salvage_open(const char *home, struct salvage **ret, struct err *e)
{
    cleanup(freep) char *db = xasprintf("%s/rein.db", home), *wal = xasprintf("%s/rein.db-wal", home);
    struct salvage *s = xcalloc(1, sizeof(*s));
    cleanup(freep) struct page *pages = NULL;
    size_t n = 0;
    int r = pages_map(db, &s->db);

    if (r < 0) {
        free(s);
        return err_set(e, r, "%s cannot be read: %s", db, strerror(-r));
    }
    pages_map(wal, &s->wal);             /* it may be missing */
    pages_size(s);
    pages_list(s, &pages, &n);
    for (unsigned rank = 0; rank <= 1; rank++)
        for (size_t i = 0; i < n; i++)
            if (pages[i].rank == rank)
                page_scan(s, &pages[i]);
    if (s->events.n)
        qsort(s->events.v, s->events.n, sizeof(*s->events.v), by_key);
    if (s->nblobs)
        qsort(s->blobs, s->nblobs, sizeof(*s->blobs), by_hash);
    add_nameless(s);
    if (s->nsessions)
        qsort(s->sessions, s->nsessions, sizeof(*s->sessions), by_session);
    s->chains = xcalloc(s->nsessions, sizeof(*s->chains));
    for (size_t i = 0; i < s->nsessions; i++)
        build_chain(s, i);
    *ret = s;
    return 0;
}

void salvage_free(struct salvage *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nsessions; i++) {
        session_row_done(&s->sessions[i].row);
        free(s->chains[i].cells);
        free(s->chains[i].hashes);
    }
    free(s->sessions);
    free(s->chains);
    free(s->events.v);
    free(s->blobs);
    free(s->latest);
    pages_unmap(&s->db);
    pages_unmap(&s->wal);
    free(s);
}

const struct salvaged *salvage_sessions(const struct salvage *s, size_t *ret_n)
{
    *ret_n = s->nsessions;
    return s->sessions;
}

struct event *salvage_event(const struct salvage *s, size_t session, uint64_t seq)
{
    uint64_t before = s->sessions[session].row.parent_seq;

    return seq > before && seq - before <= s->chains[session].n ? read_event(s, &s->chains[session].cells[seq - before - 1]) : NULL;
}

struct waiting {
    struct gate done;
    int result;
    struct err e;
};

static void on_appended(void *arg, int result, const struct err *e)
{
    struct waiting *w = arg;

    w->result = result;
    w->e = *e;
    gate_open(&w->done, 0);
}

static CO int restore_one(const struct salvage *s, size_t index, struct store *to, struct err *e)
{
    const struct salvaged *found = &s->sessions[index];
    struct session_row row = found->row;
    struct event *evs[64];
    uint64_t seq = row.parent_seq + 1, end = row.parent_seq + found->events;
    struct lease lease;
    int r = store_restore(to, &row, &lease, e);

    while (r == 0 && seq <= end) {
        struct waiting w = {0};
        size_t n = 0;

        while (n < ARRAY_SIZE(evs) && seq <= end)
            evs[n++] = salvage_event(s, index, seq++);
        store_append(to, &lease, evs, n, on_appended, &w);
        fiber_shield();
        gate_wait(&w.done, "the store", FIBER_FOREVER);
        fiber_unshield();
        r = w.result;
        if (r < 0)
            *e = w.e;
        while (n)
            event_free(evs[--n]);
    }
    if (r == 0)
        store_release(to, &lease);
    return r;
}

CO int salvage_restore(const struct salvage *s, struct store *to, struct err *e)
{
    int count = 0;

    for (size_t i = 0; i < s->nsessions; i++) {
        int r = s->sessions[i].events ? restore_one(s, i, to, e) : 0;

        if (r < 0)
            return r;
        count += s->sessions[i].events > 0;
    }
    return count;
}
