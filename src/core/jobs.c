#include "core/jobs.h"

static void put_job(struct session *s, const struct job_view *j, const struct env_job *job, const char *why)
{
    const struct env_outcome *o = &job->outcome;
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_text(&body, "id", j->id);
    js_add_bool(&body, "runs", job->state == ENV_JOB_RUNS);
    js_add_text(&body, "why", why);
    js_add_int(&body, "bytes", job->size);
    if (job->state == ENV_JOB_RUNS) {
        js_add_int(&body, "pid", o->pid);
        js_add_int(&body, "started", o->pid_started);
    } else if (job->state == ENV_JOB_ENDED) {
        js_add_int(&body, "exit", o->exit_status);
        if (o->signo)
            js_add_int(&body, "signal", o->signo);
        js_add_int(&body, "ms", o->ms);
    }
    if (o->moved_out)
        js_add_text(&body, "moved_out", o->moved_out);
    buf_addc(&body, '}');
    session_put(s, EV_JOB, s->view.seq, FROM_SYSTEM, &body);
}

static const char *fate(const struct env_job *job)
{
    if (job->state == ENV_JOB_ENDED)
        return job->outcome.end == ENV_ORPHAN ? "nobody had taken it up for too long" : "it ended";
    return "its supervisor was killed, or the machine was restarted";
}

CO int jobs_take_up(struct session *s)
{
    for (size_t i = 0; i < s->view.njobs; i++) {
        const struct job_view *j = &s->view.jobs[i];
        cleanup(env_job_done) struct env_job job = {0};
        struct err e = {0};
        int r;

        if (!j->runs)
            continue;
        r = env_job_look(s->with.env, j->key, true, &job, &e);
        if (r == -ECANCELED)
            return r;
        if (r == 0)                     /* else nothing is known: the log says what it said, and the session's end tries again */
            put_job(s, j, &job, job.state == ENV_JOB_RUNS ? "taken up" : fate(&job));
    }
    return 0;
}

CO void jobs_end(struct session *s)
{
    fiber_shield();
    for (size_t i = 0; i < s->view.njobs; i++) {
        const struct job_view *j = &s->view.jobs[i];
        cleanup(env_job_done) struct env_job job = {0};
        struct err e = {0};

        if (!j->runs || j->stays)
            continue;
        if (env_job_look(s->with.env, j->key, false, &job, &e) == 0 && job.state == ENV_JOB_RUNS) {
            env_job_send(s->with.env, j->key, ENV_SEND_KILL, LIT(""), NULL, &e);
            env_job_look(s->with.env, j->key, false, &job, &e);
            put_job(s, j, &job, job.state == ENV_JOB_RUNS ? e.msg : "the session ended");
        } else {
            put_job(s, j, &job, *e.msg ? e.msg : fate(&job));
        }
    }
    fiber_unshield();
}
