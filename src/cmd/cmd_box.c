/* cmd_box.c - a command in the box of a workspace, as a tool's would run: no standard input, both outputs together. */
#include "cmd/agent.h"

#include "base/path.h"
#include "env/box.h"
#include "env/layer.h"
#include "env/local.h"

#include <fcntl.h>
#include <time.h>
#include <stdio.h>
#include <unistd.h>

#define LOOK_MS     30
#define PIECE       ((size_t)64 << 10)
#define STATUS_BOX  125

/* What became of a layer. */
struct layered {
    char name[40];                      /* "": there is none */
    struct buf changes;                 /* a line each */
    int64_t n;
    bool kept, left;                    /* left: it is there still, and was not kept */
    struct err e;
};

struct boxed_run {
    struct env *env;
    struct layered layer;
    struct env_ready *ready;
    struct env_outcome outcome;
    struct err e;
    int result;
    bool over;
};

/* One word is a line for the shell; several are a program and its arguments, none of which means anything to the shell. */
static char *command_line(char *const *args, size_t n)
{
    struct buf out = {0};

    if (n == 1)
        return xstrdup(args[0]);
    buf_adds(&out, "exec");
    for (size_t i = 0; i < n; i++) {
        buf_adds(&out, " '");
        for (const char *p = args[i]; *p; p++) {
            if (*p == '\'')
                buf_adds(&out, "'\\'");
            buf_addc(&out, *p);
        }
        buf_addc(&out, '\'');
    }
    return buf_take(&out);
}

static CO int run(void *arg)
{
    struct boxed_run *b = arg;

    b->result = env_run(b->env, b->ready, &b->outcome, &b->e);
    b->over = true;
    return 0;
}

/* Prints what has come of the output since. */
static CO int64_t pass_on(struct boxed_run *b, const char *key, int64_t from)
{
    cleanup(buf_done) struct buf piece = {0};
    struct err e;
    int64_t size;

    do {
        buf_clear(&piece);
        if (env_output(b->env, key, from, PIECE, &piece, &size, &e) < 0)
            return from;
        fwrite(piece.p, 1, piece.n, stdout);
        from += (int64_t)piece.n;
    } while (piece.n == PIECE);
    fflush(stdout);
    return from;
}

static const char *end_word(const struct env_outcome *o)
{
    static const char *const words[] = {
        [ENV_EXIT] = "exit", [ENV_TIMEOUT] = "timeout", [ENV_CANCEL] = "cancelled", [ENV_ORPHAN] = "orphaned",
        [ENV_MEMORY] = "memory", [ENV_PROCESSES] = "processes", [ENV_DISK] = "disk", [ENV_COPIES] = "copies", [ENV_INPUT] = "input",
    };

    return words[o->end];
}

/* What was decided about connections, for the report: there is no session that could have it in its log. */
static struct buf decisions = { .max = 1 << 20 };

static CO int decided(void *arg, const char *host, int port, const char *why, struct err *e)
{
    (void)arg;
    (void)e;
    buf_adds(&decisions, decisions.n ? ",{" : "{");
    js_add_text(&decisions, "host", host);
    js_add_int(&decisions, "port", port);
    js_add_text(&decisions, "verdict", why ? "deny" : "allow");
    js_add_text(&decisions, "why", why);
    buf_addc(&decisions, '}');
    return 0;
}

/* One line of JSON. False: it could not be written. */
static bool report(const struct agent *a, enum tier tier, const char *why, const struct boxed_run *b)
{
    cleanup(buf_done) struct buf out = {0};
    const struct env_outcome *o = &b->outcome;
    FILE *f = a->in->opt.report ? fopen(a->in->opt.report, "we") : stderr;
    bool good;

    if (!f)
        return false;
    buf_addc(&out, '{');
    js_add_text(&out, "tier", tier_name(tier));
    js_add_text(&out, "why", why);
    if (b->result < 0 && !o->started) {
        js_add_text(&out, "failed", b->e.msg);
    } else {
        js_add_text(&out, "end", end_word(o));
        js_add_int(&out, "exit", o->exit_status);
        if (o->signo)
            js_add_int(&out, "signal", o->signo);
        js_add_int(&out, "bytes", o->total);
        js_add_int(&out, "lost", o->total - o->head - o->tail);
        js_add_int(&out, "killed", o->killed);
        if (o->moved_out)
            js_add_text(&out, "moved_out", o->moved_out);
        js_add_int(&out, "ms", o->ms);
    }
    if (*b->layer.name) {
        js_add_text(&out, "layer", b->layer.kept || b->layer.left ? b->layer.name : NULL);
        js_add_bool(&out, "kept", b->layer.kept);
        js_add_int(&out, "changed", b->layer.n);
        js_add_text(&out, "changes", buf_str(&b->layer.changes).p);
        js_add_text(&out, "not_kept", *b->layer.e.msg ? b->layer.e.msg : NULL);
    }
    if (decisions.n) {
        js_key(&out, "network");
        buf_addf(&out, "[%s]", decisions.p);
    }
    buf_adds(&out, "}\n");
    good = fwrite(out.p, 1, out.n, f) == out.n && fflush(f) == 0;
    if (f != stderr)
        good = fclose(f) == 0 && good;
    return good;
}

#define SHOWN_MAX 40

/* Shows what a command changed, the first of it. */
static void show_changes(const struct layered *y)
{
    struct str rest = buf_str(&y->changes);

    for (int i = 0; i < SHOWN_MAX && rest.n; i++) {
        size_t n = strcspn(rest.p, "\n");

        fprintf(stderr, "  %.*s\n", STR(str_head(rest, n)));
        rest = str_from(rest, MIN(n + 1, rest.n));
    }
    if (y->n > SHOWN_MAX)
        fprintf(stderr, "  and %lld more\n", (long long)(y->n - SHOWN_MAX));
}

static bool says_yes(void)
{
    char line[16];

    fprintf(stderr, "rein: keep these changes? [y/N] ");
    return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

/* The command is gone: what becomes of what it changed. `whole`: it came to its end. */
static CO void settle_layer(struct agent *a, struct layered *y, bool whole)
{
    const char *word = a->said.layer;
    int r = layer_changes(a->env, y->name, false, &y->changes, &y->n, &y->e);
    bool seen = false;
    struct err dropped;

    if (r == 0 && y->n && !a->in->opt.quiet)
        show_changes(y);
    if (r == 0 && y->n && strcmp(word, "ask") == 0)
        seen = isatty(0) && says_yes();
    if (r == 0 && y->n && (seen || (whole && strcmp(word, "keep") == 0)))
        r = layer_keep(a->env, y->name, seen, &y->e);
    else if (r == 0)
        r = 1;                          /* not wanted */
    y->kept = r == 0;
    if (r == 0 && !a->in->opt.quiet)
        fprintf(stderr, "rein: kept; rein undo %s takes it back\n", y->name);
    if (r < 0) {
        y->left = true;
        fail(STATUS_FAILED, "%s. What the command changed lies in .rein/layers/%s/u: rein redo %s puts it in place all the same, "
             "rein undo %s drops it", y->e.msg, y->name, y->name, y->name);
    } else if (r > 0) {
        y->left = layer_drop(a->env, y->name, &dropped) < 0;
        if (y->n && !a->in->opt.quiet)
            fprintf(stderr, "rein: dropped\n");
    }
}

static CO int drive(struct agent *a, const char *command, enum tier tier, const char *why)
{
    cleanup(freep) char *key = xasprintf("box-%d", getpid()), *spool = xasprintf("%s/spool/%s", a->home, key);
    struct boxed_run b = { .env = a->env };
    struct env_command c = { .command = command, .key = key, .timeout_ms = a->in->opt.timeout * 1000 };
    int64_t from = 0;
    int r;

    if (a->said.layer) {
        time_t now = time(NULL);
        struct tm tm;

        strftime(b.layer.name, sizeof(b.layer.name), "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
        snprintf(b.layer.name + 15, sizeof(b.layer.name) - 15, "-%d", getpid());
        b.result = layer_begin(a->env, b.layer.name, &b.e);
    }
    if (b.result == 0)
        b.result = env_ready(a->env, &c, &b.ready, &b.e);
    if (b.result == 0) {
        cleanup(scope_done) struct scope running = SCOPE_INIT;

        scope_go(&running, "a command in a box", run, &b);
        while (!b.over && fiber_sleep(LOOK_MS) == 0)
            from = pass_on(&b, key, from);
        if (!b.over)
            scope_cancel(&running);
        scope_join(&running);
        pass_on(&b, key, from);
    }
    env_drop(a->env, b.ready);
    unlink(spool);
    if (b.outcome.started && *b.layer.name)
        settle_layer(a, &b.layer, b.result == 0);
    else if (*b.layer.name)
        layer_drop(a->env, b.layer.name, &(struct err){0});
    if (b.result < 0 && b.result != -ECANCELED && !b.outcome.started) {
        report(a, tier, why, &b);
        return fail(b.result == -ENOTSUP ? STATUS_PROTECTION : STATUS_BOX, "%s", b.e.msg);
    }
    r = b.result == -ECANCELED ? STATUS_INTERRUPTED : b.outcome.signo ? 128 + b.outcome.signo
      : b.outcome.exit_status < 0 ? STATUS_BOX : b.outcome.exit_status;
    if ((a->in->opt.report || !a->in->opt.quiet) && !report(a, tier, why, &b))
        r = fail(STATUS_BOX, "%s cannot be written: %s", a->in->opt.report, strerror(errno));
    env_outcome_done(&b.outcome);
    buf_done(&b.layer.changes);
    return b.layer.left && r == 0 ? STATUS_FAILED : r;
}

static CO int box_main(struct agent *a)
{
    const char *mode = a->in->opt.mode;
    cleanup(freep) char *why = NULL, *command = NULL, *scratch = NULL;
    struct boxing *box;
    struct err e = {0};
    enum tier tier;
    int r;

    if (a->in->nargs == 0)
        return fail(STATUS_USAGE, "say what to run: rein box -- COMMAND");
    if (mode && strcmp(mode, "auto") != 0 && strcmp(mode, "ask") != 0 && strcmp(mode, "plan") != 0)
        return fail(STATUS_USAGE, "rein box takes the modes auto, plan and ask; %s",
                    strcmp(mode, "open") == 0 ? "in mode open there is no box" : "there is no other");
    if (a->said.layer && strcmp(a->said.layer, "keep") != 0 && strcmp(a->said.layer, "ask") != 0 &&
        strcmp(a->said.layer, "drop") != 0)
        return fail(STATUS_USAGE, "--layer takes keep, ask or drop");
    a->cwd = realpath(a->in->opt.dir ? a->in->opt.dir : ".", NULL);
    if (!a->cwd)
        return fail(STATUS_USAGE, "the directory %s: %s", a->in->opt.dir ? a->in->opt.dir : ".", strerror(errno));
    r = env_local(a->cwd, a->home, &a->env, &e);
    if (r < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    r = egress_read(json_object_get(a->config.tree, "network"), &a->egress, &e);
    if (r < 0)
        return fail(STATUS_USAGE, "%s: %s", a->config.path, e.msg);
    tier = tier_find(a->home, false, &why);
    if (a->in->opt.tier && strcmp(a->in->opt.tier, "landlock") == 0) {
        tier = tier == TIER_LIVE ? TIER_LANDLOCK : tier;
        if (!why)
            why = xstrdup("--tier landlock");
    } else if (a->in->opt.tier && strcmp(a->in->opt.tier, "live") != 0) {
        return fail(STATUS_USAGE, "there is no tier '%s': live or landlock", a->in->opt.tier);
    }
    if (!a->said.layer && mode && strcmp(mode, "ask") == 0 && tier == TIER_LIVE)
        a->said.layer = "ask";       /* by the effect */
    if (a->said.layer && tier < TIER_LIVE)
        return fail(STATUS_PROTECTION, "a layer needs a live box: %s", why);
    if (tier == TIER_NONE || (tier < TIER_LIVE && mode && strcmp(mode, "ask") != 0))
        return fail(STATUS_PROTECTION, "mode %s promises a box that this machine does not give: %s", mode ? mode : "ask", why);
    box = xcalloc(1, sizeof(*box));
    *box = (struct boxing){ .tier = tier, .read_only = mode && strcmp(mode, "plan") == 0, .limits = BOX_LIMITS,
                            .scratch = xasprintf("%s/box/hand-%d", a->home, getpid()) };
    scratch = xstrdup(box->scratch);
    r = env_git(a->env, &box->git_root, &e);
    if (r < 0) {
        boxing_done(box);
        free(box);
        return fail(STATUS_FAILED, "%s", e.msg);
    }
    agent_way_out(a, box, decided);
    env_box(a->env, box);
    r = boxing_begin(box, &e);
    if (r < 0)
        return fail(STATUS_BOX, "%s", e.msg);
    command = command_line(a->in->args, a->in->nargs);
    r = drive(a, command, tier, why);
    path_remove(AT_FDCWD, scratch);
    buf_done(&decisions);
    return r;
}

int cmd_box(struct invocation *in)
{
    return agent_main(in, box_main);
}
