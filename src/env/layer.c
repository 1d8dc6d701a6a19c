#include "env/layer.h"

#include "base/utf8.h"
#include "env/local_impl.h"

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

CO int layer_begin(struct env *v, const char *name, struct err *e)
{
    struct local *l = local(v);
    int r = act(v, &(struct files_ask){ FILES_LAYER, .temp = str_of(name) }, e);

    if (r < 0)
        return r;
    free(l->box->layer);
    l->box->layer = xstrdup(name);
    return 0;
}

CO int layer_changes(struct env *v, const char *name, struct buf *out, int64_t *ret_n, struct err *e)
{
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    int r = ask(v, &(struct files_ask){ FILES_CHANGES, .temp = str_of(name) }, &in, &a, e);
    const char *each;

    *ret_n = 0;
    while (r == 0 && (each = wire_next(&a.text))) {
        utf8_add_escaped(out, str_of(each));
        buf_addc(out, '\n');
        ++*ret_n;
    }
    return r;
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
