#include "cmd/undo.h"

#include "core/tool.h"

static const char *const ways[] = { [WAY_UNDO] = "undo", [WAY_REDO] = "redo", [WAY_KEEP] = "keep", [WAY_DROP] = "drop" };

static size_t digits(struct str s)
{
    size_t n = 0;

    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n;
}

bool layer_of_call(const char *layer, struct str *ret_session, struct str *ret_call)
{
    const char *dash = strchr(layer, '-');
    struct str rest;
    size_t a, b, n;

    if (!dash)
        return false;
    rest = str_of(dash + 1);
    a = digits(rest);
    b = a && a < rest.n && rest.p[a] == '.' ? digits(str_from(rest, a + 1)) : 0;
    n = a + 1 + b;
    if (!b || (n < rest.n && (rest.p[n] != '-' || n + 1 + digits(str_from(rest, n + 1)) != rest.n)))
        return false;
    *ret_session = (struct str){ layer, (size_t)(dash - layer) };
    *ret_call = str_head(rest, n);
    return true;
}

static char *title(const struct call_view *c)
{
    cleanup(json_unrefp) json_t *args = NULL;
    struct buf out = {0};

    js_parse((struct str){ c->args, c->args_len }, &args, NULL);
    call_title(tool_find(str_of(c->name)), c->name, args, &out);
    return buf_take(&out);
}

static void note_call(struct history *h, uint64_t seq, const json_t *b)
{
    const struct call_view *c = view_call(&h->view, js_str(b, "call"));

    if (!c)
        return;
    GROW(h->calls, h->ncalls, h->calls_cap);
    h->calls[h->ncalls++] = (struct known_call){ str_dup(js_str(b, "call")), title(c), xstrdup(view_writer(&h->view, seq, h->id)),
                                                 seq, h->view.user_seq, h->before };
}

static void note_waiting(struct history *h, uint64_t seq, const json_t *b)
{
    const char *layer = js_str(b, "layer").p;

    if (!js_str(b, "waits").p)
        return;
    GROW(h->waiting, h->nwaiting, h->waiting_cap);
    h->waiting[h->nwaiting++] = (struct known_layer){
        layer ? xstrdup(layer) : xasprintf("%s-%.*s", view_writer(&h->view, seq, h->id), STR(js_str(b, "call"))),
        str_dup(js_str(b, "waits")),
    };
}

static struct undone layers_in(const json_t *b)
{
    const json_t *list = json_object_get(b, "layers"), *each;
    struct undone u = { xcalloc(json_array_size(list) + 1, sizeof(*u.layers)), 0 };
    size_t i;

    json_array_foreach(list, i, each)
        if (json_is_string(each))
            u.layers[u.n++] = xstrdup(json_string_value(each));
    return u;
}

static void undone_free(struct undone *u)
{
    for (size_t i = 0; i < u->n; i++)
        free(u->layers[i]);
    free(u->layers);
}

static void note_undone(struct history *h, const json_t *b)
{
    GROW(h->undone, h->nundone, h->undone_cap);
    h->undone[h->nundone++] = layers_in(b);
}

static int read_event(void *arg, struct event *ev, struct err *e)
{
    struct history *h = arg;
    cleanup(json_unrefp) json_t *b = NULL;
    int r = ev->erased ? 0 : js_parse(ev->body, &b, e);

    if (ev->kind == EV_REQUEST)
        h->before = ev->seq - 1;
    if (r == 0)
        r = view_fold(&h->view, ev, b, e);
    if (r == 0 && ev->kind == EV_INTENT)
        note_call(h, ev->seq, b);
    else if (r == 0 && (ev->kind == EV_RESULT || ev->kind == EV_COMMIT))
        note_waiting(h, ev->seq, b);
    else if (r == 0 && ev->kind == EV_UNDO && str_is(js_str(b, "way"), "undo") && str_is(js_str(b, "phase"), "end"))
        note_undone(h, b);
    return r;
}

CO int history_read(struct agent *a, struct session_row *row, struct history *ret, struct err *e)
{
    *ret = (struct history){0};
    log_init(&ret->log, a->store, row);
    ret->id = ret->log.row.id;
    return log_read(&ret->log, read_event, ret, e);
}

CO void history_done(struct history *h)
{
    if (!h->id)
        return;
    for (size_t i = 0; i < h->ncalls; i++) {
        free(h->calls[i].name);
        free(h->calls[i].title);
        free(h->calls[i].writer);
    }
    free(h->calls);
    for (size_t i = 0; i < h->nwaiting; i++) {
        free(h->waiting[i].name);
        free(h->waiting[i].hash);
    }
    free(h->waiting);
    for (size_t i = 0; i < h->nundone; i++)
        undone_free(&h->undone[i]);
    free(h->undone);
    view_done(&h->view);
    log_done(&h->log);
    *h = (struct history){0};
}

const struct known_call *history_call(const struct history *h, const char *layer)
{
    struct str session, call;

    if (!layer_of_call(layer, &session, &call))
        return NULL;
    for (size_t i = h->ncalls; i-- > 0;)
        if (str_is(call, h->calls[i].name) && str_is(session, h->calls[i].writer))
            return &h->calls[i];
    return NULL;
}

static CO int do_one(struct env *v, enum way way, const char *layer, struct err *e)
{
    int r = way == WAY_UNDO ? layer_undo(v, layer, e) : way == WAY_REDO ? layer_redo(v, layer, e)
          : way == WAY_KEEP ? layer_keep(v, layer, true, e) : layer_drop(v, layer, e);

    return r == -EALREADY ? 0 : r;      /* by who was killed over it */
}

CO int undo_layers(struct env *v, enum way way, char *const *layers, size_t n, struct err *e)
{
    static const enum way back[] = { [WAY_UNDO] = WAY_REDO, [WAY_REDO] = WAY_UNDO, [WAY_KEEP] = WAY_UNDO };
    size_t done = 0;
    int r = 0;

    while (done < n && r == 0)
        r = do_one(v, way, layers[done++], e);
    if (r < 0 && way != WAY_DROP)
        for (done--; done-- > 0;)
            do_one(v, back[way], layers[done], &(struct err){0});
    return r;
}

/* For the model, which would go on with what it remembers. */
static void add_words(const struct history *h, enum way way, char *const *layers, size_t n, struct buf *out)
{
    static const char *const words[] = {
        [WAY_UNDO] = "The user has taken back what these calls changed",
        [WAY_REDO] = "The user has put in place again what these calls changed",
        [WAY_KEEP] = "The user has let in what waited",
        [WAY_DROP] = "The user has dropped what waited",
    };
    struct str last = {0};

    buf_addf(out, "[%s: ", words[way]);
    for (size_t i = 0; i < n; i++) {
        const struct known_call *c = h ? history_call(h, layers[i]) : NULL;
        struct str session, call;

        if (!layer_of_call(layers[i], &session, &call))
            call = str_of(layers[i]);
        if ((last.n == call.n && memcmp(last.p, call.p, call.n) == 0))
            continue;
        buf_addf(out, "%s%.*s%s%s", last.n ? "; " : "", STR(call), c ? " " : "", c ? c->title : "");
        last = call;
    }
    buf_adds(out, ". Read files before you change them.]");
}

static void add_body(enum way way, const char *phase, char *const *layers, size_t n, struct buf *out)
{
    buf_addc(out, '{');
    js_add_text(out, "way", ways[way]);
    js_add_text(out, "phase", phase);
    js_key(out, "layers");
    buf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, i ? "," : "");
        js_add(out, str_of(layers[i]));
    }
    buf_addc(out, ']');
}

static void add_end(const struct history *h, enum way way, char *const *layers, size_t n, int r, const struct err *e,
                    struct buf *out)
{
    cleanup(buf_done) struct buf words = {0};

    add_body(way, r < 0 ? "failed" : "end", layers, n, out);
    add_words(h, way, layers, n, &words);
    js_add_text(out, r < 0 ? "why" : "text", r < 0 ? e->msg : words.p);
    buf_addc(out, '}');
}

/* What was begun: from the event's body. */
static int read_begun(const char *body, enum way *ret_way, struct undone *ret, struct err *e)
{
    cleanup(json_unrefp) json_t *b = NULL;
    int r = js_parse(str_of(body), &b, e);

    if (r < 0)
        return r;
    for (*ret_way = WAY_UNDO; *ret_way < WAY_DROP && !str_is(js_str(b, "way"), ways[*ret_way]); ++*ret_way)
        ;
    *ret = layers_in(b);
    return 0;
}

/* Does it, between two events of which the first is there: the second says how it came out. */
static CO int finish(struct history *h, struct env *v, enum way way, char *const *layers, size_t n, struct err *e)
{
    struct buf body = {0};
    struct err later;
    int r = undo_layers(v, way, layers, n, e), said;

    add_end(h, way, layers, n, r, e, &body);
    log_stage(&h->log, EV_UNDO, 0, FROM_USER, &body);
    said = log_commit(&h->log, &later);
    if (r == 0 && said < 0)
        *e = later;
    return r < 0 ? r : said;
}

CO int undo_logged(struct history *h, struct env *v, enum way way, char *const *layers, size_t n, struct err *e)
{
    struct buf body = {0};
    int r;

    if (!h)
        return undo_layers(v, way, layers, n, e);
    r = log_drive(&h->log, e);
    if (r < 0)
        return r;
    add_body(way, "begin", layers, n, &body);
    buf_addc(&body, '}');
    log_stage(&h->log, EV_UNDO, 0, FROM_USER, &body);
    r = log_commit(&h->log, e);
    return r < 0 ? r : finish(h, v, way, layers, n, e);
}

CO int history_carry_on(struct history *h, struct env *v, size_t *ret_n, struct err *e)
{
    struct undone u = {0};
    enum way way;
    int r;

    *ret_n = 0;
    if (!h->view.undoing)
        return 0;
    r = read_begun(h->view.undoing, &way, &u, e);
    if (r == 0)
        r = log_drive(&h->log, e);
    if (r == 0)
        r = finish(h, v, way, u.layers, u.n, e);
    *ret_n = u.n;
    undone_free(&u);
    return r;
}

CO int undo_carry_on(struct session *s, struct env *v, struct err *e)
{
    struct buf body = {0};
    struct undone u;
    enum way way;
    int r;

    if (!s->view.undoing)
        return 0;
    r = read_begun(s->view.undoing, &way, &u, e);
    if (r < 0)
        return r;
    r = undo_layers(v, way, u.layers, u.n, e);
    add_end(NULL, way, u.layers, u.n, r, e, &body);
    session_put(s, EV_UNDO, 0, FROM_USER, &body);
    undone_free(&u);
    return session_commit(s, e);
}

const char *history_waits(const struct history *h, const char *layer)
{
    for (size_t i = h->nwaiting; i-- > 0;)
        if (strcmp(h->waiting[i].name, layer) == 0)
            return h->waiting[i].hash;
    return NULL;
}
