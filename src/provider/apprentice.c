/* apprentice.c - the model inside rein: --model builtin/apprentice. A few rules, no learning, and one job that it does without a
 * network: it builds a C project, applies the compiler's fix-it hints (hints.h), builds again, runs the tests, and says what it
 * could not do.
 *
 * It sees what any model sees, messages and tools, and what it does next follows from them alone:
 *
 *     a person spoke          -> glob    what the project is built with
 *     glob                    -> bash    build, with hints that a program can read
 *     the build failed        -> read    the lines that the hints are about; without hints: say so, and end
 *     read                    -> edit    make the changes
 *     edit                    -> bash    build again
 *     the build went well     -> grep    is there a target for tests?  (make; others have one)
 *     tests are there         -> bash    run them; when they do not build there may be hints, else say what came of it, and end
 */
#include "base/utf8.h"
#include "provider/encode.h"
#include "provider/hints.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#define BUILDS_MAX     20
#define AROUND         3                /* lines around a change, by which edit finds it */
#define AROUND_MORE    12               /* where those occur more than once */
#define ERRORS_SHOWN   5
#define CHANGES_SHOWN  20
#define LINE_SHOWN     120              /* bytes */

/* Compilers by their usual names, with the option in front; the exit status is the build's. */
#define WITH_HINTS "d=$(mktemp -d) && for c in cc gcc c99 clang c++ g++ clang++; do p=$(command -v $c) && " \
                   "printf '#!/bin/sh\\nexec %s -fdiagnostics-parseable-fixits \"$@\"\\n' \"$p\" >$d/$c && chmod +x $d/$c; done; " \
                   "PATH=$d:$PATH; export LC_ALL=C; "
#define END_HINTS  "; s=$?; rm -rf \"$d\"; exit $s"
#define HINT_FLAGS "export LC_ALL=C CFLAGS=\"$CFLAGS -fdiagnostics-parseable-fixits\" " \
                   "CXXFLAGS=\"$CXXFLAGS -fdiagnostics-parseable-fixits\"; "
#define MAKE_TEST  WITH_HINTS "make test 2>&1" END_HINTS
#define MAKE_CHECK WITH_HINTS "make check 2>&1" END_HINTS

static const struct way {
    const char *file, *build, *again, *test;    /* again: all of it, where a build in parts hides hints */
} ways[] = {
    { "Makefile", WITH_HINTS "make -k 2>&1" END_HINTS, WITH_HINTS "make -k -B 2>&1" END_HINTS, NULL },
    { "makefile", WITH_HINTS "make -k 2>&1" END_HINTS, WITH_HINTS "make -k -B 2>&1" END_HINTS, NULL },
    { "GNUmakefile", WITH_HINTS "make -k 2>&1" END_HINTS, WITH_HINTS "make -k -B 2>&1" END_HINTS, NULL },
    { "CMakeLists.txt", HINT_FLAGS "{ cmake -S . -B build && cmake --build build -- -k; } 2>&1",
      HINT_FLAGS "{ cmake -S . -B build && cmake --build build --clean-first -- -k; } 2>&1",
          "ctest --test-dir build --output-on-failure" },
    { "meson.build", HINT_FLAGS "{ [ -d build ] || meson setup build && ninja -C build -k 0; } 2>&1", NULL, "meson test -C build" },
    { ".c", WITH_HINTS "cc -Wall -o a.out *.c 2>&1" END_HINTS, NULL, NULL },
};

static const char about[] =
    "I am the apprentice that is built into rein: a handful of rules, not a language model. I know one job: building a C project "
    "(make, CMake, meson, or plain .c files), applying the compiler's fix-it hints, building again and running the tests. Ask me "
    "to make the build pass, or choose a real model with --model.";

/* What has been done since the person spoke last. */
struct step {
    struct str tool, result;
    json_t *args;
};

struct memory {
    json_t *body;
    struct str prompt;
    struct step *steps;
    size_t n, cap;
};

static void memory_done(struct memory *m)
{
    for (size_t i = 0; i < m->n; i++)
        json_decref(m->steps[i].args);
    free(m->steps);
    json_decref(m->body);
}

static void remember_calls(struct memory *m, const json_t *calls)
{
    const json_t *call;
    size_t i;

    json_array_foreach(calls, i, call) {
        const json_t *fn = json_object_get(call, "function");
        struct step s = { .tool = js_str(fn, "name") };

        js_parse(js_str(fn, "arguments"), &s.args, NULL);
        GROW(m->steps, m->n, m->cap);
        m->steps[m->n++] = s;
    }
}

static int remember(struct memory *m, const struct request *rq, struct err *e)
{
    cleanup(buf_done) struct buf body = {0};
    const json_t *each;
    size_t i, answered = 0;
    int r;

    for (i = 0; i < rq->nparts; i++)
        buf_add_str(&body, rq->parts[i]);
    r = js_parse(buf_str(&body), &m->body, e);
    if (r < 0)
        return r;
    json_array_foreach(json_object_get(m->body, "messages"), i, each) {
        struct str role = js_str(each, "role");

        if (str_is(role, "user")) {
            while (m->n)
                json_decref(m->steps[--m->n].args);
            answered = 0;
            m->prompt = js_str(each, "content");
        } else if (str_is(role, "assistant")) {
            remember_calls(m, json_object_get(each, "tool_calls"));
        } else if (str_is(role, "tool") && answered < m->n) {
            m->steps[answered++].result = js_str(each, "content");
        }
    }
    return 0;
}

/* Speaking. */

struct mouth {
    struct answer *a;
    const struct sink *sink;
};

static void say(struct mouth *m, const char *fmt, ...) printf_fmt(2, 3);

static void say(struct mouth *m, const char *fmt, ...)
{
    cleanup(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (!text)
        return;
    buf_adds(&m->a->text, text);
    m->sink->fn(m->sink->arg, DELTA_TEXT, str_of(text));
}

static void call(struct mouth *m, const char *tool, const json_t *args)
{
    cleanup(freep) char *text = json_dumps(args, JSON_COMPACT);
    struct answer *a = m->a;
    struct answer_call *c;

    GROW(a->calls, a->ncalls, a->cap);
    c = &a->calls[a->ncalls++];
    *c = (struct answer_call){0};
    buf_adds(&c->name, tool);
    buf_adds(&c->args, text);
    buf_addf(&c->id, "call_%zu", a->ncalls);
}

static void call_bash(struct mouth *m, const char *command)
{
    cleanup(json_unrefp) json_t *args = json_pack("{s:s, s:i}", "command", command, "timeout", 600);

    call(m, "bash", args);
}

/* What has been done. */

static const struct way *way_of(const struct memory *m)
{
    struct str found = m->n ? m->steps[0].result : (struct str){0};

    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        cleanup(freep) char *line = xasprintf("\n%s\n", ways[i].file), *text = xasprintf("\n%.*s", STR(found));

        if (ways[i].file[0] == '.' ? strstr(text, ".c\n") != NULL : strstr(text, line) != NULL)
            return &ways[i];
    }
    return NULL;
}

/* A build, or a run of the tests, which may build some of them. */
static bool is_build(const struct step *s)
{
    return str_is(s->tool, "bash");
}

static const char *test_name(const struct step *s, const struct way *way)
{
    struct str command = js_str(s->args, "command");

    if (way->test && str_is(command, way->test))
        return way->test;
    return str_is(command, MAKE_TEST) ? "make test" : str_is(command, MAKE_CHECK) ? "make check" : NULL;
}

static bool went_well(const struct step *s)
{
    return str_find(s->result, LIT("[exit status 0]"), 0) >= 0;
}

/* The last build, or the one before it. */
static const struct step *last_build(const struct memory *m, size_t skip)
{
    for (size_t i = m->n; i-- > 0;)
        if (is_build(&m->steps[i]) && skip-- == 0)
            return &m->steps[i];
    return NULL;
}

static size_t builds(const struct memory *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        n += is_build(&m->steps[i]);
    return n;
}

static struct str trimmed(struct str s)
{
    while (s.n && isspace((unsigned char)s.p[0]))
        s = str_from(s, 1);
    while (s.n && isspace((unsigned char)s.p[s.n - 1]))
        s.n--;
    return str_head(s, utf8_cut(s, LINE_SHOWN));
}

/* Names the lines that an edit has changed. How many have been named by now. */
static size_t say_edit(struct mouth *m, struct str path, struct str old, struct str new, size_t shown)
{
    while ((old.n || new.n) && shown < CHANGES_SHOWN) {
        struct str rest_old = old, rest_new = new, a = take_line(&rest_old), b = take_line(&rest_new), behind = rest_new;
        bool put_in = !str_eq(a, b) && str_eq(take_line(&behind), a);

        if (put_in)
            say(m, "\n- %.*s: added `%.*s`", STR(path), STR(trimmed(b)));
        else if (!str_eq(a, b))
            say(m, "\n- %.*s: `%.*s` is now `%.*s`", STR(path), STR(trimmed(a)), STR(trimmed(b)));
        shown += !str_eq(a, b);
        new = rest_new;
        if (!put_in)
            old = rest_old;
    }
    return shown;
}

static void say_changes(struct mouth *m, const struct memory *mem)
{
    size_t shown = 0;

    for (size_t i = 0; i < mem->n; i++) {
        const struct step *s = &mem->steps[i];
        const json_t *edit;
        size_t k;

        if (!str_is(s->tool, "edit") || str_find(s->result, LIT("Edited "), 0) != 0)
            continue;
        if (shown == 0)
            say(m, "\n\nI followed the compiler's hints:");
        json_array_foreach(json_object_get(s->args, "edits"), k, edit)
            shown = say_edit(m, js_str(s->args, "path"), js_str(edit, "old"), js_str(edit, "new"), shown);
    }
    if (shown == 0)
        say(m, "\n\nI changed nothing.");
}

static void say_errors(struct mouth *m, const struct report *r)
{
    size_t shown = 0;

    for (size_t i = 0; i < r->n && shown < ERRORS_SHOWN; i++) {
        if (!r->groups[i].error)
            continue;
        say(m, "\n- %.*s: %.*s", STR(r->groups[i].where), STR(str_head(r->groups[i].message,
                                                                       utf8_cut(r->groups[i].message, LINE_SHOWN))));
        shown++;
    }
    for (size_t i = 0; i < r->nundefined && shown < ERRORS_SHOWN; i++, shown++)
        say(m, "\n- undefined: %.*s", STR(trimmed(r->undefined[i])));
}

/* Ends with the build, or the tests, as they are. `why` continues the sentence. */
static void give_up(struct mouth *m, const struct memory *mem, const struct way *way, const struct report *r, const char *why)
{
    const char *test = test_name(last_build(mem, 0), way);
    bool any = r->nundefined > 0;

    for (size_t i = 0; i < r->n; i++)
        any = any || r->groups[i].error;
    if (test)
        say(m, "The build passes, but the tests fail (`%s`), and %s.", test, why);
    else
        say(m, "The build does not pass, and %s.", why);
    if (any)
        say(m, " What is left:");
    say_errors(m, r);
    say_changes(m, mem);
}

/* The moves. */

static bool asks_for_a_build(struct str prompt)
{
    static const char *const words[] = { "build", "make", "compil", "fix", "error", "repair", "test", "gcc", "clang",
        "\xe7\xbc\x96\xe8\xaf\x91",
                                         "\xe6\x9e\x84\xe5\xbb\xba", "\xe4\xbf\xae", "\xe9\x94\x99\xe8\xaf\xaf",
                                         "\xe6\xb5\x8b\xe8\xaf\x95" };
    cleanup(freep) char *text = str_dup(prompt);

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasestr(text, words[i]))
            return true;
    return false;
}

static void look_at_project(struct mouth *m)
{
    cleanup(json_unrefp) json_t *args = json_pack("{s:s}", "files", "/Makefile /makefile /GNUmakefile /CMakeLists.txt "
                                                  "/meson.build /*.c");

    say(m, "I am the built-in apprentice. I look how this project is built.");
    call(m, "glob", args);
}

/* Edits that were refused since the lines around the place occur more than once. */
static size_t ambiguous_edits(const struct memory *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        n += str_is(m->steps[i].tool, "edit") && str_find(m->steps[i].result, LIT(" occurs "), 0) >= 0;
    return n;
}

static unsigned around(const struct memory *m)
{
    return ambiguous_edits(m) ? AROUND_MORE : AROUND;
}

/* After a build that failed. */
static void after_failure(struct mouth *m, const struct memory *mem, const struct way *way)
{
    cleanup(report_done) struct report now = {0}, then = {0};
    cleanup(plan_done) struct plan p = {0}, before = {0};
    const struct step *build = last_build(mem, 0), *earlier = last_build(mem, 1);
    struct cluster c;

    report_read(&now, build->result);
    plan_make(&p, &now);
    if (earlier) {
        report_read(&then, earlier->result);
        plan_make(&before, &then);
    }
    if (p.n == 0 && now.nundefined && way->again && str_is(js_str(build->args, "command"), way->build)) {
        say(m, "Names are undefined. I build all of it again, to see every hint.");
        call_bash(m, way->again);
        return;
    }
    if (p.n == 0) {
        give_up(m, mem, way, &now, "the compiler gives no hint that I could follow");
        return;
    }
    if (builds(mem) >= BUILDS_MAX || (earlier && plan_same(&p, &before) && ambiguous_edits(mem) != 1)) {
        give_up(m, mem, way, &now, "the compiler's hints do not lead on");
        return;
    }
    say(m, "%s; the compiler has %zu hint%s. I read the lines.", test_name(build, way) ? "The tests do not pass"
        : "The build fails",
        p.n, p.n == 1 ? "" : "s");
    for (size_t at = 0; plan_cluster(&p, at, around(mem), &c); at = c.first + c.n) {
        cleanup(json_unrefp) json_t *args = json_pack("{s:s, s:i, s:i}", "path", p.v[c.first]->file, "start", (int)c.start, "count",
                                                      (int)c.count);

        call(m, "read", args);
    }
}

/* The lines of a read's result, without what read says of them. */
static struct str lines_read(struct str text, unsigned count)
{
    struct str rest = text, last = {0};
    size_t n = 0;

    for (unsigned i = 0; i < count && rest.n; i++) {
        last = take_line(&rest);
        n = (size_t)(last.p + last.n - text.p);
    }
    if (last.n && (strncmp(last.p, "[in ", 4) == 0 || strncmp(last.p, "[not UTF-8", 10) == 0))
        n = (size_t)(last.p - text.p) - (last.p > text.p);
    return str_head(text, n);
}

/* After the reads: one edit for each file. */
static void make_edits(struct mouth *m, const struct memory *mem)
{
    cleanup(report_done) struct report r = {0};
    cleanup(plan_done) struct plan p = {0};
    const struct step *build = last_build(mem, 0), *read = build + 1;
    cleanup(json_unrefp) json_t *edits = json_array();
    const char *file = NULL;
    struct cluster c;

    report_read(&r, build->result);
    plan_make(&p, &r);
    for (size_t at = 0; plan_cluster(&p, at, around(mem), &c) && read < mem->steps + mem->n; at = c.first + c.n, read++) {
        struct str lines = lines_read(read->result, c.count);
        cleanup(buf_done) struct buf new = {0};

        if (file && strcmp(file, p.v[at]->file) != 0 && json_array_size(edits)) {
            cleanup(json_unrefp) json_t *args = json_pack("{s:s, s:O}", "path", file, "edits", edits);

            call(m, "edit", args);
            json_decref(edits);
            edits = json_array();
        }
        file = p.v[at]->file;
        if (plan_apply(&p, &c, lines, &new))
            json_array_append_new(edits, json_pack("{s:s%, s:s%}", "old", lines.p, lines.n, "new", buf_str(&new).p, new.n));
    }
    if (file && json_array_size(edits)) {
        cleanup(json_unrefp) json_t *args = json_pack("{s:s, s:O}", "path", file, "edits", edits);

        call(m, "edit", args);
    }
    if (m->a->ncalls == 0)
        give_up(m, mem, way_of(mem), &r, "the hints do not fit the lines that I read");
}

static void after_success(struct mouth *m, const struct memory *mem, const struct way *way)
{
    if (way->test) {
        say(m, "The build passes. I run the tests.");
        call_bash(m, way->test);
    } else if (way->file[0] == '.') {
        say(m, "The .c files build. There are no tests that I know how to run.");
        say_changes(m, mem);
    } else {
        cleanup(json_unrefp) json_t *args = json_pack("{s:s, s:s}", "pattern", "^(test|check)[ \\t]*:", "path", way->file);

        say(m, "The build passes. I look for tests.");
        call(m, "grep", args);
    }
}

static void next(struct mouth *m, const struct memory *mem)
{
    const struct step *last = mem->n ? &mem->steps[mem->n - 1] : NULL;
    const struct way *way = way_of(mem);

    if (!last) {
        if (asks_for_a_build(mem->prompt))
            look_at_project(m);
        else
            say(m, "%s", about);
    } else if (str_is(last->tool, "glob")) {
        if (!way) {
            say(m, "There is nothing here that I can build: no Makefile, CMakeLists.txt or meson.build, and no .c file. %s", about);
            return;
        }
        say(m, "I build it.");
        call_bash(m, way->build);
    } else if (is_build(last)) {
        if (went_well(last) && test_name(last, way)) {
            say(m, "The build passes, and so do the tests (`%s`).", test_name(last, way));
            say_changes(m, mem);
        } else if (went_well(last)) {
            after_success(m, mem, way);
        } else if (str_find(last->result, LIT("[exit status "), 0) < 0 && str_find(last->result, LIT("fix-it:"), 0) < 0) {
            say(m, "I could not build: %.*s", STR(trimmed(last->result)));
        } else {
            after_failure(m, mem, way);
        }
    } else if (str_is(last->tool, "read")) {
        make_edits(m, mem);
    } else if (str_is(last->tool, "edit")) {
        say(m, "I build again.");
        call_bash(m, way->build);
    } else if (str_is(last->tool, "grep")) {
        const char *target = str_find(last->result, LIT(":test"), 0) >= 0 ? MAKE_TEST
            : str_find(last->result, LIT(":check"), 0) >= 0 ?
                             MAKE_CHECK : NULL;

        if (target) {
            call_bash(m, target);
        } else {
            say(m, "The build passes. The project has no target `test` or `check`, so nothing was tested.");
            say_changes(m, mem);
        }
    } else {
        say(m, "%s", about);
    }
}

static CO int apprentice_run(const struct request *rq, const struct sink *sink, struct answer *ret, struct fault *f)
{
    cleanup(memory_done) struct memory mem = {0};
    struct mouth m = { ret, sink };
    int r = remember(&mem, rq, &f->e);

    if (r < 0)
        return r;
    next(&m, &mem);
    snprintf(ret->finish, sizeof(ret->finish), "%s", ret->ncalls ? "tool_calls" : "stop");
    snprintf(ret->model, sizeof(ret->model), "apprentice");
    return 0;
}

const struct provider provider_apprentice = {
    .name    = "apprentice",
    .about   = "a few rules inside rein that can repair a C build",
    .tail    = ENCODE_CHAT_TAIL,
    .head    = encode_chat_head,
    .message = encode_chat_message,
    .run     = apprentice_run,
};
