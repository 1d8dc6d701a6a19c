#include "base/ansi.h"

/* Length of the sequence that begins with the escape at p. */
static size_t sequence(const char *p, size_t n)
{
    size_t i = 2;

    if (n < 2)
        return n;
    if (p[1] == '[') {                  /* CSI: parameters, then a final byte */
        while (i < n && (unsigned char)p[i] >= 0x20 && (unsigned char)p[i] < 0x40)
            i++;
        return MIN(i + 1, n);
    }
    if (strchr("]PX^_", p[1])) {        /* a string, ended by BEL or ESC \ */
        while (i < n && p[i] != '\a' && p[i] != '\n' && !(p[i] == '\x1b' && i + 1 < n && p[i + 1] == '\\'))
            i++;
        return i == n || p[i] == '\n' ? i : i + (p[i] == '\a' ? 1 : 2);
    }
    while (i - 1 < n && (unsigned char)p[i - 1] >= 0x20 && (unsigned char)p[i - 1] < 0x30)     /* charsets and the like */
        i++;
    return MIN(i, n);
}

static void take_back(struct buf *out, size_t line)
{
    while (out->n > line && ((unsigned char)out->p[out->n - 1] & 0xc0) == 0x80)
        out->n--;
    if (out->n > line)
        out->n--;
}

void ansi_add_text(struct buf *out, struct str s)
{
    size_t line = out->n;               /* where the current line begins */

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '\x1b') {
            i += sequence(s.p + i, s.n - i) - 1;
        } else if (c == '\b') {
            take_back(out, line);
        } else if (c == '\r' && i + 1 < s.n && s.p[i + 1] != '\n' && s.p[i + 1] != '\r') {
            out->n = line;
        } else if (c == '\r' && (i + 1 == s.n || s.p[i + 1] == '\r')) {
            continue;
        } else {
            buf_addc(out, c);
            if (c == '\n')
                line = out->n;
        }
    }
}
