/* edit.c - exact replacements in one file, all of them or none.
 *
 * Every edit is looked for in the file's text as it is, and the spans may not overlap; so the order of edits does not matter.
 * Only the bytes of the spans change, whatever the file is encoded in. Models write LF: where the file's line ends are CRLF around
 * the place, the old text is also looked for with CRLF, and the new text is given CRLF. */
#include "base/utf8.h"
#include "tool/file.h"

#define EDITS_MAX      200
#define CANDIDATES     3
#define CANDIDATE_MAX  400              /* bytes shown of each */
#define ALIKE_MIN      0.5

static struct str with_crlf(struct spans *s, struct str text)
{
    struct buf out = { .max = ENV_FILE_MAX * 2 };

    add_crlf(&out, text);
    return spans_own(s, &out);
}

/* The near misses. */

static struct str next_line(struct str *text)
{
    const char *nl = memchr(text->p, '\n', text->n);
    struct str line = str_head(*text, nl ? (size_t)(nl - text->p) + 1 : text->n);

    *text = str_from(*text, line.n);
    return line;
}

/* Dice's coefficient over pairs of bytes: 1 for equal, 0 for nothing in common. Long lines are judged by their start. */
static double alike(struct str a, struct str b)
{
    uint8_t seen[8192] = {0};
    size_t same = 0;

    a = str_head(a, 200);
    b = str_head(b, 200);
    if (a.n < 2 || b.n < 2)
        return str_eq(a, b);
    for (size_t i = 0; i + 1 < a.n; i++)
        seen[((unsigned char)a.p[i] * 31u + (unsigned char)a.p[i + 1]) % sizeof(seen)]++;
    for (size_t i = 0; i + 1 < b.n; i++) {
        uint8_t *n = &seen[((unsigned char)b.p[i] * 31u + (unsigned char)b.p[i + 1]) % sizeof(seen)];

        if (*n) {
            (*n)--;
            same++;
        }
    }
    return 2.0 * (double)same / (double)(a.n + b.n - 2);
}

struct candidate {
    double score;
    size_t at, line;
};

/* Places in the file that are most like the first line of what was looked for; the text from there on is shown, as long
 * as what was looked for. */
static void add_candidates(struct buf *say, struct str file, struct str old)
{
    struct candidate best[CANDIDATES] = {0};
    struct str rest = old, first = {0}, left = file;
    size_t lines = 0, line = 0;

    while (rest.n) {
        struct str l = str_trim(next_line(&rest));

        if (!first.n)
            first = l;
        lines++;
    }
    while (first.n && left.n) {
        size_t at = (size_t)(left.p - file.p);
        struct candidate c = { alike(str_trim(next_line(&left)), first), at, ++line };

        for (size_t i = 0; i < CANDIDATES; i++)
            if (c.score > best[i].score) {
                struct candidate swap = best[i];

                best[i] = c;
                c = swap;
            }
    }
    if (best[0].score < ALIKE_MIN)
        return;
    buf_adds(say, " The nearest places are:");
    for (size_t i = 0; i < CANDIDATES && best[i].score >= ALIKE_MIN && best[i].score >= best[0].score - 0.3; i++) {
        struct str from = str_from(file, best[i].at), to = from;

        for (size_t n = 0; n < lines && to.n; n++)
            next_line(&to);
        from = str_head(from, from.n - to.n);
        buf_addf(say, "\n--- line %zu:\n", best[i].line);
        utf8_add_clean(say, str_head(from, utf8_cut(from, CANDIDATE_MAX)));
    }
}

static int missed(struct call *c, const struct change *ch, size_t i, struct str old)
{
    cleanup(buf_done) struct buf say = {0};

    buf_addf(&say, "edit: the old text of edit %zu does not occur in %s; nothing was changed.", i + 1, ch->path);
    add_candidates(&say, ch->was.text, old);
    return result_fail(c->result, -ENOENT, "%s", say.p);
}

static int ambiguous(struct call *c, const struct change *ch, size_t i, struct str old)
{
    cleanup(buf_done) struct buf say = {0};
    struct str file = ch->was.text;
    size_t n = 0;

    for (ssize_t at = 0; (at = str_find(file, old, (size_t)at)) >= 0; at++)
        if (n++ < PLACES_SHOWN)
            buf_addf(&say, "%s%zu", n > 1 ? ", " : "", line_of(file, (size_t)at));
    return result_fail(c->result, -ENOTUNIQ, "edit: the old text of edit %zu occurs %zu times in %s (lines %s%s); nothing was "
                       "changed. Give more text around it, or set \"all\".", i + 1, n, ch->path, say.p,
                       n > PLACES_SHOWN ? ", ..." : "");
}

/* Finds the places of one edit. 0, or 1 with the call closed. */
static int find(struct call *c, const struct change *ch, size_t i, const json_t *edit, struct spans *s)
{
    struct str file = ch->was.text, old = js_str(edit, "old"), new = js_str(edit, "new");
    bool all = js_bool(edit, "all", false);
    size_t places = 0;

    if (!old.p || !new.p)
        return result_fail(c->result, -EINVAL, "edit: edit %zu needs \"old\" and \"new\", both strings", i + 1) + 1;
    if (old.n == 0)
        return result_fail(c->result, -EINVAL, "edit: the old text of edit %zu is empty; use write to create a file", i + 1) + 1;
    if (str_eq(old, new))
        return result_fail(c->result, -EINVAL, "edit: edit %zu changes nothing: old and new are the same", i + 1) + 1;
    if (str_find(file, old, 0) < 0 && memchr(old.p, '\n', old.n))
        old = with_crlf(s, old);
    /* Where one place is wanted, those that overlap count too. */
    for (ssize_t at = 0; (at = str_find(file, old, (size_t)at)) >= 0; at += all ? (ssize_t)old.n : 1) {
        struct str put = memchr(new.p, '\n', new.n) && crlf_at(file, (size_t)at) ? with_crlf(s, new) : new;

        if (places++ && !all)
            return ambiguous(c, ch, i, old) + 1;
        spans_add(s, (size_t)at, old.n, put);
    }
    return places ? 0 : missed(c, ch, i, js_str(edit, "old")) + 1;
}

static CO int edit_prepare(struct call *c)
{
    cleanup(spans_done) struct spans s = {0};
    const json_t *edits = json_object_get(c->args, "edits"), *edit;
    struct changes *all = changes_new(c);
    struct change *ch;
    struct str path;
    size_t i;
    int r;

    if (!call_text(c, "path", &path))
        return 0;
    if (!json_is_array(edits) || json_array_size(edits) == 0 || json_array_size(edits) > EDITS_MAX)
        return result_fail(c->result, -EINVAL, "edit needs \"edits\", a list of 1 to %d objects with old and new", EDITS_MAX);
    r = change_load(c, all, path, &ch);
    if (r < 0 || !ch)
        return r;
    if (!ch->existed)
        return result_fail(c->result, -ENOENT, "edit: %s does not exist; use write to create it", ch->path);
    if (ch->binary)
        return result_fail(c->result, -EINVAL, "edit: %s is a binary file; nothing was changed", ch->path);
    json_array_foreach(edits, i, edit)
        if (find(c, ch, i, edit, &s) != 0)
            return 0;
    buf_addf(&all->note, "Edited %s: %zu replacement%s at line", ch->path, s.n, s.n == 1 ? "" : "s");
    if (change_splice(c, ch, &s, &all->note)) {
        buf_addc(&all->note, '.');
        changes_plan(c, all);
    }
    return 0;
}

static CO int edit_settle(struct call *c)
{
    return changes_settle(c, NULL);
}

const struct tool tool_edit = {
    .name      = "edit",
    .effect    = EFFECT_PROBE,
    .origin    = FROM_WORKSPACE,
    .title_args = "path",
    .grant     = GRANT_WRITE,
    .needs     = file_needs,
    .prepare   = edit_prepare,
    .run       = changes_run,
    .settle    = edit_settle,
};
