/* script.c - a model whose answers stand in a file: for tests and demonstrations. --model script/FILE
 *
 * The answer to play is found by how many answers the session has, so a script goes on where it was after a crash. Answers
 * are separated by a line `--`; the lines of one:
 *
 *     say TEXT            text; more than one line joins with a newline
 *     think TEXT          reasoning
 *     call NAME JSON      a tool call; the JSON is passed on as it stands, broken or not
 *     finish WORD         instead of stop or tool_calls
 *     usage IN OUT        tokens; else they are estimated
 *     wait MS             before the answer ends
 *     fault TEXT          fails, every time
 *
 * Where FILE.requests exists, the body of every request is appended to it as a line. */
#include "base/utf8.h"
#include "provider/encode.h"
#include "rt/fiber.h"

#include <stdio.h>

static void filep(FILE **f)
{
    if (*f)
        fclose(*f);
}

static void note_request(const struct request *rq)
{
    cleanup(freep) char *path = xasprintf("%s.requests", rq->model->name);
    cleanup(filep) FILE *f = fopen(path, "r+e");

    if (!f)
        return;
    fseek(f, 0, SEEK_END);
    for (size_t i = 0; i < rq->nparts; i++)
        fwrite(rq->parts[i].p, 1, rq->parts[i].n, f);
    fputc('\n', f);
}

static int play(struct answer *a, char *line, const struct sink *sink, struct fault *f)
{
    size_t n = strcspn(line, " ");
    char *rest = line[n] ? line + n + 1 : line + n;

    line[n] = 0;
    if (strcmp(line, "say") == 0) {
        if (a->text.n)
            buf_addc(&a->text, '\n');
        buf_adds(&a->text, rest);
        sink->fn(sink->arg, DELTA_TEXT, str_of(rest));
    } else if (strcmp(line, "think") == 0) {
        buf_adds(&a->extra, "{");
        js_add_text(&a->extra, "reasoning_content", rest);
        buf_adds(&a->extra, "}");
    } else if (strcmp(line, "call") == 0) {
        struct answer_call *c;

        GROW(a->calls, a->ncalls, a->cap);
        c = &a->calls[a->ncalls++];
        *c = (struct answer_call){0};
        n = strcspn(rest, " ");
        buf_add(&c->name, rest, n);
        buf_adds(&c->args, rest[n] ? rest + n + 1 : "");
        buf_addf(&c->id, "call_%zu", a->ncalls);
    } else if (strcmp(line, "finish") == 0) {
        snprintf(a->finish, sizeof(a->finish), "%s", rest);
    } else if (strcmp(line, "usage") == 0) {
        long long in = 0, out = 0;

        a->has_usage = sscanf(rest, "%lld %lld", &in, &out) == 2;
        a->usage = (struct usage){ .in = in, .out = out };
    } else if (strcmp(line, "wait") == 0) {
        return fiber_sleep(atoi(rest));
    } else if (strcmp(line, "fault") == 0) {
        return err_set(&f->e, -EREMOTEIO, "%s", rest);
    } else if (*line && *line != '#') {
        return err_set(&f->e, -EBADMSG, "the script has a line it does not know: %s", line);
    }
    return 0;
}

static CO int script_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    cleanup(filep) FILE *in = fopen(rq->model->name, "re");
    cleanup(freep) char *line = NULL;
    int64_t answer = 0;
    bool any = false;
    size_t cap = 0;
    ssize_t n;
    int r = 0;

    if (!in)
        return err_set(&f->e, -errno, "the script %s: %s", rq->model->name, strerror(errno));
    note_request(rq);
    while (r == 0 && (n = getline(&line, &cap, in)) >= 0) {
        if (n && line[n - 1] == '\n')
            line[n - 1] = 0;
        if (strcmp(line, "--") == 0) {
            answer++;
        } else if (answer == rq->answers) {
            any = any || *line;
            r = play(ret, line, sink, f);
        }
    }
    if (r == 0 && !any)
        return err_set(&f->e, -ENODATA, "the script %s has no answer %lld", rq->model->name, (long long)rq->answers + 1);
    if (!ret->finish[0])
        snprintf(ret->finish, sizeof(ret->finish), "%s", ret->ncalls ? "tool_calls" : "stop");
    return r;
}

const struct provider provider_script = {
    .name    = "script",
    .about   = "answers from a file, for tests",
    .names_file = true,
    .tail    = ENCODE_CHAT_TAIL,
    .head    = encode_chat_head,
    .message = encode_chat_message,
    .run     = script_run,
};
