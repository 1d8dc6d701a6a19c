/* cmd_undo.c - takes back what a command over a layer changed, and puts it in place again. A layer that waits, since a person
 * has to see it, is put in place by its name, or dropped. */
#include "cmd/agent.h"

#include "env/layer.h"
#include "env/local.h"

#include <stdio.h>

/* The one that was said, or the one that came last into a state. */
static const char *choose(const struct layers *all, const char *wanted, enum layer_state state)
{
    const struct layer_row *last = NULL;

    for (size_t i = 0; i < all->n; i++) {
        const struct layer_row *row = &all->v[i];

        if (wanted ? strcmp(row->name, wanted) == 0 : row->state == state && (!last || row->since > last->since))
            last = row;
    }
    return last ? last->name : NULL;
}

static CO int turn(struct agent *a, CO int (*way)(struct env *, const char *, struct err *), enum layer_state from,
                   const char *done)
{
    cleanup(layers_done) struct layers all = {0};
    const char *wanted = a->in->nargs ? a->in->args[0] : NULL, *name;
    struct err e = {0};
    int r = layer_list(a->env, &all, &e);

    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    name = choose(&all, wanted, from);
    if (!name)
        return fail(STATUS_USAGE, wanted ? "there is no layer %s" : "there is nothing here that could be %s",
                    wanted ? wanted : done);
    r = way(a->env, name, &e);
    if (r == 0)
        printf("%s is %s\n", name, done);
    return r < 0 ? fail(STATUS_FAILED, "%s", e.msg) : STATUS_DONE;
}

static CO int begin(struct agent *a)
{
    struct err e = {0};

    if (a->in->nargs > 1)
        return fail(STATUS_USAGE, "one layer at a time, as rein box --layer names it");
    a->cwd = realpath(a->in->opt.dir ? a->in->opt.dir : ".", NULL);
    if (!a->cwd)
        return fail(STATUS_USAGE, "the directory %s: %s", a->in->opt.dir ? a->in->opt.dir : ".", strerror(errno));
    return env_local(a->cwd, a->home, &a->env, &e) < 0 ? fail(STATUS_USAGE, "%s", e.msg) : 0;
}

static CO int undo_or_drop(struct env *v, const char *name, struct err *e)
{
    int r = layer_undo(v, name, e);

    return r == -ENODATA ? layer_drop(v, name, e) : r;
}

static CO int undo_main(struct agent *a)
{
    int r = begin(a);

    return r ? r : turn(a, a->in->nargs ? undo_or_drop : layer_undo, LAYER_KEPT, "taken back");
}

/* Who names a layer has seen it. */
static CO int keep(struct env *v, const char *name, struct err *e)
{
    return layer_keep(v, name, true, e);
}

static CO int redo_main(struct agent *a)
{
    int r = begin(a);

    return r ? r : turn(a, a->in->nargs ? keep : layer_redo, LAYER_UNDONE, "put in place");
}

int cmd_undo(struct invocation *in)
{
    return agent_main(in, undo_main);
}

int cmd_redo(struct invocation *in)
{
    return agent_main(in, redo_main);
}
