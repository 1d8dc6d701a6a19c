/* util.h - the handful of macros and allocators that every file uses.
 *
 * Small allocations end the process when memory is gone: nothing sensible is left to do with 64 bytes missing.
 * Whatever the outside decides the size of goes through struct buf, which has a maximum and returns -E2BIG. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define cleanup(fn)   __attribute__((cleanup(fn)))
#define printf_fmt(a, b) __attribute__((format(printf, a, b)))

/* Marks a function that may park the calling fiber; its callers carry the mark too. */
#define CO

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ({ __typeof__(a) min_a = (a); __typeof__(b) min_b = (b); min_a < min_b ? min_a : min_b; })
#define MAX(a, b)     ({ __typeof__(a) max_a = (a); __typeof__(b) max_b = (b); max_a > max_b ? max_a : max_b; })

/* Moves ownership out of a variable with a cleanup attribute. */
#define TAKE(p)       ({ __typeof__(p) take_p = (p); (p) = NULL; take_p; })

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) printf_fmt(1, 2);

/* Makes room for one more element in a growing array whose capacity is kept beside it. */
#define GROW(array, n, cap)                                                               \
    do {                                                                                  \
        if ((n) == (cap)) {                                                               \
            (cap) = (cap) ? (cap) * 2 : 8;                                                \
            (array) = xrealloc((array), (cap) * sizeof(*(array)));                        \
        }                                                                                 \
    } while (0)

/* Four bytes, the highest first. */
static inline uint32_t be32(const void *p)
{
    const unsigned char *u = p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static inline void freep(void *p)
{
    free(*(void **)p);
}

void closep(int *fd);

/* Moves a descriptor out of a variable with cleanup(closep). */
#define TAKE_FD(fd) ({ int take_fd = (fd); (fd) = -1; take_fd; })
