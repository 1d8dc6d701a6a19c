/* cmd_resume.c - goes on with a session: after a crash, an answer to a question, a budget, or with a new message. */
#include "cmd/agent.h"
#include "core/turn.h"

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* Whether a word may be said: to a question any, to the rest those that mean something. */
static bool may_say(const struct agent *a, struct str call, const char *word, bool answer)
{
    static const char *const answers[] = { "yes", "no", NULL }, *const decisions[] = { "done", "retry", "skip", "abort", NULL };
    const struct call_view *c = view_call(&a->session->view, call);

    if (answer && c && c->state == CALL_ASKED && c->question)
        return *word != 0;
    return is_one_of(word, answer ? answers : decisions);
}

static CO int reply_all(struct agent *a, const struct list *list, bool answer)
{
    struct err e = {0};

    for (size_t i = 0; i < list->n; i++) {
        const char *eq = strchr(list->v[i], '=');
        struct str call = { list->v[i], eq ? (size_t)(eq - list->v[i]) : 0 };

        if (!eq || !may_say(a, call, eq + 1, answer))
            return fail(STATUS_USAGE, "--%s takes CALL=WORD or all=WORD, where WORD is %s; not '%s'", answer ? "answer" : "decide",
                        answer ? "yes or no, or any words to a question" : "done, retry, skip or abort", list->v[i]);
        if (session_reply(a->session, call, str_of(eq + 1), &e) < 0)
            return fail(STATUS_USAGE, "%s", e.msg);
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
