/* calls.c - see calls.h. The states a call goes through are drawn in view.h; this file makes the moves. */
#include "core/calls.h"

#include "base/utf8.h"
#include "core/args.h"
#include "core/policy.h"

#include <stdio.h>

#define QUOTE_MAX 200           /* bytes of a tool's name that are shown back to the model */

struct running {
    struct session *session;
    struct call_view *view;
    struct call call;
    struct result result;
    struct buf mended;          /* what the model's words needed to be arguments; empty as a rule */
    char name[CALL_NAME_MAX], key[SESSION_ID_MAX + CALL_NAME_MAX + 16];
};

static void running_free(struct running *run)
{
    if (!run)
        return;
    if (run->call.state_free)
        run->call.state_free(run->call.state);
    json_decref(run->call.args);
    json_decref(run->call.planned);
    buf_done(&run->call.plan);
    buf_done(&run->result.text);
    buf_done(&run->result.facts);
    buf_done(&run->result.files);
    buf_done(&run->result.image);
    buf_done(&run->mended);
    free(run);
}

static void running_freep(struct running **run)
{
    running_free(*run);
}

/* Takes the arguments over, and what was mended in them. */
static struct running *running_new(struct session *s, struct call_view *cv, const struct tool *tool, json_t *args,
                                   struct buf *mended)
{
    struct running *run = xcalloc(1, sizeof(*run));
    char attempt[16] = "";

    if (cv->attempts)
        snprintf(attempt, sizeof(attempt), "-%u", cv->attempts);
    snprintf(run->key, sizeof(run->key), "%s-%s%s", s->log.row.id, call_name(cv, run->name), attempt);
    run->session = s;
    run->view = cv;
    run->mended = *mended;
    *mended = (struct buf){0};
    run->result.text.max = EVENT_BODY_MAX / 2;
    buf_addc(&run->result.facts, '{');
    buf_addc(&run->call.plan, '{');
    run->call.tool = tool;
    run->call.effect = tool ? tool_effect(tool, args) : EFFECT_OPAQUE;
    run->call.name = run->name;
    run->call.args = args;
    run->call.env = s->with.env;
    run->call.view = &s->view;
    run->call.harness = s->with.harness;
    run->call.session = s->log.row.id;
    run->call.key = run->key;
    run->call.hide_env = s->view.key_env;
    run->call.said = cv->said;
    run->call.result = &run->result;
    return run;
}

static void put_result(struct session *s, const struct call_view *cv, const struct result *res, uint32_t origin)
{
    struct str facts = str_from(buf_str(&res->facts), 1);
    struct buf body = {0};
    char name[CALL_NAME_MAX];

    buf_addc(&body, '{');
    js_add_text(&body, "call", call_name(cv, name));
    js_add_str(&body, "tool", str_head(str_of(cv->name), QUOTE_MAX));
    js_add_text(&body, "outcome", outcome_name(res->outcome));
    js_add_str(&body, "text", buf_str(&res->text));
    if (res->files.n) {
        js_key(&body, "files");
        buf_addc(&body, '[');
        buf_add_str(&body, buf_str(&res->files));
        buf_addc(&body, ']');
    }
    if (res->image.n) {
        js_key(&body, "image");
        buf_addc(&body, '{');
        js_add_text(&body, "type", res->image_type);
        js_add_str(&body, "data", buf_str(&res->image));
        buf_addc(&body, '}');
    }
    if (facts.n) {
        buf_addc(&body, ',');
        buf_add_str(&body, facts);
    }
    buf_addc(&body, '}');
    session_put(s, EV_RESULT, cv->intent_seq ? cv->intent_seq : cv->answer_seq, origin, &body);
}

/* The result of a tool that has run. Whoever writes its calls should know what had to be mended. */
static void put_outcome(struct running *run)
{
    if (run->mended.n) {
        struct buf *text = &run->result.text;

        buf_addf(text, "%s[the arguments were mended: %s]", text->n && text->p[text->n - 1] != '\n' ? "\n" : "", run->mended.p);
        js_add_str(&run->result.facts, "mended", buf_str(&run->mended));
    }
    put_result(run->session, run->view, &run->result, run->call.tool ? FROM_TOOL | run->call.tool->origin : FROM_TOOL);
}

/* For results that rein words itself. */
static void put_simple(struct session *s, const struct call_view *cv, enum outcome outcome, const char *text)
{
    struct result res = { .outcome = outcome };

    buf_adds(&res.text, text);
    put_result(s, cv, &res, FROM_SYSTEM);
    buf_done(&res.text);
}

/* For a call that is none: no such tool, or arguments that cannot be read. */
static void put_unread(struct session *s, const struct call_view *cv, const char *text)
{
    struct result res = { .outcome = OUT_ERROR };

    buf_adds(&res.text, text);
    buf_addc(&res.facts, '{');
    js_add_bool(&res.facts, "unread", true);
    put_result(s, cv, &res, FROM_SYSTEM);
    buf_done(&res.text);
    buf_done(&res.facts);
}

static const struct tool *tool_of(const struct session *s, const struct call_view *cv)
{
    const struct harness_tool *ht = harness_tool(s->with.harness, str_of(cv->name));

    return ht ? ht->tool : NULL;
}

void calls_close(struct session *s, const char *why)
{
    for (size_t i = 0; i < s->view.ncalls; i++)
        if (s->view.calls[i].state != CALL_CLOSED)
            put_simple(s, &s->view.calls[i], OUT_CANCELLED, why);
}

/* `known`: JSON members about a call in doubt, begun with '{' and not closed; NULL for an approval. */
static void put_ask(struct session *s, const struct call_view *cv, const char *kind, const json_t *args, const char *why,
                    const struct buf *known)
{
    cleanup(buf_done) struct buf title = {0};
    struct buf body = {0};
    char name[CALL_NAME_MAX], hex[HASH_HEX];

    call_title(tool_of(s, cv), cv->name, args, &title);
    buf_addc(&body, '{');
    js_add_text(&body, "call", call_name(cv, name));
    js_add_text(&body, "kind", kind);
    js_add_str(&body, "about", buf_str(&title));
    js_add_text(&body, "why", why);
    if (known) {
        js_add_raw(&body, "known", buf_str(known));
        buf_addc(&body, '}');
    } else {
        js_add_text(&body, "hash", call_hash(tool_of(s, cv), args, hex));
    }
    buf_addc(&body, '}');
    session_put(s, EV_ASK, cv->answer_seq, FROM_SYSTEM, &body);
}

/* The tool and the arguments of a call, or false with the call closed by a result that tells the model what is wrong. */
static bool understand(struct session *s, struct call_view *cv, const struct tool **ret_tool, json_t **ret_args, struct buf *mended)
{
    const struct harness_tool *ht = harness_tool(s->with.harness, str_of(cv->name));
    cleanup(buf_done) struct buf say = {0};

    *ret_args = NULL;
    buf_adds(&say, "Not run: ");
    if (cv->index > CALLS_MAX) {
        buf_addf(&say, "an answer may hold at most %d calls.", CALLS_MAX);
    } else if (s->view.cut) {
        buf_adds(&say, "the answer was cut off at its token limit, so this call may be incomplete. Repeat it in smaller steps.");
    } else if (!ht) {
        buf_adds(&say, "there is no tool \"");
        utf8_add_clean(&say, str_head(str_of(cv->name), QUOTE_MAX));
        buf_adds(&say, "\". The tools are:");
        for (size_t i = 0; i < s->with.harness->ntools; i++)
            buf_addf(&say, " %s", s->with.harness->tools[i].tool->name);
    } else {
        struct args_form form = { ht->schema, ht->tool->effect == EFFECT_PURE };

        *ret_tool = ht->tool;
        *ret_args = args_read((struct str){ cv->args, cv->args_len }, &form, mended, &say);
    }
    if (!*ret_args)
        put_unread(s, cv, say.p);
    return *ret_args;
}

/* A question of the model's, for a person to answer in words. */
static void put_question(struct session *s, const struct call_view *cv, const json_t *args)
{
    cleanup(freep) char *choices = json_dumps(json_object_get(args, "choices"), JSON_COMPACT);
    struct buf body = {0};
    char name[CALL_NAME_MAX];

    buf_addc(&body, '{');
    js_add_text(&body, "call", call_name(cv, name));
    js_add_text(&body, "kind", "question");
    js_add_text(&body, "about", cv->name);
    js_add_str(&body, "why", js_str(args, "question"));
    if (choices)
        js_add_raw(&body, "choices", str_of(choices));
    buf_addc(&body, '}');
    session_put(s, EV_ASK, cv->answer_seq, FROM_TOOL, &body);
}

/* A person's word is for what was asked, and not for what the same words may mean by now. */
static bool is_allowed(const struct call_view *cv, const struct tool *tool, const json_t *args)
{
    char hex[HASH_HEX];

    return cv->allowed && (!cv->hash || strcmp(cv->hash, call_hash(tool, args, hex)) == 0);
}

/* What is to become of a call. */
static CO int judge(struct session *s, const struct call_view *cv, const struct tool *tool, const json_t *args, struct ruling *ret,
                    struct err *e)
{
    *ret = (struct ruling){ .verdict = POLICY_ALLOW, .why = "a person allowed it" };
    if (tool->asks)
        ret->verdict = cv->said ? POLICY_ALLOW : POLICY_ASK;
    else if (!is_allowed(cv, tool, args))
        return policy_judge(s, tool, args, ret, e);
    return 0;
}

/* Closes a call that is refused without asking anybody. */
static void refuse(struct session *s, const struct call_view *cv, const struct ruling *ruling)
{
    cleanup(freep) char *text = xasprintf("Denied: %s.", ruling->why);

    put_simple(s, cv, OUT_DENIED, text);
}

/* Asks about every call of the answer that has to be asked about, so that a person can answer them together. */
static CO int ask_all(struct session *s, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < s->view.ncalls && r == 0; i++) {
        struct call_view *cv = &s->view.calls[i];
        cleanup(json_unrefp) json_t *args = NULL;
        cleanup(buf_done) struct buf mended = {0};
        const struct tool *tool;
        struct ruling ruling;

        if (cv->state != CALL_NEW || !understand(s, cv, &tool, &args, &mended))
            continue;
        r = judge(s, cv, tool, args, &ruling, e);
        if (r < 0 || ruling.verdict != POLICY_ASK)
            continue;
        if (tool->asks)
            put_question(s, cv, args);
        else
            put_ask(s, cv, "approve", args, ruling.why, NULL);
    }
    return r;
}

static void put_intent(struct running *run, const char *by)
{
    const struct call_view *cv = run->view;
    struct hash args = hash_bytes((struct str){ cv->args, cv->args_len });
    struct buf body = {0};
    char name[CALL_NAME_MAX], hex[HASH_HEX];

    buf_addc(&run->call.plan, '}');
    buf_addc(&body, '{');
    js_add_text(&body, "call", call_name(cv, name));
    js_add_text(&body, "tool", run->call.tool->name);
    js_add_text(&body, "effect", effect_name(run->call.effect));
    js_add_int(&body, "epoch", (int64_t)run->session->view.epoch);
    js_add_text(&body, "key", run->key);
    js_add_text(&body, "life", env_life(run->call.env));
    js_add_text(&body, "args_hash", hash_hex(&args, hex));
    js_add_text(&body, "by", by);
    js_add_raw(&body, "plan", buf_str(&run->call.plan));
    buf_addc(&body, '}');
    session_put(run->session, EV_INTENT, cv->answer_seq, FROM_SYSTEM, &body);
}

/* Looks at the call and logs its intent. True: it is to run. */
static CO int start(struct running *run, const char *by, bool *ret_started)
{
    int r = run->call.tool->prepare ? run->call.tool->prepare(&run->call) : 0;

    *ret_started = false;
    if (r < 0)
        return r;
    if (run->result.outcome != OUT_OPEN) {
        put_outcome(run);
        return 0;
    }
    put_intent(run, by);
    *ret_started = true;
    return 0;
}

static CO int act(void *arg)
{
    struct running *run = arg;
    int r = run->call.tool->run(&run->call);

    if (r == -ECANCELED && run->result.outcome == OUT_OPEN) {
        run->result.outcome = OUT_CANCELLED;
        buf_adds(&run->result.text, "Cancelled before it was finished.");
    }
    if (run->result.outcome == OUT_OPEN)
        run->result.outcome = OUT_ERROR;
    put_outcome(run);
    return r;
}

/* The result of a call that a person has decided about. The model is told what is known besides, the last output of a command
 * among it. */
static void put_decided(struct session *s, const struct call_view *cv)
{
    struct result res = {0};

    if (!cv->decision) {
        put_simple(s, cv, OUT_DENIED, "Denied: the user does not want this call to run.");
        return;
    }
    if (strcmp(cv->decision, "done") == 0)
        buf_adds(&res.text, "rein was stopped while this ran. A person says that it took effect. What is known of it: ");
    else
        buf_adds(&res.text, "rein was stopped while this ran. Its outcome is unknown and it was not repeated: do not assume "
                            "that it took effect, check. What is known of it: ");
    buf_adds(&res.text, cv->doubt ? cv->doubt : "nothing.");
    res.outcome = strcmp(cv->decision, "done") == 0 ? OUT_OK : OUT_UNKNOWN;
    put_result(s, cv, &res, FROM_TOOL);
    buf_done(&res.text);
}

static CO int run_group(struct session *s, struct running **runs, size_t n, struct err *e)
{
    cleanup(scope_done) struct scope scope = SCOPE_INIT;
    int r;

    if (runs[0]->call.effect == EFFECT_PURE) {
        log_flush(&s->log);             /* nothing will happen that the disk has to know of first: no need to wait */
    } else {
        r = session_commit(s, e);
        if (r < 0)
            return r;
        assert(log_clean(&s->log));     /* the intent is on disk; from here on there may be an effect */
    }
    if (n == 1)
        return act(runs[0]);
    for (size_t i = 0; i < n; i++)
        scope_go(&scope, runs[i]->call.tool->name, act, runs[i]);
    return scope_join(&scope);
}

CO int calls_run(struct session *s, struct err *e)
{
    struct running *runs[CALLS_MAX];
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; i < s->view.ncalls && r == 0; i++) {
        struct call_view *cv = &s->view.calls[i];
        const struct tool *tool;
        cleanup(buf_done) struct buf mended = {0};
        json_t *args;
        struct ruling ruling;
        enum effect effect;
        bool started;

        if (cv->state == CALL_CLOSED)
            continue;
        if (cv->state == CALL_ASKED || cv->state == CALL_UNKNOWN)
            break;
        if (cv->state == CALL_DENIED) {
            put_decided(s, cv);
            continue;
        }
        if (!understand(s, cv, &tool, &args, &mended))
            continue;
        effect = tool_effect(tool, args);
        r = judge(s, cv, tool, args, &ruling, e);
        if (r == 0 && ruling.verdict == POLICY_DENY)
            refuse(s, cv, &ruling);
        else if (r == 0 && ruling.verdict == POLICY_ASK && n == 0)
            r = ask_all(s, e);
        if (r < 0 || ruling.verdict != POLICY_ALLOW) {
            json_decref(args);
            if (ruling.verdict == POLICY_DENY)
                continue;
            break;
        }
        if (n && effect != EFFECT_PURE) {
            json_decref(args);
            break;
        }
        runs[n] = running_new(s, cv, tool, args, &mended);
        runs[n]->call.plain = ruling.plain;
        runs[n]->call.listed = ruling.listed;
        r = start(runs[n], ruling.why, &started);
        if (r < 0 || !started) {
            running_free(runs[n]);
            continue;
        }
        n++;
        if (effect != EFFECT_PURE)
            break;
    }
    if (r == 0 && n)
        r = run_group(s, runs, n, e);
    while (n)
        running_free(runs[--n]);
    return r;
}

/* Finds out what became of a call that was begun elsewhere: `foreign`, by another session, from which this one was forked. */
static CO int settle(struct session *s, struct call_view *cv, bool foreign, struct running **ret)
{
    const struct harness_tool *ht = harness_tool(s->with.harness, str_of(cv->name));
    cleanup(json_unrefp) json_t *intent = NULL;
    cleanup(buf_done) struct buf mended = {0}, say = {0};
    struct running *run;
    json_t *args = NULL;

    if (ht)
        args = args_read((struct str){ cv->args, cv->args_len }, &(struct args_form){ ht->schema, false }, &mended, &say);
    js_parse(str_of(cv->intent), &intent, NULL);
    *ret = run = running_new(s, cv, args ? ht->tool : NULL, args, &mended);
    snprintf(run->key, sizeof(run->key), "%.*s", STR(js_str(intent, "key")));
    run->call.planned = json_incref(json_object_get(intent, "plan"));
    run->call.same_life = *env_life(run->call.env) && str_is(js_str(intent, "life"), env_life(run->call.env));
    run->call.foreign = foreign;
    if (run->call.tool && run->call.tool->settle)
        return run->call.tool->settle(&run->call);
    run->result.outcome = OUT_UNKNOWN;
    buf_adds(&run->result.text, "it was started, and this rein cannot look what became of it");
    return 0;
}

static CO int recover_one(struct session *s, struct call_view *cv)
{
    cleanup(running_freep) struct running *run = NULL;
    int r = settle(s, cv, false, &run);

    if (r < 0)
        return r;
    if (run->result.outcome == OUT_UNKNOWN)
        put_ask(s, cv, "decide", run->call.args, run->result.text.p, &run->result.facts);
    else
        put_outcome(run);
    return 0;
}

CO int calls_recover(struct session *s, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < s->view.ncalls && r == 0; i++) {
        struct call_view *cv = &s->view.calls[i];

        if (cv->state == CALL_STARTED && cv->intent_epoch != s->view.epoch && !cv->pure)
            r = recover_one(s, cv);
    }
    return r < 0 ? r : session_commit(s, e);
}

CO int calls_forked(struct session *s)
{
    int r = 0;

    for (size_t i = 0; i < s->view.ncalls && r == 0; i++) {
        struct call_view *cv = &s->view.calls[i];
        cleanup(running_freep) struct running *run = NULL;

        if (cv->state != CALL_UNKNOWN && (cv->state != CALL_STARTED || cv->pure))
            continue;
        r = settle(s, cv, true, &run);
        if (r == 0 && run->result.outcome == OUT_UNKNOWN)
            put_simple(s, cv, OUT_UNKNOWN, "This session was forked while the call ran. What became of it is not known here: do "
                                           "not assume that it took effect, check.");
        else if (r == 0)
            put_outcome(run);
    }
    return r;
}
