/* boxes.c - the box that a mode promises. */
#include "cmd/agent.h"

#include "core/policy.h"
#include "env/local.h"

CO int agent_tier(struct agent *a, const char *mode)
{
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
