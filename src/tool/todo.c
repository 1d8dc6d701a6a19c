/* todo.c - the plan: steps that say what they need and what they are done with. The model sends the steps that are new or have
 * changed; what it sees back is the whole plan, short.
 *
 * The plan is what the results of this tool add up to (view.h). A step that is done says how it came out, and the log knows which
 * events lie between its beginning and its end. */
#include "core/harness.h"

#define STEPS_MAX  100
#define ID_MAX     20
#define TEXT_LIMIT 500                  /* bytes of what a step is, or how it came out */

static bool is_id(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", s.p[i]))
            return false;
    return s.n > 0 && s.n <= ID_MAX;
}

static const json_t *sent(const json_t *steps, struct str id)
{
    const json_t *each;
    size_t i;

    json_array_foreach(steps, i, each)
        if (str_eq(js_str(each, "id"), id))
            return each;
    return NULL;
}

static bool all_known(struct call *c, const json_t *steps, const json_t *step, const char *key, bool tools)
{
    const json_t *each;
    size_t i;

    json_array_foreach(json_object_get(step, key), i, each) {
        struct str name = { json_string_value(each), json_string_length(each) };

        if (tools ? harness_tool(c->harness, name) != NULL : view_step(c->view, name) || sent(steps, name))
            continue;
        result_fail(c->result, -ENOENT, "todo: step %.*s %s \"%.*s\", and there is no such %s; nothing was noted",
                    STR(js_str(step, "id")),
                    tools ? "uses" : "needs", STR(str_head(name, ID_MAX)), tools ? "tool" : "step");
        return false;
    }
    return true;
}

/* What a step needs, by the arguments or else by the plan. */
static bool needs(const struct call *c, const json_t *steps, struct str id, struct str other, unsigned depth)
{
    const json_t *step = sent(steps, id), *list = json_object_get(step, "needs"), *each;
    const struct plan_step *known = view_step(c->view, id);
    size_t i;

    if (!list && known)
        list = known->needs;
    json_array_foreach(list, i, each) {
        struct str name = { json_string_value(each), json_string_length(each) };

        if (str_eq(name, other) || depth == STEPS_MAX || needs(c, steps, name, other, depth + 1))
            return true;
    }
    return false;
}

/* Whether a step can be noted as it was sent. */
static bool check(struct call *c, const json_t *steps, const json_t *step)
{
    struct str id = js_str(step, "id"), what = js_str(step, "what"), state = js_str(step, "state"),
        outcome = js_str(step, "outcome");
    const struct plan_step *known = view_step(c->view, id);
    const char *wrong = NULL;

    if (!is_id(id))
        wrong = "a step's id is up to 20 letters, digits, dots and dashes";
    else if (!known && !what.n)
        wrong = "a new step says what it is";
    else if (what.n > TEXT_LIMIT || outcome.n > TEXT_LIMIT)
        wrong = "what a step is, and how it came out, take at most 500 bytes each";
    else if (str_is(state, "done") && !outcome.n && !(known && known->outcome))
        wrong = "a step that is done says its outcome";
    if (wrong) {
        result_fail(c->result, -EINVAL, "todo: step \"%.*s\": %s; nothing was noted", STR(str_head(id, ID_MAX)), wrong);
        return false;
    }
    if (!all_known(c, steps, step, "needs", false) || !all_known(c, steps, step, "tools", true))
        return false;
    if (needs(c, steps, id, id, 0)) {
        result_fail(c->result, -EINVAL, "todo: step %.*s needs itself, in the end; nothing was noted", STR(id));
        return false;
    }
    return true;
}

/* The plan as it will be, one line a step. */
static void show(struct call *c, const json_t *steps)
{
    struct buf *text = &c->result->text;
    const json_t *each;
    size_t i, open = 0, total = 0;

    for (size_t k = 0; k < c->view->nplan; k++) {
        const struct plan_step *p = &c->view->plan[k];
        const json_t *now = sent(steps, str_of(p->id));
        struct str state = js_str(now, "state"), what = js_str(now, "what");

        state = state.n ? state : str_of(p->state);
        what = what.n ? what : str_of(p->what);
        open += str_is(state, "open") || str_is(state, "doing");
        total++;
        buf_addf(text, "%s %.*s: %.*s\n", p->id, STR(state), STR(what));
    }
    json_array_foreach(steps, i, each) {
        struct str state = js_str(each, "state");

        if (view_step(c->view, js_str(each, "id")))
            continue;
        state = state.n ? state : LIT("open");
        open += str_is(state, "open") || str_is(state, "doing");
        total++;
        buf_addf(text, "%.*s %.*s: %.*s\n", STR(js_str(each, "id")), STR(state), STR(js_str(each, "what")));
    }
    buf_addf(text, "[%zu of %zu steps open]", open, total);
}

static CO int todo_run(struct call *c)
{
    const json_t *steps = json_object_get(c->args, "steps"), *each;
    cleanup(freep) char *raw = json_dumps(steps, JSON_COMPACT);
    size_t i, fresh = 0;

    json_array_foreach(steps, i, each) {
        if (!check(c, steps, each))
            return 0;
        fresh += !view_step(c->view, js_str(each, "id"));
    }
    if (c->view->nplan + fresh > STEPS_MAX)
        return result_fail(c->result, -E2BIG, "todo: a plan has at most %d steps; nothing was noted", STEPS_MAX);
    show(c, steps);
    js_add_raw(&c->result->facts, "plan", str_of(raw ? raw : "[]"));
    result_ok(c->result);
    return 0;
}

const struct tool tool_todo = {
    .name   = "todo",
    .effect = EFFECT_PURE,
    .origin = FROM_SYSTEM,
    .run    = todo_run,
};
