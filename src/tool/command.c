#include "tool/command.h"

#include "base/ansi.h"

#include <stdio.h>

CO int command_output(struct call *c, const char *key, int64_t from, const struct env_outcome *o)
{
    size_t head = c->harness->result_head, tail = c->harness->result_tail;
    cleanup(buf_done) struct buf first = {0}, last = {0}, begin = {0}, end = {0};
    cleanup(freep) char *hint = NULL;
    struct err e = {0};
    int64_t size = 0;
    int r;

    r = env_output(c->env, key, from, head + tail, &first, &size, &e);
    if (r == 0 && size - from > (int64_t)(head + tail))
        r = env_output(c->env, key, size - (int64_t)tail, tail, &last, &size, &e);
    if (r < 0) {
        buf_addf(&c->result->text, "[the output cannot be read: %s]\n", e.msg);
        return r == -ECANCELED ? r : 0;
    }
    ansi_add_text(&begin, last.n ? str_head(buf_str(&first), head) : buf_str(&first));
    ansi_add_text(&end, buf_str(&last));
    if (last.n == 0) {
        result_bounded(c->result, buf_str(&begin), head, tail, NULL);
    } else {
        hint = xasprintf("read the path output:%s for the rest%s", key + strlen(c->session) + 1,
                         o->head + o->tail < o->total ? ", of which only the ends were kept" : "");
        result_ends(c->result, buf_str(&begin), buf_str(&end),
                    MAX(o->total, size) - from - (int64_t)(head + tail), hint);
    }
    if (c->result->text.n && c->result->text.p[c->result->text.n - 1] != '\n')
        buf_addc(&c->result->text, '\n');
    return 0;
}

void command_end(struct buf *text, const struct env_outcome *o)
{
    if (o->signo)
        buf_addf(text, "[killed by signal %d]", o->signo);
    else
        buf_addf(text, "[exit status %d]", o->exit_status);
    if (o->killed && o->end == ENV_EXIT)
        buf_addf(text, "\n[%d process%s that it left running ended with it]", o->killed, o->killed == 1 ? "" : "es");
}

void command_moved_out(struct buf *text, const struct env_outcome *o)
{
    if (o->moved_out)
        buf_addf(text, "\n[moved out of the workspace, since programs outside the box would run or believe it:\n%s]", o->moved_out);
}

#define CHANGED_SHOWN 6

/* A line "KIND SIZE PATH" in its parts. False: it is none. */
static bool read_change(struct str *rest, struct str *ret_kind, int64_t *ret_size, struct str *ret_path)
{
    size_t n = rest->n ? strcspn(rest->p, "\n") : 0, kind = rest->n ? strcspn(rest->p, " ") : 0;
    const char *path = kind + 1 < n ? memchr(rest->p + kind + 1, ' ', n - kind - 1) : NULL;

    if (!path)
        return false;
    *ret_kind = (struct str){ rest->p, kind };
    *ret_size = strtoll(rest->p + kind, NULL, 10);
    *ret_path = (struct str){ path + 1, (size_t)(rest->p + n - path) - 1 };
    *rest = str_from(*rest, MIN(n + 1, rest->n));
    return true;
}

static void add_change(struct buf *text, struct str kind, int64_t size, struct str path)
{
    buf_addf(text, "%c %.*s", *kind.p, STR(path));
    if (memchr(kind.p, 'u', kind.n))
        buf_adds(text, " (git has no copy)");
    if (memchr(kind.p, 'r', kind.n))
        buf_adds(text, " (runs later)");
    if (memchr(kind.p, 'l', kind.n))
        buf_addf(text, " (%lld MB)", (long long)(size >> 20));
}

void command_changed(struct buf *text, const struct env_outcome *o)
{
    struct str kind, path;
    int64_t size;
    int shown = 0;

    if (o->layer_said)
        buf_addf(text, "\n[%s]", o->layer_said);
    if (!o->changed || !*o->changed)
        return;
    buf_addf(text, "\n[changed: ");
    for (int marked = 1; marked >= 0; marked--)         /* what is worth a look first */
        for (struct str rest = str_of(o->changed); shown < CHANGED_SHOWN && read_change(&rest, &kind, &size, &path);)
            if ((kind.n > 1) == marked) {
                buf_adds(text, shown++ ? ", " : "");
                add_change(text, kind, size, path);
            }
    if (o->nchanged > shown)
        buf_addf(text, " and %lld more", (long long)(o->nchanged - shown));
    buf_addc(text, ']');
}

CO int job_output(struct call *c, const char *key, int64_t from, const struct env_job *job)
{
    struct buf *text = &c->result->text;
    int r = command_output(c, key, from, &job->outcome);

    if (r < 0 || job->state == ENV_JOB_RUNS)
        return r;
    if (job->state == ENV_JOB_LOST)
        buf_adds(text, "[it does not run any more: its supervisor was killed, or the machine was restarted]");
    else if (job->outcome.end == ENV_ORPHAN)
        buf_adds(text, "[ended: rein was away for too long]");
    else if (job->outcome.end == ENV_CANCEL)
        buf_adds(text, "[ended, as asked]");
    else
        command_end(text, &job->outcome);
    command_moved_out(text, &job->outcome);
    return 0;
}

void job_facts(struct call *c, const char *id, const char *key, const struct env_job *job, bool stays)
{
    struct buf *facts = &c->result->facts;

    js_key(facts, "job");
    buf_addc(facts, '{');
    js_add_text(facts, "id", id);
    js_add_text(facts, "key", key);
    js_add_bool(facts, "runs", job->state == ENV_JOB_RUNS);
    js_add_bool(facts, "stays", stays);
    js_add_int(facts, "seen", job->size);
    js_add_int(facts, "pid", job->outcome.pid);
    js_add_int(facts, "started", job->outcome.pid_started);
    buf_addc(facts, '}');
    if (job->state == ENV_JOB_ENDED)
        js_add_int(facts, "exit", job->outcome.exit_status);
}
