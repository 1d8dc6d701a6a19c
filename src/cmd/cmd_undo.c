/* cmd_undo.c - takes back what a command over a layer changed, and puts it in place again. A layer that waits, since a person
 * has to see it, is put in place by its name, or dropped. */
#include "cmd/agent.h"

#include "env/layer.h"
#include "env/local.h"

#include <stdio.h>

#define LAYERS ".rein/layers"

/* A layer is named by the time at which it was made: the last one that can be, or the one that was said. */
static CO int turn(struct agent *a, CO int (*way)(struct env *, const char *, struct err *), bool newest_first, const char *done)
{
    cleanup(env_entries_done) struct env_entries all = {0};
    const char *wanted = a->in->nargs ? a->in->args[0] : NULL;
    struct err e = {0};
    int r = env_list(a->env, LIT(LAYERS), &all, &e);

    if (r == -ENOENT)
        return fail(STATUS_USAGE, "there is nothing here that could be %s", done);
    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    r = -ENOENT;
    for (size_t k = 0; k < all.n && r < 0; k++) {
        size_t i = newest_first ? all.n - 1 - k : k;
        const char *name = all.v[i].name;

        if (all.v[i].type != 'd' || (wanted && strcmp(name, wanted) != 0))
            continue;
        r = way(a->env, name, &e);
        if (r == 0)
            printf("%s is %s\n", name, done);
        else if ((r != -EALREADY && r != -ENODATA) || wanted)
            return fail(STATUS_FAILED, "%s", e.msg);
    }
    return r == 0 ? STATUS_DONE : fail(STATUS_USAGE, wanted ? "there is no layer %s" : "there is nothing here that could be %s",
                                       wanted ? wanted : done);
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

    return r ? r : turn(a, a->in->nargs ? undo_or_drop : layer_undo, true, "taken back");
}

/* Who names a layer has seen it. */
static CO int keep(struct env *v, const char *name, struct err *e)
{
    return layer_keep(v, name, true, e);
}

static CO int redo_main(struct agent *a)
{
    int r = begin(a);

    return r ? r : turn(a, a->in->nargs ? keep : layer_redo, false, "put in place");
}

int cmd_undo(struct invocation *in)
{
    return agent_main(in, undo_main);
}

int cmd_redo(struct invocation *in)
{
    return agent_main(in, redo_main);
}
