/* salvage_pages.c - a database and its log, page by page, without SQLite: which pages there are, and the cells in them that look
 * like rows of ours. The format is SQLite's: https://www.sqlite.org/fileformat2.html */
#include "core/salvage_impl.h"

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

int64_t row_number(const struct value *v, const uint8_t *payload)
{
    const uint8_t *p = payload + v->at;
    int64_t x = v->n && (p[0] & 0x80) ? -1 : 0;

    if (v->type == 8 || v->type == 9)
        return (int64_t)v->type - 8;
    for (size_t i = 0; i < v->n; i++)
        x = (int64_t)((uint64_t)x << 8 | p[i]);
    return x;
}

size_t row_columns(const uint8_t *payload, size_t n, struct value *v)
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

enum shape row_shape(const struct value *v, size_t n)
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

bool row_payload(const struct salvage *s, const struct cell *c, struct buf *out)
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
    *found = (struct salvaged){ .row = { .key = key, .created = row_number(&v[2], p), .parent = row_number(&v[4], p),
                                         .parent_seq = (uint64_t)row_number(&v[5], p) } };
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
    switch (row_shape(v, row_columns(p + a + b, (size_t)(end - p) - a - b, v))) {
    case SESSION_ROW:
        if (row_payload(s, &c, &row))
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

void page_scan(struct salvage *s, const struct page *page)
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

int pages_map(const char *path, struct mapped *ret)
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

void pages_unmap(const struct mapped *m)
{
    if (m->p)
        munmap((void *)m->p, m->n);
}

static bool sane_page_size(uint32_t n)
{
    return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

void pages_size(struct salvage *s)
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

void pages_list(struct salvage *s, struct page **pages, size_t *n)
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
