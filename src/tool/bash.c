/* bash.c - a shell command, under the supervisor. Its output goes to a file first; a part of it enters the context, the
 * rest can be paged through with read. */
#include "core/harness.h"

#include <stdio.h>

#define TIMEOUT_DEFAULT 120             /* seconds */
#define TIMEOUT_MAX     600

static bool timeout_of(struct call *c, int64_t *ret)
{
    *ret = js_int(c->args, "timeout", TIMEOUT_DEFAULT);
    if (*ret >= 1 && *ret <= TIMEOUT_MAX)
        return true;
    result_fail(c->result, -EINVAL, "bash: timeout is 1 to %d seconds; longer work has to be cut into steps", TIMEOUT_MAX);
    return false;
}

/* What prepare keeps for run. */
struct bash {
    struct env *env;
    struct env_ready *ready;
};

static void bash_free(void *state)
{
    struct bash *b = state;

    env_drop(b->env, b->ready);
    free(b);
}

static CO int bash_prepare(struct call *c)
{
    struct bash *b = xcalloc(1, sizeof(*b));
    struct str command;
    int64_t timeout;
    struct err e = {0};
    int r;

    b->env = c->env;
    c->state = b;
    c->state_free = bash_free;

    if (!call_text(c, "command", &command) || !timeout_of(c, &timeout))
        return 0;
    if (command.n == 0 || memchr(command.p, 0, command.n))
        return result_fail(c->result, -EINVAL, "bash: the command is empty or holds a zero byte");
    r = env_ready(c->env, &(struct env_command){
        .command = command.p, .timeout_ms = timeout * 1000, .key = c->key, .hide_env = c->hide_env,
    }, &b->ready, &e);
    return r < 0 ? result_fail(c->result, r, "bash: %s", e.msg) : 0;
}

/* Appends what the command wrote: all of it, or its two ends. */
static CO int add_output(struct call *c, const struct env_outcome *o)
{
    size_t head = c->harness->result_head, tail = c->harness->result_tail;
    cleanup(buf_done) struct buf first = {0}, last = {0};
    cleanup(freep) char *hint = NULL;
    struct err e = {0};
    int64_t size = 0;
    int r;

    r = env_output(c->env, c->key, 0, head + tail, &first, &size, &e);
    if (r == 0 && size > (int64_t)(head + tail))
        r = env_output(c->env, c->key, size - (int64_t)tail, tail, &last, &size, &e);
    if (r < 0) {
        buf_addf(&c->result->text, "[the output cannot be read: %s]\n", e.msg);
        return r == -ECANCELED ? r : 0;
    }
    if (last.n == 0) {
        result_bounded(c->result, buf_str(&first), head, tail, NULL);
    } else {
        hint = xasprintf("read the path output:%s for the rest%s", c->key + strlen(c->session) + 1,
                         o->head + o->tail < o->total ? ", of which only the ends were kept" : "");
        result_ends(c->result, str_head(buf_str(&first), head), buf_str(&last), o->total - (int64_t)(head + tail), hint);
    }
    if (c->result->text.n && c->result->text.p[c->result->text.n - 1] != '\n')
        buf_addc(&c->result->text, '\n');
    return 0;
}

static void add_facts(struct call *c, const struct env_outcome *o)
{
    struct buf *facts = &c->result->facts;

    js_add_int(facts, "exit", o->exit_status);
    if (o->signo)
        js_add_int(facts, "signal", o->signo);
    js_add_int(facts, "bytes", o->total);
    js_add_text(facts, "output", c->key);
    js_add_int(facts, "ms", o->ms);
    if (o->killed)
        js_add_int(facts, "ended_with_it", o->killed);
    if (!o->synced)
        js_add_bool(facts, "synced", false);
}

static CO int report(struct call *c, const struct env_outcome *o, int64_t timeout)
{
    struct buf *text = &c->result->text;
    int r = add_output(c, o);

    if (r < 0)
        return r;
    if (o->end == ENV_TIMEOUT)
        buf_addf(text, "[stopped: it ran longer than %lld s]", (long long)timeout);
    else if (o->end == ENV_CANCEL)
        buf_adds(text, "[stopped by the user]");
    else if (o->signo)
        buf_addf(text, "[killed by signal %d]", o->signo);
    else
        buf_addf(text, "[exit status %d]", o->exit_status);
    if (o->killed && o->end == ENV_EXIT)
        buf_addf(text, "\n[%d process%s that it left running ended with it]", o->killed, o->killed == 1 ? "" : "es");
    add_facts(c, o);
    c->result->outcome = o->end == ENV_CANCEL ? OUT_CANCELLED
                       : o->end == ENV_EXIT && o->exit_status == 0 ? OUT_OK : OUT_ERROR;
    return 0;
}

static CO int bash_run(struct call *c)
{
    const struct bash *b = c->state;
    int64_t timeout = js_int(c->args, "timeout", TIMEOUT_DEFAULT);
    struct env_outcome o = {0};
    struct err e = {0};
    int r = env_run(c->env, b->ready, &o, &e);

    if (r == -ECANCELED) {
        if (o.ended)
            report(c, &o, timeout);
        return r;
    }
    if (r < 0)
        return result_fail(c->result, r, "bash: %s", e.msg);
    return report(c, &o, timeout);
}

static CO int bash_settle(struct call *c)
{
    struct buf *text = &c->result->text;
    struct env_outcome o;
    struct err e = {0};
    int64_t timeout = js_int(c->args, "timeout", TIMEOUT_DEFAULT);
    int r;

    if (c->foreign) {
        c->result->outcome = OUT_UNKNOWN;
        return 0;
    }
    r = env_settle(c->env, c->key, &o, &e);
    if (r == -ECANCELED)
        return r;
    if (r < 0) {
        c->result->outcome = OUT_UNKNOWN;
        buf_adds(text, e.msg);
        return 0;
    }
    if (o.ended && o.end != ENV_ORPHAN && c->same_life)
        return report(c, &o, timeout);
    if (!o.started && c->same_life) {
        c->result->outcome = OUT_NOT_DONE;
        buf_adds(text, "Not done: rein was stopped before this command was started.");
        return 0;
    }
    c->result->outcome = OUT_UNKNOWN;
    if (o.ended && o.end != ENV_ORPHAN)
        buf_addf(text, "it had ended with exit status %d, but the machine was restarted since, and what it wrote may not have "
                 "reached the disk", o.exit_status);
    else if (o.ended)
        buf_addf(text, "it was running for %lld ms and had written %lld bytes when rein was stopped, and was ended with it",
                 (long long)o.ms, (long long)o.total);
    else if (o.started)
        buf_adds(text, "it was started, and its supervisor was lost with rein");
    else
        buf_adds(text, "the machine was restarted, and no record says whether it had begun");
    return 0;
}

const struct tool tool_bash = {
    .name      = "bash",
    .effect    = EFFECT_OPAQUE,
    .title_arg = "command",
    .prepare   = bash_prepare,
    .run       = bash_run,
    .settle    = bash_settle,
};
