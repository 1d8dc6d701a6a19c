/* cmd_exec.c - one task without a terminal: the answer on stdout, what happens on stderr, or events as JSON on stdout. */
#include "cmd/agent.h"

#include <unistd.h>

static int read_stdin(struct buf *out)
{
    ssize_t n;
    char *to;

    while ((to = buf_room(out, 64 << 10)) && (n = read(STDIN_FILENO, to, 64 << 10)) > 0)
        out->n += (size_t)n;
    return to ? 0 : -E2BIG;
}

/* The prompt is in the arguments; standard input is read only for `-`, or when there is no argument at all. */
static int prompt_of(const struct invocation *in, struct buf *out)
{
    if (in->nargs == 0 || (in->nargs == 1 && strcmp(in->args[0], "-") == 0)) {
        if (in->nargs == 0 && isatty(STDIN_FILENO))
            return fail(STATUS_USAGE, "exec needs a prompt: rein exec \"PROMPT\", or - to read it from standard input");
        if (read_stdin(out) < 0)
            return fail(STATUS_USAGE, "standard input is larger than %zu KiB: put it in a file and name it", out->max >> 10);
    } else if (in->nargs == 1) {
        buf_adds(out, in->args[0]);
    } else {
        return fail(STATUS_USAGE, "exec takes one prompt; put it in quotes");
    }
    if (out->n == 0)
        return fail(STATUS_USAGE, "the prompt is empty");
    return 0;
}

static CO int exec_main(struct agent *a)
{
    cleanup(buf_done) struct buf prompt = BUF_MAX(EVENT_BODY_MAX);
    struct err e = {0};
    int r = prompt_of(a->in, &prompt);

    if (r == 0)
        r = agent_create(a);
    if (r != 0)
        return r;
    r = session_submit(a->session, buf_str(&prompt), &e);
    if (r < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    return agent_drive(a);
}

int cmd_exec(struct invocation *in)
{
    return agent_main(in, exec_main);
}
