#include "cmd/plan.h"

#include "base/utf8.h"
#include "core/harness.h"
#include "core/policy.h"
#include "env/layer.h"
#include "env/local.h"

#include <stdio.h>

#define LINES_SHOWN 40
#define CHANGES_KEPT ((size_t)64 << 10)         /* bytes of the list that stand in the log */

CO int plan_begin(struct agent *a, struct boxing *box, struct err *e)
{
    cleanup(layers_done) struct layers all = {0};
    cleanup(freep) char *prefix = xasprintf("%s-plan-", a->session->log.row.id);
    int64_t last = 0;
    int r = layer_possible(a->env, e);

    if (r == 0)
        r = layer_list(a->env, &all, e);
    for (size_t i = 0; i < all.n && r == 0; i++) {
        const struct layer_row *row = &all.v[i];

        if (strncmp(row->name, prefix, strlen(prefix)) != 0)
            continue;
        last = MAX(last, strtoll(row->name + strlen(prefix), NULL, 10));
        if (row->state == LAYER_NEW)
            box->plan = xstrdup(row->name);
    }
    if (r < 0 || box->plan)
        return r;
    box->plan = xasprintf("%s%lld", prefix, (long long)last + 1);
    return layer_make(a->env, box->plan, e);
}

void plan_say(struct session *s)
{
    const struct harness *h = s->with.harness;
    bool plans = policy_plans(s->view.mode), told = policy_plans(s->view.told_mode);
    const char *words = h->plan[plans ? 0 : 1];
    struct buf body = {0};

    if (plans == told || !words || s->view.end != END_OPEN)
        return;
    buf_addc(&body, '{');
    js_add_text(&body, "text", words);
    js_add_text(&body, "mode", s->view.mode);
    buf_addc(&body, '}');
    session_put(s, EV_STEER, s->view.seq, FROM_SYSTEM, &body);
}

static void put_commit(struct session *s, const char *layer, struct str changes, int64_t n)
{
    char hex[HASH_HEX];
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_text(&body, "layer", layer);
    js_add_int(&body, "changed", n);
    js_add_str(&body, "changes", str_head(changes, utf8_align(changes, MIN(changes.n, CHANGES_KEPT))));
    js_add_text(&body, "waits", layer_list_hash(changes, hex));
    buf_addc(&body, '}');
    session_put(s, EV_COMMIT, s->view.seq, FROM_SYSTEM, &body);
}

static void show(const char *layer, struct str changes, int64_t n)
{
    cleanup(buf_done) struct buf out = {0};
    int shown = 0;

    buf_addf(&out, "rein: the plan changes %lld thing%s, and nothing of it is in place yet:\n", (long long)n, n == 1 ? "" : "s");
    for (; changes.n && shown < LINES_SHOWN; shown++) {
        size_t line = strcspn(changes.p, "\n");

        buf_addf(&out, "  %.*s\n", (int)line, changes.p);
        changes = str_from(changes, MIN(line + 1, changes.n));
    }
    if (n > shown)
        buf_addf(&out, "  and %lld more: rein redo --dry-run %s lists them\n", (long long)n - shown, layer);
    buf_addf(&out, "rein redo %s puts it in place, rein undo %s drops it; new files and changed ones lie in .rein/layers/%s/u\n",
             layer, layer, layer);
    print_safe(stderr, buf_str(&out));
}

CO int plan_offer(struct agent *a, struct err *e)
{
    cleanup(freep) char *layer = xstrdup(TAKE(a->plan));
    cleanup(buf_done) struct buf changes = {0};
    int64_t n = 0;
    int r;

    env_box(a->env, NULL);              /* whoever looks after it from now on stands outside of it */
    r = layer_changes(a->env, layer, false, &changes, &n, e);
    if (r == 0 && n == 0)
        return layer_drop(a->env, layer, e);
    if (r == 0) {
        put_commit(a->session, layer, buf_str(&changes), n);
        r = session_commit(a->session, e);
    }
    if (r == 0 && !a->in->opt.json && !a->in->opt.quiet)
        show(layer, buf_str(&changes), n);
    return r;
}
