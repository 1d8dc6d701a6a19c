/* cmd_rules.c - what the rules say of a shell line: whether it might run outside the box without a question. */
#include "base/utf8.h"
#include "cmd/cmd.h"
#include "core/rules.h"

#include <stdio.h>

static const char *const verdicts[] = { [RULE_ALLOW] = "allow", [RULE_ASK] = "ask", [RULE_DENY] = "deny" };
static const int statuses[] = { [RULE_ALLOW] = 0, [RULE_ASK] = 10, [RULE_DENY] = 11 };

static void add_json(const struct rule_line *l, struct buf *out)
{
    buf_addc(out, '{');
    js_add_text(out, "verdict", verdicts[l->verdict]);
    js_add_text(out, "why", l->why);
    js_key(out, "commands");
    buf_addc(out, '[');
    for (size_t i = 0; i < l->n; i++) {
        buf_adds(out, i ? ",{" : "{");
        js_add_text(out, "verdict", verdicts[l->v[i].verdict]);
        js_add_text(out, "why", l->v[i].why);
        js_key(out, "argv");
        buf_addc(out, '[');
        for (size_t k = 0; k < l->v[i].argc; k++) {
            if (k)
                buf_addc(out, ',');
            js_add(out, str_of(l->v[i].argv[k]));
        }
        buf_adds(out, "]}");
    }
    buf_adds(out, "]}\n");
}

static void add_text(const struct rule_line *l, struct buf *out)
{
    buf_addf(out, "%s: %s\n", verdicts[l->verdict], l->why);
    for (size_t i = 0; i < l->n; i++) {
        buf_addf(out, "  %-5s", verdicts[l->v[i].verdict]);
        for (size_t k = 0; k < l->v[i].argc; k++)
            buf_addf(out, " [%s]", l->v[i].argv[k]);
        buf_addf(out, "  %s\n", l->v[i].why);
    }
}

int cmd_rules(struct invocation *in)
{
    cleanup(buf_done) struct buf out = {0};
    cleanup(freep) char *root = NULL;
    cleanup(rules_done) struct rule_line line = {0};
    enum rule_verdict verdict;

    if (in->nargs != 2 || strcmp(in->args[0], "test") != 0)
        return fail(STATUS_USAGE, "rules takes: test [-C DIR] [--allow 'PREFIX']... 'SHELL LINE'");
    root = realpath(in->opt.dir ? in->opt.dir : ".", NULL);
    if (!root)
        return fail(STATUS_USAGE, "the directory %s: %s", in->opt.dir ? in->opt.dir : ".", strerror(errno));
    rules_judge(NULL, root, root, str_of(in->args[1]), in->opt.allow.v, in->opt.allow.n, &line);
    verdict = line.verdict;
    if (in->opt.json)
        add_json(&line, &out);
    else
        add_text(&line, &out);
    if (in->opt.json)
        fputs(out.p, stdout);
    else
        print_safe(stdout, buf_str(&out));
    return statuses[verdict];
}
