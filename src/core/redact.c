#include "core/redact.h"

#include "base/js.h"
#include "base/literals.h"

#include <ctype.h>
#include <strings.h>

#define SECRET_MIN  8               /* bytes; the mark is as long */
#define SETS_MAX    32
#define HELD_MAX    ((size_t)16 << 10)

extern char **environ;

/* Tokens by their first letters, and how long the rest is at least. */
static const struct {
    const char *prefix;
    size_t min;
} forms[] = {
    { "sk-", 20 },    { "ghp_", 30 },  { "gho_", 30 },   { "ghs_", 30 },   { "ghu_", 30 }, { "github_pat_", 22 }, { "glpat-", 20 },
    { "AKIA", 16 },   { "ASIA", 16 },  { "AIza", 35 },   { "xoxb-", 10 },  { "xoxp-", 10 }, { "xoxa-", 10 },      { "hf_", 30 },
    { "npm_", 36 },   { "eyJ", 40 },   { "sk_live_", 16 }, { "rk_live_", 16 }, { "-----BEGIN ", 0 },
};
#define KEY_FORM (ARRAY_SIZE(forms) - 1)
#define JWT_FORM 15

static struct {
    struct literals sets[SETS_MAX];
    size_t n;                       /* sets in use */
    struct str *learnt;
    size_t nlearnt, cap;
    char **keep, **hide;
    size_t nkeep, keep_cap, nhide, hide_cap;
    size_t longest;
} known;

static void add(struct str text)
{
    if (known.n == 0 || known.sets[known.n - 1].n == LITERALS_MAX) {
        if (known.n == SETS_MAX)
            return;
        known.n++;
    }
    literals_add(&known.sets[known.n - 1], text, false);
}

static void begin(void)
{
    if (known.n)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        add(str_of(forms[i].prefix));
}

void redact_keep(struct str name)
{
    GROW(known.keep, known.nkeep, known.keep_cap);
    known.keep[known.nkeep++] = str_dup(name);
}

bool redact_name(struct str name)
{
    static const char *const words[] = { "KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL",
                                         "CREDENTIALS", "PAT" };

    for (size_t i = 0; i < known.nhide; i++)
        if (str_is(name, known.hide[i]))
            return true;
    for (size_t i = 0; i < known.nkeep; i++)
        if (str_is(name, known.keep[i]))
            return false;
    while (name.n) {
        size_t n = 0;

        while (n < name.n && name.p[n] != '_' && name.p[n] != '-')
            n++;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            if (strlen(words[i]) == n && strncasecmp(name.p, words[i], n) == 0)
                return true;
        name = str_from(name, n + 1);
    }
    return false;
}

static void learn(struct str value)
{
    begin();
    for (size_t i = 0; i < known.nlearnt; i++)
        if (str_eq(known.learnt[i], value))
            return;
    GROW(known.learnt, known.nlearnt, known.cap);
    known.learnt[known.nlearnt++] = (struct str){ str_dup(value), value.n };
    known.longest = MAX(known.longest, value.n);
    add(value);
}

void redact_learn(struct str value)
{
    cleanup(buf_done) struct buf json = {0};
    bool digit = false, letter = false;

    for (size_t i = 0; i < value.n; i++) {
        digit = digit || !isalpha((unsigned char)value.p[i]);
        letter = letter || isalpha((unsigned char)value.p[i]);
    }
    /* A word or a number alone stands in too many places that are none. */
    if (value.n < SECRET_MIN || !letter || (!digit && value.n < 2 * SECRET_MIN) || value.p[0] == '/')
        return;
    learn(value);
    js_add(&json, value);
    if (json.n != value.n + 2)          /* as it stands in an event's body */
        learn((struct str){ json.p + 1, json.n - 2 });
}

void redact_hide(struct str name)
{
    char *hidden = str_dup(name);

    GROW(known.hide, known.nhide, known.hide_cap);
    known.hide[known.nhide++] = hidden;
    if (getenv(hidden))
        redact_learn(str_of(getenv(hidden)));
}

void redact_learn_environment(void)
{
    for (char **e = environ; *e; e++) {
        struct str name = { *e, strcspn(*e, "=") };

        if ((*e)[name.n] && redact_name(name))
            redact_learn(str_of(*e + name.n + 1));
    }
}

static bool in_token(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* The end of the private key whose first line begins at `at`, 0 if it is none. */
static size_t key_end(struct str s, size_t at)
{
    ssize_t first = str_find(s, LIT("PRIVATE KEY-----"), at), end;
    size_t stop = at;

    if (first < 0 || first > (ssize_t)at + 40)
        return 0;
    end = str_find(s, LIT("PRIVATE KEY-----"), (size_t)first + 16);
    while (stop < s.n && s.p[stop] != '"')
        stop++;                         /* in an event's body: no further than the string that it is in */
    return end < 0 ? stop : MIN((size_t)end + 16, stop);
}

/* The end of the token that begins at `at` with the prefix of form i, 0 if it is none. */
static size_t token_end(struct str s, size_t at, size_t i)
{
    size_t end = at + strlen(forms[i].prefix), dots = 0;
    bool digit = false;

    if (i == KEY_FORM)
        return key_end(s, at);
    if (at && (in_token(s.p[at - 1]) || s.p[at - 1] == '/') && !(at > 1 && s.p[at - 2] == '\\'))
        return 0;                       /* within a word, or a path; but an escaped letter before it is no word */
    while (end < s.n && (in_token(s.p[end]) || (i == JWT_FORM && s.p[end] == '.'))) {
        digit = digit || isdigit((unsigned char)s.p[end]);
        dots += s.p[end] == '.';
        end++;
    }
    while (s.p[end - 1] == '.') {        /* the end of a sentence */
        end--;
        dots--;
    }
    if (end - at - strlen(forms[i].prefix) < forms[i].min || !digit || (i == JWT_FORM && dots < 2))
        return 0;
    return end;
}

/* What is found at a place where one of the literals is: the end of the secret, or 0. */
static size_t secret_end(struct str s, size_t at)
{
    size_t end = 0;

    for (size_t i = 0; i < known.nlearnt; i++)
        if (s.n - at >= known.learnt[i].n && memcmp(s.p + at, known.learnt[i].p, known.learnt[i].n) == 0)
            end = MAX(end, at + known.learnt[i].n);
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        size_t n = strlen(forms[i].prefix);

        if (s.n - at >= n && memcmp(s.p + at, forms[i].prefix, n) == 0)
            end = MAX(end, token_end(s, at, i));
    }
    return end;
}

/* The next place, at or after `from`, where a secret may be. */
static ssize_t next_place(struct str s, size_t from, ssize_t *places)
{
    ssize_t first = -1;

    for (size_t i = 0; i < known.n; i++) {
        size_t n;

        if (places[i] >= 0 && (size_t)places[i] < from)
            places[i] = literals_find(&known.sets[i], s, from, &n);
        if (places[i] >= 0 && (first < 0 || places[i] < first))
            first = places[i];
    }
    return first;
}

size_t redact(struct buf *text)
{
    struct str s = buf_str(text);
    ssize_t places[SETS_MAX], at;
    size_t from = 0, found = 0, done = 0, to = 0;

    begin();
    for (size_t i = 0; i < known.n; i++) {
        size_t n;

        places[i] = literals_find(&known.sets[i], s, 0, &n);
    }
    while ((at = next_place(s, from, places)) >= 0) {
        size_t end = secret_end(s, (size_t)at);

        from = end ? end : (size_t)at + 1;
        if (!end)
            continue;
        memmove(text->p + to, text->p + done, (size_t)at - done);
        to += (size_t)at - done;
        memcpy(text->p + to, REDACT_MARK, strlen(REDACT_MARK));
        to += strlen(REDACT_MARK);
        done = end;
        found++;
    }
    if (!found)
        return 0;
    memmove(text->p + to, text->p + done, text->n - done);
    text->n = to + text->n - done;
    text->p[text->n] = 0;
    return found;
}

/* Back to where a word begins. */
static size_t at_blank(struct str s, size_t n)
{
    while (n && !isspace((unsigned char)s.p[n - 1]))
        n--;
    return n;
}

/* Where a private key, complete or not, has a part on each side of `n`: where it begins; else n. */
static size_t before_key(struct str s, size_t n)
{
    ssize_t key = str_find(s, LIT("-----BEGIN "), 0);

    while (key >= 0 && (size_t)key < n) {
        ssize_t first = str_find(s, LIT("PRIVATE KEY-----"), (size_t)key), end;

        if (first < 0 && s.n - (size_t)key < 60)
            return (size_t)key;         /* it may still become one */
        if (first >= 0 && first <= key + 40) {
            end = str_find(s, LIT("PRIVATE KEY-----"), (size_t)first + 16);
            if (end < 0 || (size_t)end + 16 > n)
                return (size_t)key;
            key = end;
        }
        key = str_find(s, LIT("-----BEGIN "), (size_t)key + 1);
    }
    return n;
}

/* How much of what is held can not be part of a secret that goes on. */
static size_t certain(const struct redactor *r)
{
    struct str s = buf_str(&r->held);
    size_t n = s.n;

    if (n > HELD_MAX)
        return n;
    n = at_blank(s, n);
    for (size_t i = 0; i < known.nlearnt; i++) {
        struct str v = known.learnt[i];
        size_t from;

        if (!memchr(v.p, ' ', v.n))
            continue;
        /* A value with blanks in it: neither may it begin in what is let go and go on, nor stand across the end of that. */
        n = MIN(n, at_blank(s, s.n > v.n ? s.n - v.n : 0));
        from = n > v.n ? n - v.n : 0;
        for (ssize_t at = str_find(s, v, from); at >= 0 && (size_t)at < n; at = str_find(s, v, (size_t)at + 1))
            if ((size_t)at + v.n > n)
                n = (size_t)at;
    }
    return before_key(s, n);
}

static void release(struct redactor *r, size_t n, struct buf *out)
{
    cleanup(buf_done) struct buf part = {0};

    buf_add(&part, r->held.p, n);
    buf_skip(&r->held, n);
    r->found += redact(&part);
    buf_add_str(out, buf_str(&part));
}

void redactor_feed(struct redactor *r, struct str piece, struct buf *out)
{
    begin();
    buf_add_str(&r->held, piece);
    release(r, certain(r), out);
}

void redactor_end(struct redactor *r, struct buf *out)
{
    release(r, r->held.n, out);
}

void redactor_done(struct redactor *r)
{
    buf_done(&r->held);
}
