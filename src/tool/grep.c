/* grep.c - lines of the workspace's files that match a pattern. */
#include "tool/found.h"

#define CONTEXT_MAX 20

static CO int grep_run(struct call *c)
{
    struct str output = js_str(c->args, "output");
    struct env_search what = {
        .path = found_path(c),
        .globs = js_str(c->args, "files"),
        .literal = js_bool(c->args, "literal", false),
        .ignore_case = js_bool(c->args, "ignore_case", false),
        .all = js_bool(c->args, "ignored", false),
        .context = (unsigned)MIN(MAX(js_int(c->args, "context", 0), (int64_t)0), (int64_t)CONTEXT_MAX),
        .find = str_is(output, "files") ? ENV_FIND_FILES : str_is(output, "counts") ? ENV_FIND_COUNTS : ENV_FIND_LINES,
        .max = c->harness->result_head + c->harness->result_tail,
    };

    if (!call_text(c, "pattern", &what.pattern))
        return 0;
    if (!what.pattern.n)
        return result_fail(c->result, -EINVAL, "grep: the pattern is empty");
    return found_run(c, &what, "Nothing matches", "; narrow the pattern, the path or the files, or ask for counts");
}

const struct tool tool_grep = {
    .name       = "grep",
    .effect     = EFFECT_PURE,
    .origin     = FROM_WORKSPACE,
    .title_args = "pattern path files",
    .run        = grep_run,
};
