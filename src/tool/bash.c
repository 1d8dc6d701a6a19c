/* bash.c - a shell command, under the supervisor: waited for, or started as a job that the tool job looks after. Its output goes to
 * a file first; a part of it enters the context, the rest can be paged through with read. */
#include "base/utf8.h"
#include "tool/command.h"
#include "tool/inspect.h"

#include <stdio.h>

#define TIMEOUT_DEFAULT 120             /* seconds */
#define TIMEOUT_MAX     600
#define JOB_FIRST_LOOK_MS 50
#define CHANGED_KEPT    ((size_t)8 << 10)       /* bytes of the list of changes that stand in the log */
#define LAST_OUTPUT     400             /* bytes of it shown to who has to decide */

static bool timeout_of(struct call *c, int64_t *ret)
{
    *ret = js_int(c->args, "timeout", TIMEOUT_DEFAULT);
    if (*ret >= 1 && *ret <= TIMEOUT_MAX)
        return true;
    result_fail(c->result, -EINVAL, "bash: timeout is 1 to %d seconds; what takes longer is started with background",
                TIMEOUT_MAX);
    return false;
}

/* Bytes of output that the model gets to see at once. */
static int64_t shown_at_once(const struct call *c)
{
    return (int64_t)(c->harness->result_head + c->harness->result_tail);
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

static bool is_job(const json_t *args)
{
    return js_bool(args, "background", false);
}

/* Whether a job was started, can be seen; what a command did, cannot. */
static enum effect bash_effect(const json_t *args)
{
    return is_job(args) ? EFFECT_PROBE : EFFECT_OPAQUE;
}

/* Ready to start; in place: although commands have layers. */
static CO int ready(struct call *c, bool in_place, struct env_ready **ret, struct err *e)
{
    bool job = is_job(c->args), persists = c->harness->shell_persists;

    return env_ready(c->env, &(struct env_command){
        .command = js_str(c->args, "command").p, .key = c->key, .hide_env = c->hide_env, .in_place = in_place,
        .timeout_ms = job ? 0 : js_int(c->args, "timeout", TIMEOUT_DEFAULT) * 1000,
        .job = job, .stay = js_bool(c->args, "stay", false), .tty = js_bool(c->args, "tty", false),
        .plain = c->plain, .dir = c->plain && persists ? c->view->shell_dir : NULL,
        .keep_shell = persists && !job, .shell = persists ? c->view->shell : NULL, .keep_above = shown_at_once(c),
    }, ret, e);
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
    r = is_job(c->args) ? 0 : inspect_plan(c, command);
    if (r < 0)
        return r;
    r = ready(c, false, &b->ready, &e);
    return r < 0 ? result_fail(c->result, r, "bash: %s", e.msg) : 0;
}

static void add_facts(struct call *c, const struct env_outcome *o)
{
    struct buf *facts = &c->result->facts;

    js_add_int(facts, "exit", o->exit_status);
    if (o->signo)
        js_add_int(facts, "signal", o->signo);
    js_add_int(facts, "bytes", o->total);
    if (o->total > shown_at_once(c))
        js_add_text(facts, "output", c->key);
    js_add_int(facts, "ms", o->ms);
    if (o->killed)
        js_add_int(facts, "ended_with_it", o->killed);
    if (!o->synced)
        js_add_bool(facts, "synced", false);
    if (o->shell_kept)
        js_add_text(facts, "shell", c->key);
    js_add_text(facts, "dir", o->shell_dir);
    if (o->moved_out)
        js_add_text(facts, "moved_out", o->moved_out);
    js_add_text(facts, "waits", o->waits);
    if (o->changed) {
        size_t n = MIN(strlen(o->changed), CHANGED_KEPT);

        js_add_text(facts, "layer", c->key);
        js_add_int(facts, "changed", o->nchanged);
        js_add_str(facts, "changes", (struct str){ o->changed, utf8_align((struct str){ o->changed, strlen(o->changed) }, n) });
    }
}

static CO int report(struct call *c, const struct env_outcome *o, int64_t timeout)
{
    struct buf *text = &c->result->text;
    int r = command_output(c, c->key, 0, o);

    if (r < 0)
        return r;
    if (o->end == ENV_TIMEOUT)
        buf_addf(text, "[stopped: it ran longer than %lld s]", (long long)timeout);
    else if (o->end == ENV_CANCEL)
        buf_adds(text, "[stopped by the user]");
    else if (o->end == ENV_MEMORY || o->end == ENV_PROCESSES || o->end == ENV_DISK)
        buf_addf(text, "[stopped: it took more %s than its box has]", o->end == ENV_MEMORY ? "memory" : o->end == ENV_DISK
                 ? "room on the disk" : "processes");
    else if (o->end == ENV_COPIES)
        buf_adds(text, "[stopped: it changed more than a gigabyte of files that were there, which have to be copied before they "
                 "can be taken back. Change less at once, or work on copies in /tmp]");
    else if (o->end == ENV_INPUT)
        buf_adds(text, "[stopped: it waits for input, which nobody gives here. Give it with flags or a pipe, or start the command "
                 "with background and tty, and answer with the tool job]");
    else
        command_end(text, o);
    command_changed(text, o);
    command_moved_out(text, o);
    add_facts(c, o);
    c->result->outcome = o->end == ENV_CANCEL ? OUT_CANCELLED
                       : o->end == ENV_EXIT && o->exit_status == 0 && !o->held ? OUT_OK : OUT_ERROR;
    return 0;
}

/* What the model is told of a job just after it was started. */
static CO int report_job(struct call *c, const struct env_job *job)
{
    int r = job_output(c, c->key, 0, job);

    if (r < 0)
        return r;
    if (job->state == ENV_JOB_RUNS)
        buf_addf(&c->result->text, "[job %s runs, process %lld; the tool job looks after it]", c->name,
                 (long long)job->outcome.pid);
    job_facts(c, c->name, c->key, job, js_bool(c->args, "stay", false));
    c->result->outcome = job->state == ENV_JOB_RUNS || (job->state == ENV_JOB_ENDED && job->outcome.exit_status == 0) ? OUT_OK
                                                                                                                   : OUT_ERROR;
    return 0;
}

static CO int run_job(struct call *c, const struct bash *b)
{
    cleanup(env_job_done) struct env_job job = {0};
    struct err e = {0};
    int r = env_job_start(c->env, b->ready, &job, &e);

    if (r < 0)
        return result_fail(c->result, r, "bash: %s", e.msg);
    if (job.state == ENV_JOB_RUNS)
        fiber_sleep(JOB_FIRST_LOOK_MS);         /* what fails, often fails at once */
    fiber_shield();                             /* it runs: the log has to know of it, or nobody will end it */
    env_job_look(c->env, c->key, false, &job, &e);
    r = report_job(c, &job);
    fiber_unshield();
    return r;
}

/* Once more, without a layer, and why. */
static CO int run_again(struct call *c, struct bash *b, struct env_outcome *o, struct err *e)
{
    cleanup(freep) char *why = TAKE(o->layer_said);
    int r;

    env_outcome_done(o);
    *o = (struct env_outcome){0};
    env_drop(c->env, TAKE(b->ready));
    js_add_text(&c->result->facts, "again", why);
    r = ready(c, true, &b->ready, e);
    if (r == 0)
        r = env_run(c->env, b->ready, o, e);
    if (r == 0)
        o->layer_said = xasprintf("run a second time, in place, so that rein undo cannot take it back: %.300s", why);
    return r;
}

static CO int bash_run(struct call *c)
{
    struct bash *b = c->state;
    int64_t timeout = js_int(c->args, "timeout", TIMEOUT_DEFAULT);
    cleanup(env_outcome_done) struct env_outcome o = {0};
    struct err e = {0};
    int r;

    if (is_job(c->args))
        return run_job(c, b);
    r = env_run(c->env, b->ready, &o, &e);
    if (r == 0 && o.again)
        r = run_again(c, b, &o, &e);
    if (r == -ECANCELED) {
        if (o.ended)
            report(c, &o, timeout);
        return r;
    }
    if (r < 0)
        return result_fail(c->result, r, "bash: %s", e.msg);
    return report(c, &o, timeout);
}

/* Whether a job was started is known, and it may run: it is taken up. */
static CO int settle_job(struct call *c)
{
    cleanup(env_job_done) struct env_job job = {0};
    struct err e = {0};
    int r = env_job_look(c->env, c->key, !c->foreign, &job, &e);

    if (r < 0)
        return result_fail(c->result, r, "rein was stopped while it started this job, and the job cannot be looked at: %s", e.msg);
    if (job.state == ENV_JOB_RUNS && c->foreign)
        return result_fail(c->result, 0, "The job runs, and belongs to the session from which this one was forked.");
    if (job.state == ENV_JOB_RUNS || job.state == ENV_JOB_ENDED)
        return report_job(c, &job);
    if (job.state == ENV_JOB_NONE && c->same_life) {
        c->result->outcome = OUT_NOT_DONE;
        buf_adds(&c->result->text, "Not done: rein was stopped before this job was started.");
        return 0;
    }
    return result_fail(c->result, 0, "The job does not run: %s. Whatever it had done by then is done.", c->same_life ?
                       "its supervisor was killed" : "the machine was restarted");
}

/* The last that it wrote, for whoever has to decide. */
static CO int add_last_output(struct call *c, struct buf *text)
{
    cleanup(buf_done) struct buf last = {0};
    int64_t size = 0;
    struct err e;
    int r = env_output(c->env, c->key, 0, 1, &last, &size, &e);

    buf_clear(&last);
    if (r == 0 && size)
        r = env_output(c->env, c->key, MAX(size - LAST_OUTPUT, (int64_t)0), LAST_OUTPUT, &last, &size, &e);
    if (r < 0 || !last.n)
        return r == -ECANCELED ? r : 0;
    buf_adds(text, size > LAST_OUTPUT ? " The last that it wrote:\n..." : " What it wrote:\n");
    utf8_add_clean(text, str_from(buf_str(&last), utf8_align(buf_str(&last), 0)));
    js_add_text(&c->result->facts, "output", c->key);
    return 0;
}

/* It may have taken effect. Everything that is known of it is said, and it is in doubt only if that does not settle it. */
static CO int doubt(struct call *c, const struct env_outcome *o)
{
    struct buf *text = &c->result->text, *facts = &c->result->facts;
    cleanup(buf_done) struct buf known = {0};
    enum outcome settled;
    int r = inspect_settle(c, js_str(c->args, "command"), &settled, &known);

    if (r < 0)
        return r;
    if (settled != OUT_OPEN)
        buf_adds(text, settled == OUT_OK ? "Done: rein was stopped during this command, and it had taken effect by then."
                                         : "Not done: rein was stopped during this command.");
    else if (o->ended && o->end != ENV_ORPHAN)
        buf_addf(text, "it had ended with exit status %d, but the machine was restarted since, and what it wrote may not have "
                 "reached the disk.", o->exit_status);
    else if (o->ended)
        buf_addf(text, "it was running for %lld ms and had written %lld bytes when rein was stopped, and was ended with it.",
                 (long long)o->ms, (long long)o->total);
    else if (o->started)
        buf_adds(text, "it was started, and its supervisor was lost with rein.");
    else
        buf_adds(text, "the machine was restarted, and no record says whether it had begun.");
    buf_add_str(text, buf_str(&known));
    js_add_bool(facts, "started", o->started);
    js_add_bool(facts, "ended", o->ended);
    js_add_bool(facts, "restarted", !c->same_life);
    if (o->pid)
        js_add_int(facts, "pid", o->pid);
    if (o->ended) {
        js_add_int(facts, "ms", o->ms);
        js_add_int(facts, "bytes", o->total);
    }
    c->result->outcome = settled == OUT_OPEN ? OUT_UNKNOWN : settled;
    return add_last_output(c, text);
}

static CO int bash_settle(struct call *c)
{
    struct buf *text = &c->result->text;
    cleanup(env_outcome_done) struct env_outcome o = {0};
    struct err e = {0};
    int64_t timeout = js_int(c->args, "timeout", TIMEOUT_DEFAULT);
    int r;

    if (is_job(c->args))
        return settle_job(c);
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
    if (o.gone || (!o.started && c->same_life)) {
        c->result->outcome = OUT_NOT_DONE;
        buf_adds(text, o.gone ? "Not done: rein was stopped during this command, and nothing that it had changed was put in place."
                              : "Not done: rein was stopped before this command was started.");
        return 0;
    }
    return doubt(c, &o);
}

const struct tool tool_bash = {
    .name       = "bash",
    .effect     = EFFECT_OPAQUE,
    .origin     = FROM_WORKSPACE,
    .effect_of  = bash_effect,
    .title_args = "command",
    .grant      = GRANT_RUN,
    .prepare    = bash_prepare,
    .run        = bash_run,
    .settle     = bash_settle,
};
