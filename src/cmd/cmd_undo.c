/* cmd_undo.c - takes back what calls have changed, and puts it in place again: the last step, a turn, or all since an event of a
 * session; files, the conversation or both. The conversation is never cut: a fork goes on from there.
 *
 * A layer that waits, since a person has to see it, is put in place by its name, or dropped. */
#include "cmd/undo.h"

#include "core/calls.h"
#include "env/local.h"

#include <stdio.h>

#define CARRIED_ON (-1)

struct undoing {
    struct agent *a;
    struct layers all;
    struct history history;             /* of the session that it is about; id NULL: it is about none */
    struct session_row row;             /* of that */
    const char *step;                   /* the step, or one of its layers, that was named */
    uint64_t to;                        /* the event that was */
    bool has_to;
    char **names;                       /* layers, in the order in which they are dealt with */
    size_t n, cap;
};

static CO void undoing_done(struct undoing *u)
{
    layers_done(&u->all);
    history_done(&u->history);
    free(u->names);
}

static bool is_in_step(const char *layer, const char *step)
{
    struct str session[2], call[2];

    if (strcmp(layer, step) == 0)
        return true;
    return layer_of_call(layer, &session[0], &call[0]) && layer_of_call(step, &session[1], &call[1]) &&
           str_eq(session[0], session[1]) && str_eq(call[0], call[1]);
}

static void take(struct undoing *u, const char *name)
{
    for (size_t i = 0; i < u->n; i++)
        if (strcmp(u->names[i], name) == 0)
            return;
    GROW(u->names, u->n, u->cap);
    u->names[u->n++] = (char *)name;
}

static const struct layer_row *row_of(const struct undoing *u, const char *name)
{
    for (size_t i = 0; i < u->all.n; i++)
        if (strcmp(u->all.v[i].name, name) == 0)
            return &u->all.v[i];
    return NULL;
}

/* The last first. Those of one moment are told apart by the numbers of their calls. */
static int by_since(const void *a, const void *b)
{
    const struct layer_row *x = a, *y = b;

    return x->since < y->since ? 1 : x->since > y->since ? -1 : strverscmp(y->name, x->name);
}

/* Reads the log of the session, if this home has it. */
static CO int find_history(struct undoing *u, struct str session, struct err *e)
{
    cleanup(freep) char *id = str_dup(session);
    struct session_row row;
    int r = u->a->store ? 0 : agent_store(u->a, STORE_WRITE, e);

    if (r == 0)
        r = store_find(u->a->store, id, &row, e);
    if (r == -ENOENT || r == -ENOTUNIQ)
        return 0;
    if (r == 0 && strcmp(row.id, id) != 0) {    /* a beginning of its name was enough */
        session_row_done(&row);
        return 0;
    }
    return r < 0 ? r : history_read(u->a, &row, &u->history, e);
}

/* ID or ID@SEQ. */
static CO int find_session(struct undoing *u, char *arg)
{
    char *at = strchr(arg, '@'), *end = NULL;
    struct session_row row;
    struct err e = {0};
    int r;

    if (at) {
        *at = 0;
        u->to = strtoull(at + 1, &end, 10);
        if (!u->to || *end)
            return fail(STATUS_USAGE, "undo takes ID@SEQ, where SEQ is the number of an event; rein show ID lists them");
        u->has_to = true;
    }
    r = agent_find(u->a, STORE_WRITE, arg, &row);
    if (r != 0)
        return r;
    if (history_read(u->a, &row, &u->history, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    if (u->has_to && u->to >= u->history.view.seq)
        return fail(STATUS_USAGE, "there is nothing after event %llu", (unsigned long long)u->to);
    return 0;
}

/* Puts what lies after an event of the session on the list, the last first. */
static void take_after(struct undoing *u, uint64_t seq)
{
    for (size_t i = u->history.ncalls; i-- > 0 && u->history.calls[i].seq > seq;)
        for (size_t k = 0; k < u->all.n; k++)
            if (u->all.v[k].state == LAYER_KEPT && history_call(&u->history, u->all.v[k].name) == &u->history.calls[i])
                take(u, u->all.v[k].name);
}

/* The last step of the session, or, of none, in the workspace. */
static const char *last_step(struct undoing *u, enum layer_state state)
{
    for (size_t i = 0; i < u->all.n; i++)
        if (u->all.v[i].state == state && (!u->history.id || history_call(&u->history, u->all.v[i].name)))
            return u->all.v[i].name;
    return NULL;
}

static CO int begin(struct undoing *u, struct agent *a)
{
    char *arg = a->in->nargs ? a->in->args[0] : NULL;
    bool session = arg && !strchr(arg, '-');
    const char *dir = a->in->opt.dir ? a->in->opt.dir : ".";
    struct err e = {0};
    int r;

    *u = (struct undoing){ .a = a };
    if (a->in->nargs > 1)
        return fail(STATUS_USAGE, "one at a time: a session, with @ and the event to go back to, or a step as rein names it");
    if (session || (!arg && a->in->opt.last)) {
        r = find_session(u, arg ? arg : (char[]){ "" });
        if (r != 0)
            return r;
        dir = a->in->opt.dir ? a->in->opt.dir : u->history.view.cwd;
    } else {
        u->step = arg;
    }
    a->cwd = realpath(dir, NULL);
    if (!a->cwd)
        return fail(STATUS_USAGE, "the directory %s: %s", dir, strerror(errno));
    if (env_local(a->cwd, a->home, &a->env, &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    r = layer_list(a->env, &u->all, &e);
    if (u->all.n)
        qsort(u->all.v, u->all.n, sizeof(*u->all.v), by_since);
    return r < 0 ? fail(STATUS_FAILED, "%s", e.msg) : 0;
}

/* What an earlier rein was killed over comes first, and is enough for once: CARRIED_ON. */
static CO int carry_on(struct undoing *u)
{
    struct err e = {0};
    size_t n = 0;
    int r = u->history.id ? history_carry_on(&u->history, u->a->env, &n, &e) : 0;

    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    if (n)
        puts("what was begun before is done");
    return n > 0 ? CARRIED_ON : 0;
}

/* The step that is meant, and the log that knows of it. CARRIED_ON: there was something else to do first. */
static CO int find_step(struct undoing *u, enum layer_state state, const char *could)
{
    struct err e = {0};

    const char *any;
    int r;

    if (!u->step)
        u->step = last_step(u, state);
    /* Where there is none, all may have been done by a rein that was killed before it could say so. */
    any = u->step ? u->step : u->all.n ? u->all.v[0].name : NULL;
    if (any && !u->history.id && find_history(u, (struct str){ any, strcspn(any, "-") }, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    r = carry_on(u);
    return r != 0 || u->step ? r : fail(STATUS_USAGE, "there is nothing here that could be %s", could);
}

static void print_done(const struct undoing *u, const char *done)
{
    const struct known_call *last = NULL;

    for (size_t i = 0; i < u->n; i++) {
        const struct known_call *c = u->history.id ? history_call(&u->history, u->names[i]) : NULL;
        cleanup(buf_done) struct buf out = {0};

        if (c && c == last)
            continue;
        last = c;
        buf_addf(&out, "%s is %s%s%s\n", u->names[i], done, c ? ": " : "", c ? c->title : "");
        print_safe(stdout, buf_str(&out));
    }
}

static CO int act(struct undoing *u, enum way way, const char *done)
{
    struct err e = {0};
    int r = undo_logged(u->history.id ? &u->history : NULL, u->a->env, way, u->names, u->n, &e);

    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    print_done(u, done);
    return 0;
}

/* What a layer holds that waits. It is what a person was told of, or nobody lets it in. */
static CO int look_at_waiting(struct undoing *u, const char *name, struct buf *ret)
{
    const char *waits = u->history.id ? history_waits(&u->history, name) : NULL;
    struct err e = {0};
    char hex[HASH_HEX];
    int64_t n;

    if (!waits && !u->a->in->opt.dry_run)
        return 0;                       /* no log has a word on it */
    if (layer_changes(u->a->env, name, false, ret, &n, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    return !waits || strcmp(layer_list_hash(buf_str(ret), hex), waits) == 0 ? 0 :
           fail(STATUS_FAILED, "what lies in %s is not what it was when the session said that it waits: nothing was done", name);
}

static CO int waiting(struct undoing *u, const struct layer_row *row, bool keep)
{
    cleanup(buf_done) struct buf changes = {0};
    int r = keep ? look_at_waiting(u, row->name, &changes) : 0;

    if (r == 0 && keep && u->a->in->opt.dry_run) {
        print_safe(stdout, buf_str(&changes));
        return 0;
    }
    take(u, row->name);
    return r != 0 ? r : act(u, keep ? WAY_KEEP : WAY_DROP, keep ? "put in place" : "dropped");
}

/* A fork goes on from there. */
static CO int go_back(struct undoing *u, uint64_t seq)
{
    struct agent *a = u->a;
    struct session_row row;
    struct err e = {0};
    int r = store_find(a->store, u->history.id, &row, &e);

    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    history_done(&u->history);          /* the lease is the fork's parent's */
    env_free(TAKE(a->env));
    free(TAKE(a->cwd));
    r = agent_fork(a, &row, seq);
    if (r != 0)
        return r;
    if (calls_forked(a->session) < 0)
        return STATUS_INTERRUPTED;
    if (session_commit(a->session, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    printf("session %s goes on from event %llu\n", a->session->log.row.id, (unsigned long long)seq);
    return 0;
}

/* Which part is wanted. */
static int parts(const struct agent *a, bool *ret_files, bool *ret_talk)
{
    const char *what = a->in->opt.what ? a->in->opt.what : "files";

    *ret_files = strcmp(what, "talk") != 0;
    *ret_talk = strcmp(what, "files") != 0;
    return *ret_files && *ret_talk && strcmp(what, "both") != 0 ? fail(STATUS_USAGE, "--what takes files, talk or both") : 0;
}

static CO int undo(struct undoing *u)
{
    const struct known_call *c;
    const struct layer_row *row;
    bool files, talk;
    uint64_t to = u->to;
    int r = parts(u->a, &files, &talk);

    if (r == 0 && !u->has_to)
        r = find_step(u, LAYER_KEPT, "taken back");
    else if (r == 0)
        r = carry_on(u);
    if (r != 0)
        return r == CARRIED_ON ? STATUS_DONE : r;
    row = u->step ? row_of(u, u->step) : NULL;
    if (row && row->state == LAYER_NEW)
        return waiting(u, row, false);
    c = u->step && u->history.id ? history_call(&u->history, u->step) : NULL;
    if (!u->has_to && (talk || u->a->in->opt.turn)) {
        if (!c)
            return fail(STATUS_USAGE, "no session of this rein knows the step %s", u->step);
        to = u->a->in->opt.turn ? c->turn - 1 : c->before;
    }
    if (u->has_to || u->a->in->opt.turn) {
        take_after(u, to);
    } else {
        for (size_t i = 0; i < u->all.n; i++)
            if (is_in_step(u->all.v[i].name, u->step))
                take(u, u->all.v[i].name);
    }
    if (files && !u->n && (u->step || !talk))
        return fail(STATUS_USAGE, u->step ? "there is no step %s" : "nothing was changed since that could be taken back",
                    u->step ? u->step : "");
    r = files && u->n ? act(u, WAY_UNDO, "taken back") : 0;
    return r == 0 && talk ? go_back(u, to) : r;
}

/* What the last undo took back and is not in place, in the order in which it came about. */
static void take_undone(struct undoing *u)
{
    const struct undone *last = NULL;

    for (size_t i = u->history.nundone; i-- > 0 && !last;)
        for (size_t k = 0; k < u->history.undone[i].n; k++)
            if (strcmp(u->history.undone[i].layers[k], u->step) == 0)
                last = &u->history.undone[i];
    for (size_t k = last ? last->n : 0; k-- > 0;) {
        const struct layer_row *row = row_of(u, last->layers[k]);

        if (row && row->state == LAYER_UNDONE)
            take(u, row->name);
    }
}

static CO int redo(struct undoing *u)
{
    bool named = u->step;
    const struct layer_row *row;
    int r = find_step(u, LAYER_UNDONE, "put in place");

    if (r != 0)
        return r == CARRIED_ON ? STATUS_DONE : r;
    row = row_of(u, u->step);
    if (row && row->state == LAYER_NEW)
        return waiting(u, row, true);
    if (!named && u->history.id)
        take_undone(u);
    for (size_t i = u->all.n; (named || !u->n) && i-- > 0;)
        if (is_in_step(u->all.v[i].name, u->step) && (named || u->all.v[i].state == LAYER_UNDONE))
            take(u, u->all.v[i].name);
    return u->n ? act(u, WAY_REDO, "put in place") : fail(STATUS_USAGE, "there is no step %s", u->step);
}

static CO int undo_main(struct agent *a)
{
    struct undoing u;
    int r = begin(&u, a);

    if (r == 0)
        r = undo(&u);
    undoing_done(&u);
    return r;
}

static CO int redo_main(struct agent *a)
{
    struct undoing u;
    int r = begin(&u, a);

    if (r == 0)
        r = redo(&u);
    undoing_done(&u);
    return r;
}

int cmd_undo(struct invocation *in)
{
    return agent_main(in, undo_main);
}

int cmd_redo(struct invocation *in)
{
    return agent_main(in, redo_main);
}
