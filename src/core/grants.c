#include "core/grants.h"

static const char *const kinds[] = { [GRANT_NONE] = "none", [GRANT_RUN] = "run", [GRANT_WRITE] = "write", [GRANT_REACH] = "reach" };

const char *grant_kind_name(enum grant_kind kind)
{
    return kinds[kind];
}

static void grant_done(struct grant *g)
{
    free(g->what);
    free(g->root);
    free(g->session);
}

static char *text(const json_t *b, const char *key)
{
    return js_str(b, key).p ? str_dup(js_str(b, key)) : NULL;
}

static void read_one(struct grants *g, uint64_t id, int64_t time, const json_t *b)
{
    for (size_t k = GRANT_RUN; k < ARRAY_SIZE(kinds); k++) {
        if (!str_is(js_str(b, "kind"), kinds[k]) || !js_str(b, "what").n || !js_str(b, "root").n)
            continue;
        GROW(g->v, g->n, g->cap);
        g->v[g->n++] = (struct grant){
            .id = id, .kind = (enum grant_kind)k, .what = text(b, "what"), .root = text(b, "root"), .session = text(b, "session"),
            .given = time, .until = js_int(b, "until", 0),
        };
    }
}

void grants_fold(struct grants *g, uint64_t seq, int64_t time, const json_t *b)
{
    uint64_t revoked = (uint64_t)js_int(b, "revoke", 0);

    if (!revoked) {
        read_one(g, seq, time, b);
        return;
    }
    for (size_t i = 0; i < g->n; i++)
        if (g->v[i].id == revoked) {
            grant_done(&g->v[i]);
            g->v[i] = g->v[--g->n];
            return;
        }
}

void grants_add_json(const struct grants *g, int64_t now, struct buf *out)
{
    bool any = false;

    for (size_t i = 0; i < g->n; i++) {
        const struct grant *each = &g->v[i];

        if (now >= each->until)
            continue;
        buf_adds(out, any ? ",{" : "{");
        js_add_int(out, "grant", (int64_t)each->id);
        js_add_text(out, "kind", kinds[each->kind]);
        js_add_text(out, "what", each->what);
        js_add_text(out, "root", each->root);
        js_add_text(out, "session", each->session);
        js_add_int(out, "given", each->given);
        js_add_int(out, "until", each->until);
        buf_addc(out, '}');
        any = true;
    }
}

void grants_read(struct grants *g, const json_t *list)
{
    const json_t *each;
    size_t i;

    json_array_foreach(list, i, each)
        read_one(g, (uint64_t)js_int(each, "grant", 0), js_int(each, "given", 0), each);
}

void grants_done(struct grants *g)
{
    while (g->n)
        grant_done(&g->v[--g->n]);
    free(g->v);
    *g = (struct grants){0};
}

bool grant_holds(const struct grant *g, enum grant_kind kind, const char *root, const char *session, int64_t now)
{
    return g->kind == kind && now >= g->given && now < g->until && strcmp(g->root, root) == 0 &&
           (!g->session || strcmp(g->session, session) == 0);
}
