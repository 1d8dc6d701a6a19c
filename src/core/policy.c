#include "core/policy.h"

#include "base/clock.h"
#include "base/path.h"
#include "core/harness.h"
#include "core/labels.h"
#include "core/session.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

static void rule(struct ruling *r, enum verdict verdict, const char *fmt, ...) printf_fmt(3, 4);

static void rule(struct ruling *r, enum verdict verdict, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->why, sizeof(r->why), fmt, ap);
    va_end(ap);
    r->verdict = verdict;
}

/* The grants of one kind that hold here; the texts are the ledger's. */
static size_t held(const struct session *s, enum grant_kind kind, const char **ret, size_t max)
{
    const struct grants *g = &s->with.ledger->grants;
    int64_t now = clock_even();
    size_t n = 0;

    for (size_t i = 0; i < g->n && n < max; i++)
        if (grant_holds(&g->v[i], kind, s->view.cwd, s->log.row.id, now))
            ret[n++] = g->v[i].what;
    return n;
}

#define HELD_MAX 256

/* Where the next command begins. */
static const char *start_of(const struct session *s)
{
    return s->with.harness->shell_persists && s->view.shell_dir ? s->view.shell_dir : s->view.cwd;
}

/* A command is read before it is run: what is known to be harmless needs no word. */
static CO void judge_line(const struct session *s, struct str line, struct rule_line *ret)
{
    const char *allow[HELD_MAX];
    size_t n = held(s, GRANT_RUN, allow, HELD_MAX);

    rules_judge(s->with.env, s->view.cwd, start_of(s), line, allow, n, ret);
}

/* `ret_leaves`: some of it is allowed by a person's word alone, and nobody knows what it reaches. */
static CO void rule_line(const struct session *s, struct str line, struct ruling *ret, bool *ret_leaves)
{
    cleanup(rules_done) struct rule_line l = {0};
    static const enum verdict verdicts[] = { [RULE_ALLOW] = POLICY_ALLOW, [RULE_ASK] = POLICY_ASK, [RULE_DENY] = POLICY_DENY };

    judge_line(s, line, &l);
    rule(ret, verdicts[l.verdict], "mode ask: %s", l.why);
    ret->plain = l.verdict == RULE_ALLOW;
    for (size_t i = 0; i < l.n && ret->plain; i++)
        *ret_leaves = *ret_leaves || l.v[i].unknown;
}

/* The file itself, and not one that a link leads to. */
static bool is_itself(const char *path)
{
    cleanup(freep) char *at = xstrdup(path), *real = NULL;
    char *slash;

    while (!(real = realpath(at, NULL))) {
        slash = strrchr(at, '/');
        if (errno != ENOENT || !slash || slash == at)
            return false;
        *slash = 0;
    }
    return strcmp(real, at) == 0;
}

/* What a call needs leave for, and whether it was given. */
struct needing {
    struct session *s;
    enum grant_kind kind;
    const char *held[HELD_MAX];
    size_t nheld;
    struct grants *want;            /* NULL: it is only looked whether all are held */
    size_t n, missing;
};

static void need(void *arg, struct str what)
{
    struct needing *w = arg;
    cleanup(freep) char *text = w->kind == GRANT_WRITE ? path_resolve(w->s->view.cwd, what) : str_dup(what);
    bool has = false;

    for (size_t i = 0; i < w->nheld; i++)
        has = has || strcmp(w->held[i], text) == 0;
    has = has && (w->kind != GRANT_WRITE || is_itself(text));
    w->n++;
    w->missing += !has;
    if (has || !w->want)
        return;
    GROW(w->want->v, w->want->n, w->want->cap);
    w->want->v[w->want->n++] = (struct grant){ .kind = w->kind, .what = TAKE(text) };
}

/* True: it was given for all that the call needs. */
static bool look(struct session *s, const struct tool *tool, const json_t *args, struct needing *w)
{
    w->s = s;
    w->kind = tool->grant;
    w->nheld = held(s, w->kind, w->held, HELD_MAX);
    if (tool->needs)
        tool->needs(args, need, w);
    return w->n && !w->missing;
}

/* The three-way rule: what anybody may have written, what is secret, and a call that takes something away are not to meet, unless a
 * person says so. 1: they would, and the ruling says what. */
static CO int meets(struct session *s, const json_t *args, struct ruling *ret, struct err *e)
{
    cleanup(freep) char *text = json_dumps(args, JSON_COMPACT);
    struct err met = {0};
    struct labels l;
    int r = session_commit(s, e);

    if (r == 0)
        r = labels_look(s, str_of(text ? text : ""), &l, e);
    if (r < 0)
        return r;
    if (labels_meet(&l, "a call that leaves this machine", &met) == 0)
        return 0;
    rule(ret, POLICY_ASK, "%s", met.msg);
    return 1;
}

/* HOST or HOST:PORT, as web_needs has it. */
struct reaching {
    const struct egress *list;
    size_t n, unlisted;
    bool is_public;                 /* an entry means public addresses only */
    char host[80];                  /* the first that is not on the list */
};

static void reach(void *arg, struct str what)
{
    struct reaching *w = arg;
    cleanup(freep) char *host = str_dup(what);
    char *colon = strrchr(host, ':');
    int port = colon ? atoi(colon + 1) : 443;
    const struct egress_host *entry;

    if (colon)
        *colon = 0;
    w->n++;
    entry = egress_find(w->list, host, port, false);
    if (entry) {
        w->is_public = w->is_public || !entry->is_private;
        return;
    }
    if (w->unlisted++ == 0)
        snprintf(w->host, sizeof(w->host), "%.70s", host);
}

/* Mode auto: nobody is there to be asked. */
static CO int rule_leaving(struct session *s, const struct tool *tool, const json_t *args, struct ruling *ret, struct err *e)
{
    struct reaching w = { .list = s->with.egress };
    int r;

    if (tool->needs)
        tool->needs(args, reach, &w);
    if (!w.n || w.unlisted) {
        rule(ret, POLICY_DENY, "mode auto: %s is not on the user's list of hosts, and nobody is there to be asked",
             w.unlisted ? w.host : "where it leads");
        return 0;
    }
    r = meets(s, args, ret, e);
    if (r < 0)
        return r;
    if (r > 0) {
        ret->verdict = POLICY_DENY;
        return 0;
    }
    rule(ret, POLICY_ALLOW, "its host is on the user's list");
    ret->listed = w.is_public;
    return 0;
}

/* Mode ask. */
static CO int rule_asking(struct session *s, const struct tool *tool, const json_t *args, struct ruling *ret, struct err *e)
{
    enum effect effect = tool_effect(tool, args);
    bool leaves = effect == EFFECT_KEYED;
    struct needing w = {0};
    int r = ledger_read(s->with.ledger, e);     /* what was allowed may have been taken back */

    if (r < 0)
        return r;
    if (tool->grant == GRANT_RUN && effect == EFFECT_OPAQUE) {
        rule_line(s, js_str(args, "command"), ret, &leaves);
    } else if (look(s, tool, args, &w)) {
        rule(ret, POLICY_ALLOW, "mode ask: a person allowed it before");
        ret->listed = leaves;
    } else {
        rule(ret, POLICY_ASK, "mode ask: it changes something, or leaves this machine");
    }
    if (!leaves || ret->verdict == POLICY_DENY)
        return 0;
    r = meets(s, args, ret, e);
    return r < 0 ? r : 0;
}

CO int policy_judge(struct session *s, const struct tool *tool, const json_t *args, struct ruling *ret, struct err *e)
{
    enum effect effect = tool_effect(tool, args);

    *ret = (struct ruling){0};
    if (effect == EFFECT_PURE) {
        rule(ret, POLICY_ALLOW, "it only reads");
        return 0;
    }
    if (s->view.mode && strcmp(s->view.mode, "open") == 0) {
        rule(ret, POLICY_ALLOW, "mode open allows everything");
        return 0;
    }
    if (!policy_boxes(s->view.mode))
        return rule_asking(s, tool, args, ret, e);
    if (effect == EFFECT_KEYED)             /* what is repeated with the same key is what leaves the machine */
        return rule_leaving(s, tool, args, ret, e);
    rule(ret, POLICY_ALLOW, "the box holds it");
    return 0;
}

/* The words by which a command could be allowed: those of its row, or all of it. */
static void add_prefix(const struct rule_command *c, struct grants *ret)
{
    const char *row = rules_row(c);
    struct buf words = {0};

    buf_adds(&words, row ? row : "");
    for (size_t i = 0; i < c->argc && !row; i++)
        buf_addf(&words, "%s%s", i ? " " : "", c->argv[i]);
    GROW(ret->v, ret->n, ret->cap);
    ret->v[ret->n++] = (struct grant){ .kind = GRANT_RUN, .what = buf_take(&words) };
}

static CO int grants_of_line(struct session *s, struct str line, struct grants *ret, struct err *e)
{
    cleanup(rules_done) struct rule_line l = {0}, again = {0};
    const char *allow[HELD_MAX];
    size_t n;

    judge_line(s, line, &l);
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i].verdict == RULE_ASK)
            add_prefix(&l.v[i], ret);
    n = held(s, GRANT_RUN, allow, HELD_MAX);
    for (size_t i = 0; i < ret->n && n < HELD_MAX; i++)
        allow[n++] = ret->v[i].what;
    rules_judge(s->with.env, s->view.cwd, start_of(s), line, allow, n, &again);
    if (again.verdict != RULE_ALLOW)
        return err_set(e, -EINVAL, "a command like this is asked about each time (%s): answer yes or no", again.why);
    return 0;
}

CO int policy_grants(struct session *s, const struct tool *tool, const json_t *args, struct grants *ret, struct err *e)
{
    struct needing w = { .want = ret };

    if (tool->grant == GRANT_RUN && tool_effect(tool, args) == EFFECT_OPAQUE)
        return grants_of_line(s, js_str(args, "command"), ret, e);
    if (!tool->needs || (look(s, tool, args, &w), !w.n))
        return err_set(e, -EINVAL, "what %s does is asked about each time: answer yes or no", tool->name);
    return 0;
}

bool policy_boxes(const char *mode)
{
    return mode && (strcmp(mode, "auto") == 0 || policy_plans(mode));
}

bool policy_plans(const char *mode)
{
    return mode && strcmp(mode, "plan") == 0;
}

int policy_mode(const char *mode, struct err *e)
{
    if (strcmp(mode, "ask") == 0 || strcmp(mode, "open") == 0 || policy_boxes(mode))
        return 0;
    return err_set(e, -EINVAL, "there is no mode '%s': ask, auto, plan or open", mode);
}
