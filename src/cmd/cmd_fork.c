/* cmd_fork.c - a session that shares another one's events up to a point, and goes its own way from there. */
#include "cmd/agent.h"
#include "core/calls.h"

/* ID@SEQ in its parts; seq 0 when none is named. */
static bool split(char *arg, uint64_t *ret_seq)
{
    char *at = arg ? strchr(arg, '@') : NULL, *end;

    *ret_seq = 0;
    if (!at)
        return true;
    *at = 0;
    *ret_seq = strtoull(at + 1, &end, 10);
    return *ret_seq && *end == 0;
}

static CO int fork_main(struct agent *a)
{
    const struct options *opt = &a->in->opt;
    size_t skip = opt->last ? 0 : 1;
    char *id = opt->last ? NULL : a->in->args[0];
    const char *prompt = a->in->nargs > skip ? a->in->args[skip] : NULL;
    struct session_row row;
    struct event *last;
    struct err e = {0};
    uint64_t seq, events;
    int r;

    if (a->in->nargs > skip + 1)
        return fail(STATUS_USAGE, "fork takes one session and one prompt; put the prompt in quotes");
    if (!split(id, &seq))
        return fail(STATUS_USAGE, "fork takes ID@SEQ, where SEQ is the number of an event; rein show ID lists them");
    r = agent_find(a, STORE_WRITE, id, &row);
    if (r != 0)
        return r;
    r = store_last(a->store, row.key, &last, &e);
    if (r < 0) {
        session_row_done(&row);
        return fail(STATUS_FAILED, "session %s: %s", row.id, e.msg);
    }
    events = last->seq;
    event_free(last);
    if (seq > events) {
        session_row_done(&row);
        return fail(STATUS_USAGE, "session %s has %llu events: there is no event %llu", row.id, (unsigned long long)events,
                    (unsigned long long)seq);
    }
    if (!seq)
        seq = events;
    r = agent_fork(a, &row, seq);
    if (r != 0)
        return r;
    if (calls_forked(a->session) < 0)
        return STATUS_INTERRUPTED;
    if (prompt && session_submit(a->session, str_of(prompt), &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    if (session_commit(a->session, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    if (!opt->quiet)
        fprintf(stderr, "rein: session %s goes on from event %llu of %s\n", a->session->log.row.id, (unsigned long long)seq,
                row.id);
    if (prompt)
        return agent_drive(a);
    if (!opt->json)
        puts(a->session->log.row.id);
    return STATUS_DONE;
}

int cmd_fork(struct invocation *in)
{
    return agent_main(in, fork_main);
}
