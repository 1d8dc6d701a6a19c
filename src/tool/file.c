#include "tool/file.h"

static void change_free(struct change *ch)
{
    free(ch->path);
    decoded_done(&ch->was);
    buf_done(&ch->old);
    buf_done(&ch->new);
    free(ch);
}

static void changes_free(void *p)
{
    struct changes *all = p;

    for (size_t i = 0; i < all->n; i++)
        change_free(all->v[i]);
    free(all->v);
    buf_done(&all->note);
    free(all);
}

struct changes *changes_new(struct call *c)
{
    struct changes *all = xcalloc(1, sizeof(*all));

    c->state = all;
    c->state_free = changes_free;
    return all;
}

static struct change *change_new(struct changes *all, struct env *env, struct str path)
{
    struct change *ch = xcalloc(1, sizeof(*ch));

    GROW(all->v, all->n, all->cap);
    all->v[all->n++] = ch;
    ch->path = env_resolve(env, path);
    ch->old.max = ENV_FILE_MAX + 1;
    ch->new.max = ENV_FILE_MAX;
    ch->exists = true;
    return ch;
}

/* What the file is in: what it was read in before, or what it looks like. */
static int find_charset(struct change *ch, const struct known_file *known, struct err *e)
{
    struct str bytes = buf_str(&ch->old);
    int r = 0;

    if (known)
        r = charset_named(str_of(known->charset ? known->charset : "UTF-8"), bytes, &ch->charset, e);
    else
        ch->binary = !charset_guess(bytes, true, &ch->charset);
    if (r < 0 || ch->binary)
        return r;
    return decoded_init(&ch->was, &ch->charset, bytes, e);
}

CO int change_load(struct call *c, struct changes *all, struct str path, struct change **ret)
{
    struct change *ch = change_new(all, c->env, path);
    const struct known_file *known;
    struct env_stat st = {0};
    struct err e = {0};
    int r;

    *ret = NULL;
    charset_guess(LIT(""), true, &ch->charset);
    decoded_init(&ch->was, &ch->charset, LIT(""), &e);
    r = env_read(c->env, path, 0, ENV_FILE_MAX + 1, &ch->old, &st, &e);
    if (r == -ENOENT || r == -ENOTDIR) {
        *ret = ch;
        return 0;
    }
    if (r < 0)
        return result_fail(c->result, r, "%s: %s", c->tool->name, e.msg);
    if (st.size > (int64_t)ENV_FILE_MAX || ch->old.n > ENV_FILE_MAX)
        return result_fail(c->result, -E2BIG, "%s: %s has %lld bytes; files above %zu MiB are changed with bash", c->tool->name,
                           ch->path, (long long)st.size, ENV_FILE_MAX >> 20);
    ch->existed = ch->like = true;
    ch->was_like = st;
    ch->before = hash_bytes(buf_str(&ch->old));
    known = view_known(c->view, ch->path);
    if (known && !hash_eq(&known->hash, &ch->before))
        return result_fail(c->result, -ESTALE, "%s: %s was changed since you last saw it; read it again", c->tool->name,
                           ch->path);
    r = find_charset(ch, known, &e);
    if (r < 0)
        return result_fail(c->result, r, "%s: %s: %s", c->tool->name, ch->path, e.msg);
    *ret = ch;
    return 0;
}

static bool not_too_large(struct call *c, struct change *ch)
{
    if (buf_err(&ch->new) == 0)
        return true;
    result_fail(c->result, -E2BIG, "%s: %s would grow above %zu MiB; nothing was changed", c->tool->name, ch->path,
                ENV_FILE_MAX >> 20);
    return false;
}

bool change_add(struct call *c, struct change *ch, struct str utf8)
{
    struct err e;
    int r;

    if (str_find(utf8, LIT(REDACTED), 0) >= 0 && str_find(ch->was.text, LIT(REDACTED), 0) < 0) {
        result_fail(c->result, -EPERM, "%s: the text for %s holds \"" REDACTED "...\", which stands in place of a secret; nothing "
                    "was "
                    "changed. Change the file around the secret with edit.", c->tool->name, ch->path);
        return false;
    }
    r = charset_encode(&ch->charset, utf8, &ch->new, &e);
    if (r < 0 && r != -E2BIG) {
        result_fail(c->result, r, "%s: %s, which %s is in; nothing was changed. Write it without, or convert the file first "
                    "(iconv).",
                    c->tool->name, e.msg, ch->path);
        return false;
    }
    return not_too_large(c, ch);
}

bool change_keep(struct call *c, struct change *ch, size_t from, size_t to)
{
    buf_add(&ch->new, buf_str(&ch->old).p + from, to - from);
    return not_too_large(c, ch);
}

void add_crlf(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n' && (i == 0 || text.p[i - 1] != '\r'))
            buf_addc(out, '\r');
        buf_addc(out, text.p[i]);
    }
}

size_t line_of(struct str text, size_t at)
{
    size_t line = 1;

    for (const char *p = text.p; (p = memchr(p, '\n', (size_t)(text.p + at - p))); p++)
        line++;
    return line;
}

bool crlf_at(struct str text, size_t at)
{
    const char *nl = memchr(text.p + at, '\n', text.n - at);

    if (!nl)
        nl = memrchr(text.p, '\n', at);
    return nl && nl > text.p && nl[-1] == '\r';
}

void spans_add(struct spans *s, size_t at, size_t n, struct str new)
{
    GROW(s->v, s->n, s->cap);
    s->v[s->n++] = (struct span){ at, n, new };
}

struct str spans_own(struct spans *s, struct buf *text)
{
    struct str r = { NULL, text->n };

    GROW(s->owned, s->nowned, s->owned_cap);
    r.p = s->owned[s->nowned++] = buf_take(text);
    return r;
}

void spans_done(struct spans *s)
{
    for (size_t i = 0; i < s->nowned; i++)
        free(s->owned[i]);
    free(s->owned);
    free(s->v);
}

static int by_place(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

static ssize_t lines_in(struct str text)
{
    return (ssize_t)line_of(text, text.n) - 1;
}

bool change_splice(struct call *c, struct change *ch, struct spans *s, struct buf *note)
{
    struct str file = ch->was.text;
    size_t done = 0, at = 0;            /* in the bytes, in the text */
    ssize_t shift = 0;                  /* lines that the spans so far have added */

    qsort(s->v, s->n, sizeof(*s->v), by_place);
    for (size_t i = 0; i < s->n; i++) {
        const struct span *span = &s->v[i];

        if (span->at < at) {
            result_fail(c->result, -EINVAL, "%s: two changes of %s are of the same text at line %zu; nothing was changed. Join "
                        "them "
                        "into one.", c->tool->name, ch->path, line_of(file, span->at));
            return false;
        }
        if (!change_keep(c, ch, done, decoded_byte(&ch->was, span->at)) || !change_add(c, ch, span->new))
            return false;
        at = span->at + span->n;
        done = decoded_byte(&ch->was, at);
        if (i < PLACES_SHOWN)
            buf_addf(note, "%s %zd", i ? "," : "", (ssize_t)line_of(file, span->at) + shift);
        shift += lines_in(span->new) - lines_in(str_head(str_from(file, span->at), span->n));
    }
    if (s->n > PLACES_SHOWN)
        buf_adds(note, ", ...");
    if (!charset_is_utf8(&ch->charset))
        buf_addf(note, " (in %s)", ch->charset.name);
    return change_keep(c, ch, done, ch->old.n);
}

static const char *charset_name(const struct change *ch)
{
    return charset_is_utf8(&ch->charset) ? NULL : ch->charset.name;
}

/* Writes first, removals last: a file that is moved is never nowhere. */
static void sort_changes(struct changes *all)
{
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++) {
        struct change *ch = all->v[i];

        if (!ch->exists)
            continue;
        memmove(&all->v[n + 1], &all->v[n], (i - n) * sizeof(*all->v));
        all->v[n++] = ch;
    }
}

void changes_plan(struct call *c, struct changes *all)
{
    char hex[HASH_HEX];

    sort_changes(all);

    js_key(&c->plan, "files");
    buf_addc(&c->plan, '[');
    for (size_t i = 0; i < all->n; i++) {
        struct change *ch = all->v[i];
        struct hash after = hash_bytes(buf_str(&ch->new));

        buf_adds(&c->plan, i ? ",{" : "{");
        js_add_text(&c->plan, "path", ch->path);
        if (ch->existed)
            js_add_text(&c->plan, "before", hash_hex(&ch->before, hex));
        if (ch->exists)
            js_add_text(&c->plan, "after", hash_hex(&after, hex));
        js_add_text(&c->plan, "charset", charset_name(ch));
        buf_addc(&c->plan, '}');
    }
    buf_addc(&c->plan, ']');
    js_add_str(&c->plan, "note", buf_str(&all->note));
}

/* Makes one change, or takes it back. */
static CO int make(struct call *c, struct change *ch, unsigned part, bool back, struct err *e)
{
    struct hash after = hash_bytes(buf_str(&ch->new));
    bool there = back ? ch->exists : ch->existed, stays = back ? ch->existed : ch->exists;
    const struct hash *expect = back ? &after : &ch->before;
    struct env_write w = { str_of(ch->path), there ? expect : NULL, buf_str(back ? &ch->old : &ch->new),
                           ch->like ? &ch->was_like : NULL, c->key, part, back };

    if (!there && !stays)
        return 0;
    return stays ? env_write(c->env, &w, e) : env_remove(c->env, &w, e);
}

/* After change `n` could not be made: those before it are taken back. */
static CO int take_back(struct call *c, struct changes *all, size_t n, int failed, const struct err *why)
{
    cleanup(buf_done) struct buf left = {0};

    for (size_t i = n; i-- > 0;) {
        struct err e;

        if (make(c, all->v[i], (unsigned)i, true, &e) < 0)
            buf_addf(&left, "%s%s", left.n ? ", " : "", all->v[i]->path);
    }
    return result_fail(c->result, failed, left.n ? "%s: %s; what had been changed by then could not be put back: %s"
                       : "%s: %s; nothing was changed", c->tool->name, why->msg, left.n ? left.p : "");
}

static CO int make_all(struct call *c, struct changes *all)
{
    struct err e = {0}, unsafe = {0};
    int r = 0;

    for (size_t i = 0; i < all->n; i++) {
        struct change *ch = all->v[i];

        r = make(c, ch, (unsigned)i, false, &e);
        if (r == -EUCLEAN)
            unsafe = e;
        else if (r < 0)
            return take_back(c, all, i, r, &e);
    }
    for (size_t i = 0; i < all->n; i++) {
        struct hash after = hash_bytes(buf_str(&all->v[i]->new));

        result_file(c->result, all->v[i]->path, all->v[i]->exists ? &after : NULL, charset_name(all->v[i]));
    }
    if (unsafe.msg[0])
        return result_fail(c->result, -EUCLEAN, "%s: %s", c->tool->name, unsafe.msg);
    buf_add_str(&c->result->text, buf_str(&all->note));
    result_ok(c->result);
    return 0;
}

CO int changes_run(struct call *c)
{
    int r;

    fiber_shield();                     /* not cut short between two files */
    r = make_all(c, c->state);
    fiber_unshield();
    return r;
}

/* What a planned file is like after a crash. */
enum state { AS_BEFORE, AS_PLANNED, OTHERWISE };

struct planned {
    struct str path, charset;
    bool existed, exists;
    struct hash before, after;
    enum state state;
    struct hash now;
};

static bool read_planned(const json_t *file, struct planned *p)
{
    struct str before = js_str(file, "before"), after = js_str(file, "after");

    p->path = js_str(file, "path");
    p->charset = js_str(file, "charset");
    p->existed = before.p != NULL;
    p->exists = after.p != NULL;
    return p->path.p && (!before.p || hash_from_hex(before, &p->before)) && (!after.p || hash_from_hex(after, &p->after));
}

static CO int look(struct call *c, struct planned *p, unsigned part, struct err *e)
{
    struct env_stat st = {0};
    int r = env_tidy(c->env, p->path, c->foreign ? NULL : c->key, part, e);

    if (r == 0)
        r = env_look(c->env, p->path, &st, &p->now, e);
    if (r < 0)
        return r;
    if (st.exists ? p->exists && hash_eq(&p->now, &p->after) : !p->exists)
        p->state = AS_PLANNED;
    else if (st.exists ? p->existed && hash_eq(&p->now, &p->before) : !p->existed)
        p->state = AS_BEFORE;
    else
        p->state = OTHERWISE;
    return 0;
}

static void settled_ok(struct call *c, const struct planned *files, size_t n)
{
    buf_add_str(&c->result->text, js_str(c->planned, "note"));
    for (size_t i = 0; i < n; i++)
        result_file(c->result, files[i].path.p, files[i].exists ? &files[i].after : NULL, files[i].charset.p);
    result_ok(c->result);
}

/* Several files, some as planned and some as before: the rest is done. */
static CO int carry_on(struct call *c, struct planned *files, size_t n,
                       CO int (*rebuild)(struct call *, struct changes *, struct str, struct change **))
{
    struct changes *all = changes_new(c);
    struct err e = {0};

    for (size_t i = 0; i < n; i++) {
        struct change *ch = NULL;
        struct hash after;
        int r;

        if (files[i].state == AS_PLANNED)
            continue;
        r = rebuild(c, all, files[i].path, &ch);
        if (r < 0 || !ch)
            return r;
        after = hash_bytes(buf_str(&ch->new));
        if (ch->exists != files[i].exists || (ch->exists && !hash_eq(&after, &files[i].after)))
            return result_fail(c->result, -ESTALE, "rein was stopped during this call, and %.*s cannot be changed as was planned: "
                               "look at the "
                               "files before you go on", STR(files[i].path));
        r = make(c, ch, (unsigned)i, false, &e);
        if (r < 0)
            return result_fail(c->result, r, "rein was stopped during this call, which is done in part: %s", e.msg);
    }
    settled_ok(c, files, n);
    return 0;
}

static void say_partly(struct call *c, const struct planned *files, size_t n)
{
    static const char *const states[] = { "is as it was before", "is changed as planned", "was changed by something else since" };
    struct buf *text = &c->result->text;

    buf_adds(text, "Not done as a whole: rein was stopped during this call.");
    for (size_t i = 0; i < n; i++)
        buf_addf(text, "\n%.*s %s", STR(files[i].path), states[files[i].state]);
    buf_adds(text, "\nRead them before you go on.");
    c->result->outcome = OUT_ERROR;
}

/* A rename happens or does not: a file holds the planned content, or what it held before, or what someone else has put there
 * since. In the last case it is not ours to claim; the model has to look. */
CO int changes_settle(struct call *c, CO int (*rebuild)(struct call *, struct changes *, struct str, struct change **))
{
    const json_t *list = json_object_get(c->planned, "files"), *each;
    cleanup(freep) struct planned *files = xcalloc(json_array_size(list) + 1, sizeof(*files));
    size_t n = json_array_size(list), i, count[3] = {0};
    struct err e = {0};

    json_array_foreach(list, i, each) {
        int r;

        if (!read_planned(each, &files[i]))
            return result_fail(c->result, -EBADMSG, "the intent's plan cannot be read");
        r = look(c, &files[i], (unsigned)i, &e);
        if (r < 0)
            return result_fail(c->result, r, "rein was stopped during this call, and the file cannot be looked at: %s", e.msg);
        count[files[i].state]++;
    }
    if (n == 0)
        return result_fail(c->result, -EBADMSG, "the intent's plan cannot be read");
    if (count[AS_PLANNED] == n) {
        settled_ok(c, files, n);
        return 0;
    }
    if (count[AS_PLANNED] == 0 && (n == 1 || count[OTHERWISE] == 0)) {
        c->result->outcome = OUT_NOT_DONE;
        if (count[OTHERWISE] == 0)
            buf_addf(&c->result->text, "Not done: rein was stopped before %.*s was changed. It is as it was before.",
                     STR(files[0].path));
        else
            buf_addf(&c->result->text, "Not there: rein was stopped during this call, and %.*s was changed by something else "
                     "since. "
                     "Read it before you go on.", STR(files[0].path));
        return 0;
    }
    if (count[OTHERWISE] == 0 && rebuild && !c->foreign)
        return carry_on(c, files, n, rebuild);
    say_partly(c, files, n);
    return 0;
}

void file_needs(const json_t *args, void (*each)(void *arg, struct str what), void *arg)
{
    if (js_str(args, "path").n)
        each(arg, js_str(args, "path"));
}
