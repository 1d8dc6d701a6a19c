#include "base/literals.h"

#include <ctype.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* How common a byte is in source text: 0 for the rarest. */
static unsigned commonness(unsigned char c)
{
    static const char order[] = "zqjxZQJXKYVGWUHMFBO&@%!?$^~`+#9876|5D43>[]{}<PALNR2kCSI:TvEw"
                                "1'\\y*0=bg\";hmfpu,d/()l.csnr_oia-te\t\n ";
    const char *at = c ? strchr(order, c) : NULL;

    return at ? (unsigned)(at - order) + 1 : 0;
}

unsigned literal_rarity(struct str s)
{
    unsigned best = UINT32_MAX;

    for (size_t i = 0; i < s.n; i++)
        best = MIN(best, commonness((unsigned char)s.p[i]));
    return UINT32_MAX - best;
}

static void literal_init(struct literal *l, struct str text, bool fold)
{
    unsigned best = UINT32_MAX;

    *l = (struct literal){ .p = str_dup(text), .n = text.n, .fold = fold };
    for (size_t i = 0; i < l->n; i++) {
        unsigned c = commonness((unsigned char)l->p[i]);

        if (c < best) {
            best = c;
            l->a = i;
        }
    }
    best = UINT32_MAX;
    for (size_t i = 0; i < l->n; i++) {
        unsigned c = commonness((unsigned char)l->p[i]);

        if (i != l->a && c < best) {
            best = c;
            l->b = i;
        }
    }
}

static bool literal_here(const struct literal *l, const char *p)
{
    if (!l->fold)
        return memcmp(p, l->p, l->n) == 0;
    for (size_t i = 0; i < l->n; i++)
        if (tolower((unsigned char)p[i]) != tolower((unsigned char)l->p[i]))
            return false;
    return true;
}

#if defined(__x86_64__)
/* What makes a letter small, so that its two cases are equal. */
static char fold_bit(const struct literal *l, size_t at)
{
    return l->fold && isalpha((unsigned char)l->p[at]) ? 0x20 : 0;
}

/* Looks 32 places at once whether both bytes are there. */
__attribute__((target("avx2"))) static ssize_t find_by_32(const struct literal *l, struct str s, size_t *at)
{
    const __m256i bit_a = _mm256_set1_epi8(fold_bit(l, l->a)), bit_b = _mm256_set1_epi8(fold_bit(l, l->b));
    const __m256i want_a = _mm256_or_si256(_mm256_set1_epi8(l->p[l->a]), bit_a),
        want_b = _mm256_or_si256(_mm256_set1_epi8(l->p[l->b]), bit_b);

    for (; *at + l->n + 31 <= s.n; *at += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(s.p + *at + l->a));
        __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(s.p + *at + l->b));
        unsigned hits;

        x = _mm256_cmpeq_epi8(_mm256_or_si256(x, bit_a), want_a);
        y = _mm256_cmpeq_epi8(_mm256_or_si256(y, bit_b), want_b);
        for (hits = (unsigned)_mm256_movemask_epi8(_mm256_and_si256(x, y)); hits; hits &= hits - 1)
            if (literal_here(l, s.p + *at + __builtin_ctz(hits)))
                return (ssize_t)(*at + (size_t)__builtin_ctz(hits));
    }
    return -1;
}

/* The same for processors without AVX2. */
static ssize_t find_by_16(const struct literal *l, struct str s, size_t *at)
{
    const __m128i bit_a = _mm_set1_epi8(fold_bit(l, l->a)), bit_b = _mm_set1_epi8(fold_bit(l, l->b));
    const __m128i want_a = _mm_or_si128(_mm_set1_epi8(l->p[l->a]), bit_a), want_b = _mm_or_si128(_mm_set1_epi8(l->p[l->b]), bit_b);

    for (; *at + l->n + 15 <= s.n; *at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(s.p + *at + l->a));
        __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(s.p + *at + l->b));
        unsigned hits;

        x = _mm_cmpeq_epi8(_mm_or_si128(x, bit_a), want_a);
        y = _mm_cmpeq_epi8(_mm_or_si128(y, bit_b), want_b);
        for (hits = (unsigned)_mm_movemask_epi8(_mm_and_si128(x, y)); hits; hits &= hits - 1)
            if (literal_here(l, s.p + *at + __builtin_ctz(hits)))
                return (ssize_t)(*at + (size_t)__builtin_ctz(hits));
    }
    return -1;
}

#endif

void literals_add(struct literals *all, struct str text, bool fold)
{
    struct literal *l = &all->v[all->n];

    assert(all->n < LITERALS_MAX && text.n);
    literal_init(l, text, fold);
    for (size_t k = 0; k < NIBBLES; k++)
        for (unsigned c = 0; c < 256; c++) {
            bool fits = k >= l->n || (fold ? tolower((int)c) == tolower((unsigned char)l->p[k]) : c == (unsigned char)l->p[k]);

            all->low[k][c & 15] |= (uint8_t)(fits << all->n);
            all->high[k][c >> 4] |= (uint8_t)(fits << all->n);
        }
    all->n++;
}

void literals_done(struct literals *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->v[i].p);
    all->n = 0;
}

/* Which of the literals is here, of those whose bits are set. */
static const struct literal *one_of(const struct literals *all, struct str s, size_t at, unsigned bits)
{
    for (; bits; bits &= bits - 1) {
        const struct literal *l = &all->v[__builtin_ctz(bits)];

        if (at + l->n <= s.n && literal_here(l, s.p + at))
            return l;
    }
    return NULL;
}

#if defined(__x86_64__)
/* Looks at 32 places at once. Their bytes are halved, each half chooses a set of literals, and what is in all sets may be there. */
__attribute__((target("avx2"))) static const struct literal *any_by_32(const struct literals *all, struct str s, size_t *at)
{
    const __m256i half = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
    __m256i low[NIBBLES], high[NIBBLES];
    uint8_t sets[32];

    for (size_t k = 0; k < NIBBLES; k++) {
        low[k] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)all->low[k]));
        high[k] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)all->high[k]));
    }
    for (; *at + 32 + NIBBLES <= s.n; *at += 32) {
        __m256i set = _mm256_set1_epi8(-1);
        unsigned hits;

        for (size_t k = 0; k < NIBBLES; k++) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(s.p + *at + k));
            __m256i above = _mm256_and_si256(_mm256_srli_epi16(x, 4), half);

            set = _mm256_and_si256(set, _mm256_shuffle_epi8(low[k], _mm256_and_si256(x, half)));
            set = _mm256_and_si256(set, _mm256_shuffle_epi8(high[k], above));
        }
        hits = ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(set, zero));
        if (!hits)
            continue;
        _mm256_storeu_si256((__m256i *)(void *)sets, set);
        for (; hits; hits &= hits - 1) {
            size_t i = (size_t)__builtin_ctz(hits);
            const struct literal *l = one_of(all, s, *at + i, sets[i]);

            if (l) {
                *at += i;
                return l;
            }
        }
    }
    return NULL;
}
#endif

/* Offset of the literal at or after `from`, or -1. */
static ssize_t literal_find(const struct literal *l, struct str s, size_t from)
{
    size_t i = from;

#if defined(__x86_64__)
    ssize_t at = __builtin_cpu_supports("avx2") ? find_by_32(l, s, &i) : find_by_16(l, s, &i);

    if (at >= 0)
        return at;
#endif
    for (; i + l->n <= s.n; i++)
        if (literal_here(l, s.p + i))
            return (ssize_t)i;
    return -1;
}

ssize_t literals_find(const struct literals *all, struct str s, size_t from, size_t *ret_n)
{
    const struct literal *l = NULL;
    size_t at = from;

    if (all->n == 1) {
        *ret_n = all->v[0].n;
        return literal_find(&all->v[0], s, from);
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        l = any_by_32(all, s, &at);
#endif
    while (!l && at < s.n) {
        l = one_of(all, s, at, (1u << all->n) - 1);
        at += !l;
    }
    if (!l)
        return -1;
    *ret_n = l->n;
    return (ssize_t)at;
}
