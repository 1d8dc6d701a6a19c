#include "env/layer.h"

#include "base/path.h"
#include "base/utf8.h"
#include "env/local_impl.h"

#include <stdio.h>

/* Half of it would be put right by the next call only. */
static CO int ask(struct env *v, struct files_ask *q, struct buf *in, struct files_answer *ret, struct err *e)
{
    int r;

    q->rel = LIT(".");
    fiber_shield();
    r = local_ask(local(v), q, "a layer", in, ret, e);
    fiber_unshield();
    return r;
}

static CO int act(struct env *v, struct files_ask *q, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;

    return ask(v, q, &in, &a, e);
}

/* The path in a line of mountinfo: its fifth field, in which what is special is written in octal. */
static char *mount_point(const char *line)
{
    struct buf out = {0};

    for (int i = 0; i < 4 && line; i++)
        line = strchr(line, ' ') ? strchr(line, ' ') + 1 : NULL;
    for (; line && *line && *line != ' '; line++) {
        unsigned c;

        if (line[0] == '\\' && sscanf(line + 1, "%3o", &c) == 1) {
            buf_addc(&out, (char)c);
            line += 3;
        } else {
            buf_addc(&out, *line);
        }
    }
    return out.n ? buf_take(&out) : xstrdup("");
}

int layer_possible(struct env *v, struct err *e)
{
    const char *root = local(v)->root, *below;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t cap = 0;
    int r = 0;

    while (f && r == 0 && getline(&line, &cap, f) > 0) {
        cleanup(freep) char *at = mount_point(line);

        if (path_beneath(root, at, &below) && strcmp(below, ".") != 0)
            r = err_set(e, -EXDEV, "a file system is mounted in the workspace, at %.300s", below);
    }
    free(line);
    if (f)
        fclose(f);
    return r;
}

CO int layer_make(struct env *v, const char *name, struct err *e)
{
    return act(v, &(struct files_ask){ FILES_LAYER, .temp = str_of(name) }, e);
}

CO int layer_begin(struct env *v, const char *name, struct err *e)
{
    struct local *l = local(v);
    int r = layer_possible(v, e);

    if (r == 0)
        r = layer_make(v, name, e);

    if (r < 0)
        return r;
    free(l->box->layer);
    l->box->layer = xstrdup(name);
    return 0;
}

static enum layer_state state_of(struct str word)
{
    static const char *const words[] = { [LAYER_NEW] = "new", [LAYER_KEEPING] = "keeping", [LAYER_KEPT] = "kept",
                                         [LAYER_UNDOING] = "undoing", [LAYER_UNDONE] = "undone" };

    for (size_t i = LAYER_NEW; i < ARRAY_SIZE(words); i++)
        if (str_is(word, words[i]))
            return (enum layer_state)i;
    return LAYER_NONE;
}

CO int layer_list(struct env *v, struct layers *ret, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    int r = ask(v, &(struct files_ask){ FILES_LAYERS }, &in, &a, e);
    const char *each;

    *ret = (struct layers){0};
    while (r == 0 && (each = wire_next(&a.text))) {
        struct layer_row row = { .state = state_of((struct str){ each, strcspn(each, " ") }) };
        long long since;
        int at = 0;

        if (row.state == LAYER_NONE || sscanf(each, "%*s %lld %n", &since, &at) != 1 || !at)
            continue;
        row.name = xstrdup(each + at);
        row.since = since;
        GROW(ret->v, ret->n, ret->cap);
        ret->v[ret->n++] = row;
    }
    return r;
}

void layers_done(struct layers *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].name);
    free(l->v);
    *l = (struct layers){0};
}

CO int layer_look(struct env *v, const char *name, enum layer_state *ret, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    int r = ask(v, &(struct files_ask){ FILES_CHANGES, .temp = str_of(name), .expects = true }, &in, &a, e);

    *ret = r < 0 ? LAYER_NONE : a.text.n ? state_of(a.text) : LAYER_NEW;
    return r == -ENOENT ? 0 : r;
}

CO int layer_changes(struct env *v, const char *name, bool empty_goes, struct buf *out, int64_t *ret_n, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    int r = ask(v, &(struct files_ask){ FILES_CHANGES, .temp = str_of(name), .all = empty_goes }, &in, &a, e);
    const char *each;

    *ret_n = 0;
    while (r == 0 && (each = wire_next(&a.text))) {
        utf8_add_escaped(out, str_of(each));
        buf_addc(out, '\n');
        ++*ret_n;
    }
    return r;
}

char *layer_list_hash(struct str changes, char ret[HASH_HEX])
{
    struct hashing h;
    struct hash hash;

    hashing_init(&h);
    while (changes.n) {
        const char *nl = memchr(changes.p, '\n', changes.n);
        size_t line = nl ? (size_t)(nl - changes.p) + 1 : changes.n, kind = strcspn(changes.p, " ");

        hashing_add(&h, changes.p, 1);
        hashing_add(&h, changes.p + MIN(kind, line), line - MIN(kind, line));
        changes = str_from(changes, line);
    }
    hash = hashing_end(&h);
    return hash_hex(&hash, ret);
}

CO int layer_keep(struct env *v, const char *name, bool seen, struct err *e)
{
    return act(v, &(struct files_ask){ FILES_KEEP, .temp = str_of(name), .all = seen }, e);
}

CO int layer_undo(struct env *v, const char *name, struct err *e)
{
    return act(v, &(struct files_ask){ FILES_UNDO, .temp = str_of(name) }, e);
}

CO int layer_redo(struct env *v, const char *name, struct err *e)
{
    return act(v, &(struct files_ask){ FILES_KEEP, .temp = str_of(name), .expects = true }, e);
}

CO int layer_drop(struct env *v, const char *name, struct err *e)
{
    return act(v, &(struct files_ask){ FILES_DROP, .temp = str_of(name) }, e);
}

CO void layers_close(struct env *v)
{
    if (local(v)->worker.control >= 0)  /* else nobody has made one */
        act(v, &(struct files_ask){ FILES_DROP }, &(struct err){0});
}
