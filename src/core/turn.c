/* turn.c - the agent loop: ask the log what is next, do it, append what came of it.
 *
 * There is no other state. A rein that was killed anywhere folds the log, asks turn_next() and goes on; resuming is not a
 * case of its own.
 *
 *     submit -> user
 *     MODEL    request -> (bytes leave) -> answer | fault
 *     CALLS    intent -> (effect) -> result              see calls.c
 *     END      end
 *
 * Events are put when they are known and made durable by the next session_commit(), which stands in front of everything
 * that leaves the process: a request's bytes, a tool's effect, the end. So an answer and its intents share a commit, and
 * so do results and the next request. A call that only reads has no effect, and runs while its intent is on its way. */
#include "core/turn.h"

#include "base/clock.h"
#include "core/calls.h"
#include "core/jobs.h"
#include "core/request.h"

#include <stdio.h>

#define PAUSES_MAX      20              /* answers in a row that a service breaks off to be asked to go on */
#define UNREAD_MAX      3               /* answers in a row of whose calls none could be read */

static struct step end(enum end_state how, const char *why)
{
    return (struct step){ .kind = STEP_END, .end = how, .why = why };
}

struct step turn_next(const struct view *v, const struct reserve *reserve, int64_t now)
{
    const char *limit;

    if (v->end != END_OPEN)
        return (struct step){ .kind = STEP_IDLE };
    if (v->aborted)
        return end(END_FAILED, "a person ended it at a call in doubt");

    for (size_t i = 0; i < v->ncalls; i++)
        if (v->calls[i].state == CALL_STARTED && v->calls[i].intent_epoch != v->epoch && !v->calls[i].pure)
            return (struct step){ .kind = STEP_RECOVER };
    for (size_t i = 0; i < v->ncalls; i++) {
        enum call_state state = v->calls[i].state;

        if (state == CALL_ASKED || state == CALL_UNKNOWN)
            return (struct step){ .kind = STEP_WAIT };
        if (state != CALL_CLOSED)
            return (struct step){ .kind = STEP_CALLS };
    }

    if (v->answered) {
        if (v->refused)
            return end(END_UNREACHABLE, "the model's service withheld the answer");
        if (v->cut)
            return end(END_FAILED, "the answer was cut off at its token limit");
        if (v->empty)
            return end(END_FAILED, "the model answered with nothing");
        return end(END_DONE, "the model has finished");
    }
    if (!v->user_seq)
        return (struct step){ .kind = STEP_IDLE };
    if (v->overflow && !v->squeezed)
        return (struct step){ .kind = STEP_SQUEEZE };
    if (v->fault_final)
        return end(END_UNREACHABLE, v->fault_why);
    if (v->unread >= UNREAD_MAX)
        return end(END_GUARD, "three answers in a row made only calls that cannot be read");
    if (v->pauses > PAUSES_MAX)
        return end(END_GUARD, "the service paused its answer again and again");
    limit = budget_reached(v, reserve, now);
    if (limit)
        return end(END_BUDGET, limit);
    /* A wait of another life, whose clock was set otherwise, is not longer than it was. */
    if (now < v->retry_at)
        return (struct step){ .kind = STEP_SLEEP, .until = v->retry_wait ? MIN(v->retry_at, now + v->retry_wait * NS_PER_MS)
                                                                               : v->retry_at };
    return (struct step){ .kind = STEP_MODEL };
}

/* What was observed for steps of the plan that are closed by now is folded into their outcomes, where that saves enough. A step was
 * just closed, so its results stand near the end, and little of what services have cached is lost. */
static void fold_steps(struct session *s)
{
    uint64_t answer = s->view.ncalls ? s->view.calls[0].answer_seq : s->view.seq;

    for (size_t i = 0; i < s->view.nplan && s->with.harness->fold_above; i++) {
        const struct plan_step *p = &s->view.plan[i];
        struct buf body = {0};
        size_t saved;

        /* Only a step that the last answer closed: what did not save enough then is not counted again in every request. */
        if (p->folded || !p->begun || p->ended < answer || !p->outcome)
            continue;
        saved = context_saving(&s->context, p->begun, p->ended, p->outcome);
        if ((int64_t)saved < s->with.harness->fold_above)
            continue;
        buf_addc(&body, '{');
        js_add_text(&body, "why", "a step of the plan is closed");
        js_add_text(&body, "step", p->id);
        js_add_text(&body, "outcome", p->outcome);
        js_add_int(&body, "from", (int64_t)p->begun);
        js_add_int(&body, "to", (int64_t)p->ended);
        js_add_int(&body, "before", (int64_t)s->context.bytes);
        js_add_int(&body, "after", (int64_t)(s->context.bytes - saved));
        buf_addc(&body, '}');
        session_put(s, EV_COMPACT, p->ended, FROM_SYSTEM, &body);
    }
}

/* The request is longer than the model takes: the eldest results go, once. */
static void step_squeeze(struct session *s)
{
    uint64_t to;
    size_t saved = context_squeeze(&s->context, &to);
    struct buf body = {0};

    if (saved < s->context.bytes / 20)
        saved = to = 0;                 /* that would not help, and is not done */
    buf_addc(&body, '{');
    js_add_text(&body, "why", saved ? "the request is longer than the model takes"
                                     : "the request is longer than the model takes, and nothing can be left out of it");
    js_add_text(&body, "outcome", CONTEXT_LEFT_OUT);
    js_add_int(&body, "from", 0);
    js_add_int(&body, "to", (int64_t)to);
    js_add_int(&body, "before", (int64_t)s->context.bytes);
    js_add_int(&body, "after", (int64_t)(s->context.bytes - saved));
    buf_addc(&body, '}');
    session_put(s, EV_COMPACT, s->view.seq, FROM_SYSTEM, &body);
}

static CO int step_end(struct session *s, enum end_state how, const char *why, struct err *e)
{
    const struct view *v = &s->view;
    struct buf body = {0};

    jobs_end(s);

    buf_addc(&body, '{');
    js_add_text(&body, "outcome", end_name(how));
    js_add_text(&body, "why", why);
    js_add_int(&body, "requests", v->requests);
    js_add_int(&body, "calls", v->results);
    js_add_int(&body, "tokens_in", v->used.in);
    js_add_int(&body, "tokens_out", v->used.out);
    js_add_int(&body, "tokens_cached", v->used.cached);
    if (v->cost)
        js_add_int(&body, "cost", v->cost);
    js_add_bool(&body, "estimated", v->used.estimated);
    buf_addc(&body, '}');
    session_put(s, EV_END, v->seq, FROM_SYSTEM, &body);
    return session_commit(s, e);
}

/* The user's rules may send the next request to another model. 1 if they do. */
static CO int route(struct session *s, bool failed, struct err *e)
{
    return s->with.route ? s->with.route(s->with.route_arg, s, failed, e) : 0;
}

/* The fiber was cancelled: every call gets its outcome, and the log says how it ended. */
static CO int cancelled(struct session *s, struct err *e)
{
    enum end_state how = s->cancel_why ? END_BUDGET : END_INTERRUPTED;
    int r;

    fiber_shield();
    calls_close(s, "Not run: the session was stopped first.");
    r = step_end(s, how, s->cancel_why ? s->cancel_why : "it was interrupted", e);
    fiber_unshield();
    return r < 0 ? r : -ECANCELED;
}

CO int turn_recover(struct session *s, struct err *e)
{
    int r = jobs_take_up(s);

    return r == 0 && turn_next(&s->view, &(struct reserve){0}, clock_even()).kind == STEP_RECOVER ? calls_recover(s, e) : r;
}

CO int turn_run(struct session *s, struct err *e)
{
    int r = 0;

    while (r == 0) {
        int64_t now = clock_even();
        struct reserve reserve = request_reserve(s);
        struct step next = s->out_of_money && s->view.end == END_OPEN
                                           ? end(END_BUDGET, "the next request may exceed the shared budget (--budget)")
                                           : turn_next(&s->view, &reserve, now);

        switch (next.kind) {
        case STEP_MODEL:
            r = route(s, false, e);
            fold_steps(s);
            if (r >= 0)
                r = request_make(s, e);
            break;
        case STEP_SQUEEZE:
            step_squeeze(s);
            break;
        case STEP_CALLS:
            r = calls_run(s, e);
            break;
        case STEP_RECOVER:
            r = calls_recover(s, e);
            break;
        case STEP_SLEEP:
            r = session_commit(s, e);
            if (r == 0)
                r = fiber_sleep((next.until - now) / NS_PER_MS + 1);
            break;
        case STEP_END:
            r = next.end == END_UNREACHABLE && s->view.fault_final ? route(s, true, e) : 0;
            if (r == 0)
                r = step_end(s, next.end, next.why, e);
            r = MIN(r, 0);
            break;
        case STEP_WAIT:
        case STEP_IDLE:
            return session_commit(s, e);
        }
        if (r == 0 && fiber_cancelled())
            r = -ECANCELED;             /* while something ran that is not cut short, and nothing has waited since */
    }
    return r == -ECANCELED ? cancelled(s, e) : r;
}
