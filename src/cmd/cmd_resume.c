/* cmd_resume.c - goes on with a session: after a crash, an answer to a question, a budget, or with a new message. */
#include "base/clock.h"
#include "cmd/agent.h"
#include "core/args.h"
#include "core/harness.h"
#include "core/policy.h"
#include "core/turn.h"

#define GRANT_DAYS 30                   /* what is allowed always, is for so long */

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

static bool is_question(const struct agent *a, struct str call)
{
    const struct call_view *c = view_call(&a->session->view, call);

    return c && c->state == CALL_ASKED && c->question;
}

/* Whether a word may be said: to a question any, to the rest those that mean something. */
static bool may_say(const struct agent *a, struct str call, const char *word, bool answer)
{
    static const char *const answers[] = { "yes", "no", "session", "always", NULL };
    static const char *const decisions[] = { "done", "retry", "skip", "abort", NULL };
    if (answer && is_question(a, call))
        return *word != 0;
    return is_one_of(word, answer ? answers : decisions);
}

/* Writes a person's word on one call into the ledger. `scope`: session or always; NULL: for this call only. */
static CO int approve(struct agent *a, const struct call_view *c, const char *scope, struct err *e)
{
    const struct harness_tool *ht = harness_tool(a->harness, str_of(c->name));
    cleanup(json_unrefp) json_t *args = NULL;
    cleanup(buf_done) struct buf mended = {0}, say = {0};
    cleanup(freep) char *by = NULL;
    struct grants grants = {0};
    char name[CALL_NAME_MAX], hex[HASH_HEX];
    int r = 0;

    if (ht)
        args = args_read((struct str){ c->args, c->args_len }, &(struct args_form){ ht->schema, false }, &mended, &say);
    if (!args)
        return 0;                       /* it will not run */
    by = xasprintf("%s:%s", a->session->log.row.id, call_name(c, name));
    call_hash(ht->tool, args, hex);
    if (scope)
        r = policy_grants(a->session, ht->tool, args, &grants, e);
    if (r == -EINVAL)
        err_prefix(e, r, "call %s: ", name);
    for (size_t i = 0; i < grants.n && r == 0; i++) {
        struct grant *g = &grants.v[i];

        g->root = xstrdup(a->session->view.cwd);
        g->session = strcmp(scope, "session") == 0 ? xstrdup(a->session->log.row.id) : NULL;
        g->until = clock_even() + GRANT_DAYS * 24 * 3600 * NS_PER_S;
        r = ledger_approve(&a->ledger, g, by, hex, e);
    }
    if (r == 0 && grants.n == 0)
        r = ledger_approve(&a->ledger, NULL, by, hex, e);
    grants_done(&grants);
    return r;
}

static CO int approve_all(struct agent *a, struct str call, const char *scope, struct err *e)
{
    const struct view *v = &a->session->view;
    bool all = str_is(call, "all");
    int r = ledger_read(&a->ledger, e);

    for (size_t i = 0; i < v->ncalls && r == 0; i++)
        if (v->calls[i].state == CALL_ASKED && !v->calls[i].question && (all || view_call(v, call) == &v->calls[i]))
            r = approve(a, &v->calls[i], scope, e);
    return r;
}

static CO int reply_all(struct agent *a, const struct list *list, bool answer)
{
    static const char *const lasting[] = { "session", "always", NULL };
    struct err e = {0};
    int r;

    for (size_t i = 0; i < list->n; i++) {
        const char *eq = strchr(list->v[i], '=');
        struct str call = { list->v[i], eq ? (size_t)(eq - list->v[i]) : 0 }, word = str_of(eq ? eq + 1 : "");

        if (!eq || !may_say(a, call, eq + 1, answer))
            return fail(STATUS_USAGE, "--%s takes CALL=WORD or all=WORD, where WORD is %s; not '%s'", answer ? "answer" : "decide",
                        answer ? "yes, no, session or always, or any words to a question" : "done, retry, skip or abort",
                        list->v[i]);
        r = 0;
        if (answer && !is_question(a, call)) {
            bool lasts = is_one_of(eq + 1, lasting);

            if (lasts || str_is(word, "yes"))
                r = approve_all(a, call, lasts ? eq + 1 : NULL, &e);
            if (lasts)
                word = LIT("yes");
        }
        if (r == 0)
            r = session_reply(a->session, call, word, &e);
        if (r < 0)
            return fail(r == -EINVAL || r == -ENOENT ? STATUS_USAGE : STATUS_FAILED, "%s", e.msg);
    }
    return 0;
}

static CO int resume_main(struct agent *a)
{
    const struct options *opt = &a->in->opt;
    size_t skip = opt->last ? 0 : 1;
    const char *id = opt->last ? NULL : a->in->args[0], *prompt = a->in->nargs > skip ? a->in->args[skip] : NULL;
    struct session_row row;
    struct err e = {0};
    int r;

    if (a->in->nargs > skip + 1)
        return fail(STATUS_USAGE, "resume takes one session and one prompt; put the prompt in quotes");
    r = agent_find(a, STORE_WRITE, id, &row);
    if (r == 0)
        r = agent_open(a, &row);
    if (r != 0)
        return r;

    if (a->session->view.end == END_DONE && !prompt) {
        if (!opt->quiet)
            fprintf(stderr, "rein: session %s is done; give a prompt to go on\n", a->session->log.row.id);
        return STATUS_DONE;
    }
    session_set(a->session, &a->set);
    if (turn_recover(a->session, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    r = reply_all(a, &opt->answer, true);
    if (r == 0)
        r = reply_all(a, &opt->decide, false);
    if (r != 0)
        return r;
    if (prompt && session_submit(a->session, str_of(prompt), &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    return agent_drive(a);
}

int cmd_resume(struct invocation *in)
{
    return agent_main(in, resume_main);
}
