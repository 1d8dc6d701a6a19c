/* cmd_log.c - the log itself: verify. The chain finds accidents; tampering shows only against a head kept elsewhere. */
#include "cmd/agent.h"

static int count_event(void *arg, struct event *ev, struct err *e)
{
    (void)ev;
    (void)e;
    ++*(uint64_t *)arg;
    return 0;
}

static CO int verify_main(struct agent *a)
{
    struct session_row row;
    struct log log = {0};
    struct err e = {0};
    char hex[HASH_HEX];
    uint64_t n = 0;
    int r;

    if (a->in->nargs < 1 || strcmp(a->in->args[0], "verify") != 0 || a->in->nargs > 2)
        return fail(STATUS_USAGE, "log takes: verify ID, or verify --last");
    r = agent_find(a, STORE_READ, a->in->args[1], &row);
    if (r != 0)
        return r;
    log_init(&log, a->store, &row);
    r = log_read(&log, count_event, &n, &e);
    if (a->in->opt.json)
        printf("{\"session\":\"%s\",\"events\":%llu,\"whole\":%s,\"head\":\"%s\"}\n", row.id, (unsigned long long)n,
               r < 0 ? "false" : "true", hash_hex(&log.head, hex));
    else if (r == 0)
        printf("session %s: %llu events, the chain is whole, head %s\n", row.id, (unsigned long long)n, hash_hex(&log.head, hex));
    log_done(&log);
    return r < 0 ? fail(STATUS_FAILED, "%s", e.msg) : STATUS_DONE;
}

int cmd_log(struct invocation *in)
{
    return agent_main(in, verify_main);
}
