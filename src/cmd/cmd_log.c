/* cmd_log.c - the log itself. verify: the chain finds accidents; tampering shows only against a head kept elsewhere. salvage: what
 * can still be read when the store is damaged. */
#include "cmd/agent.h"
#include "core/salvage.h"

#include <unistd.h>

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

    if (a->in->nargs > 2)
        return fail(STATUS_USAGE, "log verify takes one session");
    r = agent_find_log(a, a->in->args[1], &row);
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

static void print_salvaged(const struct agent *a, const struct salvaged *s)
{
    const char *id = s->row.id[0] ? s->row.id : "(unnamed)";
    cleanup(buf_done) struct buf line = {0};

    if (a->in->opt.json) {
        buf_addc(&line, '{');
        js_add_text(&line, "session", s->row.id);
        js_add_int(&line, "events", (int64_t)s->events);
        js_add_bool(&line, "whole", !s->missing);
        if (s->missing) {
            js_add_int(&line, "missing", (int64_t)s->missing);
            js_add_int(&line, "beyond", (int64_t)s->beyond);
            js_add_text(&line, "why", s->why);
        }
        buf_addc(&line, '}');
        puts(line.p);
    } else if (!s->missing) {
        printf("%-11s %llu events, whole as far as they go\n", id, (unsigned long long)s->events);
    } else {
        printf("%-11s %llu events are whole; at event %llu: %s; %llu more lie behind it and cannot be verified\n", id,
               (unsigned long long)s->events, (unsigned long long)s->missing, s->why, (unsigned long long)s->beyond);
    }
}

/* A store in a new place, with all that is verified. The damaged one is left as it is. */
static CO int restore(struct agent *a, const struct salvage *v, const char *folder)
{
    cleanup(freep) char *db = xasprintf("%s/rein.db", folder);
    struct err e = {0};
    int r;

    if (folder[0] != '/')
        return fail(STATUS_USAGE, "log salvage takes an absolute path: it becomes a REIN_HOME");
    if (access(db, F_OK) == 0)
        return fail(STATUS_USAGE, "%s exists; name a folder without a store", db);
    r = store_open(folder, STORE_WRITE, &a->store, &e);
    if (r == 0)
        r = salvage_restore(v, a->store, &e);
    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    if (!a->in->opt.quiet)
        fprintf(stderr, "rein: %d sessions are in %s; REIN_HOME=%s uses them. Outputs of commands stay in %s/spool\n", r, folder,
                folder, a->home);
    return STATUS_DONE;
}

static CO int salvage_main(struct agent *a)
{
    const struct salvaged *found;
    struct salvage *v = NULL;
    struct err e = {0};
    size_t n;
    int r;

    if (a->in->nargs > 2)
        return fail(STATUS_USAGE, "log salvage takes one folder, or none");
    if (salvage_open(a->home, &v, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    found = salvage_sessions(v, &n);
    for (size_t i = 0; i < n; i++)
        if (found[i].events || found[i].beyond)
            print_salvaged(a, &found[i]);
    r = a->in->nargs == 2 ? restore(a, v, a->in->args[1]) : STATUS_DONE;
    salvage_free(v);
    return r;
}

static CO int log_main(struct agent *a)
{
    const char *what = a->in->nargs ? a->in->args[0] : "";

    if (strcmp(what, "verify") == 0)
        return verify_main(a);
    if (strcmp(what, "salvage") == 0)
        return salvage_main(a);
    return fail(STATUS_USAGE, "log takes: verify ID, verify --last, salvage, or salvage FOLDER");
}

int cmd_log(struct invocation *in)
{
    return agent_main(in, log_main);
}
