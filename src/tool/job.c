/* job.c - looks after a command that bash has started in the background: what it wrote, its input, its end. */
#include "tool/command.h"

#include <string.h>

#define WAIT_MAX  300                   /* seconds */
#define POLL_MS   20
#define ASK_MS    500                   /* how often it is asked whether the job waits for input */
#define ASKS      3                     /* in a row, after which that is believed */
#define ASKS_UNTIL 10                   /* the same when a text is waited for, which another thread may still write */
#define CHUNK     ((size_t)64 << 10)

static bool action_is(const json_t *args, const char *action)
{
    return str_is(js_str(args, "action"), action);
}

static enum effect job_effect(const json_t *args)
{
    return action_is(args, "send") || action_is(args, "end_input") || action_is(args, "kill") ? EFFECT_PROBE : EFFECT_PURE;
}

/* The job that is meant: the last one, when none is named. NULL: the call is closed. */
static struct job_view *job_of(struct call *c)
{
    struct str id = js_str(c->args, "id");
    struct job_view *j = id.n ? view_job(c->view, id) : c->view->njobs ? &c->view->jobs[c->view->njobs - 1] : NULL;

    if (j)
        return j;
    if (id.n)
        result_fail(c->result, -ENOENT, "job: there is no job \"%.*s\"; the action list names them", STR(str_head(id, 40)));
    else
        result_fail(c->result, -ENOENT, "job: there is no job; bash starts one with background");
    return NULL;
}

static CO int job_prepare(struct call *c)
{
    const struct job_view *j;
    struct str action, text;

    if (!call_text(c, "action", &action))
        return 0;
    if (job_effect(c->args) == EFFECT_PURE)
        return 0;
    j = job_of(c);
    if (!j || (str_is(action, "send") && !call_text(c, "text", &text)))
        return 0;
    if (str_is(action, "send") && text.n > ENV_JOB_TEXT_MAX)
        return result_fail(c->result, -E2BIG, "job: at most %zu bytes can be sent at once", ENV_JOB_TEXT_MAX);
    js_add_text(&c->plan, "job", j->id);
    return 0;
}

static CO int list(struct call *c)
{
    struct buf *text = &c->result->text;

    for (size_t i = 0; i < c->view->njobs; i++) {
        const struct job_view *j = &c->view->jobs[i];
        cleanup(env_job_done) struct env_job job = {0};
        struct err e;
        int r = env_job_look(c->env, j->key, false, &job, &e);

        if (r == -ECANCELED)
            return r;
        buf_addf(text, "%s %s, %lld bytes written, %lld of them seen\n", j->id,
                 r < 0 ? e.msg : job.state == ENV_JOB_RUNS ? "runs" : "has ended", (long long)job.size, (long long)j->seen);
    }
    if (text->n == 0)
        buf_adds(text, "There is no job.");
    result_ok(c->result);
    return 0;
}

/* Looks whether the text has come since `from`. The offset moves on, so that nothing is read twice. */
static CO int seen_text(struct call *c, const char *key, struct str until, int64_t *from, int64_t size, bool *ret, struct err *e)
{
    while (!*ret && *from + (int64_t)until.n <= size) {
        cleanup(buf_done) struct buf chunk = {0};
        int64_t unused;
        int r = env_output(c->env, key, *from, CHUNK, &chunk, &unused, e);

        if (r < 0)
            return r;
        *ret = str_find(buf_str(&chunk), until, 0) >= 0;
        if (chunk.n < until.n)
            break;
        *from += (int64_t)(chunk.n - until.n) + 1;
    }
    return 0;
}

static CO int look(struct call *c)
{
    const struct job_view *j = job_of(c);
    int64_t wait = js_int(c->args, "wait", 0) * 1000, searched = j ? j->seen : 0;
    struct str until = js_str(c->args, "until");
    bool found = false;
    int asked = 0;
    int64_t size = -1;
    cleanup(env_job_done) struct env_job job = {0};
    struct err e = {0};
    int r;

    if (!j)
        return 0;
    if (wait < 0 || wait > WAIT_MAX * 1000)
        return result_fail(c->result, -EINVAL, "job: wait is 0 to %d seconds", WAIT_MAX);
    for (int64_t waited = 0;; waited += POLL_MS) {
        r = env_job_look(c->env, j->key, false, &job, &e);
        if (r == 0 && until.n)
            r = seen_text(c, j->key, until, &searched, job.size, &found, &e);
        if (r < 0 || found || job.state != ENV_JOB_RUNS || waited >= wait)
            break;
        /* What waits for input writes nothing more by itself. */
        asked = waited % ASK_MS ? asked : job.size == size && env_job_waits(c->env, j->key) ? asked + 1 : 0;
        if (asked == (until.n ? ASKS_UNTIL : ASKS))
            break;
        size = job.size;
        r = fiber_sleep(POLL_MS);
        if (r < 0)
            return r;
    }
    if (r == 0)
        r = job_output(c, j->key, MIN(j->seen, job.size), &job);
    if (r < 0)
        return result_fail(c->result, r, "job: %s", e.msg);
    if (job.state == ENV_JOB_RUNS)
        buf_addf(&c->result->text, "[runs%s%s]", until.n && !found ? ", and has not written what was waited for" : "",
                 !found && env_job_waits(c->env, j->key) ? "; it waits for input" : "");
    job_facts(c, j->id, j->key, &job, j->stays);
    result_ok(c->result);
    return 0;
}

/* What is said of something that was sent, now or before a crash. */
static CO int sent(struct call *c, const struct job_view *j, const char *what)
{
    cleanup(env_job_done) struct env_job job = {0};
    struct err e = {0};
    int r = env_job_look(c->env, j->key, false, &job, &e);

    if (r < 0)
        return result_fail(c->result, r, "job: %s", e.msg);
    job.size = j->seen;                 /* nothing was shown */
    buf_addf(&c->result->text, "%s %s.", what, job.state == ENV_JOB_RUNS ? "It runs" : "It has ended");
    job_facts(c, j->id, j->key, &job, j->stays);
    result_ok(c->result);
    return 0;
}

static const char *said(const json_t *args)
{
    return action_is(args, "kill") ? "Ended." : action_is(args, "end_input") ? "Its input is closed." : "Sent.";
}

static CO int job_run(struct call *c)
{
    const struct job_view *j;
    enum env_job_send what = ENV_SEND_TEXT;
    struct str text = {0};
    struct err e = {0};
    int r;

    if (action_is(c->args, "list"))
        return list(c);
    if (action_is(c->args, "look"))
        return look(c);
    if (job_effect(c->args) == EFFECT_PURE)
        return result_fail(c->result, -EINVAL, "job: the actions are look, list, send, end_input and kill");
    j = job_of(c);
    if (!j)
        return 0;
    if (action_is(c->args, "send"))
        text = js_str(c->args, "text");
    else
        what = action_is(c->args, "kill") ? ENV_SEND_KILL : ENV_SEND_END;
    r = env_job_send(c->env, j->key, what, text, c->key, &e);
    if (r == -ESRCH && what == ENV_SEND_KILL)
        r = 0;                          /* it had ended already */
    if (r < 0)
        return result_fail(c->result, r, "job: %s", e.msg);
    return sent(c, j, said(c->args));
}

static CO int job_settle(struct call *c)
{
    const struct job_view *j = view_job(c->view, js_str(c->planned, "job"));
    cleanup(env_job_done) struct env_job job = {0};
    struct err e = {0};
    int r;

    if (!j)
        return result_fail(c->result, -ENOENT, "The job belongs to the session from which this one was forked.");
    r = env_job_look(c->env, j->key, false, &job, &e);
    if (r == 0 && action_is(c->args, "kill"))
        r = job.state != ENV_JOB_RUNS;
    else if (r == 0)
        r = env_job_sent(c->env, j->key, c->key, &e);
    if (r < 0)
        return result_fail(c->result, r, "rein was stopped during this call, and the job cannot be looked at: %s", e.msg);
    if (r == 1)
        return sent(c, j, said(c->args));
    if (!c->same_life)
        return result_fail(c->result, -ESRCH, "The machine was restarted during this call; the job does not run.");
    c->result->outcome = OUT_NOT_DONE;
    buf_adds(&c->result->text, "Not done: rein was stopped before the job got it.");
    return 0;
}

const struct tool tool_job = {
    .name       = "job",
    .effect     = EFFECT_PROBE,
    .origin     = FROM_WORKSPACE,
    .effect_of  = job_effect,
    .title_args = "action id text",
    .prepare    = job_prepare,
    .run        = job_run,
    .settle     = job_settle,
};
