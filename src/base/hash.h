/* hash.h - SHA-256 (FIPS 180-4), from libmd: libcrypto would cost half a millisecond of every start. */
#pragma once

#include "base/str.h"

#include <sha2.h>

#define HASH_SIZE 32
#define HASH_HEX  (2 * HASH_SIZE + 1)

struct hash {
    uint8_t b[HASH_SIZE];
};

struct hash hash_bytes(struct str s);

/* Lower-case hexadecimal with a terminating zero. Returns out. */
char *hash_hex(const struct hash *h, char out[HASH_HEX]);
bool hash_from_hex(struct str hex, struct hash *ret);

static inline bool hash_eq(const struct hash *a, const struct hash *b)
{
    return memcmp(a->b, b->b, HASH_SIZE) == 0;
}
