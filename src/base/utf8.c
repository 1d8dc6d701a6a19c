#include "base/utf8.h"

#include <stdint.h>

size_t utf8_seq(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char lo = 0x80, hi = 0xbf;
    size_t len;

    if (n == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    if (p[0] == 0xe0)
        lo = 0xa0;              /* shorter forms exist */
    else if (p[0] == 0xed)
        hi = 0x9f;              /* surrogates */
    else if (p[0] == 0xf0)
        lo = 0x90;
    else if (p[0] == 0xf4)
        hi = 0x8f;              /* above U+10FFFF */
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return len;
}

/* Bytes from `at` on that are ASCII, as far as whole words of eight tell. */
static size_t ascii_run(struct str s, size_t at)
{
    size_t i = at;
    uint64_t word;

    for (; i + sizeof(word) <= s.n; i += sizeof(word)) {
        memcpy(&word, s.p + i, sizeof(word));
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    return i - at;
}

bool utf8_ascii(struct str s)
{
    for (size_t i = ascii_run(s, 0); i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

/* How many bytes from `at` on are well-formed. */
static size_t valid_run(struct str s, size_t at)
{
    size_t i = at;

    while (i < s.n) {
        size_t len;

        i += ascii_run(s, i);
        if (i == s.n)
            break;
        len = (unsigned char)s.p[i] < 0x80 ? 1 : utf8_seq(s.p + i, s.n - i);
        if (!len)
            break;
        i += len;
    }
    return i - at;
}

bool utf8_valid(struct str s)
{
    return valid_run(s, 0) == s.n;
}

int utf8_add_clean(struct buf *b, struct str s)
{
    size_t at = 0;

    while (at < s.n) {
        size_t run = valid_run(s, at);

        buf_add(b, s.p + at, run);
        at += run;
        if (at < s.n) {
            buf_adds(b, "\xef\xbf\xbd");
            at++;
        }
    }
    return buf_err(b);
}

static bool harmless(const char *p, size_t len)
{
    const unsigned char *c = (const unsigned char *)p;

    switch (len) {
    case 1:
        return (c[0] >= 0x20 && c[0] != 0x7f) || c[0] == '\n' || c[0] == '\t';
    case 2:
        return !(c[0] == 0xc2 && c[1] < 0xa0);                                     /* C1 */
    case 3:                                                                         /* U+202A-202E, U+2066-2069 */
        return !(c[0] == 0xe2 && ((c[1] == 0x80 && c[2] >= 0xaa && c[2] <= 0xae) ||
                                  (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9)));
    default:
        return !(c[0] == 0xf3 && c[1] == 0xa0 && (c[2] == 0x80 || c[2] == 0x81));   /* U+E0000-E007F */
    }
}

int utf8_add_printable(struct buf *b, struct str s)
{
    for (size_t at = 0; at < s.n;) {
        size_t len = utf8_seq(s.p + at, s.n - at);

        if (!len)
            buf_adds(b, "\xef\xbf\xbd");
        else if (harmless(s.p + at, len))
            buf_add(b, s.p + at, len);
        else
            buf_addc(b, '.');
        at += len ? len : 1;
    }
    return buf_err(b);
}

size_t utf8_align(struct str s, size_t at)
{
    for (int i = 0; i < 3 && at < s.n && ((unsigned char)s.p[at] & 0xc0) == 0x80; i++)
        at++;
    return MIN(at, s.n);
}

size_t utf8_cut(struct str s, size_t n)
{
    if (n >= s.n)
        return s.n;
    for (int i = 0; i < 3 && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80; i++)
        n--;
    return n;
}
