/* literals.h - looking for one of a few pieces of text, many places at a time. */
#pragma once

#include "base/str.h"

#include <stdint.h>

#define LITERALS_MAX 8
#define NIBBLES      3                  /* first bytes that are looked at when there are several */

/* Places are told by two of its bytes, the rarest. */
struct literal {
    char *p;
    size_t n;
    size_t a, b;                        /* offsets of the two */
    bool fold;                          /* ASCII letters of either case */
};

struct literals {
    struct literal v[LITERALS_MAX];
    size_t n;
    /* For several at once: of the first bytes of a place, each half says which literals it may begin, a bit for each. */
    uint8_t low[NIBBLES][16], high[NIBBLES][16];
};

/* At most LITERALS_MAX, none empty. */
void literals_add(struct literals *all, struct str text, bool fold);
void literals_done(struct literals *all);

/* Offset of the first place at or after `from` where one of them is, and its length; -1 when there is none. */
ssize_t literals_find(const struct literals *all, struct str s, size_t from, size_t *ret_n);

/* How rare the rarest byte of a text is in source code; for comparison. */
unsigned literal_rarity(struct str s);
