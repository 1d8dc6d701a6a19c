/* cmd_debug.c - looks into a running rein: its fibers. It answers SIGUSR1 with a file. */
#include "cmd/agent.h"

#include <signal.h>
#include <unistd.h>

#define ANSWER_MS 2000

static CO int find_pid(struct agent *a, const char *arg, pid_t *ret, struct err *e)
{
    struct session_row row;
    char *end;
    long pid = strtol(arg, &end, 10);
    int64_t owner;
    int r;

    if (*end == 0 && pid > 0) {
        *ret = (pid_t)pid;
        return 0;
    }
    r = agent_store(a, STORE_READ, e);
    if (r == 0)
        r = store_find(a->store, arg, &row, e);
    if (r < 0)
        return r;
    r = store_owner(a->store, row.key, &owner, e);
    session_row_done(&row);
    *ret = (pid_t)owner;
    return r;
}

static CO int fibers_main(struct agent *a)
{
    cleanup(freep) char *path = NULL;
    struct err e = {0};
    pid_t pid;
    FILE *f = NULL;
    int c;

    if (a->in->nargs != 2 || strcmp(a->in->args[0], "fibers") != 0)
        return fail(STATUS_USAGE, "debug takes: fibers ID, or fibers PID");
    if (find_pid(a, a->in->args[1], &pid, &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    path = xasprintf("%s/fibers.%d", a->home, pid);
    unlink(path);
    if (kill(pid, SIGUSR1) < 0)
        return fail(STATUS_FAILED, "process %d: %s", pid, strerror(errno));
    for (int waited = 0; waited < ANSWER_MS && !f; waited += 10) {
        if (fiber_sleep(10) < 0)
            break;
        f = fopen(path, "re");
    }
    if (!f)
        return fail(STATUS_FAILED, "process %d did not answer within %d s", pid, ANSWER_MS / 1000);
    while ((c = getc(f)) != EOF)
        putchar(c);
    fclose(f);
    unlink(path);
    return STATUS_DONE;
}

int cmd_debug(struct invocation *in)
{
    return agent_main(in, fibers_main);
}
