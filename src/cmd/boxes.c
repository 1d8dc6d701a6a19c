/* boxes.c - the box that a mode promises. */
#include "cmd/agent.h"

#include "core/policy.h"
#include "env/local.h"

/* What nobody said: no questions where a box holds what is done, else all of them. */
static CO const char *default_mode(struct agent *a)
{
    cleanup(freep) char *why = NULL;

    if (tier_find(a->home, false, &why) >= TIER_LIVE)
        return "auto";
    if (!a->in->opt.quiet)
        fprintf(stderr, "rein: mode ask, since this machine gives no box: %s\n", why);
    return "ask";
}

CO int agent_tier(struct agent *a, const char *mode)
{
    if (!mode)
        mode = a->set.mode = default_mode(a);
    if (!policy_boxes(mode)) {
        a->tier = TIER_NONE;
        a->tier_why = xasprintf("mode %s: commands run with the rights of the user", mode);
    } else {
        a->tier = tier_find(a->home, false, &a->tier_why);
        if (a->tier < TIER_LIVE)
            return fail(STATUS_PROTECTION,
                        "mode %s promises a box that this machine does not give: %s. rein doctor says more; --mode ask "
                        "asks before anything changes", mode, a->tier_why);
    }
    a->set.tier = tier_name(a->tier);
    a->set.tier_why = a->tier_why;
    return 0;
}

CO int agent_box(struct agent *a)
{
    struct boxing *box;
    struct err e = {0};

    /* A fork's mode is known for certain only when its log is read. */
    if (policy_boxes(a->set.mode ? a->set.mode : a->session->view.mode) != (a->tier != TIER_NONE))
        return fail(STATUS_PROTECTION, "the mode at that point is another than the session's last one: say it with --mode");
    if (a->tier == TIER_NONE)
        return 0;
    box = xcalloc(1, sizeof(*box));
    *box = (struct boxing){ .tier = a->tier, .limits = BOX_LIMITS };
    box->scratch = xasprintf("%s/box/%s", a->home, a->session->log.row.id);
    env_box(a->env, box);
    return boxing_begin(box, &e) < 0 ? fail(STATUS_FAILED, "%s", e.msg) : 0;
}
