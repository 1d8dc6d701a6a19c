/* boxes.c - the box that a mode promises. */
#include "cmd/agent.h"
#include "cmd/plan.h"

#include "base/clock.h"
#include "core/policy.h"
#include "env/local.h"

#define LABELS_MS 2000                  /* for which the labels are believed, while nothing new is brought in */

CO int agent_tier(struct agent *a, const char *mode)
{
    if (!mode || policy_boxes(mode))
        a->tier = tier_find(a->home, false, &a->tier_why);
    /* What nobody said: no questions where a box holds what is done, else all of them. */
    if (!mode)
        mode = a->set.mode = a->tier >= TIER_LIVE ? "auto" : "ask";
    if (policy_boxes(mode) && a->tier < TIER_LIVE)
        return fail(STATUS_PROTECTION,
                    "mode %s promises a box that this machine does not give: %s. rein doctor says more; --mode ask "
                    "asks before anything changes", mode, a->tier_why);
    if (!policy_boxes(mode)) {
        if (a->tier_why && !a->in->opt.quiet)
            fprintf(stderr, "rein: mode ask, since this machine gives no box: %s\n", a->tier_why);
        free(a->tier_why);
        a->tier = TIER_NONE;
        a->tier_why = xasprintf("mode %s: commands run with the rights of the user", mode);
    }
    a->set.tier = tier_name(a->tier);
    a->set.tier_why = a->tier_why;
    return 0;
}

/* The labels of the session. They change with what is brought in, and a command makes many connections meanwhile. */
static CO int look(struct agent *a, struct err *e)
{
    struct session *s = a->session;
    int64_t now = clock_steady();
    int r;

    if (a->labels_at && a->labels_results == s->view.results && now - a->labels_at < LABELS_MS * NS_PER_MS)
        return 0;
    r = labels_look(s, (struct str){0}, &a->labels, e);
    a->labels_at = r < 0 ? 0 : now;
    a->labels_results = s->view.results;
    return r;
}

/* The session's word on a connection that the list allows, and the log's line about every one, durable before anything leaves. The
 * turn waits meanwhile for the command, or goes on with something else: the log is not this fiber's alone. */
static CO int decided(void *arg, const char *host, int port, const char *why, struct err *e)
{
    struct agent *a = arg;
    struct session *s = a->session;
    struct buf body = {0};
    int r = why ? 0 : look(a, e);

    if (r < 0)
        return r;
    if (!why)
        r = labels_meet(&a->labels, "a connection to another machine", e);
    buf_addc(&body, '{');
    js_add_text(&body, "what", "network");
    js_add_text(&body, "host", host);
    js_add_int(&body, "port", port);
    js_add_text(&body, "verdict", why || r < 0 ? "deny" : "allow");
    js_add_text(&body, "why", why ? why : r < 0 ? e->msg : "it is on the user's list");
    buf_addc(&body, '}');
    session_put(s, EV_DECIDE, s->view.seq, FROM_SYSTEM, &body);
    log_flush(&s->log);
    while (!log_clean(&s->log)) {
        if (s->log.failed)
            return err_set(e, -EIO, "the session's log has failed");
        if (fiber_sleep(1) < 0)
            return -ECANCELED;
    }
    return r;
}

static void listening(void *arg, int fd)
{
    struct agent *a = arg;

    a->proxy.listener = fd;
    scope_go(&a->side, "proxy", proxy_serve, &a->proxy);
}

/* Whether commands may reach anything at all. */
static bool lets_commands_out(const struct egress *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (!g->v[i].fetch_only)
            return true;
    return false;
}

void agent_way_out(struct agent *a, struct boxing *box, proxy_decided *decide)
{
    a->proxy = (struct proxy){ .list = &a->egress, .decided = decide, .arg = a, .let_out = &box->let_out };
    box->proxied = box->tier == TIER_LIVE && lets_commands_out(&a->egress);
    box->list = &a->egress;
    box->listening = listening;
    box->listening_arg = a;
}

CO int agent_box(struct agent *a)
{
    const char *layer = a->in->opt.layer;
    struct boxing *box;
    struct err e = {0};

    /* In a log from before every `set` event had the mode, a fork's is known for certain only when it is read. */
    if (policy_boxes(a->set.mode ? a->set.mode : a->session->view.mode) != (a->tier != TIER_NONE))
        return fail(STATUS_PROTECTION, "the mode at that point is another than the session's last one: say it with --mode");
    env_session(a->env, a->session->log.row.id);
    if (layer && strcmp(layer, "keep") != 0 && strcmp(layer, "off") != 0)
        return fail(STATUS_USAGE, "a session takes --layer keep or --layer off");
    if (layer && strcmp(layer, "keep") == 0 && a->tier == TIER_NONE)
        return fail(STATUS_PROTECTION, "--layer keep needs mode auto: only there commands have a box that can lay one");
    if (a->tier == TIER_NONE)
        return 0;
    box = xcalloc(1, sizeof(*box));
    *box = (struct boxing){ .tier = a->tier, .limits = BOX_LIMITS, .shelf = true,
                            .layers = !layer || strcmp(layer, "keep") == 0 };
    if (env_git(a->env, &box->git_root, &e) < 0) {
        boxing_done(box);
        free(box);
        return fail(STATUS_FAILED, "%s", e.msg);
    }
    if (policy_plans(a->set.mode ? a->set.mode : a->session->view.mode)) {
        box->layers = box->shelf = false;
        if (plan_begin(a, box, &e) < 0) {
            int r = fail(STATUS_PROTECTION, "mode plan needs a layer over the workspace: %s", e.msg);

            boxing_done(box);
            free(box);
            return r;
        }
        a->plan = box->plan;
    }
    box->scratch = xasprintf("%s/box/%s", a->home, a->session->log.row.id);
    agent_way_out(a, box, decided);
    env_box(a->env, box);
    return boxing_begin(box, &e) < 0 ? fail(STATUS_FAILED, "%s", e.msg) : 0;
}
