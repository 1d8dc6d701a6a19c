/* salvage.c - see salvage.h. The format of the pages is SQLite's: https://www.sqlite.org/fileformat2.html
 *
 *   every page of the file and every frame of the log -> every cell that has the shape of a session, an event or a blob
 *   -> of each session the events that follow from each other, from the first on */
#include "core/salvage.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE_USUAL 4096
#define WAL_HEADER      32
#define FRAME_HEADER    24
#define LEAF_TABLE      0x0d
#define COLUMNS_MAX     9

struct mapped {
    const uint8_t *p;
    size_t n;
};

/* A page that may hold rows. Lower ranks are believed first: the state that a reader of the database would see, then what else
 * lies in the files. */
struct page {
    const uint8_t *p;
    uint32_t number;
    unsigned rank;
};

enum shape { NO_ROW, SESSION_ROW, EVENT_ROW, BLOB_ROW };

struct cell {
    int64_t key;
    const uint8_t *page;
    uint16_t at;                /* of the cell in its page */
    unsigned rank;
};

struct cells {
    struct cell *v;
    size_t n, cap;
};

struct blob_cell {
    struct hash hash;
    struct cell cell;
};

/* A session's verified events: cells and hashes, the first at seq row.parent_seq + 1. */
struct chain {
    struct cell *cells;
    struct hash *hashes;
    size_t n, cells_cap, hashes_cap;
};

struct salvage {
    struct mapped db, wal;
    uint32_t page_size, usable;
    const uint8_t **latest;     /* by page number: what a reader would see */
    uint32_t npages;
    struct cells events;
    struct blob_cell *blobs;
    size_t nblobs, blobs_cap;
    struct salvaged *sessions;
    struct chain *chains;
    size_t nsessions, sessions_cap;
};

static uint32_t be32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return be32toh(v);
}

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* A variable-length integer of up to nine bytes. Returns its length, 0 when it does not end before `end`. */
static size_t varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    uint64_t v = 0;

    for (size_t i = 0; i < 9 && p + i < end; i++) {
        if (i == 8) {
            *ret = v << 8 | p[i];
            return 9;
        }
        v = v << 7 | (p[i] & 0x7f);
        if (!(p[i] & 0x80)) {
            *ret = v;
            return i + 1;
        }
    }
    return 0;
}

/* Rows. */

struct value {
    uint64_t type;
    size_t at, n;               /* in the payload */
};

static size_t size_of_type(uint64_t type)
{
    static const uint8_t fixed[] = { 0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0 };

    return type < 12 ? fixed[type] : (size_t)((type - 12) / 2);
}

static bool is_blob(const struct value *v, size_t n)
{
    return v->type >= 12 && v->type % 2 == 0 && v->n == n;
}

static bool is_text(const struct value *v)
{
    return v->type >= 13 && v->type % 2 == 1;
}

static bool is_number(const struct value *v)
{
    return v->type >= 1 && v->type <= 9 && v->type != 7;
}

static int64_t number(const struct value *v, const uint8_t *payload)
{
    const uint8_t *p = payload + v->at;
    int64_t x = v->n && (p[0] & 0x80) ? -1 : 0;

    if (v->type == 8 || v->type == 9)
        return (int64_t)v->type - 8;
    for (size_t i = 0; i < v->n; i++)
        x = (int64_t)((uint64_t)x << 8 | p[i]);
    return x;
}

/* The types and places of a row's columns. `n` bytes of the payload are there; the values may lie behind. Returns how many
 * columns, 0 when it is no row. */
static size_t columns(const uint8_t *payload, size_t n, struct value *v)
{
    uint64_t head, type;
    size_t at = varint(payload, payload + n, &head), len, body, count = 0;

    if (at == 0 || head > n || head < 2)
        return 0;
    for (body = (size_t)head; at < head; at += len) {
        len = varint(payload + at, payload + head, &type);
        if (len == 0 || count == COLUMNS_MAX || type == 10 || type == 11 || size_of_type(type) > SIZE_MAX / 4)
            return 0;
        v[count++] = (struct value){ type, body, size_of_type(type) };
        body += size_of_type(type);
    }
    return count;
}

static enum shape shape_of(const struct value *v, size_t n)
{
    if (n == 6 && v[0].type == 0 && is_text(&v[1]) && v[1].n < SESSION_ID_MAX && is_number(&v[2]) && is_text(&v[3]) &&
        is_number(&v[4]) && is_number(&v[5]))
        return SESSION_ROW;
    if (n == 9 && v[0].type == 0 && is_number(&v[1]) && is_number(&v[2]) && is_number(&v[3]) && is_number(&v[4]) &&
        (v[5].type == 0 || is_blob(&v[5], EVENT_SALT)) && (v[6].type == 0 || is_text(&v[6])) &&
        (v[7].type == 0 || is_blob(&v[7], HASH_SIZE)) && is_blob(&v[8], HASH_SIZE))
        return EVENT_ROW;
    if (n == 2 && is_blob(&v[0], HASH_SIZE) && v[1].type >= 12)
        return BLOB_ROW;
    return NO_ROW;
}

/* A cell's payload, gathered from its overflow pages. False when it leads nowhere. */
static bool payload(const struct salvage *s, const struct cell *c, struct buf *out)
{
    const uint8_t *p = c->page + c->at, *end = c->page + s->usable;
    uint64_t size, key;
    size_t len = varint(p, end, &size), local, most = s->usable - 35, least = (s->usable - 12) * 32 / 255 - 23;
    uint32_t next;

    p += len;
    if (len == 0 || (len = varint(p, end, &key)) == 0 || size > 2 * EVENT_BODY_MAX)
        return false;
    p += len;
    local = size;
    if (size > most) {
        local = least + (size - least) % (s->usable - 4);
        if (local > most)
            local = least;
    }
    if (local > (size_t)(end - p) || (local < size && local + 4 > (size_t)(end - p)))
        return false;
    buf_clear(out);
    buf_add(out, p, local);
    for (next = local < size ? be32(p + local) : 0; out->n < size;) {
        size_t part = MIN((size_t)size - out->n, (size_t)s->usable - 4);
        const uint8_t *page = next && next <= s->npages ? s->latest[next] : NULL;

        if (!page)
            return false;
        buf_add(out, page + 4, part);
        next = be32(page);
    }
    return true;
}

static bool is_id(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(p[i] >= '0' && p[i] <= '9') && !(p[i] >= 'a' && p[i] <= 'z'))
            return false;
    return n > 0;
}

static void add_session(struct salvage *s, int64_t key, const struct buf *row, const struct value *v)
{
    const uint8_t *p = (const uint8_t *)row->p;
    struct salvaged *found;

    for (size_t i = 0; i < s->nsessions; i++)
        if (s->sessions[i].row.key == key)
            return;
    if (key <= 0 || v[3].at + v[3].n > row->n || v[5].at + v[5].n > row->n || !is_id(p + v[1].at, v[1].n))
        return;
    GROW(s->sessions, s->nsessions, s->sessions_cap);
    found = &s->sessions[s->nsessions++];
    *found = (struct salvaged){ .row = { .key = key, .created = number(&v[2], p), .parent = number(&v[4], p),
                                         .parent_seq = (uint64_t)number(&v[5], p) } };
    memcpy(found->row.id, p + v[1].at, v[1].n);
    found->row.cwd = xstrndup((const char *)p + v[3].at, v[3].n);
}

static void add_cell(struct salvage *s, const struct page *page, uint16_t at)
{
    struct cell c = { .page = page->p, .at = at, .rank = page->rank };
    const uint8_t *p = page->p + at, *end = page->p + s->usable;
    cleanup(buf_done) struct buf row = { .max = 2 * EVENT_BODY_MAX };
    struct value v[COLUMNS_MAX];
    uint64_t size, key;
    size_t a = varint(p, end, &size), b = a ? varint(p + a, end, &key) : 0;

    if (b == 0)
        return;
    c.key = (int64_t)key;
    /* What a row is shows in its beginning, which always lies in the cell. */
    switch (shape_of(v, columns(p + a + b, (size_t)(end - p) - a - b, v))) {
    case SESSION_ROW:
        if (payload(s, &c, &row))
            add_session(s, c.key, &row, v);
        break;
    case EVENT_ROW:
        GROW(s->events.v, s->events.n, s->events.cap);
        s->events.v[s->events.n++] = c;
        break;
    case BLOB_ROW:
        if (v[0].at + HASH_SIZE > (size_t)(end - p) - a - b)
            break;
        GROW(s->blobs, s->nblobs, s->blobs_cap);
        s->blobs[s->nblobs].cell = c;
        memcpy(s->blobs[s->nblobs++].hash.b, p + a + b + v[0].at, HASH_SIZE);
        break;
    case NO_ROW:
        break;
    }
}

static void scan_page(struct salvage *s, const struct page *page)
{
    const uint8_t *head = page->p + (page->number == 1 ? 100 : 0);
    size_t ncells = be16(head + 3);

    if (head[0] != LEAF_TABLE || (size_t)(head - page->p) + 8 + 2 * ncells > s->usable)
        return;
    for (size_t i = 0; i < ncells; i++) {
        uint16_t at = be16(head + 8 + 2 * i);

        if (at >= 8 && at + 4u < s->usable)
            add_cell(s, page, at);
    }
}

/* The files. */

static int map_file(const char *path, struct mapped *ret)
{
    cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *p;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return 0;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret = (struct mapped){ p, (size_t)st.st_size };
    return 0;
}

static void unmap_file(const struct mapped *m)
{
    if (m->p)
        munmap((void *)m->p, m->n);
}

static bool sane_page_size(uint32_t n)
{
    return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

/* From the header of either file; the usual one when both are damaged. */
static void find_page_size(struct salvage *s)
{
    uint32_t n = s->db.n >= 100 ? be16(s->db.p + 16) : 0, reserved = 0;

    if (n == 1)
        n = 65536;
    if (sane_page_size(n) && memcmp(s->db.p, "SQLite format 3", 16) == 0)
        reserved = s->db.p[20];
    else
        n = s->wal.n >= WAL_HEADER ? be32(s->wal.p + 8) : 0;
    if (!sane_page_size(n))
        n = PAGE_SIZE_USUAL;
    s->page_size = n;
    s->usable = n - reserved;
}

/* The log's own checksum, over 8 bytes at a time, in the byte order that its magic number names. */
static void checksum(const uint8_t *p, size_t n, bool big, uint32_t sum[2])
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint32_t a, b;

        memcpy(&a, p + i, 4);
        memcpy(&b, p + i + 4, 4);
        sum[0] += (big ? be32toh(a) : le32toh(a)) + sum[1];
        sum[1] += (big ? be32toh(b) : le32toh(b)) + sum[0];
    }
}

/* How many frames of the log a reader would see: those up to the last commit before the first that does not check. */
static size_t committed_frames(const struct salvage *s)
{
    size_t size = FRAME_HEADER + s->page_size, good = 0;
    const uint8_t *h = s->wal.p;
    uint32_t sum[2] = {0};
    bool big;

    if (s->wal.n < WAL_HEADER || (be32(h) & ~1u) != 0x377f0682)
        return 0;
    big = be32(h) & 1;
    checksum(h, 24, big, sum);
    for (size_t i = 0; WAL_HEADER + (i + 1) * size <= s->wal.n; i++) {
        const uint8_t *f = h + WAL_HEADER + i * size;

        checksum(f, 8, big, sum);
        checksum(f + FRAME_HEADER, s->page_size, big, sum);
        if (memcmp(f + 8, h + 16, 8) != 0 || be32(f + 16) != sum[0] || be32(f + 20) != sum[1])
            break;
        if (be32(f + 4))
            good = i + 1;
    }
    return good;
}

static void add_page(struct page **pages, size_t *n, size_t *cap, const uint8_t *p, uint32_t page_number, unsigned rank)
{
    GROW(*pages, *n, *cap);
    (*pages)[(*n)++] = (struct page){ p, page_number, rank };
}

/* Lists every page that there is, and for each number the one that a reader would see. */
static void find_pages(struct salvage *s, struct page **pages, size_t *n)
{
    size_t size = FRAME_HEADER + s->page_size, frames = s->wal.n > WAL_HEADER ? (s->wal.n - WAL_HEADER) / size : 0, cap = 0;
    size_t good = committed_frames(s), limit = s->db.n / s->page_size + frames;

    s->npages = (uint32_t)(s->db.n / s->page_size);
    for (size_t i = 0; i < frames; i++) {
        uint32_t at = be32(s->wal.p + WAL_HEADER + i * size);

        if (at > s->npages && at <= limit)
            s->npages = at;
    }
    s->latest = xcalloc((size_t)s->npages + 1, sizeof(*s->latest));
    for (uint32_t i = 1; i <= s->db.n / s->page_size; i++)
        s->latest[i] = s->db.p + (size_t)(i - 1) * s->page_size;
    for (size_t i = 0; i < frames; i++) {
        const uint8_t *f = s->wal.p + WAL_HEADER + i * size;
        uint32_t at = be32(f);

        if (at && at <= s->npages && (i < good || !s->latest[at]))
            s->latest[at] = f + FRAME_HEADER;
        add_page(pages, n, &cap, f + FRAME_HEADER, at, 1);
    }
    for (uint32_t i = 1; i <= s->npages; i++)
        if (s->latest[i])
            add_page(pages, n, &cap, s->latest[i], i, 0);
    for (uint32_t i = 1; i <= s->db.n / s->page_size; i++)
        if (s->latest[i] != s->db.p + (size_t)(i - 1) * s->page_size)
            add_page(pages, n, &cap, s->db.p + (size_t)(i - 1) * s->page_size, i, 1);
}

/* The chains. */

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

        if (!payload(s, &first->cell, &row) || columns((const uint8_t *)row.p, row.n, v) != 2 || v[1].at + v[1].n > row.n)
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

    if (!payload(s, c, &row))
        return NULL;
    p = (const uint8_t *)row.p;
    if (shape_of(v, columns(p, row.n, v)) != EVENT_ROW || v[8].at + v[8].n > row.n || !kind_known((int)number(&v[2], p)))
        return NULL;
    if (v[7].type) {
        memcpy(blob.b, p + v[7].at, HASH_SIZE);
        if (!find_blob(s, &blob, &body))
            return NULL;
    } else if (v[6].type) {
        buf_add(&body, p + v[6].at, v[6].n);
    }
    ev = event_new((enum kind)number(&v[2], p), (uint64_t)c->key & UINT32_MAX, number(&v[1], p), (uint64_t)number(&v[3], p),
                   (uint32_t)number(&v[4], p), &body);
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
    int r = map_file(db, &s->db);

    if (r < 0) {
        free(s);
        return err_set(e, r, "%s cannot be read: %s", db, strerror(-r));
    }
    map_file(wal, &s->wal);             /* it may be missing */
    find_page_size(s);
    find_pages(s, &pages, &n);
    for (unsigned rank = 0; rank <= 1; rank++)
        for (size_t i = 0; i < n; i++)
            if (pages[i].rank == rank)
                scan_page(s, &pages[i]);
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
    unmap_file(&s->db);
    unmap_file(&s->wal);
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
