#include "tool/found.h"

/* What was not looked into, and what did not fit. */
static void add_rest(struct call *c, const struct env_found *f, bool lines, const char *narrower)
{
    struct buf *text = &c->result->text;

    if (f->shown < f->files)
        buf_addf(text, "[%lld of %lld files are shown%s]\n", (long long)f->shown, (long long)f->files, narrower);
    else if (lines && f->files)
        buf_addf(text, "[%lld line%s in %lld file%s]\n", (long long)f->matches, f->matches == 1 ? "" : "s", (long long)f->files,
                 f->files == 1 ? "" : "s");
    if (f->large)
        buf_addf(text, "[%lld files above 64 MiB were not searched]\n", (long long)f->large);
    if (f->given_up)
        buf_addf(text, "[in %lld files the pattern took too much work, and they were not searched to the end: make it simpler]\n",
                 (long long)f->given_up);
}

CO int found_run(struct call *c, const struct env_search *what, const char *nothing, const char *narrower)
{
    struct env_found found = {0};
    struct err e = {0};
    int r = env_search(c->env, what, &found, &e);

    if (r < 0)
        return result_fail(c->result, r, "%s: %s", c->tool->name, e.msg);
    buf_add_str(&c->result->text, buf_str(&found.text));
    buf_done(&found.text);
    if (found.files == 0)
        buf_addf(&c->result->text, "%s; %lld files were looked at\n", nothing, (long long)found.searched);
    add_rest(c, &found, what->pattern.n && what->find != ENV_FIND_FILES, narrower);
    result_ok(c->result);
    return 0;
}

struct str found_path(const struct call *c)
{
    struct str path = js_str(c->args, "path");

    return path.n ? path : LIT(".");
}
