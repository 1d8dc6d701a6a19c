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

static uint32_t decode(const char *p, size_t len)
{
    const unsigned char *c = (const unsigned char *)p;

    switch (len) {
    case 1:
        return c[0];
    case 2:
        return (c[0] & 0x1fU) << 6 | (c[1] & 0x3fU);
    case 3:
        return (c[0] & 0xfU) << 12 | (c[1] & 0x3fU) << 6 | (c[2] & 0x3fU);
    default:
        return (c[0] & 7U) << 18 | (c[1] & 0x3fU) << 12 | (c[2] & 0x3fU) << 6 | (c[3] & 0x3fU);
    }
}

/* What drives a terminal, turns the order of what is seen, or is not seen at all. */
static bool is_hidden(uint32_t c)
{
    static const struct { uint32_t first, last; } ranges[] = {
        { 0x00, 0x08 }, { 0x0b, 0x1f }, { 0x7f, 0x9f },         /* control */
        { 0xad, 0xad }, { 0x34f, 0x34f }, { 0x61c, 0x61c }, { 0x115f, 0x1160 }, { 0x17b4, 0x17b5 }, { 0x180b, 0x180f },
        { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0x3164, 0x3164 }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff },
        { 0xffa0, 0xffa0 }, { 0xfff0, 0xfffb }, { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
    };

    if (c >= 0x20 && c < 0x7f)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

static bool is_picture(uint32_t c)
{
    return c >= 0x1f000 || (c >= 0x2190 && c < 0x2c00);
}

/* Pictures are put together with what is hidden elsewhere: one selector of a form behind one, a joiner between two. */
static bool is_part_of_picture(uint32_t before, uint32_t c, uint32_t behind)
{
    if (c == 0xfe0e || c == 0xfe0f)
        return is_picture(before) || (before >= '0' && before <= '9') || before == '#' || before == '*';
    return c == 0x200d && (is_picture(before) || before == 0xfe0f) && is_picture(behind);
}

int utf8_add_printable(struct buf *b, struct str s)
{
    uint32_t before = 0;

    for (size_t at = 0; at < s.n;) {
        size_t len = utf8_seq(s.p + at, s.n - at), next = len ? utf8_seq(s.p + at + len, s.n - at - len) : 0;
        uint32_t c = len ? decode(s.p + at, len) : 0;

        if (!len)
            buf_adds(b, "\xef\xbf\xbd");
        else if (!is_hidden(c) || is_part_of_picture(before, c, next ? decode(s.p + at + len, next) : 0))
            buf_add(b, s.p + at, len);
        else
            buf_addc(b, '.');
        before = c;
        at += len ? len : 1;
    }
    return buf_err(b);
}

int utf8_add_escaped(struct buf *b, struct str s)
{
    for (size_t at = 0; at < s.n;) {
        size_t len = utf8_seq(s.p + at, s.n - at);
        uint32_t c = len ? decode(s.p + at, len) : (unsigned char)s.p[at];

        if (!len)
            buf_addf(b, "\\x%02x", c);
        else if (is_hidden(c))
            buf_addf(b, "\\u{%x}", c);
        else
            buf_add(b, s.p + at, len);
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
