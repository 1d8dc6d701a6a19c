#include "base/charset.h"

#include "base/utf8.h"

#include <ctype.h>
#include <dlfcn.h>
#include <iconv.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>

#define SNIFF         ((size_t)8192)    /* bytes in which a zero byte means "not text" */
#define SAMPLE        ((size_t)64 << 10)        /* bytes around high ones that are shown to uchardet */
#define SHORT         64                /* high bytes below which a guess is doubted */
#define ANCHOR_EVERY  4096              /* bytes */
#define CHAR_MAX_LEN  4                 /* bytes of the longest character of an encoding here */

/* What uchardet says, and the encodings that are meant, the narrower first: a name covers what its own standard and the usual
 * extension of it hold. */
static const struct {
    const char *says;
    const char *tries[3];
} meanings[] = {
    { "GB18030", { "GBK", "GB18030" } }, { "GB2312", { "GBK", "GB18030" } }, { "HZ-GB-2312", { NULL } },
    { "SHIFT_JIS", { "CP932" } }, { "EUC-JP", { "EUC-JP" } }, { "BIG5", { "CP950", "BIG5-HKSCS" } },
    { "EUC-KR", { "CP949" } }, { "UHC", { "CP949" } }, { "JOHAB", { "JOHAB" } }, { "EUC-TW", { "EUC-TW" } },
    { "ISO-8859-1", { "WINDOWS-1252", "ISO-8859-1" } }, { "WINDOWS-1252", { "WINDOWS-1252", "ISO-8859-1" } },
    { "TIS-620", { "TIS-620", "CP874" } }, { "VISCII", { "VISCII" } }, { "WINDOWS-1258", { NULL } },
};

/* With a state, or with characters that are put together from several: not to be cut at will. */
static const char *const unfit[] = { "ISO-2022", "ISO2022", "UTF-7", "UTF7", "HZ", "WINDOWS-1258", "CP1258", "TCVN", "EBCDIC",
    "UNICODE",
                                     "JAVA", "C99", "JISX0213", "SJISX0213" };

/* Byte order marks; the longer first. */
static const struct {
    const char *mark;
    unsigned n, unit;
    const char *name;
} marks[] = {
    { "\xef\xbb\xbf", 3, 1, "UTF-8" }, { "\xff\xfe\0\0", 4, 4, "UTF-32LE" }, { "\0\0\xfe\xff", 4, 4, "UTF-32BE" },
    { "\xff\xfe", 2, 2, "UTF-16LE" }, { "\xfe\xff", 2, 2, "UTF-16BE" },
};

static void set(struct charset *c, const char *name)
{
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->mark = 0;
    c->unit = strncmp(name, "UTF-16", 6) == 0 ? 2 : strncmp(name, "UTF-32", 6) == 0 ? 4 : 1;
}

/* Whether UTF-8 was meant, though not all of it is. */
static bool mostly_utf8(struct str bytes)
{
    size_t good = 0, bad = 0;

    for (size_t i = 0; i < bytes.n;) {
        size_t n = utf8_seq(bytes.p + i, bytes.n - i);

        good += n > 1;
        bad += n == 0;
        i += MAX(n, (size_t)1);
    }
    return bad <= good;
}

/* Whether bytes behind what looks like the mark of UTF-16 are plain text of one byte a character after all. */
static bool plain(struct str rest)
{
    for (size_t i = 0; i < rest.n; i++)
        if ((unsigned char)rest.p[i] < ' ' && !strchr("\t\n\r\f\x1b", rest.p[i]))
            return false;
    return memchr(rest.p, 0, rest.n) == NULL && mostly_utf8(rest);
}

static bool marked(struct str bytes, struct charset *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        if (bytes.n >= marks[i].n && memcmp(bytes.p, marks[i].mark, marks[i].n) == 0 &&
            (marks[i].unit != 2 || bytes.n == 2 || !plain(str_from(bytes, 2)))) {
            set(ret, marks[i].name);
            ret->mark = marks[i].n;
            return true;
        }
    return false;
}

static iconv_t to_utf8(const struct charset *c)
{
    return iconv_open("UTF-8", c->name);
}

/* One call of iconv, with room for what usually comes out. 0: all is converted; -E2BIG: call again, or the buffer's maximum is
 * reached; -EINVAL: the end is not whole; -EILSEQ. */
static int convert_some(iconv_t cd, char **from, size_t *left, struct buf *out)
{
    size_t want = *left * 2 + 16, room = want, r;
    char *to = buf_room(out, want);

    if (!to)
        return -E2BIG;
    r = iconv(cd, from, left, &to, &room);
    out->n += want - room;
    out->p[out->n] = 0;
    return r == (size_t)-1 ? -errno : 0;
}

/* Decodes all of `in` that is whole. Returns the offset of what is left; a broken unit becomes U+FFFD. */
static size_t convert(iconv_t cd, unsigned unit, struct str in, bool last, struct buf *out, size_t *broken)
{
    char *from = (char *)in.p;
    size_t left = in.n;

    while (left && !buf_err(out)) {
        int r = convert_some(cd, &from, &left, out);

        if (r == 0 || (r == -EINVAL && !last))
            break;
        if (r == -E2BIG)
            continue;
        buf_adds(out, "\xef\xbf\xbd");
        ++*broken;
        from += MIN(left, (size_t)unit);
        left -= MIN(left, (size_t)unit);
        iconv(cd, NULL, NULL, NULL, NULL);
    }
    return in.n - left;
}

/* How many units of the bytes cannot be decoded; SIZE_MAX when iconv does not know the encoding. */
static size_t failures(const char *name, struct str bytes, bool whole)
{
    struct charset c;
    cleanup(buf_done) struct buf out = {0};
    size_t broken = 0;
    iconv_t cd;

    set(&c, name);
    cd = to_utf8(&c);
    if (cd == (iconv_t)-1)
        return SIZE_MAX;
    convert(cd, c.unit, bytes, whole, &out, &broken);
    iconv_close(cd);
    return broken;
}

/* UTF-16 without a mark: it has zero bytes, nearly all of them in one half of the units, and decodes to text. */
static bool bare_utf16(struct str bytes, bool whole, struct charset *ret)
{
    struct str some = str_head(bytes, MIN(bytes.n, SAMPLE) & ~(size_t)1);
    cleanup(buf_done) struct buf out = {0};
    size_t zeros[2] = {0}, broken = 0;
    iconv_t cd;

    if (whole && bytes.n % 2)
        return false;
    for (size_t i = 0; i < some.n; i++)
        zeros[i % 2] += some.p[i] == 0;
    if (MIN(zeros[0], zeros[1]) * 20 > MAX(zeros[0], zeros[1]) || some.n < 4)
        return false;
    set(ret, zeros[1] > zeros[0] ? "UTF-16LE" : "UTF-16BE");
    cd = to_utf8(ret);
    if (cd == (iconv_t)-1)
        return false;
    convert(cd, 2, some, whole && some.n == bytes.n, &out, &broken);
    iconv_close(cd);
    for (size_t i = 0; i < out.n; i++)
        if ((unsigned char)out.p[i] < ' ' && !strchr("\t\n\r\f\x1b", out.p[i]))
            return false;
    return broken == 0;
}

/* The lines that hold high bytes, up to a size: all else says nothing. */
static void sample(struct str bytes, struct buf *out, size_t *high)
{
    size_t at = 0;

    while (at < bytes.n && out->n < SAMPLE) {
        const char *nl = memchr(bytes.p + at, '\n', bytes.n - at);
        size_t end = nl ? (size_t)(nl - bytes.p) + 1 : bytes.n, n = 0;

        for (size_t i = at; i < end; i++)
            n += (unsigned char)bytes.p[i] >= 0x80;
        if (n)
            buf_add(out, bytes.p + at, MIN(end - at, SAMPLE));
        *high += n;
        at = end;
    }
}

static void *uchardet(void)
{
    static void *lib;

    if (!lib)
        lib = dlopen("libuchardet.so.0", RTLD_NOW | RTLD_LOCAL);
    return lib;
}

bool charset_can_guess(void)
{
    return uchardet() != NULL;
}

/* uchardet's word for it, "" when it has none or is not there. */
static void ask_uchardet(struct str bytes, char ret[static CHARSET_NAME_MAX])
{
    void *lib = uchardet();
    void *(*new)(void), (*free_it)(void *), (*end)(void *);
    int (*feed)(void *, const char *, size_t);
    const char *(*get)(void *);
    void *det;

    *ret = 0;
    if (!lib)
        return;
    *(void **)&new = dlsym(lib, "uchardet_new");
    *(void **)&feed = dlsym(lib, "uchardet_handle_data");
    *(void **)&end = dlsym(lib, "uchardet_data_end");
    *(void **)&get = dlsym(lib, "uchardet_get_charset");
    *(void **)&free_it = dlsym(lib, "uchardet_delete");
    if (!new || !feed || !end || !get || !free_it || !(det = new()))
        return;
    if (feed(det, bytes.p, bytes.n) == 0) {
        end(det);
        snprintf(ret, CHARSET_NAME_MAX, "%s", get(det));
    }
    free_it(det);
}

/* What the high bytes of a short text look like. */
struct pairs {
    size_t high, pairs;                 /* high bytes; pairs of them, in runs of even length */
    size_t odd_runs;
    size_t kana, shift_kana;            /* pairs that are kana in EUC-JP; the same in Shift-JIS, whose second byte may be low */
};

static struct pairs look_at_pairs(struct str s)
{
    struct pairs p = {0};

    for (size_t i = 0; i < s.n; i++) {
        size_t begin = i;

        while (i < s.n && (unsigned char)s.p[i] >= 0x80)
            i++;
        if (i == begin)
            continue;
        p.high += i - begin;
        p.odd_runs += (i - begin) % 2;
        for (size_t k = begin; k + 1 < i; k += 2) {
            unsigned char a = (unsigned char)s.p[k];

            p.pairs++;
            p.kana += a == 0xa4 || a == 0xa5;
        }
        i--;
    }
    for (size_t i = 0; i + 1 < s.n; i++)
        if (((unsigned char)s.p[i] == 0x82 || (unsigned char)s.p[i] == 0x83) && (unsigned char)s.p[i + 1] >= 0x40) {
            p.shift_kana++;
            i++;
        }
    return p;
}

static bool locale_is(const char *language)
{
    const char *names[] = { getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG") };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i] && *names[i])
            return strncmp(names[i], language, 2) == 0;
    return false;
}

/* A short text: few high bytes make any guess by frequency a bad one. East Asian text shows in pairs, other text in single bytes
 * between letters. NULL: the guess stands. */
static const char *judge_short(struct str s, const char *guess)
{
    struct pairs p = look_at_pairs(s);
    bool paired = p.pairs && p.odd_runs == 0;

    if (paired && p.kana * 2 > p.pairs)
        return "EUC-JP";
    if (p.shift_kana * 4 > p.high && failures("CP932", s, true) == 0)
        return "CP932";
    if (paired && strncmp(guess, "WINDOWS-1251", 12) != 0 && strncmp(guess, "KOI8", 4) != 0) {
        if (locale_is("ko") && failures("CP949", s, true) == 0)
            return "CP949";
        if (locale_is("ja") && failures("EUC-JP", s, true) == 0)
            return "EUC-JP";
        if (failures("GBK", s, true) == 0)
            return "GBK";
    }
    if (!paired && (!*guess || strncmp(guess, "ISO-8859-", 9) == 0 || strncmp(guess, "WINDOWS-12", 10) == 0)) {
        static const char *const other[] = { "WINDOWS-1251", "ISO-8859-5", "WINDOWS-1253", "ISO-8859-7", "WINDOWS-1255",
            "ISO-8859-8",
                                             "WINDOWS-1256", "ISO-8859-6", "ISO-8859-11" };

        if (locale_is("zh") && failures("GBK", s, true) == 0)
            return "GBK";
        for (size_t i = 0; i < ARRAY_SIZE(other); i++)
            if (strcmp(guess, other[i]) == 0)
                return NULL;
        if (!locale_is("cs") && !locale_is("pl") && !locale_is("hu") && !locale_is("ro") && !locale_is("hr") && !locale_is("tr"))
            return "WINDOWS-1252";
    }
    return NULL;
}

static bool take(const char *name, struct str bytes, bool whole, struct charset *ret)
{
    if (failures(name, bytes, whole) != 0)
        return false;
    set(ret, name);
    return true;
}

static void guess_legacy(struct str bytes, bool whole, struct charset *ret)
{
    cleanup(buf_done) struct buf some = BUF_MAX(SAMPLE * 3);
    char says[CHARSET_NAME_MAX];
    const char *judged = NULL;
    size_t high = 0;

    sample(bytes, &some, &high);
    ask_uchardet(buf_str(&some), says);
    if (high < SHORT)
        judged = judge_short(buf_str(&some), says);
    if (judged && take(judged, bytes, whole, ret))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
        if (strcmp(says, meanings[i].says) == 0) {
            for (size_t k = 0; k < ARRAY_SIZE(meanings[i].tries) && meanings[i].tries[k]; k++)
                if (take(meanings[i].tries[k], bytes, whole, ret))
                    return;
            *says = 0;
        }
    if (*says && strcmp(says, "ASCII") != 0 && strncmp(says, "UTF-", 4) != 0 && take(says, bytes, whole, ret))
        return;
    if (take("WINDOWS-1252", bytes, whole, ret))
        return;
    set(ret, "ISO-8859-1");             /* it has a character for every byte */
}

bool charset_guess(struct str bytes, bool whole, struct charset *ret)
{
    struct str look = whole ? bytes : str_head(bytes, utf8_cut(bytes, bytes.n - MIN(bytes.n, (size_t)1)));

    if (marked(bytes, ret))
        return true;
    if (memchr(bytes.p, 0, MIN(bytes.n, SNIFF)))
        return bare_utf16(bytes, whole, ret);
    set(ret, "UTF-8");
    if (!utf8_valid(look) && !mostly_utf8(look))
        guess_legacy(bytes, whole, ret);
    return true;
}

int charset_named(struct str name, struct str bytes, struct charset *ret, struct err *e)
{
    cleanup(freep) char *upper = str_dup(str_head(name, CHARSET_NAME_MAX - 1));
    struct charset by_mark = {0};
    iconv_t cd;

    for (char *p = upper; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("-_.:", *p))
            return err_set(e, -EINVAL, "there is no encoding \"%s\"", upper);
        *p = (char)toupper((unsigned char)*p);
    }
    for (size_t i = 0; i < ARRAY_SIZE(unfit); i++)
        if (strncmp(upper, unfit[i], strlen(unfit[i])) == 0)
            return err_set(e, -EINVAL, "%s is an encoding with a state, which is not handled; convert the file with iconv", upper);
    if (strcmp(upper, "SHIFT_JIS") == 0 || strcmp(upper, "SHIFT-JIS") == 0 || strcmp(upper, "SJIS") == 0)
        set(ret, "CP932");              /* iconv's own has a yen sign for the backslash */
    else if (strcmp(upper, "UTF8") == 0 || strcmp(upper, "ASCII") == 0)
        set(ret, "UTF-8");
    else if (strcmp(upper, "UTF-16") == 0 || strcmp(upper, "UTF16") == 0)
        set(ret, "UTF-16LE");
    else
        set(ret, upper);
    if (marked(bytes, &by_mark) && strncmp(by_mark.name, ret->name, 6) == 0)
        *ret = by_mark;
    cd = to_utf8(ret);
    if (cd == (iconv_t)-1)
        return err_set(e, -EINVAL, "there is no encoding \"%s\"", upper);
    iconv_close(cd);
    return 0;
}

int decoded_init(struct decoded *d, const struct charset *charset, struct str bytes, struct err *e)
{
    struct str rest = str_from(bytes, charset->mark);
    size_t at = charset->mark;
    iconv_t cd;

    *d = (struct decoded){ .charset = *charset, .bytes = bytes, .text = rest };
    if (charset_is_utf8(charset))
        return 0;
    cd = to_utf8(charset);
    if (cd == (iconv_t)-1)
        return err_set(e, -ENOSYS, "this system's iconv does not know the encoding %s", charset->name);
    while (at < bytes.n && !buf_err(&d->utf8)) {
        struct str piece = str_head(str_from(bytes, at), ANCHOR_EVERY);

        GROW(d->anchors, d->nanchors, d->cap);
        d->anchors[d->nanchors++] = (struct anchor){ at, d->utf8.n };
        at += convert(cd, charset->unit, piece, at + piece.n == bytes.n, &d->utf8, &d->broken);
    }
    iconv_close(cd);
    d->text = buf_str(&d->utf8);
    return buf_err(&d->utf8) < 0 ? err_set(e, -E2BIG, "as UTF-8 the file is too large") : 0;
}

void decoded_done(struct decoded *d)
{
    buf_done(&d->utf8);
    free(d->anchors);
    *d = (struct decoded){0};
}

/* Length in bytes of the character at a place, and of its text. */
static size_t step(iconv_t cd, const struct charset *c, struct str rest, size_t *ret_text)
{
    for (size_t n = c->unit; n <= CHAR_MAX_LEN && n <= rest.n; n += c->unit) {
        char text[16], *to = text, *from = (char *)rest.p;
        size_t room = sizeof(text), left = n;

        iconv(cd, NULL, NULL, NULL, NULL);
        if (iconv(cd, &from, &left, &to, &room) != (size_t)-1 && left == 0) {
            *ret_text = sizeof(text) - room;
            return n;
        }
        if (errno != EINVAL)
            break;
    }
    *ret_text = 3;                      /* U+FFFD */
    return MIN(rest.n, (size_t)c->unit);
}

size_t decoded_byte(struct decoded *d, size_t at)
{
    size_t lo = 0, hi = d->nanchors;
    struct anchor from;
    iconv_t cd;

    if (charset_is_utf8(&d->charset))
        return d->charset.mark + at;
    if (at >= d->text.n)
        return d->bytes.n;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;

        if (d->anchors[mid].at <= at)
            lo = mid;
        else
            hi = mid;
    }
    from = d->last.at <= at && d->last.at > d->anchors[lo].at ? d->last : d->anchors[lo];
    cd = to_utf8(&d->charset);
    assert(cd != (iconv_t)-1);
    while (from.at < at && from.byte < d->bytes.n) {
        size_t n;

        from.byte += step(cd, &d->charset, str_from(d->bytes, from.byte), &n);
        from.at += n;
    }
    iconv_close(cd);
    d->last = from;
    return from.byte;
}

int charset_encode(const struct charset *charset, struct str utf8, struct buf *out, struct err *e)
{
    char *from = (char *)utf8.p;
    size_t left = utf8.n;
    iconv_t cd;

    if (charset_is_utf8(charset))
        return buf_add_str(out, utf8);
    cd = iconv_open(charset->name, "UTF-8");
    if (cd == (iconv_t)-1)
        return err_set(e, -ENOSYS, "this system's iconv does not know the encoding %s", charset->name);
    while (left && !buf_err(out)) {
        int r = convert_some(cd, &from, &left, out);

        if (r < 0 && r != -E2BIG) {
            size_t n = MAX(utf8_seq(from, left), (size_t)1);

            iconv_close(cd);
            return err_set(e, -EILSEQ, "\"%.*s\" cannot be written in %s", (int)n, from, charset->name);
        }
    }
    iconv_close(cd);
    return buf_err(out) < 0 ? err_set(e, -E2BIG, "the text is too large") : 0;
}

size_t charset_decode_piece(const struct charset *charset, struct str bytes, bool last, struct buf *out)
{
    iconv_t cd = to_utf8(charset);
    size_t broken = 0, n;

    if (cd == (iconv_t)-1)
        return bytes.n;
    n = convert(cd, charset->unit, bytes, last, out, &broken);
    iconv_close(cd);
    return n;
}
