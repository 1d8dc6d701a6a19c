/* salvage_impl.h - what salvage_pages.c (the database's file format) and salvage.c (what follows from what) share. */
#pragma once

#include "core/salvage.h"

#define COLUMNS_MAX 9

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

struct value {
    uint64_t type;
    size_t at, n;               /* in the payload */
};

/* 0 for what is none. */
int64_t row_number(const struct value *v, const uint8_t *payload);

/* The types and places of a row's columns. `n` bytes of the payload are there; the values may lie behind. Returns how many
 * columns, 0 when it is no row. */
size_t row_columns(const uint8_t *payload, size_t n, struct value *v);

/* What a row of such columns is. */
enum shape row_shape(const struct value *v, size_t n);

/* A cell's payload, gathered from its overflow pages. False when it leads nowhere. */
bool row_payload(const struct salvage *s, const struct cell *c, struct buf *out);

/* Adds the cells of a page that look like rows of ours. */
void page_scan(struct salvage *s, const struct page *page);

/* Into memory, to be read only. -ENOENT and the like. */
int pages_map(const char *path, struct mapped *ret);

void pages_unmap(const struct mapped *m);

/* From the header of either file; the usual one when both are damaged. */
void pages_size(struct salvage *s);

/* Lists every page that there is, and for each number the one that a reader would see. */
void pages_list(struct salvage *s, struct page **pages, size_t *n);
