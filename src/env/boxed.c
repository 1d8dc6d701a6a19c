/* boxed.c - what comes before and after a command in a box: what of the workspace it may not touch, its layer, and what becomes of
 * that. */
#include "env/local_impl.h"

#include "base/path.h"
#include "env/layer.h"

/* The profile of a command in the box, into the file in memory that its supervisor reads when it is told to start. */
static int box_profile(struct local *l, const char *layer, int fd, struct err *e)
{
    cleanup(buf_done) struct buf profile = {0};
    int r;

    if (l->box->layers) {               /* commands may be made ready side by side */
        free(l->box->layer);
        l->box->layer = layer ? xstrdup(layer) : NULL;
        l->box->masks = l->jobs;        /* jobs work in place, and what is masked for them must not be exchanged below the mask */
    }
    boxing_profile(l->box, l->root, &profile);
    r = boxing_write(fd, &profile);
    return r < 0 ? err_set(e, r, "the box cannot be described: %s", strerror(-r)) : 0;
}

static void without_layer(struct env_ready *ready, struct str why)
{
    ready->no_layer = xasprintf("it changed the workspace in place and cannot be taken back, since there was no layer: %.*s",
                                STR(why));
}

/* A layer alone: over it nothing has to be kept but what is hidden, and that was found before. To look through everything again
 * takes longer than most commands do. */
static CO bool make_layer(struct local *l, struct env_ready *ready)
{
    struct err e;
    int r;

    fiber_shield();                     /* half of it would be put right by the next call only */
    r = layer_make(&l->env, ready->key, &e);
    fiber_unshield();
    if (r < 0)
        without_layer(ready, str_of(e.msg));
    else
        ready->layer = xstrdup(ready->key);
    return r == 0;
}

/* What of the workspace the command in the box has to leave as it is; with `layer` a layer is made at the same time. */
static CO int look_at_workspace(struct local *l, struct env_ready *ready, bool layer, struct err *e)
{
    cleanup(buf_done) struct buf before = {0}, in = {0};
    struct files_ask q = { .what = FILES_GUARD, .all = l->box->shelf, .rel = LIT("."), .temp = str_of(layer ? ready->key : "") };
    struct files_answer a;
    int r;

    if (l->box->guarded)
        boxing_guarded(l->box, &before);
    q.data = buf_str(&before);
    fiber_shield();
    r = local_ask(l, &q, "the workspace to be looked through", &in, &a, e);
    fiber_unshield();
    if (r < 0)
        return r;
    if (layer && a.said.n)
        without_layer(ready, a.said);
    else if (layer)
        ready->layer = xstrdup(ready->key);
    return boxing_guard(l->box, a.text, e);
}

/* Whether the command has to be run again without a layer, and can be: nothing of it reached another machine. The layer stays until
 * its report is another one's, or a crash between would leave a command that has ended and changed nothing. */
static bool is_for_again(const struct local *l, const struct env_ready *ready, int r, const struct err *e, struct env_outcome *o)
{
    bool failed = o->across && o->end == ENV_EXIT && o->exit_status != 0, copies = o->end == ENV_COPIES;

    o->again = (failed || copies || r == -EMLINK || r == -ENOTSUP) && l->box->let_out == ready->let_out;
    if (o->again)
        o->layer_said = xstrdup(copies ? "it changes more than a gigabyte of files that a layer has to copy first" :
                                failed && r == 0 ? "it renamed a folder or linked a file, which a layer cannot do" : e->msg);
    return o->again;
}

CO void boxed_end_layer(struct local *l, const struct env_ready *ready, bool wanted, struct env_outcome *o)
{
    cleanup(buf_done) struct buf text = {0};
    const char *layer = ready->layer;
    struct err e = {0};
    int r = layer_changes(&l->env, layer, true, &text, &o->nchanged, &e);

    if (wanted && is_for_again(l, ready, r, &e, o))
        return;

    if (r == 0 && wanted && o->nchanged) {
        enum layer_state state;

        r = layer_keep(&l->env, layer, false, &e);
        /* Whoever does it may have been lost over it. */
        if (r < 0 && layer_look(&l->env, layer, &state, &(struct err){0}) == 0 && (state == LAYER_KEEPING || state == LAYER_KEPT))
            r = layer_keep(&l->env, layer, true, &e);
    }
    o->held = r < 0;
    if (r < 0) {
        char hex[HASH_HEX];

        o->waits = xstrdup(layer_list_hash(buf_str(&text), hex));
        o->layer_said = xasprintf("nothing that it changed was put in place: %.300s. It lies in .rein/layers/%s; rein redo %s "
                                  "puts it in place all the same, rein undo %s drops it", e.msg, layer, layer, layer);
    } else if (wanted && o->nchanged) {
        o->changed = buf_take(&text);
    } else if (o->nchanged) {
        layer_drop(&l->env, layer, &e);
        o->layer_said = xstrdup("nothing that it changed was kept");
    }
    if (!o->changed)
        o->nchanged = 0;
}

CO int boxed_prepare(struct local *l, const struct env_command *c, struct env_ready *ready, int profile, struct err *e)
{
    bool layer = l->box->layers && !c->job && !c->in_place;
    int r = c->in_place ? layer_drop(&l->env, c->key, e) : 0;   /* the earlier try's */

    ready->let_out = l->box->let_out;
    if (r == 0 && layer && layer_possible(&l->env, e) < 0) {
        without_layer(ready, str_of(e->msg));
        layer = false;
    }
    if (r == 0 && layer && l->box->guarded && !l->jobs) {
        if (make_layer(l, ready))
            return box_profile(l, ready->layer, profile, e);
        layer = false;
    }
    if (r == 0)
        r = look_at_workspace(l, ready, layer, e);
    return r < 0 ? r : box_profile(l, ready->layer, profile, e);
}

/* Moves what may not stay out of the workspace, to where the user finds it; on another file system it is removed. */
static CO bool hold_back(struct local *l, const char *path, const char *key, size_t number)
{
    cleanup(freep) char *full = path_resolve(l->root, str_of(path));
    cleanup(buf_done) struct buf in = {0};
    struct files_answer a;
    struct err e;
    const char *rel;

    if (!path_beneath(l->root, full, &rel) || strcmp(rel, path) != 0)
        return false;                   /* the list is not to be believed */
    return boxing_hold_back(l->box, l->root_fd, path, key, number) ||
           local_ask(l, &(struct files_ask){ .what = FILES_PURGE, .rel = str_of(path) }, "what may not stay to be removed", &in, &a,
                     &e) == 0;
}

CO void boxed_check(struct local *l, const char *key, struct env_outcome *o)
{
    cleanup(buf_done) struct buf before = {0}, in = {0}, told = {0};
    struct files_ask q = { .what = FILES_CHECK };
    struct files_answer a;
    struct err e;
    size_t moved = 0;
    int r;

    if (!l->box || l->box->plan || !o->started || !boxing_guarded(l->box, &before))
        return;                         /* (what lies in a plan is looked at when it is put in place) */
    q.data = buf_str(&before);
    fiber_shield();                     /* nothing of it may stay because nobody waits */
    r = local_ask(l, &q, "the workspace to be looked through", &in, &a, &e);
    for (const char *path; r == 0 && (path = wire_next(&a.text));)
        buf_addf(&told, "%s%s\n", path, hold_back(l, path, key, ++moved) ? "" : " (could not be moved away)");
    fiber_unshield();
    if (r < 0)
        buf_addf(&told, "(the workspace could not be looked through: %s)\n", e.msg);
    if (told.n)
        o->moved_out = buf_take(&told);
}

CO int boxed_settle(struct local *l, const char *key, struct env_outcome *o, struct err *e)
{
    enum layer_state state;
    int r = layer_look(&l->env, key, &state, e);

    if (r == 0 && state == LAYER_NONE)
        boxed_check(l, key, o);     /* it changed the workspace in place */
    if (r < 0 || state == LAYER_NONE)
        return r;
    if (state != LAYER_NEW)
        return state == LAYER_KEEPING ? layer_keep(&l->env, key, true, e) : 0;
    r = layer_drop(&l->env, key, e);
    o->gone = o->started;
    o->started = o->ended = false;
    return r;
}
