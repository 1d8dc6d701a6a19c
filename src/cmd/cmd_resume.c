/* cmd_resume.c - goes on with a session: after a crash, an answer to a question, a budget, or with a new message. */
#include "cmd/agent.h"
#include "core/turn.h"

static bool known_word(const char *word, const char *option)
{
    static const char *const words[] = { "yes", "no", "done", "retry", "skip", "abort" };
    size_t from = option[0] == 'a' ? 0 : 2, to = option[0] == 'a' ? 2 : ARRAY_SIZE(words);

    for (size_t i = from; i < to; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static CO int reply_all(struct agent *a, const struct list *list, const char *option)
{
    struct err e = {0};

    for (size_t i = 0; i < list->n; i++) {
        const char *eq = strchr(list->v[i], '=');
        struct str call = { list->v[i], eq ? (size_t)(eq - list->v[i]) : 0 };

        if (!eq || !known_word(eq + 1, option))
            return fail(STATUS_USAGE, "--%s takes CALL=WORD or all=WORD, where WORD is %s; not '%s'", option,
                        option[0] == 'a' ? "yes or no" : "done, retry, skip or abort", list->v[i]);
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
    r = reply_all(a, &opt->answer, "answer");
    if (r == 0)
        r = reply_all(a, &opt->decide, "decide");
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
