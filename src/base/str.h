/* str.h - a borrowed piece of bytes: pointer and length, no terminating zero, no ownership. */
#pragma once

#include "base/util.h"

struct str {
    const char *p;
    size_t n;
};

/* For printf("%.*s", STR(s)). */
#define STR(s)    (int)(s).n, (s).p
#define LIT(text) ((struct str){ text, sizeof(text) - 1 })

static inline struct str str_of(const char *s)
{
    return (struct str){ s, s ? strlen(s) : 0 };
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_is(struct str a, const char *b)
{
    return str_eq(a, str_of(b));
}

static inline struct str str_from(struct str s, size_t at)
{
    if (at >= s.n)
        return (struct str){ s.p ? s.p + s.n : NULL, 0 };
    return (struct str){ s.p + at, s.n - at };
}

static inline struct str str_head(struct str s, size_t n)
{
    return (struct str){ s.p, n < s.n ? n : s.n };
}

/* Without blanks and line ends at its ends. */
static inline struct str str_trim(struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]) && s.p[s.n - 1])
        s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0]) && s.p[0])
        s = str_from(s, 1);
    return s;
}

/* Offset of the first occurrence at or after `from`, or -1. An empty needle is never found. */
static inline ssize_t str_find(struct str s, struct str needle, size_t from)
{
    const char *at;

    if (needle.n == 0 || s.n == 0 || from > s.n)
        return -1;
    at = memmem(s.p + from, s.n - from, needle.p, needle.n);
    return at ? at - s.p : -1;
}

static inline char *str_dup(struct str s)
{
    return xstrndup(s.p, s.n);
}
