/* patch.c - a patch over several files, in the format that OpenAI's models are trained on (apply_patch), all of it or nothing.
 *
 *     *** Begin Patch
 *     *** Add File: PATH              lines with + in front
 *     *** Delete File: PATH
 *     *** Update File: PATH
 *     *** Move to: PATH               optional
 *     @@ LINE                         optional, more than once: go on behind this line
 *      context, -removed, +added      an empty line is an empty context line
 *     *** End of File                 the chunk ends where the file ends
 *     *** End Patch
 *
 * A chunk's context and removed lines are looked for from the chunk before on: as they are, then without regard to space at the
 * ends of lines, then at both ends, then with typographic quotes and dashes as plain ones. Only removed and added lines change;
 * context lines, line ends and the encoding stay as the file has them. */
#include "base/utf8.h"
#include "tool/file.h"

#include <ctype.h>

#define SECTIONS_MAX 200
#define SHOWN_MAX    160                /* bytes of a line in a message */

struct chunk {
    struct str *headers, *lines;        /* lines with their first character, which is ' ', '+' or '-' */
    size_t nheaders, headers_cap, n, cap;
    bool at_end;
    size_t number;                      /* line of the patch */
};

enum what { ADD, DELETE, UPDATE };

struct section {
    enum what what;
    struct str path, move;
    struct chunk *chunks;               /* of ADD, one with the lines */
    size_t n, cap;
};

struct patch {
    struct section *v;
    size_t n, cap;
};

static void patch_done(struct patch *p)
{
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; k < p->v[i].n; k++) {
            free(p->v[i].chunks[k].headers);
            free(p->v[i].chunks[k].lines);
        }
        free(p->v[i].chunks);
    }
    free(p->v);
}

/* Reading the patch. */

static struct str next_line(struct str *text)
{
    const char *nl = memchr(text->p, '\n', text->n);
    struct str line = str_head(*text, nl ? (size_t)(nl - text->p) : text->n);

    *text = str_from(*text, line.n + (nl != NULL));
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static struct str trim_end(struct str s)
{
    while (s.n && isspace((unsigned char)s.p[s.n - 1]))
        s.n--;
    return s;
}

static struct str trim(struct str s)
{
    s = trim_end(s);
    while (s.n && isspace((unsigned char)s.p[0]))
        s = str_from(s, 1);
    return s;
}

static bool after(struct str line, const char *begin, struct str *ret)
{
    size_t n = strlen(begin);

    if (line.n < n || memcmp(line.p, begin, n) != 0)
        return false;
    *ret = trim(str_from(line, n));
    return true;
}

static struct chunk *add_chunk(struct section *s, size_t number)
{
    GROW(s->chunks, s->n, s->cap);
    s->chunks[s->n] = (struct chunk){ .number = number };
    return &s->chunks[s->n++];
}

/* A header behind @@; the line numbers of a unified diff say nothing here. */
static void add_header(struct chunk *k, struct str line)
{
    struct str text = str_from(line, 2);
    ssize_t end;

    if (text.n && text.p[0] == ' ')
        text = str_from(text, 1);
    if (text.n > 1 && text.p[0] == '-' && isdigit((unsigned char)text.p[1]) && (end = str_find(text, LIT("@@"), 0)) >= 0)
        text = trim(str_from(text, (size_t)end + 2));
    if (!trim(text).n)
        return;
    GROW(k->headers, k->nheaders, k->headers_cap);
    k->headers[k->nheaders++] = text;
}

static bool bad(struct call *c, size_t number, const char *why)
{
    result_fail(c->result, -EINVAL, "patch: line %zu: %s; nothing was changed", number, why);
    return false;
}

static bool begins_section(struct call *c, struct patch *p, struct str line, bool *ret)
{
    static const struct {
        const char *begin;
        enum what what;
    } kinds[] = { { "*** Add File:", ADD }, { "*** Delete File:", DELETE }, { "*** Update File:", UPDATE } };

    *ret = false;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct str path;

        if (!after(line, kinds[i].begin, &path))
            continue;
        if (!path.n || p->n == SECTIONS_MAX) {
            result_fail(c->result, -EINVAL, path.n ? "patch: more than %d files; nothing was changed"
                                                   : "patch: a path is missing behind *** Add, Delete or Update File:",
                                                       SECTIONS_MAX);
            return false;
        }
        GROW(p->v, p->n, p->cap);
        p->v[p->n++] = (struct section){ .what = kinds[i].what, .path = path };
        *ret = true;
        return true;
    }
    return true;
}

/* One line of a section's body. */
static bool body_line(struct call *c, struct section *s, struct chunk **k, struct str line, size_t number)
{
    struct str rest;

    if (s->what == UPDATE && !s->n && !s->move.n && after(line, "*** Move to:", &rest)) {
        s->move = rest;
        return rest.n ? true : bad(c, number, "a path is missing behind *** Move to:");
    }
    if (s->what == DELETE)
        return trim(line).n == 0 ? true : bad(c, number, "nothing comes behind *** Delete File:");
    if (s->what == UPDATE && line.n >= 2 && line.p[0] == '@' && line.p[1] == '@') {
        if (!*k || (*k)->n)
            *k = add_chunk(s, number);
        add_header(*k, line);
        return true;
    }
    if (s->what == UPDATE && *k && after(line, "*** End of File", &rest)) {
        (*k)->at_end = true;
        *k = NULL;
        return true;
    }
    if (!*k)
        *k = add_chunk(s, number);
    if (s->what == ADD && (!line.n || line.p[0] != '+'))
        return bad(c, number, "every line of a file that is added begins with +");
    if (line.n && !strchr(" +-", line.p[0]))
        return bad(c, number, "a line of a chunk begins with a space, + or -");
    GROW((*k)->lines, (*k)->n, (*k)->cap);
    (*k)->lines[(*k)->n++] = line.n ? line : LIT(" ");
    return true;
}

static bool parse(struct call *c, struct str text, struct patch *p)
{
    struct chunk *k = NULL;
    size_t number = 0;
    bool begun = false;

    while (text.n) {
        struct str line = next_line(&text), word = trim(line);
        bool new;

        number++;
        if (!begun) {
            begun = str_is(word, "*** Begin Patch");
            if (!begun && word.n)
                return bad(c, number, "a patch begins with *** Begin Patch");
            continue;
        }
        if (str_is(word, "*** End Patch"))
            return p->n ? true : bad(c, number, "the patch is empty");
        if (!begins_section(c, p, line, &new))
            return false;
        if (new) {
            k = NULL;
            continue;
        }
        if (!p->n)
            return bad(c, number, "*** Add File:, *** Update File: or *** Delete File: is wanted");
        if (!body_line(c, &p->v[p->n - 1], &k, line, number))
            return false;
    }
    return bad(c, number, "*** End Patch is missing: the patch may be cut off");
}

static void patch_needs(const json_t *args, void (*each)(void *arg, struct str what), void *arg)
{
    struct result ignored = {0};
    struct call c = { .result = &ignored };
    struct patch p = {0};

    if (parse(&c, js_str(args, "patch"), &p))
        for (size_t i = 0; i < p.n; i++) {
            each(arg, p.v[i].path);
            if (p.v[i].move.n)
                each(arg, p.v[i].move);
        }
    patch_done(&p);
    buf_done(&ignored.text);
}

/* Finding a chunk's place. */

/* The lines of the file's text, without their ends. */
struct lines {
    struct str text;
    size_t *at;                         /* n + 1 of them, the last is the text's end */
    size_t n;
};

static struct lines lines_of(struct str text)
{
    struct lines l = { .text = text };
    size_t cap = 0;

    for (size_t at = 0; at < text.n; l.n++) {
        const char *nl = memchr(text.p + at, '\n', text.n - at);

        GROW(l.at, l.n, cap);
        l.at[l.n] = at;
        at = nl ? (size_t)(nl - text.p) + 1 : text.n;
    }
    GROW(l.at, l.n, cap);
    l.at[l.n] = text.n;
    return l;
}

static void lines_done(struct lines *l)
{
    free(l->at);
}

static struct str line_at(const struct lines *l, size_t i)
{
    struct str line = { l->text.p + l->at[i], l->at[i + 1] - l->at[i] };

    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

/* Quotes, dashes and spaces that models put in the place of plain ones, and the other way round. */
static void add_plain(struct buf *out, struct str s)
{
    static const struct {
        const char *typographic;
        char plain;
    } table[] = {
        { "\xe2\x80\x90", '-' }, { "\xe2\x80\x91", '-' }, { "\xe2\x80\x92", '-' }, { "\xe2\x80\x93", '-' }, { "\xe2\x80\x94", '-' },
        { "\xe2\x80\x95", '-' }, { "\xe2\x88\x92", '-' }, { "\xe2\x80\x98", '\'' }, { "\xe2\x80\x99", '\'' },
        { "\xe2\x80\x9a", '\'' },
        { "\xe2\x80\x9b", '\'' }, { "\xe2\x80\x9c", '"' }, { "\xe2\x80\x9d", '"' }, { "\xe2\x80\x9e", '"' },
        { "\xe2\x80\x9f", '"' },
        { "\xc2\xa0", ' ' }, { "\xe2\x80\x82", ' ' }, { "\xe2\x80\x83", ' ' }, { "\xe2\x80\xaf", ' ' }, { "\xe3\x80\x80", ' ' },
    };

    for (size_t i = 0; i < s.n;) {
        size_t k = 0;

        while (k < ARRAY_SIZE(table) && ((unsigned char)s.p[i] < 0x80 || s.n - i < strlen(table[k].typographic) ||
                                         memcmp(s.p + i, table[k].typographic, strlen(table[k].typographic)) != 0))
            k++;
        buf_addc(out, k < ARRAY_SIZE(table) ? table[k].plain : s.p[i]);
        i += k < ARRAY_SIZE(table) ? strlen(table[k].typographic) : 1;
    }
}

#define LEVELS 4

static bool same_line(struct str a, struct str b, int level)
{
    cleanup(buf_done) struct buf x = {0}, y = {0};

    if (level == 0)
        return str_eq(a, b);
    if (level == 1)
        return str_eq(trim_end(a), trim_end(b));
    if (level == 2)
        return str_eq(trim(a), trim(b));
    add_plain(&x, trim(a));
    add_plain(&y, trim(b));
    return str_eq(buf_str(&x), buf_str(&y));
}

/* The chunk's lines that are in the file: context and removed ones. */
static size_t old_lines(const struct chunk *k, struct str *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < k->n; i++)
        if (k->lines[i].p[0] != '+')
            ret[n++] = str_from(k->lines[i], 1);
    return n;
}

static bool matches(const struct lines *l, size_t at, const struct str *old, size_t n, int level)
{
    if (at + n > l->n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!same_line(line_at(l, at + i), old[i], level))
            return false;
    return true;
}

/* The first place from a line on, at the strictest level that has one. How many there are at that level is told too. */
static bool seek(const struct lines *l, size_t from, const struct str *old, size_t n, bool at_end, size_t *ret, size_t *ret_places)
{
    for (int level = 0; level < LEVELS; level++) {
        size_t places = 0;

        if (at_end && n <= l->n && l->n - n >= from && matches(l, l->n - n, old, n, level)) {
            *ret = l->n - n;
            *ret_places = 1;
            return true;
        }
        for (size_t at = from; at + n <= l->n; at++)
            if (matches(l, at, old, n, level) && places++ == 0)
                *ret = at;
        if (places) {
            *ret_places = places;
            return true;
        }
    }
    return false;
}

/* `what` is not there: "the lines ... are". */
static bool not_found(struct call *c, const struct change *ch, const struct chunk *k, struct str line, const char *what,
                      const char *are)
{
    cleanup(buf_done) struct buf shown = {0};

    utf8_add_clean(&shown, str_head(line, utf8_cut(line, SHOWN_MAX)));
    result_fail(c->result, -ENOENT, "patch: %s: %s of the chunk at line %zu of the patch %s not found: `%s`; nothing was changed. "
                "Read "
                "the file and take its lines as they are.", ch->path, what, k->number, are, buf_str(&shown).p);
    return false;
}

/* The first of the chunk's lines that no line of the file is like, or its first. */
static struct str strangest(const struct lines *l, const struct str *old, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool known = false;

        for (size_t at = 0; at < l->n && !known; at++)
            known = same_line(line_at(l, at), old[i], 2);
        if (!known)
            return old[i];
    }
    return n ? old[0] : LIT("");
}

/* Replaces the lines [begin, end) by the added ones of a run. */
static void replace(struct spans *s, const struct lines *l, size_t begin, size_t end, struct buf *added, size_t nadded)
{
    bool crlf = crlf_at(l->text, l->at[begin]), open = l->n && l->text.p[l->text.n - 1] != '\n';
    struct buf text = { .max = ENV_FILE_MAX * 2 };
    struct str lines = buf_str(added);

    if (begin == end && !nadded)
        return;
    if (open && begin == l->n && nadded) {
        buf_adds(&text, crlf ? "\r\n" : "\n");          /* behind a last line that had no end */
        lines.n--;
    } else if (open && end == l->n && nadded) {
        lines.n--;
    }
    if (crlf)
        add_crlf(&text, lines);
    else
        buf_add_str(&text, lines);
    spans_add(s, l->at[begin], l->at[end] - l->at[begin], spans_own(s, &text));
}

/* Turns a chunk that stands at a line into spans. */
static void put_chunk(struct spans *s, const struct lines *l, const struct chunk *k, size_t at)
{
    cleanup(buf_done) struct buf added = BUF_MAX(ENV_FILE_MAX * 2);
    size_t begin = at, nadded = 0;

    for (size_t i = 0; i <= k->n; i++) {
        char kind = i < k->n ? k->lines[i].p[0] : ' ';

        if (kind == '+') {
            buf_add_str(&added, str_from(k->lines[i], 1));
            buf_addc(&added, '\n');
            nadded++;
        } else if (kind == '-') {
            at++;
        } else {
            replace(s, l, begin, at, &added, nadded);
            buf_clear(&added);
            nadded = 0;
            begin = ++at;
        }
    }
}

/* The place of a chunk's lines behind its headers. The line behind @@ may be the first of the context too, and empty lines at the
 * end of a chunk may only have been put there before the next one: those are taken from `cut`. */
static bool seek_lines(const struct lines *l, size_t from, const struct str *old, size_t *n, struct chunk *cut, size_t *ret,
                       size_t *ret_places)
{
    for (;; cut->n--, --*n) {
        if (seek(l, from, old, *n, cut->at_end, ret, ret_places))
            return true;
        if (cut->nheaders && seek(l, from - 1, old, *n, cut->at_end, ret, ret_places))
            return true;
        if (*n < 2 || cut->lines[cut->n - 1].p[0] != ' ' || trim(cut->lines[cut->n - 1]).n)
            return false;
    }
}

/* Finds a chunk and adds its spans. `line`: where the chunk before ended. */
static bool place_chunk(struct call *c, const struct change *ch, const struct lines *l, const struct chunk *k, size_t *line,
                        struct spans *s, struct buf *note)
{
    cleanup(freep) struct str *old = xcalloc(k->n + 1, sizeof(*old));
    size_t n = old_lines(k, old), at = 0, places = 0;
    struct chunk cut = *k;

    for (size_t i = 0; i < k->nheaders; i++) {
        if (!seek(l, *line, &k->headers[i], 1, false, &at, &places))
            return not_found(c, ch, k, k->headers[i], "the line behind @@", "is");
        *line = at + 1;
    }
    if (n == 0)
        at = k->nheaders ? *line : l->n;                /* only added lines */
    else if (!seek_lines(l, *line, old, &n, &cut, &at, &places))
        return not_found(c, ch, k, strangest(l, old, n), "the lines", "are");
    if (places > 1 && !k->nheaders)
        buf_addf(note, " (%zu places are like the chunk at line %zu of the patch; the first was taken)", places, k->number);
    put_chunk(s, l, &cut, at);
    *line = at + n;
    return true;
}

/* Making the changes. */

static struct change *find_change(const struct changes *all, struct env *env, struct str path)
{
    cleanup(freep) char *full = env_resolve(env, path);

    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->v[i]->path, full) == 0)
            return all->v[i];
    return NULL;
}

/* A file that is to be new; `again`: it may be there by now. NULL: the call is closed. */
static CO int new_file(struct call *c, struct changes *all, struct str path, bool again, struct change **ret)
{
    int r = change_load(c, all, path, ret);

    if (r == 0 && *ret && (*ret)->existed && !again) {
        result_fail(c->result, -EEXIST, "patch: %s exists already; nothing was changed", (*ret)->path);
        *ret = NULL;
    }
    return r;
}

static bool add_lines(struct call *c, struct change *ch, const struct section *s)
{
    cleanup(buf_done) struct buf text = BUF_MAX(ENV_FILE_MAX);

    for (size_t i = 0; s->n && i < s->chunks[0].n; i++) {
        buf_add_str(&text, str_from(s->chunks[0].lines[i], 1));
        buf_addc(&text, '\n');
    }
    return change_add(c, ch, buf_str(&text));
}

/* The new content of a file that is updated. False: the call is closed. */
static bool update(struct call *c, struct change *ch, const struct section *s, struct buf *note)
{
    cleanup(lines_done) struct lines l = lines_of(ch->was.text);
    cleanup(spans_done) struct spans spans = {0};
    cleanup(buf_done) struct buf doubts = {0};
    size_t line = 0;

    for (size_t i = 0; i < s->n; i++)
        if (!place_chunk(c, ch, &l, &s->chunks[i], &line, &spans, &doubts))
            return false;
    if (!spans.n && !s->move.n) {
        result_fail(c->result, -EINVAL, "patch: nothing is changed in %s: no line of its chunks begins with + or -", ch->path);
        return false;
    }
    if (spans.n)
        buf_adds(note, " at line");
    if (!change_splice(c, ch, &spans, note))
        return false;
    buf_add_str(note, buf_str(&doubts));
    return true;
}

/* Adds the changes of a section; `again`: after a crash that may have come between them. 0: they are there, or the call is closed.
 * */
static CO int plan_section(struct call *c, struct changes *all, const struct section *s, bool again)
{
    struct buf *note = &all->note;
    struct change *ch = NULL, *to;
    int r;

    if (find_change(all, c->env, s->path) || (s->move.n && find_change(all, c->env, s->move)))
        return result_fail(c->result, -EINVAL, "patch: %.*s is there twice; put all chunks of a file under one heading. Nothing "
                           "was changed",
                           STR(s->path));
    r = s->what == ADD ? new_file(c, all, s->path, again, &ch) : change_load(c, all, s->path, &ch);
    if (r < 0 || !ch)
        return r;
    if (s->what != ADD && !ch->existed)
        return result_fail(c->result, -ENOENT, "patch: %s does not exist; nothing was changed", ch->path);
    if (s->what == UPDATE && ch->binary)
        return result_fail(c->result, -EINVAL, "patch: %s is a binary file; nothing was changed", ch->path);
    buf_addf(note, "\n%c %s", s->what == ADD ? 'A' : s->what == DELETE ? 'D' : 'M', ch->path);
    if (s->what == ADD) {
        add_lines(c, ch, s);
    } else if (s->what == DELETE) {
        ch->exists = false;
    } else if (update(c, ch, s, note) && s->move.n) {
        r = new_file(c, all, s->move, again, &to);
        if (r < 0 || !to)
            return r;
        to->charset = ch->charset;
        buf_add_str(&to->new, buf_str(&ch->new));
        buf_clear(&ch->new);
        to->was_like = ch->was_like;
        to->like = true;
        ch->exists = false;
        buf_addf(note, " -> %s", to->path);
    }
    return 0;
}

static CO int patch_prepare(struct call *c)
{
    cleanup(patch_done) struct patch p = {0};
    struct changes *all = changes_new(c);
    struct str text;
    int r = 0;

    if (!call_text(c, "patch", &text) || !parse(c, text, &p))
        return 0;
    buf_addf(&all->note, "Changed %zu file%s:", p.n, p.n == 1 ? "" : "s");
    for (size_t i = 0; i < p.n && r == 0 && c->result->outcome == OUT_OPEN; i++)
        r = plan_section(c, all, &p.v[i], false);
    if (r < 0 || c->result->outcome != OUT_OPEN)
        return r;
    changes_plan(c, all);
    return 0;
}

/* One file's change, from the arguments and from what the files hold now. */
static CO int rebuild(struct call *c, struct changes *all, struct str path, struct change **ret)
{
    cleanup(patch_done) struct patch p = {0};
    struct str text;
    int r = 0;

    *ret = find_change(all, c->env, path);
    if (*ret || !call_text(c, "patch", &text) || !parse(c, text, &p))
        return 0;
    for (size_t i = 0; i < p.n && r == 0 && c->result->outcome == OUT_OPEN; i++) {
        cleanup(freep) char *from = env_resolve(c->env, p.v[i].path), *to = p.v[i].move.n ? env_resolve(c->env, p.v[i].move) : NULL;

        if (str_is(path, from) || (to && str_is(path, to)))
            r = plan_section(c, all, &p.v[i], true);
    }
    if (r == 0 && c->result->outcome == OUT_OPEN)
        *ret = find_change(all, c->env, path);
    return r;
}

static CO int patch_settle(struct call *c)
{
    return changes_settle(c, rebuild);
}

const struct tool tool_patch = {
    .name    = "patch",
    .effect  = EFFECT_PROBE,
    .origin  = FROM_WORKSPACE,
    .title_args = "patch",
    .grant   = GRANT_WRITE,
    .needs   = patch_needs,
    .prepare = patch_prepare,
    .run     = changes_run,
    .settle  = patch_settle,
};
