/* util.c - allocators that do not return NULL. */
#include "base/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static void *checked(void *p)
{
    if (!p) {
        static const char msg[] = "rein: out of memory\n";

        if (write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0)
            abort();
        abort();
    }
    return p;
}

void *xmalloc(size_t n)
{
    return checked(malloc(n ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return checked(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
    return checked(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
    return checked(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    char *p = xmalloc(n + 1);

    if (n)
        memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        s = NULL;
    va_end(ap);
    return checked(s);
}

void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
