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
    *ret_why = "mode ask: it changes something";
    return POLICY_ASK;
}

int policy_mode(const char *mode, struct err *e)
{
    if (strcmp(mode, "ask") == 0 || strcmp(mode, "open") == 0)
        return 0;
    if (strcmp(mode, "auto") == 0 || strcmp(mode, "plan") == 0)
        return err_set(e, -ENOTSUP, "mode %s needs a box around commands, and this rein has none: use --mode ask or "
                       "--mode open", mode);
    return err_set(e, -EINVAL, "there is no mode '%s': ask, auto, plan or open", mode);
}
