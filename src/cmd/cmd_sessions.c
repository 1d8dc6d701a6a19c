/* cmd_sessions.c - the sessions of this store, newest first. What a line says is read from the session's own events. */
#include "base/clock.h"
#include "base/utf8.h"
#include "cmd/agent.h"

#define SHOWN     50
#define TITLE_MAX 60

/* The text of an event's member, or "" when there is no such event. */
static struct buf text_of(struct event *ev, const char *key)
{
    cleanup(json_unrefp) json_t *b = NULL;
    struct buf out = {0};

    if (ev && js_parse(ev->body, &b, NULL) == 0)
        utf8_add_printable(&out, js_str(b, key));
    event_free(ev);
    for (size_t i = 0; i < out.n; i++)
        if (out.p[i] == '\n' || out.p[i] == '\t')
            out.p[i] = ' ';
    return out;
}

static CO int print_row(struct agent *a, const struct session_row *row)
{
    struct event *first = NULL, *last = NULL;
    cleanup(buf_done) struct buf title = {0}, state = {0}, line = {0};
    struct err e = {0};
    uint64_t events = 0;
    int64_t changed = row->created;
    char when[32];
    struct tm tm;
    time_t t;

    /* One that cannot be read is listed all the same, and hides no other. */
    if (store_last(a->store, row->key, &last, &e) < 0) {
        buf_adds(&state, "damaged");
        buf_adds(&title, e.msg);
    } else {
        if (store_first(a->store, row->key, EV_USER, &first, &e) < 0)
            first = NULL;
        events = last->seq;
        changed = last->time;
        if (last->kind != EV_END) {
            event_free(last);
            last = NULL;
        }
        state = text_of(last, "outcome");
        title = text_of(first, "text");
    }
    if (row->parent > 0 && title.n == 0 && store_first(a->store, row->key, EV_SESSION, &first, &e) == 0) {
        title = text_of(first, "parent");
        buf_addf(&title, "@%llu, forked", (unsigned long long)row->parent_seq);
    }
    t = (time_t)(changed / NS_PER_S);
    if (a->in->opt.json) {
        buf_addc(&line, '{');
        js_add_text(&line, "session", row->id);
        js_add_int(&line, "created", row->created);
        js_add_int(&line, "changed", changed);
        js_add_text(&line, "cwd", row->cwd);
        js_add_int(&line, "events", (int64_t)events);
        js_add_text(&line, "outcome", state.n ? state.p : "open");
        js_add_str(&line, "prompt", buf_str(&title));
        buf_addc(&line, '}');
        puts(line.p);
        return 0;
    }
    strftime(when, sizeof(when), "%Y-%m-%d %H:%M", localtime_r(&t, &tm));
    printf("%-11s %s  %-11s %6llu events  %.*s\n", row->id, when, state.n ? state.p : "open", (unsigned long long)events,
           (int)utf8_cut(buf_str(&title), TITLE_MAX), buf_str(&title).p);
    return 0;
}

static CO int sessions_main(struct agent *a)
{
    struct session_row *rows;
    struct err e = {0};
    size_t n = 0;
    int r;

    if (a->in->nargs)
        return fail(STATUS_USAGE, "sessions takes no argument; rein show ID tells of one");
    r = agent_store(a, STORE_READ, &e);
    if (r == -ENOENT)
        return STATUS_DONE;             /* nothing was ever made */
    if (r == 0)
        r = store_list(a->store, a->in->opt.json ? SIZE_MAX / 4 : SHOWN, &rows, &n, &e);
    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = print_row(a, &rows[i]);
    if (n == SHOWN && !a->in->opt.json)
        printf("(the newest %d; --json lists all)\n", SHOWN);
    store_rows_free(rows, n);
    return r;
}

int cmd_sessions(struct invocation *in)
{
    return agent_main(in, sessions_main);
}
