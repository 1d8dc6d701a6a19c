#include "core/policy.h"

enum verdict policy_check(const struct view *v, enum effect effect, const char **ret_why)
{
    if (effect == EFFECT_PURE) {
        *ret_why = "it only reads";
        return POLICY_ALLOW;
    }
    if (v->mode && strcmp(v->mode, "open") == 0) {
        *ret_why = "mode open allows everything";
        return POLICY_ALLOW;
    }
    if (policy_boxes(v->mode)) {
        /* What is repeated with the same key is what leaves the machine. */
        bool leaves = effect == EFFECT_KEYED;

        *ret_why = leaves ? "mode auto: nothing leaves this machine, and nobody is there to be asked" : "the box holds it";
        return leaves ? POLICY_DENY : POLICY_ALLOW;
    }
    *ret_why = "mode ask: it changes something";
    return POLICY_ASK;
}

bool policy_boxes(const char *mode)
{
    return mode && strcmp(mode, "auto") == 0;
}

int policy_mode(const char *mode, struct err *e)
{
    if (strcmp(mode, "ask") == 0 || strcmp(mode, "open") == 0 || strcmp(mode, "auto") == 0)
        return 0;
    if (strcmp(mode, "plan") == 0)
        return err_set(e, -ENOTSUP,
                       "mode plan needs a layer over the workspace, which this rein does not make yet: use --mode ask, or "
                       "rein box --mode plan for a command that can only look");
    return err_set(e, -EINVAL, "there is no mode '%s': ask, auto, plan or open", mode);
}
