/* cmd_show.c - tells what happened in a session, event by event, or prints the events as JSON. */
#include "base/clock.h"
#include "base/utf8.h"
#include "cmd/agent.h"
#include "core/labels.h"

#include <unistd.h>

#define LINE_MAX_SHOWN 12               /* lines of a result */
#define TEXT_MAX_SHOWN 4000             /* bytes of a message */

struct telling {
    struct agent *agent;
    const char *id;
    struct view view;
    int64_t began;
    struct buf out;
};

/* Text that others wrote, line by line. */
static void add_text(struct buf *out, struct str text, const char *indent, size_t lines, size_t bytes)
{
    cleanup(buf_done) struct buf clean = {0};
    size_t shown = 0, i = 0, end;

    while (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    utf8_add_printable(&clean, text);
    end = utf8_cut(buf_str(&clean), bytes);
    while (i < end && shown < lines) {
        const char *nl = memchr(clean.p + i, '\n', end - i);
        size_t n = nl ? (size_t)(nl - clean.p) - i : end - i;

        buf_adds(out, indent);
        buf_add(out, clean.p + i, n);
        buf_addc(out, '\n');
        i += n + 1;
        shown++;
    }
    if (i < end || end < clean.n)
        buf_addf(out, "%s... (%zu bytes in all)\n", indent, text.n);
}

static void tell_session(struct telling *t, const struct event *ev, const json_t *b)
{
    char when[32];
    time_t at = (time_t)(ev->time / NS_PER_S);
    struct tm tm;

    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&at, &tm));
    if (js_str(b, "parent").n)
        buf_addf(&t->out, "forked from session %.*s at event %lld: ", STR(js_str(b, "parent")),
                 (long long)js_int(b, "parent_seq", 0));
    buf_addf(&t->out, "session %s, begun %s in %.*s\n  model %.*s, harness %.*s, mode %.*s, tier %.*s\n", t->id, when,
             STR(js_str(b, "cwd")), STR(js_str(b, "model")), STR(js_str(json_object_get(b, "harness"), "name")),
             STR(js_str(b, "mode")), STR(js_str(b, "tier")));
}

static void tell_call(struct telling *t, const json_t *b)
{
    const struct call_view *c = view_call(&t->view, js_str(b, "call"));
    cleanup(json_unrefp) json_t *args = NULL;

    if (!c)
        return;
    js_parse((struct str){ c->args, c->args_len }, &args, NULL);
    buf_addf(&t->out, "call %.*s ", STR(js_str(b, "call")));
    call_title(tool_find(str_of(c->name)), c->name, args, &t->out);
    buf_addc(&t->out, '\n');
}

/* Where a result came from, beside the tool. */
static void add_labels(struct buf *out, uint32_t labels)
{
    cleanup(buf_done) struct buf names = {0};

    labels_names(labels & ~(uint32_t)FROM_TOOL, &names);
    buf_addf(out, names.n ? ", from: %s\n" : "%s\n", names.n ? names.p : "");
}

static void tell(struct telling *t, const struct event *ev, const json_t *b)
{
    const json_t *usage = json_object_get(b, "usage");
    struct buf *out = &t->out;

    switch (ev->kind) {
    case EV_SESSION:
        tell_session(t, ev, b);
        break;
    case EV_SET:
        buf_addf(out, "resumed%s%.*s%s%.*s\n", js_str(b, "mode").n ? ", mode " : "", STR(js_str(b, "mode")),
                 js_str(b, "model").n ? ", model " : "", STR(js_str(b, "model")));
        break;
    case EV_USER:
    case EV_STEER:
        buf_addf(out, "%s\n", ev->labels & FROM_SYSTEM ? "rein says" : "user");
        add_text(out, js_str(b, "text"), "  ", SIZE_MAX, TEXT_MAX_SHOWN);
        break;
    case EV_ANSWER:
        buf_addf(out, "answer (%lld tokens in, %lld cached, %lld out%s, %lld ms)\n",
                 (long long)js_int(usage, "in", 0), (long long)js_int(usage, "cached", 0), (long long)js_int(usage, "out", 0),
                 js_bool(usage, "estimated", false) ? ", estimated" : "", (long long)js_int(b, "ms", 0));
        add_text(out, js_str(b, "text"), "  ", SIZE_MAX, TEXT_MAX_SHOWN);
        break;
    case EV_FAULT:
        buf_addf(out, "fault (%.*s)%s\n", STR(js_str(b, "class")), js_bool(b, "retry", false) ? ", tried again" : "");
        add_text(out, js_str(b, "why"), "  ", SIZE_MAX, TEXT_MAX_SHOWN);
        if (js_str(b, "partial").n) {
            buf_adds(out, "  what had come of the answer:\n");
            add_text(out, js_str(b, "partial"), "    ", LINE_MAX_SHOWN, TEXT_MAX_SHOWN);
        }
        break;
    case EV_INTENT:
        tell_call(t, b);
        break;
    case EV_ASK:
        buf_addf(out, "%s %.*s: %.*s\n", str_is(js_str(b, "kind"), "decide") ? "in doubt: call" :
                 str_is(js_str(b, "kind"), "question") ? "question of call" : "asked: may call",
                 STR(js_str(b, "call")), STR(js_str(b, "about")));
        add_text(out, js_str(b, "why"), "  ", SIZE_MAX, TEXT_MAX_SHOWN);
        break;
    case EV_REPLY:
        buf_addf(out, "reply: %.*s=%.*s\n", STR(js_str(b, "call")), STR(js_str(b, "answer")));
        break;
    case EV_RESULT:
        buf_addf(out, "  result %.*s of %.*s", STR(js_str(b, "outcome")), STR(js_str(b, "call")));
        add_labels(out, ev->labels);
        add_text(out, js_str(b, "text"), "  | ", LINE_MAX_SHOWN, TEXT_MAX_SHOWN);
        break;
    case EV_JOB:
        buf_addf(out, "job %.*s %s: %.*s\n", STR(js_str(b, "id")), js_bool(b, "runs", false) ? "runs" : "does not run",
                 STR(js_str(b, "why")));
        break;
    case EV_END:
        buf_addf(out, "end: %.*s, %.*s (%lld requests, %lld calls, %lld tokens in, %lld out)\n", STR(js_str(b, "outcome")),
                 STR(js_str(b, "why")), (long long)js_int(b, "requests", 0), (long long)js_int(b, "calls", 0),
                 (long long)js_int(b, "tokens_in", 0), (long long)js_int(b, "tokens_out", 0));
        break;
    case EV_DECIDE:
        buf_addf(out, "%.*s %.*s:%lld: %.*s, %.*s\n", STR(js_str(b, "what")), STR(js_str(b, "host")),
                 (long long)js_int(b, "port", 0), STR(js_str(b, "verdict")), STR(js_str(b, "why")));
        break;
    case EV_COMMIT:
        buf_addf(out, "plan %.*s changes %lld things\n", STR(js_str(b, "layer")), (long long)js_int(b, "changed", 0));
        add_text(out, js_str(b, "changes"), "  ", LINE_MAX_SHOWN, TEXT_MAX_SHOWN);
        break;
    case EV_UNDO:
        buf_addf(out, "%.*s, %.*s\n", STR(js_str(b, "way")), STR(js_str(b, "phase")));
        add_text(out, js_str(b, "text").p ? js_str(b, "text") : js_str(b, "why"), "  ", SIZE_MAX, TEXT_MAX_SHOWN);
        break;
    case EV_REQUEST:
    case EV_WIRE:
        break;
    default:
        buf_addf(out, "%s\n", kind_name(ev->kind));
        add_text(out, ev->body, "  ", LINE_MAX_SHOWN, TEXT_MAX_SHOWN);
        break;
    }
}

static int show_event(void *arg, struct event *ev, struct err *e)
{
    struct telling *t = arg;
    cleanup(json_unrefp) json_t *b = NULL;
    int r;

    buf_clear(&t->out);
    if (t->agent->in->opt.json) {
        event_json(&t->out, t->id, ev);
        buf_addc(&t->out, '\n');
    } else if (ev->erased) {
        buf_addf(&t->out, "%s (erased)\n", kind_name(ev->kind));
    } else {
        r = js_parse(ev->body, &b, e);
        if (r == 0 && strcmp(t->id, LEDGER_ID) != 0)
            r = view_fold(&t->view, ev, b, e);
        if (r < 0)
            return r;
        if (ev->kind != EV_REQUEST)
            buf_addf(&t->out, "%5llu ", (unsigned long long)ev->seq);
        tell(t, ev, b);
    }
    if (t->out.n && fwrite(t->out.p, 1, t->out.n, stdout) != t->out.n)
        return err_set(e, -EPIPE, "the output was closed");
    return 0;
}

static CO int show_main(struct agent *a)
{
    struct telling t = { .agent = a, .out = { .max = 8 * EVENT_BODY_MAX } };
    struct session_row row;
    struct log log = {0};
    struct err e = {0};
    int r;

    if (a->in->nargs > 1)
        return fail(STATUS_USAGE, "show takes one session");
    r = agent_find_log(a, a->in->args[0], &row);
    if (r != 0)
        return r;
    t.id = row.id;
    log_init(&log, a->store, &row);
    r = log_read(&log, show_event, &t, &e);
    buf_done(&t.out);
    view_done(&t.view);
    log_done(&log);
    return r < 0 && r != -EPIPE ? fail(STATUS_FAILED, "%s", e.msg) : STATUS_DONE;
}

int cmd_show(struct invocation *in)
{
    return agent_main(in, show_main);
}
