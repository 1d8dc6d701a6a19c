#include "base/hash.h"

struct hash hash_bytes(struct str s)
{
    struct hashing h;

    hashing_init(&h);
    hashing_add(&h, s.p, s.n);
    return hashing_end(&h);
}

char *hash_hex(const struct hash *h, char out[HASH_HEX])
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < HASH_SIZE; i++) {
        out[2 * i] = digit[h->b[i] >> 4];
        out[2 * i + 1] = digit[h->b[i] & 15];
    }
    out[2 * HASH_SIZE] = 0;
    return out;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hash_from_hex(struct str hex, struct hash *ret)
{
    if (hex.n != 2 * HASH_SIZE)
        return false;
    for (size_t i = 0; i < HASH_SIZE; i++) {
        int hi = nibble(hex.p[2 * i]), lo = nibble(hex.p[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        ret->b[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}
