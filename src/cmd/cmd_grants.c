/* cmd_grants.c - what the user has allowed for more than one call: in the ledger, until it runs out or is taken back. */
#include "base/clock.h"
#include "base/utf8.h"
#include "cmd/agent.h"

#include <stdio.h>
#include <time.h>

static void add_row(const struct grant *g, struct buf *out)
{
    time_t until = (time_t)(g->until / NS_PER_S);
    struct tm tm;
    char day[16];

    strftime(day, sizeof(day), "%Y-%m-%d", localtime_r(&until, &tm));
    buf_addf(out, "%-6llu %-5s %s\n       in %s, until %s%s%s\n", (unsigned long long)g->id, grant_kind_name(g->kind), g->what,
             g->root, day, g->session ? ", in session " : "", g->session ? g->session : "");
}

static CO int list(struct agent *a)
{
    const struct grants *g = &a->ledger.grants;
    cleanup(buf_done) struct buf out = {0};
    int64_t now = clock_even();

    if (a->in->opt.json) {
        buf_addc(&out, '[');
        grants_add_json(g, now, &out);
        buf_adds(&out, "]\n");
        fwrite(out.p, 1, out.n, stdout);
        return STATUS_DONE;
    }
    for (size_t i = 0; i < g->n; i++)
        if (now < g->v[i].until)
            add_row(&g->v[i], &out);
    if (out.n)
        print_safe(stdout, buf_str(&out));
    else
        puts("nothing is allowed for more than one call");
    return STATUS_DONE;
}

static CO int revoke(struct agent *a, const char *word)
{
    const struct grants *g = &a->ledger.grants;
    struct err e = {0};
    char *end;
    unsigned long long id = strtoull(word, &end, 10);
    int r = 0;

    if (strcmp(word, "all") != 0) {
        if (*end || end == word)
            return fail(STATUS_USAGE, "grants revoke takes a number that `rein grants` lists, or all; not '%s'", word);
        r = ledger_revoke(&a->ledger, id, &e);
    } else {
        while (g->n && r == 0)
            r = ledger_revoke(&a->ledger, g->v[0].id, &e);
    }
    return r < 0 ? fail(r == -ENOENT ? STATUS_USAGE : STATUS_FAILED, "%s", e.msg) : STATUS_DONE;
}

static CO int grants_main(struct agent *a)
{
    const struct invocation *in = a->in;
    bool revokes = in->nargs == 2 && strcmp(in->args[0], "revoke") == 0;
    struct err e = {0};
    int r;

    if (!revokes && !(in->nargs == 0 || (in->nargs == 1 && strcmp(in->args[0], "list") == 0)))
        return fail(STATUS_USAGE, "grants takes: list, or revoke NUMBER|all");
    r = agent_store(a, STORE_WRITE, &e);
    if (r == 0)
        r = ledger_read(&a->ledger, &e);
    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    return revokes ? revoke(a, in->args[1]) : list(a);
}

int cmd_grants(struct invocation *in)
{
    return agent_main(in, grants_main);
}
