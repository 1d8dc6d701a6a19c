/* glob.c - files of the workspace by name. */
#include "tool/found.h"

static CO int glob_run(struct call *c)
{
    struct env_search what = {
        .path = found_path(c),
        .all = js_bool(c->args, "ignored", false),
        .find = ENV_FIND_FILES,
        .max = c->harness->result_head + c->harness->result_tail,
    };

    if (!call_text(c, "files", &what.globs))
        return 0;
    return found_run(c, &what, "No file is called so", "; name them more closely");
}

const struct tool tool_glob = {
    .name       = "glob",
    .effect     = EFFECT_PURE,
    .origin     = FROM_WORKSPACE,
    .title_args = "files path",
    .run        = glob_run,
};
