#include "base/find.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define MATCH_LIMIT   2000000
#define JIT_STACK_MAX (512 << 10)
#define LITERAL_MIN   2

/* A piece of text to look for. Places are told by two of its bytes, the rarest. */
struct literal {
    char *p;
    size_t n;
    size_t a, b;                        /* offsets of the two */
    bool fold;                          /* ASCII letters of either case */
};

struct pattern {
    pcre2_code *code;                   /* NULL: the literal is all */
    struct literal literal;             /* what every match holds; n 0: nothing known */
    bool by_line;                       /* has to be given one line at a time */
    bool wide;
};

struct finder {
    const struct pattern *pattern;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* What can be told of a pattern by reading it. */
struct reading {
    struct buf run, best;               /* of characters that stand for themselves */
    bool no_literal;
    bool by_line;                       /* it may look at what is before or behind the line */
    bool utf;                           /* it has to know characters, not bytes */
    bool newline;
};

static void end_run(struct reading *r)
{
    if (r->run.n > r->best.n) {
        buf_clear(&r->best);
        buf_add_str(&r->best, buf_str(&r->run));
    }
    buf_clear(&r->run);
}

static void drop_last(struct buf *b)
{
    while (b->n && ((unsigned char)b->p[b->n - 1] & 0xc0) == 0x80)
        b->n--;
    if (b->n)
        b->n--;
    if (b->p)
        b->p[b->n] = 0;
}

/* Offset behind a class in brackets. */
static size_t skip_class(struct str s, size_t i, struct reading *r)
{
    bool negated = ++i < s.n && s.p[i] == '^';

    r->utf |= negated;
    i += negated;
    for (bool first = true; i < s.n && (first || s.p[i] != ']'); first = false) {
        if (s.p[i] == '[' && i + 1 < s.n && s.p[i + 1] == ':') {
            ssize_t end = str_find(s, LIT(":]"), i + 2);

            if (end > 0) {
                r->utf = true;
                i = (size_t)end + 2;
                continue;
            }
        }
        if (s.p[i] == '\\' && i + 1 < s.n) {
            i++;
            r->newline |= s.p[i] == 'n' && !negated;
            r->utf |= isalpha((unsigned char)s.p[i]) != 0;
        }
        i++;
    }
    return i + 1;
}

/* An escape at the top level or within a group. */
static void read_escape(struct reading *r, char c, bool top)
{
    if (!isalnum((unsigned char)c)) {
        if (top)
            buf_addc(&r->run, c);
        return;
    }
    end_run(r);
    r->newline |= c == 'n';
    r->by_line |= strchr("AzZGRK", c) != NULL;
    r->utf |= strchr("wWdDsSbBhHvVpPXN", c) != NULL;
    r->no_literal |= strchr("wWdDsSbBhHvVtrfeaAzZG", c) == NULL;        /* arguments may follow, or it is a reference */
}

static void read_pattern(struct str s, struct reading *r)
{
    size_t depth = 0, i = 0;

    while (i < s.n) {
        char c = s.p[i];
        bool top = depth == 0;

        if (c == '\\' && i + 1 < s.n) {
            read_escape(r, s.p[i + 1], top);
            i += 2;
        } else if (c == '[') {
            end_run(r);
            i = skip_class(s, i, r);
        } else if (c == '(') {
            end_run(r);
            depth++;
            if (i + 1 < s.n && s.p[i + 1] == '*')
                r->no_literal = r->by_line = true;
            if (i + 2 < s.n && s.p[i + 1] == '?' && s.p[i + 2] != ':') {
                r->by_line = true;      /* looks around, or sets options */
                r->no_literal |= strchr("=!<>|P'", s.p[i + 2]) == NULL;
            }
            i++;
        } else if (c == ')') {
            end_run(r);
            depth -= depth > 0;
            i++;
        } else if (c == '|') {
            end_run(r);
            r->no_literal |= top;
            i++;
        } else if (strchr("*?{", c) && (c != '{' || (i + 1 < s.n && (isdigit((unsigned char)s.p[i + 1]) || s.p[i + 1] == ',')))) {
            drop_last(&r->run);         /* it may be there no times */
            end_run(r);
            while (c == '{' && i < s.n && s.p[i] != '}')
                i++;
            i++;
        } else if (strchr("+.^$", c)) {
            end_run(r);
            r->utf |= c == '.';
            i++;
        } else {
            if (top)
                buf_addc(&r->run, c);
            r->utf |= (unsigned char)c >= 0x80;
            i++;
        }
    }
    end_run(r);
}

/* How common a byte is in source text: 0 for the rarest. */
static unsigned commonness(unsigned char c)
{
    static const char order[] = "zqjxZQJXKYVGWUHMFBO&@%!?$^~`+#9876|5D43>[]{}<PALNR2kCSI:TvEw"
                                "1'\\y*0=bg\";hmfpu,d/()l.csnr_oia-te\t\n ";
    const char *at = c ? strchr(order, c) : NULL;

    return at ? (unsigned)(at - order) + 1 : 0;
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

/* Offset of the literal at or after `from`, or -1. */
static ssize_t literal_find(const struct literal *l, struct str s, size_t from)
{
    size_t i = from;

#if defined(__SSE2__)
    const __m128i a = _mm_set1_epi8(l->p[l->a]), b = _mm_set1_epi8(l->p[l->b]);
    const __m128i bit_a = _mm_set1_epi8(l->fold && isalpha((unsigned char)l->p[l->a]) ? 0x20 : 0);
    const __m128i bit_b = _mm_set1_epi8(l->fold && isalpha((unsigned char)l->p[l->b]) ? 0x20 : 0);
    const __m128i want_a = _mm_or_si128(a, bit_a), want_b = _mm_or_si128(b, bit_b);

    for (; i + l->n + 15 <= s.n; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(s.p + i + l->a));
        __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(s.p + i + l->b));
        unsigned hits;

        x = _mm_cmpeq_epi8(_mm_or_si128(x, bit_a), want_a);
        y = _mm_cmpeq_epi8(_mm_or_si128(y, bit_b), want_b);
        hits = (unsigned)_mm_movemask_epi8(_mm_and_si128(x, y));
        while (hits) {
            size_t at = i + (size_t)__builtin_ctz(hits);

            if (literal_here(l, s.p + at))
                return (ssize_t)at;
            hits &= hits - 1;
        }
    }
#endif
    for (; i + l->n <= s.n; i++)
        if (literal_here(l, s.p + i))
            return (ssize_t)i;
    return -1;
}

static int compile(struct pattern *p, struct str text, uint32_t options, struct err *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    char message[160] = "";
    PCRE2_SIZE at = 0;
    int code = 0;

    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
        p->code = pcre2_compile((PCRE2_SPTR)text.p, text.n, options, &code, &at, context);
    }
    pcre2_compile_context_free(context);
    if (p->code) {
        pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);         /* without a JIT it is slower, and works */
        return 0;
    }
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
    return err_set(e, -EINVAL, "the pattern cannot be read: %s, at byte %zu. It is a Perl regular expression; for plain text set "
                   "literal",
                   message, (size_t)at);
}

int pattern_new(struct str text, struct find_how how, struct pattern **ret, struct err *e)
{
    struct pattern *p = xcalloc(1, sizeof(*p));
    struct reading r = {0};
    uint32_t options = PCRE2_MULTILINE | (how.ignore_case ? PCRE2_CASELESS : 0);
    struct str piece;
    bool ascii = true;
    int result = 0;

    for (size_t i = 0; i < text.n; i++)
        ascii = ascii && (unsigned char)text.p[i] < 0x80;
    p->wide = !ascii;
    if (how.literal) {
        buf_add_str(&r.best, text);
        r.newline = memchr(text.p, '\n', text.n) != NULL;
        options = PCRE2_LITERAL | (how.ignore_case ? PCRE2_CASELESS : 0);
    } else {
        read_pattern(text, &r);
    }
    p->by_line = r.by_line;
    if (r.utf || !ascii)
        options |= PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | (how.literal ? 0 : PCRE2_UCP);
    piece = buf_str(&r.best);
    if (!r.no_literal && piece.n >= (how.literal ? 1 : LITERAL_MIN) && (!how.ignore_case || ascii))
        literal_init(&p->literal, piece, how.ignore_case);
    if (r.newline)
        result = err_set(e, -EINVAL, "a pattern is looked for within lines: it cannot hold a newline");
    else if (text.n == 0)
        result = err_set(e, -EINVAL, "the pattern is empty");
    else if (!str_eq(piece, text) || !p->literal.n)
        result = compile(p, text, options, e);
    buf_done(&r.run);
    buf_done(&r.best);
    if (result < 0)
        pattern_free(p);
    else
        *ret = p;
    return result;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p->literal.p);
    free(p);
}

bool pattern_is_wide(const struct pattern *p)
{
    return p->wide;
}

struct finder *finder_new(const struct pattern *p)
{
    struct finder *f = xcalloc(1, sizeof(*f));

    f->pattern = p;
    if (!p->code)
        return f;
    f->data = pcre2_match_data_create(1, NULL);
    f->context = pcre2_match_context_create(NULL);
    f->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_MAX, NULL);
    if (!f->data || !f->context)
        abort();
    pcre2_set_match_limit(f->context, MATCH_LIMIT);
    if (f->stack)
        pcre2_jit_stack_assign(f->context, NULL, f->stack);
    return f;
}

void finder_free(struct finder *f)
{
    if (!f)
        return;
    pcre2_match_data_free(f->data);
    pcre2_match_context_free(f->context);
    pcre2_jit_stack_free(f->stack);
    free(f);
}

static void line_around(struct str text, size_t at, struct found *ret)
{
    const char *begin = memrchr(text.p, '\n', at), *end = memchr(text.p + at, '\n', text.n - at);

    ret->at = at;
    ret->begin = begin ? (size_t)(begin - text.p) + 1 : 0;
    ret->end = end ? (size_t)(end - text.p) : text.n;
    if (ret->end > ret->begin && text.p[ret->end - 1] == '\r')
        ret->end--;
}

/* Where the line after a found one begins; behind the text when there is none. */
static size_t after_line(struct str text, const struct found *line)
{
    const char *end = memchr(text.p + line->end, '\n', text.n - line->end);

    return end ? (size_t)(end - text.p) + 1 : text.n + 1;
}

/* 1, 0 or -E2BIG. */
static int run(struct finder *f, const char *subject, size_t n, size_t from, size_t *begin, size_t *end)
{
    int r = pcre2_match(f->pattern->code, (PCRE2_SPTR)subject, n, from, 0, f->data, f->context);
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(f->data);

    if (r == PCRE2_ERROR_NOMATCH)
        return 0;
    if (r < 0)
        return -E2BIG;
    *begin = at[0];
    *end = MAX(at[0], at[1]);
    return 1;
}

/* Whether a line by itself matches. */
static int try_line(struct finder *f, struct str text, struct found *line)
{
    size_t begin = 0, end = 0;
    int r = run(f, text.p + line->begin, line->end - line->begin, 0, &begin, &end);

    line->at = line->begin + begin;
    return r;
}

int find_next(struct finder *f, struct str text, size_t from, struct found *ret)
{
    const struct pattern *p = f->pattern;

    while (from < text.n) {
        size_t begin = from, end = from;
        int r = 1;

        if (p->literal.n) {
            ssize_t at = literal_find(&p->literal, text, from);

            if (at < 0)
                return 0;
            begin = (size_t)at;
            end = begin + p->literal.n;
        } else if (!p->by_line) {
            r = run(f, text.p, text.n, from, &begin, &end);
            if (r <= 0)
                return r;
        }
        if (begin == text.n && text.n && text.p[text.n - 1] == '\n')
            return 0;                   /* matched nothing, behind the last line */
        line_around(text, begin, ret);
        if (p->code && (p->literal.n || p->by_line || end > ret->end || begin > ret->end))
            r = try_line(f, text, ret);
        if (r != 0)
            return r;
        from = after_line(text, ret);
    }
    return 0;
}
