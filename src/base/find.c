#include "base/find.h"

#include "base/literals.h"
#include "base/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>

#define MATCH_LIMIT   2000000
#define JIT_STACK_MAX (512 << 10)

struct pattern {
    pcre2_code *code;                   /* NULL: the literals are all */
    pcre2_code *ascii;                  /* the same for text that is ASCII alone, which is quicker; may be NULL */
    struct literals literals;           /* of which every match holds one; none when nothing is known */
    bool by_line;                       /* has to be given one line at a time */
    bool slow;                          /* it could not be made into machine code */
    bool wide;
};

struct finder {
    const struct pattern *pattern;
    const pcre2_code *code;             /* for this text */
    struct str text;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* What can be told of a pattern by reading it. */
struct reading {
    struct buf run, best;               /* of characters that stand for themselves, in this alternative */
    struct buf pieces[LITERALS_MAX];    /* the best of each alternative */
    size_t npieces;
    bool no_literal;
    bool by_line;                       /* it may look at what is before or behind the line */
    bool utf;                           /* it has to know characters, not bytes */
    bool newline;
};

/* Whether looking for a piece leaves out enough lines to be worth it: one letter is in nearly all. */
static bool is_worth_it(struct str piece)
{
    return piece.n > 1 || (piece.n == 1 && strchr("()[]{}<>=+*/&|!?@#$%^~`'\\\":", piece.p[0]));
}

/* Of two pieces the longer one is looked for; of single characters the rarer. */
static void end_run(struct reading *r)
{
    struct str run = buf_str(&r->run), best = buf_str(&r->best);

    if (run.n > best.n || (run.n == best.n && run.n && literal_rarity(run) > literal_rarity(best))) {
        buf_clear(&r->best);
        buf_add_str(&r->best, run);
    }
    buf_clear(&r->run);
}

/* An alternative at the top is over. */
static void end_alternative(struct reading *r, bool always)
{
    end_run(r);
    if (!(r->best.n && always) && !is_worth_it(buf_str(&r->best)))
        r->no_literal = true;
    if (r->no_literal || r->npieces == LITERALS_MAX) {
        r->no_literal = true;
        return;
    }
    r->pieces[r->npieces++] = r->best;
    r->best = (struct buf){0};
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
            if (top)
                end_alternative(r, false);
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
    end_alternative(r, false);
}

static int compile(struct pattern *p, struct str text, uint32_t options, pcre2_code **ret, struct err *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    char message[160] = "";
    PCRE2_SIZE at = 0;
    int code = 0;

    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
        *ret = pcre2_compile((PCRE2_SPTR)text.p, text.n, options, &code, &at, context);
    }
    pcre2_compile_context_free(context);
    if (*ret) {
        p->slow |= pcre2_jit_compile(*ret, PCRE2_JIT_COMPLETE) != 0;    /* without a JIT it works all the same */
        return 0;
    }
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
    return err_set(e, -EINVAL, "the pattern cannot be read: %s, at byte %zu. It is a Perl regular expression; for plain text set "
                   "literal",
                   message, (size_t)at);
}

/* Whether the pattern is its pieces, and a bar between two. */
static bool only_pieces(const struct pattern *p, struct str text)
{
    for (size_t i = 0; i < p->literals.n; i++) {
        const struct literal *l = &p->literals.v[i];

        if (text.n < l->n || memcmp(text.p, l->p, l->n) != 0)
            return false;
        text = str_from(text, l->n);
        if (text.n == 0)
            return i + 1 == p->literals.n;
        if (text.p[0] != '|')
            return false;
        text = str_from(text, 1);
    }
    return false;
}

int pattern_new(struct str text, struct find_how how, struct pattern **ret, struct err *e)
{
    struct pattern *p = xcalloc(1, sizeof(*p));
    struct reading r = {0};
    uint32_t options = how.literal ? PCRE2_LITERAL : PCRE2_MULTILINE;
    bool ascii;
    int result = 0;

    if (!how.literal && text.n > 4 && memcmp(text.p, "(?i)", 4) == 0) {
        how.ignore_case = true;
        text = str_from(text, 4);
    }
    ascii = utf8_ascii(text);
    p->wide = !ascii;
    options |= how.ignore_case ? PCRE2_CASELESS : 0;
    if (how.literal) {
        buf_add_str(&r.best, text);
        r.newline = memchr(text.p, '\n', text.n) != NULL;
        end_alternative(&r, true);
    } else {
        read_pattern(text, &r);
    }
    p->by_line = r.by_line;
    for (size_t i = 0; i < r.npieces && !r.no_literal && (!how.ignore_case || ascii); i++)
        literals_add(&p->literals, buf_str(&r.pieces[i]), how.ignore_case);
    if (r.newline)
        result = err_set(e, -EINVAL, "a pattern is looked for within lines: it cannot hold a newline");
    else if (text.n == 0)
        result = err_set(e, -EINVAL, "the pattern is empty");
    else if (!only_pieces(p, text)) {
        bool utf = r.utf || !ascii;

        result = compile(p, text, options | (utf ? PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | (how.literal ? 0 : PCRE2_UCP) : 0),
                         &p->code, e);
        if (result == 0 && utf && ascii)
            result = compile(p, text, options, &p->ascii, e);
    }
    buf_done(&r.run);
    buf_done(&r.best);
    for (size_t i = 0; i < r.npieces; i++)
        buf_done(&r.pieces[i]);
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
    pcre2_code_free(p->ascii);
    literals_done(&p->literals);
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

void find_begin(struct finder *f, struct str text)
{
    f->text = text;
    f->code = f->pattern->ascii && utf8_ascii(text) ? f->pattern->ascii : f->pattern->code;
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
    int r = f->pattern->slow ? pcre2_match(f->code, (PCRE2_SPTR)subject, n, from, 0, f->data, f->context)
                             : pcre2_jit_match(f->code, (PCRE2_SPTR)subject, n, from, 0, f->data, f->context);
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
static int try_line(struct finder *f, struct found *line)
{
    size_t begin = 0, end = 0;
    int r = run(f, f->text.p + line->begin, line->end - line->begin, 0, &begin, &end);

    line->at = line->begin + begin;
    return r;
}

int find_next(struct finder *f, size_t from, struct found *ret)
{
    const struct pattern *p = f->pattern;
    struct str text = f->text;

    while (from < text.n) {
        size_t begin = from, end = from;
        int r = 1;

        if (p->literals.n) {
            ssize_t at = literals_find(&p->literals, text, from, &end);

            if (at < 0)
                return 0;
            begin = (size_t)at;
            end += begin;
        } else if (!p->by_line) {
            r = run(f, text.p, text.n, from, &begin, &end);
            if (r <= 0)
                return r;
        }
        if (begin == text.n && text.p[text.n - 1] == '\n')
            return 0;                   /* matched nothing, behind the last line */
        line_around(text, begin, ret);
        if (p->code && (p->literals.n || p->by_line || end > ret->end || begin > ret->end))
            r = try_line(f, ret);
        if (r != 0)
            return r;
        from = after_line(text, ret);
    }
    return 0;
}
