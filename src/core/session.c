#include "core/session.h"

#include "base/clock.h"
#include "core/redact.h"
#include "rt/proc.h"

#include <stdio.h>

const char *call_name(const struct call_view *c, char out[CALL_NAME_MAX])
{
    snprintf(out, CALL_NAME_MAX, "%llu.%u", (unsigned long long)c->answer_seq, c->index);
    return out;
}

/* The head of every request depends on the first event: it can be written once that is folded. */
static int begin_context(struct session *s, const struct event *first)
{
    cleanup(freep) char *system = harness_system(s->with.harness, s->view.cwd, first->time);

    return context_head(&s->context, s->with.harness, system, s->log.row.id);
}

static int fold(void *arg, struct event *ev, struct err *e)
{
    struct session *s = arg;
    cleanup(json_unrefp) json_t *body = NULL;
    int r = 0;

    if (!ev->erased)
        r = js_parse(ev->body, &body, e);
    if (r == 0)
        r = view_fold(&s->view, ev, body, e);
    if (r == 0 && ev->seq == 1)
        r = begin_context(s, ev);
    if (r == 0)
        r = context_fold(&s->context, &s->view, ev, body);
    return r < 0 ? err_prefix(e, r, "session %s, event %llu: ", s->log.row.id, (unsigned long long)ev->seq) : 0;
}

/* Once private data is in a session, all that comes after may be made of it. */
static uint32_t privacy_label(const struct session *s, enum kind kind, const struct buf *body)
{
    cleanup(json_unrefp) json_t *b = NULL;
    const json_t *file;
    size_t i;

    if (!s->with.privacy || (kind != EV_USER && kind != EV_STEER && kind != EV_ANSWER && kind != EV_RESULT && kind != EV_INTENT &&
                             kind != EV_ASK && kind != EV_WIRE && kind != EV_FAULT && kind != EV_REPLY))
        return 0;
    if (s->view.is_private)
        return IS_PRIVATE;
    if (js_parse(buf_str(body), &b, NULL) < 0 || privacy_holds(s->with.privacy, js_str(b, "text")) ||
        privacy_holds(s->with.privacy, js_str(b, "answer")) || privacy_holds(s->with.privacy, buf_str(body)))
        return IS_PRIVATE;
    json_array_foreach(json_object_get(b, "files"), i, file)
        if (privacy_path(s->with.privacy, js_str(file, "path")))
            return IS_PRIVATE;
    return 0;
}

uint64_t session_put(struct session *s, enum kind kind, uint64_t cause, uint32_t labels, struct buf *body)
{
    struct event *ev;
    struct err e = {0};
    int r;

    assert(buf_err(body) == 0);
    s->redacted += redact(body);        /* the one place that all pass on their way into the log */
    ev = log_stage(&s->log, kind, cause, labels | privacy_label(s, kind, body), body);
    r = fold(s, ev, &e);
    assert(r == 0);             /* rein wrote it itself */
    return ev->seq;
}

CO int session_commit(struct session *s, struct err *e)
{
    return log_commit(&s->log, e);
}

static struct session *session_new(struct store *store, struct session_row *row, const struct equipment *with)
{
    struct session *s = xcalloc(1, sizeof(*s));

    log_init(&s->log, store, row);
    s->log.durable = with->observer.event;
    s->log.durable_arg = with->observer.arg;
    s->with = *with;
    context_init(&s->context, with->provider, with->model, with->images);
    s->view.started = clock_even();
    return s;
}

#define LIMITS(X) X(steps) X(tokens) X(seconds) X(cost) X(retries) X(backoff) X(patience)

static void add_limits(struct buf *b, const struct limits *l)
{
    struct buf list = {0};

    buf_addc(&list, '{');
#define X(name)                                                                                 \
    if (l->name)                                                                                \
        js_add_int(&list, #name, l->name);
    LIMITS(X)
#undef X
    buf_addc(&list, '}');
    if (list.n > 2)
        js_add_raw(b, "limits", buf_str(&list));
    buf_done(&list);
}

/* The mode is said each time, so that the last of these events tells it to whoever reads no more of the log. */
static void add_settings(struct buf *b, const struct session *s, const struct settings *set)
{
    char hex[HASH_HEX];

    js_add_text(b, "boot", proc_boot());
    js_add_text(b, "cwd", set->cwd);
    js_add_text(b, "mode", set->mode ? set->mode : s->view.mode);
    js_add_text(b, "model", set->model);
    js_add_text(b, "api", set->api);
    js_add_text(b, "base_url", set->base_url);
    js_add_text(b, "key_env", set->key_env);
    js_add_text(b, "effort", set->effort);
    js_add_text(b, "budget", set->budget);
    js_add_text(b, "role", set->role);
    js_add_text(b, "tier", set->tier);
    js_add_text(b, "tier_why", set->tier_why);
    if (set->max_output)
        js_add_int(b, "max_output", set->max_output);
    if (set->images)
        js_add_bool(b, "images", *set->images);
    if (set->dropped) {
        js_key(b, "dropped");
        buf_addc(b, '{');
        js_add_int(b, "reasoning", set->dropped->reasoning);
        js_add_int(b, "images", set->dropped->images);
        js_add_int(b, "withheld", set->dropped->withheld);
        buf_addc(b, '}');
    }
    if (set->harness) {
        js_key(b, "harness");
        buf_addc(b, '{');
        js_add_text(b, "name", set->harness->name);
        js_add_text(b, "source", set->harness->source);
        js_add_int(b, "version", set->harness->version);
        js_add_text(b, "hash", hash_hex(&set->harness->hash, hex));
        buf_addc(b, '}');
    }
    add_limits(b, &set->limits);
}

/* The first event that a session writes itself. */
static void put_session(struct session *s, const struct settings *set, const struct session_row *parent, uint64_t seq)
{
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_int(&body, "format", EVENT_FORMAT);
    if (parent) {
        js_add_text(&body, "parent", parent->id);
        js_add_int(&body, "parent_seq", (int64_t)seq);
    }
    js_key(&body, "roots");
    buf_addc(&body, '[');
    js_add(&body, str_of(set->cwd));
    buf_addc(&body, ']');
    add_settings(&body, s, set);
    buf_addc(&body, '}');
    session_put(s, EV_SESSION, 0, FROM_SYSTEM, &body);
}

/* A row, its lease, and nothing in its log yet but what it shares with a parent. */
static CO int session_begin(struct store *store, const struct equipment *with, struct session_row *row, struct session **ret,
                            struct err *e)
{
    struct lease lease;
    int r = store_create(store, row, &lease, e);

    if (r < 0) {
        session_row_done(row);
        return r;
    }
    *ret = session_new(store, row, with);
    (*ret)->log.lease = lease;
    (*ret)->view.epoch = lease.epoch;
    return 0;
}

CO int session_create(struct store *store, const struct equipment *with, const struct settings *set,
                      struct session **ret, struct err *e)
{
    struct session_row row = { .cwd = xstrdup(set->cwd), .parent = -1 };
    int r = session_begin(store, with, &row, ret, e);

    if (r == 0)
        put_session(*ret, set, NULL, 0);
    return r;
}

CO int session_fork(struct store *store, const struct session_row *parent, uint64_t seq, const struct equipment *with,
                    const struct settings *set, struct session **ret, struct err *e)
{
    cleanup(session_freep) struct session *s = NULL;
    struct settings full = *set;
    struct session_row row = { .cwd = xstrdup(set->cwd), .parent = parent->key, .parent_seq = seq };
    int r = session_begin(store, with, &row, &s, e);

    if (r == 0)
        r = log_read(&s->log, fold, s, e);
    if (r < 0)
        return r;
    if (s->view.seq != seq)
        return err_set(e, -ENOENT, "session %s has %llu events; it cannot be forked at event %llu", parent->id,
                       (unsigned long long)s->view.seq, (unsigned long long)seq);
    if (!full.base_url)
        full.base_url = s->view.base_url;
    if (!full.key_env)
        full.key_env = s->view.key_env;
    if (!full.effort)
        full.effort = s->view.effort;
    if (!full.images)
        full.images = &s->view.images;
#define X(name) full.limits.name = set->limits.name ? set->limits.name : s->view.limits.name;
    LIMITS(X)
#undef X
    put_session(s, &full, parent, seq);
    *ret = TAKE(s);
    return 0;
}

CO int session_open(struct store *store, struct session_row *row, const struct equipment *with, struct session **ret,
                    struct err *e)
{
    cleanup(session_freep) struct session *s = session_new(store, row, with);
    int r;

    session_row_done(row);
    r = log_drive(&s->log, e);
    if (r < 0)
        return r;
    s->view.epoch = s->log.lease.epoch;
    r = log_read(&s->log, fold, s, e);
    if (r < 0)
        return r;
    if (s->view.seq == 0)
        return err_set(e, -ENODATA, "session %s is empty: rein was stopped before its first event was written",
                       s->log.row.id);
    *ret = TAKE(s);
    return 0;
}

CO void session_free(struct session *s)
{
    if (!s)
        return;
    log_done(&s->log);
    context_done(&s->context);
    view_done(&s->view);
    free(s);
}

int session_submit(struct session *s, struct str text, struct err *e)
{
    struct buf body = { .max = EVENT_BODY_MAX };

    buf_addc(&body, '{');
    js_add_str(&body, "text", text);
    buf_addc(&body, '}');
    if (buf_err(&body) < 0) {
        buf_done(&body);
        return err_set(e, -E2BIG, "the message is larger than %zu KiB: put it in a file and name it",
                       EVENT_BODY_MAX >> 10);
    }
    session_put(s, EV_USER, 0, FROM_USER, &body);
    return 0;
}

void session_set(struct session *s, const struct settings *set)
{
    bool lost = s->view.unsynced && s->view.boot && strcmp(s->view.boot, proc_boot()) != 0;
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_bool(&body, "resumed", true);
    js_add_int(&body, "epoch", (int64_t)s->view.epoch);
    add_settings(&body, s, set);
    buf_addc(&body, '}');
    session_put(s, EV_SET, 0, FROM_USER, &body);
    if (lost) {
        buf_addc(&body, '{');
        js_add_text(&body, "text", "The machine was restarted before all that the last commands wrote was on its disk: some of it "
                                   "may be missing. Check before you build on it.");
        buf_addc(&body, '}');
        session_put(s, EV_STEER, s->view.seq, FROM_SYSTEM, &body);
    }
}

/* Whether the word answers what the call waits for. */
static bool fits(const struct call_view *c, struct str answer)
{
    if (c->state == CALL_ASKED && c->question)
        return answer.n > 0;
    if (c->state == CALL_ASKED)
        return str_is(answer, "yes") || str_is(answer, "no");
    if (c->state == CALL_UNKNOWN)
        return str_is(answer, "done") || str_is(answer, "retry") || str_is(answer, "skip") || str_is(answer, "abort");
    return false;
}

static void reply_one(struct session *s, const struct call_view *c, struct str answer)
{
    char name[CALL_NAME_MAX];
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_text(&body, "call", call_name(c, name));
    js_add_str(&body, "answer", answer);
    if (c->state == CALL_ASKED)
        js_add_text(&body, "hash", c->hash);
    buf_addc(&body, '}');
    session_put(s, EV_REPLY, c->ask_seq, FROM_USER, &body);
}

int session_reply(struct session *s, struct str call, struct str answer, struct err *e)
{
    const struct call_view *c = view_call(&s->view, call);
    if (c && fits(c, answer)) {
        reply_one(s, c, answer);
        return 0;
    }
    if (c && c->state == CALL_ASKED && c->question)
        return err_set(e, -EINVAL, "call %.*s asks a question: --answer %.*s=WORDS", STR(call), STR(call));
    if (c && c->state == CALL_ASKED)
        return err_set(e, -EINVAL, "call %.*s waits for an approval: --answer %.*s=yes or =no", STR(call), STR(call));
    if (c && c->state == CALL_UNKNOWN)
        return err_set(e, -EINVAL, "call %.*s is in doubt: --decide %.*s=done, =retry, =skip or =abort", STR(call),
                       STR(call));
    for (size_t i = 0; str_is(call, "all") && i < s->view.ncalls; i++)
        if (!s->view.calls[i].question && fits(&s->view.calls[i], answer))
            reply_one(s, &s->view.calls[i], answer);
    if (str_is(call, "all"))
        return 0;
    return err_set(e, -ENOENT, "no call %.*s of session %s waits for the answer '%.*s'; `rein show %s` lists what waits",
                   STR(str_head(call, 40)), s->log.row.id, STR(str_head(answer, 20)), s->log.row.id);
}

/* The log read once more, for a context in another form. */
struct rereading {
    struct session *s;
    struct view view;
    struct context context;
};

static int fold_again(void *arg, struct event *ev, struct err *e)
{
    struct rereading *re = arg;
    cleanup(json_unrefp) json_t *body = NULL;
    cleanup(freep) char *system = NULL;
    int r = ev->erased ? 0 : js_parse(ev->body, &body, e);

    if (r == 0)
        r = view_fold(&re->view, ev, body, e);
    if (r == 0 && ev->seq == 1) {
        system = harness_system(re->s->with.harness, re->view.cwd, ev->time);
        r = context_head(&re->context, re->s->with.harness, system, re->s->log.row.id);
    }
    return r < 0 ? r : context_fold(&re->context, &re->view, ev, body);
}

CO int session_switch(struct session *s, const struct equipment *with, struct settings *set, const char *why, bool failed,
                      struct err *e)
{
    struct rereading re = { .s = s, .view.epoch = s->view.epoch };
    struct session_row row = s->log.row;
    struct buf body = {0};
    struct log log;
    int r = session_commit(s, e);

    if (r < 0)
        return r;
    context_init(&re.context, with->provider, with->model, with->images);
    row.cwd = NULL;
    log_init(&log, s->log.store, &row);
    r = log_read(&log, fold_again, &re, e);
    view_done(&re.view);
    if (r < 0) {
        context_done(&re.context);
        return r;
    }
    context_done(&s->context);
    s->context = re.context;
    s->with.provider = with->provider;
    s->with.model = with->model;
    s->with.images = with->images;
    s->with.longest = with->longest;
    s->with.quota = with->quota;
    set->dropped = &s->context.dropped;
    buf_addc(&body, '{');
    js_add_text(&body, "route", why);
    if (failed)
        js_add_bool(&body, "fallback", true);
    add_settings(&body, s, set);
    buf_addc(&body, '}');
    session_put(s, EV_SET, s->view.seq, FROM_SYSTEM, &body);
    return 0;
}
