#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

char *buf_room(struct buf *b, size_t n)
{
    size_t max = b->max ? b->max : BUF_MAX_DEFAULT;

    if (b->err)
        return NULL;
    if (n > max || b->n > max - n) {
        b->err = -E2BIG;
        return NULL;
    }
    if (b->n + n + 1 > b->cap) {
        size_t cap = MAX(b->cap * 2, b->n + n + 1);

        cap = MAX(MIN(cap, max + 1), MIN(max + 1, (size_t)256));
        b->p = xrealloc(b->p, cap);
        b->cap = cap;
    }
    b->p[b->n] = 0;
    return b->p + b->n;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
    char *to = buf_room(b, n);

    if (!to)
        return b->err;
    if (n)
        memcpy(to, p, n);
    b->n += n;
    b->p[b->n] = 0;
    return 0;
}

int buf_adds(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_addc(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_add_str(struct buf *b, struct str s)
{
    return buf_add(b, s.p, s.n);
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    cleanup(freep) char *s = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        s = NULL;
        return b->err = -ENOMEM;
    }
    return buf_add(b, s, (size_t)n);
}

void buf_skip(struct buf *b, size_t n)
{
    assert(n <= b->n);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = 0;
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->err = 0;
    if (b->p)
        b->p[0] = 0;
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){ .max = b->max };
}

char *buf_take(struct buf *b)
{
    char *p = b->p ? b->p : xstrdup("");

    *b = (struct buf){ .max = b->max };
    return p;
}
