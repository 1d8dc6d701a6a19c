#include "files/look.h"

#include "base/charset.h"
#include "base/utf8.h"

#include <unistd.h>

#define FILE_LIMIT      ((size_t)64 << 20)      /* bytes; larger files are not searched */
#define SNIFF           8192
#define LINE_SHOWN      300                     /* bytes of a line */
#define BEFORE_MATCH    100                     /* of them before the match, when the line is longer */
#define FILE_SHOWN      ((size_t)256 << 10)     /* bytes of text that one file may give */

void looker_init(struct looker *l, const struct env_search *what, const struct pattern *pattern, const bool *stop)
{
    *l = (struct looker){ .what = what, .pattern = pattern, .stop = stop, .finder = pattern ? finder_new(pattern) : NULL };
    l->data.max = FILE_LIMIT + 2;
    l->decoded.max = FILE_LIMIT * 2;
}

void looker_done(struct looker *l)
{
    finder_free(l->finder);
    buf_done(&l->data);
    buf_done(&l->decoded);
    buf_done(&l->text);
    free(l->lines);
}

/* The whole of a file in l->data. False: it cannot be had. */
static bool load(struct looker *l, int fd)
{
    ssize_t n;

    buf_clear(&l->data);
    for (;;) {
        size_t room = l->data.cap > l->data.n + 1 ? l->data.cap - l->data.n - 1 : MAX(l->data.n, (size_t)256 << 10);
        char *to = buf_room(&l->data, MIN(room, FILE_LIMIT + 1 - l->data.n));

        room = MIN(room, FILE_LIMIT + 1 - l->data.n);
        if (!to || room == 0)
            break;
        n = read(fd, to, room);
        if (n < 0)
            return false;               /* EISDIR and the like */
        l->data.n += (size_t)n;
        if ((size_t)n < room)
            break;                      /* of a regular file that is all */
    }
    if (l->data.n > FILE_LIMIT) {
        l->large++;
        return false;
    }
    return true;
}

/* The file's text as UTF-8 when it is in another encoding. False: it is not text. */
static bool as_text(struct looker *l, bool decode, struct str *text)
{
    struct charset charset;

    *text = buf_str(&l->data);
    if (memchr(text->p, 0, MIN(text->n, (size_t)SNIFF)))
        decode = true;
    if (!decode)
        return true;
    if (!charset_guess(*text, true, &charset))
        return false;
    *text = str_from(*text, charset.mark);
    if (charset_is_utf8(&charset))
        return true;
    buf_clear(&l->decoded);
    charset_decode_piece(&charset, *text, true, &l->decoded);
    *text = buf_str(&l->decoded);
    return true;
}

static void put_line(struct buf *out, struct str text, size_t begin, size_t number, char mark, size_t match)
{
    const char *nl = memchr(text.p + begin, '\n', text.n - begin);
    struct str line = { text.p + begin, (nl ? (size_t)(nl - text.p) : text.n) - begin };
    size_t from = 0, n;

    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n > LINE_SHOWN && match > begin + LINE_SHOWN - BEFORE_MATCH)
        from = utf8_align(line, match - begin - BEFORE_MATCH);
    n = utf8_cut(str_from(line, from), LINE_SHOWN);
    buf_addf(out, "%zu%c%s", number, mark, from ? "..." : "");
    buf_add_str(out, str_head(str_from(line, from), n));
    buf_adds(out, from + n < line.n ? "...\n" : "\n");
}

static size_t count_lines(struct str s)
{
    size_t n = 0;

    for (const char *p = s.p; (p = memchr(p, '\n', (size_t)(s.p + s.n - p))); p++)
        n++;
    return n;
}

static size_t next_line(struct str text, size_t at)
{
    const char *nl = memchr(text.p + at, '\n', text.n - at);

    return nl ? (size_t)(nl - text.p) + 1 : text.n;
}

static size_t line_before(struct str text, size_t at)
{
    const char *nl = at > 1 ? memrchr(text.p, '\n', at - 1) : NULL;

    return nl ? (size_t)(nl - text.p) + 1 : 0;
}

/* The matched lines with their numbers, and what is around them. */
static void put_lines(struct looker *l, struct str text, size_t n)
{
    size_t context = l->what->context;
    size_t number = 1, at = 0;          /* `at` begins line `number`, and is the first that is not shown yet */

    for (size_t i = 0; i < n && l->text.n < FILE_SHOWN; i++) {
        size_t line = l->lines[i].begin, before = line, lines = 0, behind = i + 1 < n ? l->lines[i + 1].begin : text.n;

        if (line > at) {
            while (lines < context && before > at) {
                before = line_before(text, before);
                lines++;
            }
            number += count_lines((struct str){ text.p + at, before - at });
            if (i && before > at && context)
                buf_adds(&l->text, "--\n");
            for (at = before; at < line; at = next_line(text, at))
                put_line(&l->text, text, at, number++, '-', at);
        }
        put_line(&l->text, text, line, number++, ':', l->lines[i].at);
        at = next_line(text, line);
        for (size_t k = 0; k < context && at < behind && at < text.n; k++) {
            put_line(&l->text, text, at, number++, '-', at);
            at = next_line(text, at);
        }
    }
}

/* Finds the lines of a text. How many, or -E2BIG. */
static ssize_t find_lines(struct looker *l, struct str text)
{
    bool one = l->what->find == ENV_FIND_FILES;
    size_t from = 0, n = 0;
    struct found line;
    int r;

    find_begin(l->finder, text);
    while ((r = find_next(l->finder, from, &line)) == 1) {
        if (l->what->find == ENV_FIND_LINES) {
            GROW(l->lines, n, l->cap);
            l->lines[n] = line;
        }
        n++;
        from = next_line(text, line.end);
        if (one || from == text.n || __atomic_load_n(l->stop, __ATOMIC_RELAXED))
            break;
    }
    return r < 0 ? r : (ssize_t)n;
}

size_t look_into(struct looker *l, int fd)
{
    struct str text;
    ssize_t n;

    buf_clear(&l->text);
    if (!load(l, fd))
        return 0;
    l->searched++;
    if (!as_text(l, pattern_is_wide(l->pattern) && !utf8_valid(buf_str(&l->data)), &text)) {
        l->binary++;
        return 0;
    }
    n = find_lines(l, text);
    if (n > 0 && l->what->find == ENV_FIND_LINES && text.p == l->data.p && !utf8_valid(text) && as_text(l, true, &text))
        n = find_lines(l, text);        /* once more, in characters that can be shown */
    if (n < 0)
        l->given_up++;
    if (n <= 0)
        return 0;
    if (l->what->find == ENV_FIND_LINES)
        put_lines(l, text, (size_t)n);
    return (size_t)n;
}
