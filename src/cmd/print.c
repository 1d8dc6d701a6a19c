/* print.c - what a person sees of a session that runs: calls and troubles on stderr, the answer on stdout; or every event as
 * JSON on stdout. Events come after their commit. */
#include "cmd/agent.h"

#include "base/utf8.h"

#include <unistd.h>

#define RESULT_SHOWN 200                /* bytes of a result's first line */

void print_delta(void *arg, enum delta what, struct str text)
{
    struct agent *a = arg;

    if (what == DELTA_TEXT && !a->in->opt.json && isatty(STDOUT_FILENO))
        print_safe(stdout, text);
}

static void print_call(struct agent *a, const json_t *b)
{
    const struct call_view *c = view_call(&a->session->view, js_str(b, "call"));
    cleanup(json_unrefp) json_t *args = NULL;
    cleanup(buf_done) struct buf title = {0};

    if (!c)
        return;
    js_parse((struct str){ c->args, c->args_len }, &args, NULL);
    call_title(tool_find(str_of(c->name)), c->name, args, &title);
    fprintf(stderr, "> %s\n", title.p);
}

/* Of a result that is not well the line that says why: the first, or of a command the last. */
static void print_result(const json_t *b)
{
    struct str text = js_str(b, "text");
    const char *nl = memrchr(text.p, '\n', text.n);

    fprintf(stderr, "  %.*s: ", STR(js_str(b, "outcome")));
    if (nl && json_object_get(b, "exit"))
        text = str_from(text, (size_t)(nl - text.p) + 1);
    text = str_head(text, strcspn(text.p, "\n"));
    print_safe(stderr, str_head(text, utf8_cut(text, RESULT_SHOWN)));
    fputc('\n', stderr);
}

static void end_line(const struct buf *text)
{
    if (text->n && text->p[text->n - 1] != '\n')
        putchar('\n');
    fflush(stdout);
}

static void print_fault(const json_t *b)
{
    long long wait = js_int(b, "wait", 0);

    if (js_bool(b, "retry", false))
        fail(STATUS_MODEL, "%.*s; trying again in %lld.%lld s", STR(js_str(b, "why")), wait / 1000, wait / 100 % 10);
    else
        fail(STATUS_MODEL, "%.*s", STR(js_str(b, "why")));
}

static bool is_shown(enum kind kind)
{
    return kind == EV_INTENT || kind == EV_RESULT || kind == EV_FAULT || kind == EV_JOB || kind == EV_ANOMALY || kind == EV_COMPACT;
}

void print_event(void *arg, const struct event *ev)
{
    struct agent *a = arg;
    cleanup(json_unrefp) json_t *b = NULL;

    if (a->in->opt.json) {
        cleanup(buf_done) struct buf line = {0};

        event_json(&line, a->session->log.row.id, ev);
        buf_addc(&line, '\n');
        fwrite(line.p, 1, line.n, stdout);
        fflush(stdout);
        return;
    }
    if (ev->kind != EV_ANSWER && (a->in->opt.quiet || !is_shown(ev->kind)))
        return;
    js_parse(ev->body, &b, NULL);
    if (ev->kind == EV_ANSWER) {
        buf_clear(&a->answer);
        buf_add_str(&a->answer, js_str(b, "text"));
        if (isatty(STDOUT_FILENO))
            end_line(&a->answer);       /* the text has been seen as it came */
    }
    if (ev->kind == EV_INTENT)
        print_call(a, b);
    else if (ev->kind == EV_RESULT && !str_is(js_str(b, "outcome"), "ok"))
        print_result(b);
    else if (ev->kind == EV_JOB)
        fprintf(stderr, "> job %.*s %s: %.*s\n", STR(js_str(b, "id")), js_bool(b, "runs", false) ? "runs" : "does not run",
                STR(js_str(b, "why")));
    else if (ev->kind == EV_FAULT)
        print_fault(b);
    else if (ev->kind == EV_ANOMALY || (ev->kind == EV_COMPACT && !json_object_get(b, "step")))
        fail(STATUS_MODEL, "%.*s", STR(js_str(b, "why")));
}

static void print_lines(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");

        fputs("        ", stderr);
        print_safe(stderr, (struct str){ text, n });
        fputc('\n', stderr);
        text += n + (text[n] == '\n');
    }
}

static void print_question(const char *name, const json_t *args)
{
    const json_t *choice;
    size_t i;

    fprintf(stderr, "rein: call %s asks: ", name);
    print_safe(stderr, js_str(args, "question"));
    fputc('\n', stderr);
    json_array_foreach(json_object_get(args, "choices"), i, choice) {
        fprintf(stderr, "        %zu  ", i + 1);
        print_safe(stderr, (struct str){ json_string_value(choice), json_string_length(choice) });
        fputc('\n', stderr);
    }
}

/* All that a person has to know before a yes: the reason, and the whole of the call. */
static void print_asked(const struct call_view *c, const json_t *args)
{
    cleanup(buf_done) struct buf words = {0};

    if (c->why)
        print_lines(c->why);
    call_words(args, &words);
    print_lines(words.n ? words.p : c->args);
}

/* Lists what waits for a person, and how to answer. */
void print_waiting(struct agent *a)
{
    const struct view *v = &a->session->view;
    const char *id = a->session->log.row.id;
    bool asked = false, doubt = false, question = false;

    for (size_t i = 0; i < v->ncalls; i++) {
        const struct call_view *c = &v->calls[i];
        cleanup(json_unrefp) json_t *args = NULL;
        cleanup(buf_done) struct buf title = {0};
        char name[CALL_NAME_MAX];

        if (c->state != CALL_ASKED && c->state != CALL_UNKNOWN)
            continue;
        js_parse((struct str){ c->args, c->args_len }, &args, NULL);
        if (c->state == CALL_ASKED && c->question) {
            print_question(call_name(c, name), args);
            question = true;
            continue;
        }
        asked |= c->state == CALL_ASKED;
        doubt |= c->state == CALL_UNKNOWN;
        call_title(tool_find(str_of(c->name)), c->name, args, &title);
        fprintf(stderr, "rein: call %s %s: %s\n", call_name(c, name),
                c->state == CALL_ASKED ? "waits for approval" : "is in doubt", title.p);
        if (c->state == CALL_ASKED)
            print_asked(c, args);
        if (c->state == CALL_UNKNOWN && c->doubt)
            print_lines(c->doubt);
    }
    for (size_t i = 0; i < v->njobs; i++)
        if (v->jobs[i].runs)
            fprintf(stderr, "rein: job %s goes on%s\n", v->jobs[i].id,
                    v->jobs[i].stays ? "" : ", for an hour at most unless the session does");
    if (asked)
        fprintf(stderr, "rein: answer with: rein resume %s --answer CALL=yes or =no (or all=yes); =session or =always allows "
                "what is like it, too\n", id);
    if (question)
        fprintf(stderr, "rein: answer with: rein resume %s --answer CALL=WORDS, or the number of a choice\n", id);
    if (doubt)
        fprintf(stderr, "rein: decide with: rein resume %s --decide CALL=done (it took effect), =retry (run it again), =skip (tell "
                "the model that nobody knows) or =abort (end the session)\n", id);
}

void print_switch(struct agent *a, const char *before)
{
    const struct context_dropped *d = &a->session->context.dropped;

    fprintf(stderr, "rein: %s goes on in place of %s", a->model_id, before);
    if (d->reasoning || d->images)
        fprintf(stderr, "; it is not given the reasoning of %lld answers and %lld images", (long long)d->reasoning,
                (long long)d->images);
    fputc('\n', stderr);
}

void print_answer(struct agent *a)
{
    if (a->in->opt.json)
        return;
    if (isatty(STDOUT_FILENO))
        return;
    fwrite(buf_str(&a->answer).p, 1, a->answer.n, stdout);
    end_line(&a->answer);
}
