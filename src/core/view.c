#include "core/view.h"

#include <stdio.h>

static void put(char **field, struct str value)
{
    if (!value.p)
        return;
    free(*field);
    *field = str_dup(value);
}

static void clear(char **field)
{
    free(*field);
    *field = NULL;
}

static const struct {
    enum end_state end;
    const char *name;
} ends[] = {
    { END_DONE, "done" },           { END_FAILED, "failed" },           { END_BUDGET, "budget" },
    { END_UNREACHABLE, "unreachable" }, { END_INTERRUPTED, "interrupted" }, { END_GUARD, "guard" },
};

const char *end_name(enum end_state end)
{
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (ends[i].end == end)
            return ends[i].name;
    return "open";
}

static void calls_clear(struct view *v)
{
    for (size_t i = 0; i < v->ncalls; i++) {
        struct call_view *c = &v->calls[i];

        free(c->id);
        free(c->name);
        free(c->args);
        free(c->intent);
        free(c->doubt);
        free(c->decision);
        free(c->said);
        free(c->why);
        free(c->hash);
    }
    free(v->calls);
    v->calls = NULL;
    v->ncalls = 0;
}

static void jobs_clear(struct view *v)
{
    for (size_t i = 0; i < v->njobs; i++) {
        free(v->jobs[i].id);
        free(v->jobs[i].key);
    }
    free(v->jobs);
    v->jobs = NULL;
    v->njobs = v->jobs_cap = 0;
}

static void step_done(struct plan_step *p)
{
    free(p->id);
    free(p->what);
    free(p->state);
    free(p->outcome);
    json_decref(p->needs);
    json_decref(p->tools);
}

static void known_done(struct known_file *f)
{
    free(f->path);
    free(f->charset);
}

void view_done(struct view *v)
{
    calls_clear(v);
    jobs_clear(v);
    for (size_t i = 0; i < v->nfiles; i++)
        known_done(&v->files[i]);
    free(v->files);
    for (size_t i = 0; i < v->norigins; i++)
        free(v->origins[i].id);
    free(v->origins);
    for (size_t i = 0; i < v->nplan; i++)
        step_done(&v->plan[i]);
    free(v->plan);
    free(v->shell);
    free(v->undoing);
    free(v->told_mode);
    free(v->shell_dir);
    free(v->boot);
    free(v->cwd);
    free(v->harness);
    free(v->harness_hash);
    free(v->mode);
    free(v->model);
    free(v->api);
    free(v->base_url);
    free(v->key_env);
    free(v->effort);
    free(v->end_why);
    free(v->fault_why);
    *v = (struct view){0};
}

struct call_view *view_call(const struct view *v, struct str name)
{
    char text[48];
    unsigned long long answer;
    unsigned index;
    int end = 0;

    if (name.n == 0 || name.n >= sizeof(text))
        return NULL;
    memcpy(text, name.p, name.n);
    text[name.n] = 0;
    if (sscanf(text, "%llu.%u%n", &answer, &index, &end) != 2 || (size_t)end != name.n)
        return NULL;
    if (index < 1 || index > v->ncalls || v->calls[index - 1].answer_seq != answer)
        return NULL;
    return &v->calls[index - 1];
}

static size_t file_slot(const struct view *v, const char *path, bool *found)
{
    size_t lo = 0, hi = v->nfiles;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(path, v->files[mid].path);

        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    *found = false;
    return lo;
}

const struct known_file *view_known(const struct view *v, const char *path)
{
    bool found;
    size_t at = file_slot(v, path, &found);

    return found ? &v->files[at] : NULL;
}

struct job_view *view_job(const struct view *v, struct str id)
{
    for (size_t i = 0; i < v->njobs; i++)
        if (str_is(id, v->jobs[i].id))
            return &v->jobs[i];
    return NULL;
}

struct plan_step *view_step(const struct view *v, struct str id)
{
    for (size_t i = 0; i < v->nplan; i++)
        if (str_is(id, v->plan[i].id))
            return &v->plan[i];
    return NULL;
}

static void put_list(json_t **field, json_t *list)
{
    if (!json_is_array(list))
        return;
    json_decref(*field);
    *field = json_deep_copy(list);
}

static void know_step(struct view *v, const json_t *b, uint64_t seq)
{
    struct str id = js_str(b, "id"), state = js_str(b, "state");
    struct plan_step *p = view_step(v, id);

    if (!id.n)
        return;
    if (!p) {
        GROW(v->plan, v->nplan, v->plan_cap);
        p = &v->plan[v->nplan++];
        *p = (struct plan_step){ .id = str_dup(id), .state = xstrdup("open"), .what = xstrdup("") };
    }
    put(&p->what, js_str(b, "what"));
    put(&p->state, state);
    put(&p->outcome, js_str(b, "outcome"));
    put_list(&p->needs, json_object_get(b, "needs"));
    put_list(&p->tools, json_object_get(b, "tools"));
    if (str_is(state, "doing") && (!p->begun || p->folded)) {
        p->begun = seq;                 /* taken up again: what was folded stays so */
        p->folded = false;
    }
    if (str_is(state, "done") || str_is(state, "dropped"))
        p->ended = seq;
    else if (state.n)
        p->ended = 0;
}

static void know_plan(struct view *v, const json_t *steps, uint64_t seq)
{
    const json_t *each;
    size_t i;

    json_array_foreach(steps, i, each)
        know_step(v, each, seq);
}

/* What a result or an event says of a job. */
static void know_job(struct view *v, const json_t *b)
{
    struct str id = js_str(b, "id");
    struct job_view *j = view_job(v, id);

    if (!id.n)
        return;
    if (!j) {
        GROW(v->jobs, v->njobs, v->jobs_cap);
        j = &v->jobs[v->njobs++];
        *j = (struct job_view){ .id = str_dup(id) };
    }
    put(&j->key, js_str(b, "key"));
    j->runs = js_bool(b, "runs", j->runs);
    j->stays = js_bool(b, "stays", j->stays);
    j->seen = js_int(b, "seen", j->seen);
}

const char *view_writer(const struct view *v, uint64_t seq, const char *own)
{
    for (size_t i = 0; i < v->norigins; i++)
        if (seq <= v->origins[i].upto)
            return v->origins[i].id;
    return own;
}

static void know_file(struct view *v, const json_t *file)
{
    struct str path = js_str(file, "path");
    struct hash h;
    bool found;
    size_t at;

    if (!path.p)
        return;
    at = file_slot(v, path.p, &found);
    if (!hash_from_hex(js_str(file, "hash"), &h)) {
        if (found) {
            known_done(&v->files[at]);
            memmove(&v->files[at], &v->files[at + 1], (--v->nfiles - at) * sizeof(*v->files));
        }
        return;
    }
    if (!found) {
        GROW(v->files, v->nfiles, v->files_cap);
        memmove(&v->files[at + 1], &v->files[at], (v->nfiles - at) * sizeof(*v->files));
        v->files[at] = (struct known_file){ .path = str_dup(path) };
        v->nfiles++;
    }
    v->files[at].hash = h;
    clear(&v->files[at].charset);
    put(&v->files[at].charset, js_str(file, "charset"));
}

static void know_files(struct view *v, const json_t *result)
{
    const json_t *file;
    size_t i;

    know_file(v, json_object_get(result, "file"));      /* as older logs have it */
    json_array_foreach(json_object_get(result, "files"), i, file)
        know_file(v, file);
}

/* A drive of the session begins, or a person spoke: what ended it before counts no more. */
static void reopen(struct view *v)
{
    v->end = END_OPEN;
    clear(&v->end_why);
    v->aborted = false;
    v->faults = v->limited = 0;
    v->fault_final = v->overflow = v->squeezed = false;
    v->retry_at = v->retry_wait = 0;
    clear(&v->fault_why);
}

/* What was set aside for a request that never got an answer is spent: nobody knows better. */
static void charge(struct view *v)
{
    if (!v->in_flight)
        return;
    v->in_flight = false;
    v->cost += v->set_aside;
    v->used.in += v->set_aside_tokens;
    v->used.estimated = true;
    v->set_aside = v->set_aside_tokens = 0;
}

static void fold_settings(struct view *v, const json_t *b)
{
    const json_t *harness = json_object_get(b, "harness"), *limits = json_object_get(b, "limits");

    if (!str_is(js_str(b, "boot"), v->boot ? v->boot : ""))
        v->unsynced = false;
    put(&v->boot, js_str(b, "boot"));
    put(&v->cwd, js_str(b, "cwd"));
    v->images = js_bool(b, "images", v->images);
    put(&v->mode, js_str(b, "mode"));
    if (js_str(b, "model").p && !str_is(js_str(b, "model"), v->model ? v->model : ""))
        v->shortened = true;            /* another one counts otherwise */
    put(&v->model, js_str(b, "model"));
    put(&v->effort, js_str(b, "effort"));
    put(&v->api, js_str(b, "api"));
    put(&v->base_url, js_str(b, "base_url"));
    put(&v->key_env, js_str(b, "key_env"));
    if (harness) {
        put(&v->harness, js_str(harness, "name"));
        put(&v->harness_hash, js_str(harness, "hash"));
    }
    if (limits) {
        v->limits.steps = js_int(limits, "steps", v->limits.steps);
        v->limits.tokens = js_int(limits, "tokens", v->limits.tokens);
        v->limits.seconds = js_int(limits, "seconds", v->limits.seconds);
        v->limits.cost = js_int(limits, "cost", v->limits.cost);
        v->limits.retries = js_int(limits, "retries", v->limits.retries);
        v->limits.backoff = js_int(limits, "backoff", v->limits.backoff);
        v->limits.patience = js_int(limits, "patience", v->limits.patience);
    }
}

/* Ids that are missing, or that the model has used twice in one answer, are replaced: results are paired by them. */
static char *call_id(const struct view *v, const json_t *call, uint64_t seq, size_t index)
{
    struct str id = js_str(call, "id");
    bool usable = id.n > 0 && index <= CALLS_MAX;       /* what will not run needs no id that means something */

    for (size_t i = 0; i < v->ncalls && usable; i++)
        usable = !str_is(id, v->calls[i].id);
    return usable ? str_dup(id) : xasprintf("call_%llu_%zu", (unsigned long long)seq, index);
}

static void fold_answer(struct view *v, const struct event *ev, const json_t *b)
{
    const json_t *calls = json_object_get(b, "calls"), *usage = json_object_get(b, "usage"), *call;
    struct str finish = js_str(b, "finish");
    size_t i;

    if (!json_array_size(calls))
        v->unread = 0;
    calls_clear(v);
    v->answer_seq = ev->seq;
    v->in_flight = false;
    v->answers++;
    v->cut = str_is(finish, "length");
    v->refused = str_is(finish, "content_filter");
    v->pauses = str_is(finish, "pause") && json_array_size(calls) == 0 ? v->pauses + 1 : 0;
    v->answered = json_array_size(calls) == 0 && !v->pauses;
    v->empty = v->answered && js_str(b, "text").n == 0;
    reopen(v);
    v->shortened = false;
    v->set_aside = v->set_aside_tokens = 0;
    v->cost += js_int(b, "cost", 0);
    v->used.in += js_int(usage, "in", 0);
    v->used.out += js_int(usage, "out", 0);
    v->used.cached += js_int(usage, "cached", 0);
    v->used.written += js_int(usage, "written", 0);
    v->used.reasoning += js_int(usage, "reasoning", 0);
    v->last_in = js_int(usage, "in", 0);
    v->last_out = js_int(usage, "out", 0);
    v->bytes_since = 0;
    v->used.estimated |= js_bool(usage, "estimated", false);
    v->calls = xcalloc(json_array_size(calls), sizeof(*v->calls));
    json_array_foreach(calls, i, call) {
        struct call_view *c = &v->calls[v->ncalls];
        struct str args = js_str(call, "args");

        c->id = call_id(v, call, ev->seq, i + 1);
        c->name = str_dup(js_str(call, "name"));
        c->args = str_dup(args);
        c->args_len = args.n;
        c->custom = js_bool(call, "custom", false);
        c->index = (unsigned)i + 1;
        c->answer_seq = ev->seq;
        v->ncalls++;
    }
}

/* The last call of an answer has its result: if none of them could be read, that is one answer more of its kind. */
static void count_unread(struct view *v)
{
    bool readable = false;

    for (size_t i = 0; i < v->ncalls; i++) {
        if (v->calls[i].state != CALL_CLOSED)
            return;
        readable = readable || !v->calls[i].unread;
    }
    v->unread = readable ? 0 : v->unread + 1;
}

static void fold_reply(struct view *v, const json_t *b)
{
    struct call_view *c = view_call(v, js_str(b, "call"));
    struct str said = js_str(b, "answer");

    if (c && c->state == CALL_ASKED && c->question) {
        put(&c->said, said);
        c->state = CALL_NEW;
        c->allowed = true;
    } else if (str_is(said, "abort")) {
        v->aborted = true;
        for (size_t i = 0; i < v->ncalls; i++)
            v->calls[i].state = CALL_CLOSED;    /* the pairing check gives them their results */
    } else if (c && c->state == CALL_ASKED) {
        if (str_is(said, "yes") && c->hash && !str_is(js_str(b, "hash"), c->hash))
            return;                     /* to another question */
        c->allowed = str_is(said, "yes");
        c->state = c->allowed ? CALL_NEW : CALL_DENIED;
    } else if (c && c->state == CALL_UNKNOWN) {
        if (str_is(said, "retry")) {
            c->state = CALL_NEW;
            c->allowed = true;
        } else {
            put(&c->decision, said);
            c->state = CALL_DENIED;
        }
    }
}

int view_fold(struct view *v, const struct event *ev, const json_t *b, struct err *e)
{
    struct call_view *c;

    if (ev->kind != EV_SESSION && v->seq == 0)
        return err_set(e, -EUCLEAN, "event %llu: a log begins with a session event", (unsigned long long)ev->seq);
    v->seq = ev->seq;
    v->folded++;
    v->is_private |= (ev->labels & IS_PRIVATE) != 0;
    switch (ev->kind) {
    case EV_SESSION:
        if (ev->seq > 1) {              /* a fork: it goes on from here, as another session */
            v->in_flight = false;       /* what it costs is the parent's */
            GROW(v->origins, v->norigins, v->origins_cap);
            v->origins[v->norigins++] = (struct origin){ str_dup(js_str(b, "parent")), ev->seq - 1 };
            jobs_clear(v);
            reopen(v);
        }
        fold_settings(v, b);
        break;
    case EV_SET:
        fold_settings(v, b);
        if (js_bool(b, "fallback", false))
            reopen(v);                  /* another model has not failed yet */
        if (js_bool(b, "resumed", false)) {
            charge(v);
            reopen(v);
        }
        break;
    case EV_USER:
        reopen(v);
        v->user_seq = ev->seq;
        v->bytes_since += (int64_t)ev->body.n;
        v->answered = false;
        v->steps = v->pauses = v->unread = 0;
        break;
    case EV_STEER:
        v->bytes_since += (int64_t)ev->body.n;
        put(&v->told_mode, js_str(b, "mode"));
        break;
    case EV_REQUEST:
        v->request_seq = ev->seq;
        v->in_flight = true;
        v->set_aside = js_int(b, "reserve_cost", 0);
        v->set_aside_tokens = js_int(b, "reserve", 0);
        v->steps++;
        v->requests++;
        v->answered = false;
        break;
    case EV_ANSWER:
        fold_answer(v, ev, b);
        break;
    case EV_FAULT:
        v->in_flight = false;
        v->limited += str_is(js_str(b, "class"), "limit");
        v->faults += !str_is(js_str(b, "class"), "limit");
        v->fault_final = !js_bool(b, "retry", false);
        v->overflow = str_is(js_str(b, "class"), "overflow");
        v->retry_at = js_int(b, "retry_at", 0);
        v->retry_wait = js_int(b, "wait", 0);
        v->cost += js_int(b, "cost", 0);
        v->used.estimated |= js_int(b, "cost", 0) > 0;
        v->set_aside = v->set_aside_tokens = 0;
        put(&v->fault_why, js_str(b, "why"));
        break;
    case EV_ASK:
        c = view_call(v, js_str(b, "call"));
        if (c) {
            c->ask_seq = ev->seq;
            c->state = c->state == CALL_STARTED ? CALL_UNKNOWN : CALL_ASKED;
            c->question = str_is(js_str(b, "kind"), "question");
            put(&c->hash, js_str(b, "hash"));
            put(&c->why, js_str(b, "why"));
            if (c->state == CALL_UNKNOWN)
                put(&c->doubt, js_str(b, "why"));
        }
        break;
    case EV_REPLY:
        fold_reply(v, b);
        break;
    case EV_INTENT:
        c = view_call(v, js_str(b, "call"));
        if (c) {
            c->state = CALL_STARTED;
            c->intent_seq = ev->seq;
            c->intent_epoch = (uint64_t)js_int(b, "epoch", 0);
            c->pure = str_is(js_str(b, "effect"), "pure");
            c->attempts++;
            put(&c->intent, ev->body);
        }
        break;
    case EV_RESULT:
        c = view_call(v, js_str(b, "call"));
        if (c && c->state != CALL_CLOSED) {
            c->state = CALL_CLOSED;
            c->unread = js_bool(b, "unread", false);
            v->results++;
            v->bytes_since += (int64_t)ev->body.n;
            count_unread(v);
        }
        know_files(v, b);
        know_job(v, json_object_get(b, "job"));
        know_plan(v, json_object_get(b, "plan"), ev->seq);
        put(&v->shell, js_str(b, "shell"));
        put(&v->shell_dir, js_str(b, "dir"));
        v->unsynced |= !js_bool(b, "synced", true);
        break;
    case EV_COMPACT:
        v->shortened = true;
        if (v->overflow && !v->squeezed) {
            v->squeezed = true;
            v->fault_final = v->overflow = js_int(b, "before", 0) == js_int(b, "after", 0);
        }
        if (view_step(v, js_str(b, "step")))
            view_step(v, js_str(b, "step"))->folded = true;
        break;
    case EV_JOB:
        know_job(v, b);
        break;
    case EV_UNDO:
        v->bytes_since += (int64_t)ev->body.n;
        clear(&v->undoing);
        if (str_is(js_str(b, "phase"), "begin"))
            put(&v->undoing, ev->body);
        break;
    case EV_END:
        v->end = END_FAILED;
        for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
            if (str_is(js_str(b, "outcome"), ends[i].name))
                v->end = ends[i].end;
        put(&v->end_why, js_str(b, "why"));
        break;
    default:
        break;                          /* nothing that the loop decides by */
    }
    return 0;
}
