/* buf.h - owned bytes that grow, up to a maximum, and always end in a zero byte.
 *
 * A buf that hit its maximum keeps what it had and answers -E2BIG from then on, so a chain of additions may be
 * checked once, at its end, with buf_err(). */
#pragma once

#include "base/str.h"

struct buf {
    char *p;
    size_t n, cap;
    size_t max;             /* bytes; 0 stands for BUF_MAX_DEFAULT */
    int err;
};

#define BUF_MAX_DEFAULT ((size_t)64 << 20)
#define BUF_MAX(bytes)  ((struct buf){ .max = (bytes) })

int buf_add(struct buf *b, const void *p, size_t n);
int buf_adds(struct buf *b, const char *s);
int buf_addc(struct buf *b, char c);
int buf_add_str(struct buf *b, struct str s);
int buf_addf(struct buf *b, const char *fmt, ...) printf_fmt(2, 3);

/* Room for n more bytes, or NULL above the maximum; the caller then adds to b->n what it wrote. */
char *buf_room(struct buf *b, size_t n);

/* Drops n bytes from the front. */
void buf_skip(struct buf *b, size_t n);
void buf_clear(struct buf *b);
void buf_done(struct buf *b);

/* Hands the bytes over to the caller, who frees them; never NULL. */
char *buf_take(struct buf *b);

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){ b->p ? b->p : "", b->n };
}

static inline int buf_err(const struct buf *b)
{
    return b->err;
}
