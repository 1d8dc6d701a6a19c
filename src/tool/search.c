/* search.c - a search of the web, by an engine that the user has set up: REIN_SEARCH=ENGINE or ENGINE=URL in the environment. */
#include "base/utf8.h"
#include "core/harness.h"
#include "tool/web.h"

#define RESULTS_DEFAULT 8
#define RESULTS_MAX     20
#define SNIPPET_MAX     300             /* bytes */

/* What differs between engines. */
static const struct engine {
    const char *name, *url;             /* url: where it usually is, NULL when everyone has their own */
    const char *path;                   /* what follows; the words come behind it */
    const char *key_env, *key_header;
    const char *list[2];                /* where the results stand in the answer */
    const char *title, *link, *text;
} engines[] = {
    { "searxng", NULL, "/search?format=json&q=", NULL, NULL, { "results" }, "title", "url", "content" },
    { "brave", "https://api.search.brave.com", "/res/v1/web/search?q=", "BRAVE_API_KEY", "X-Subscription-Token",
    { "web", "results" },
      "title", "url", "description" },
};

/* The engine of the environment and where it is (NULL: it has to be said, and was not); or NULL. */
static const struct engine *set_up(const char **ret_url)
{
    const char *set = getenv("REIN_SEARCH");
    size_t n = set ? strcspn(set, "=") : 0;

    for (size_t i = 0; n && i < ARRAY_SIZE(engines); i++)
        if (strlen(engines[i].name) == n && strncmp(set, engines[i].name, n) == 0) {
            *ret_url = set[n] ? set + n + 1 : engines[i].url;
            return &engines[i];
        }
    return NULL;
}

static void search_needs(const json_t *args, void (*each)(void *arg, struct str what), void *arg)
{
    const char *url;

    (void)args;
    if (set_up(&url) && url)
        web_needs(url, each, arg);
}

/* The same with the call closed where there is none. */
static const struct engine *find_engine(struct call *c, char **ret_url)
{
    const char *set = getenv("REIN_SEARCH"), *url;
    size_t n = set ? strcspn(set, "=") : 0;
    const struct engine *engine = set_up(&url);

    if (engine && !url) {
        result_fail(c->result, -EINVAL, "search: REIN_SEARCH has to say where %s is: REIN_SEARCH=%s=URL", engine->name,
                    engine->name);
        return NULL;
    }
    if (engine) {
        *ret_url = xstrdup(url);
        while (**ret_url && (*ret_url)[strlen(*ret_url) - 1] == '/')
            (*ret_url)[strlen(*ret_url) - 1] = 0;
        return engine;
    }
    result_fail(c->result, -ENOENT, set ? "search: there is no engine \"%.*s\"; the user can set REIN_SEARCH to searxng=URL or "
                "brave"
                : "search: no engine is set up. The user can do so with the environment variable REIN_SEARCH: searxng=URL, or "
                    "brave with "
                  "BRAVE_API_KEY. Do without it.", (int)MIN(n, (size_t)40), set ? set : "");
    return NULL;
}

static struct str one_line(struct str s)
{
    return str_head(s, utf8_cut(s, SNIPPET_MAX));
}

/* Appends words of a result in one line, without the marks around what was found. */
static void add_words(struct buf *out, struct str s)
{
    s = one_line(s);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '<') {
            const char *end = memchr(s.p + i, '>', MIN(s.n - i, (size_t)10));

            if (end) {
                i = (size_t)(end - s.p);
                continue;
            }
        }
        buf_addc(out, (unsigned char)s.p[i] < ' ' ? ' ' : s.p[i]);
    }
}

static int answer(struct call *c, const struct engine *engine, const struct web_page *page)
{
    int64_t max = MIN(js_int(c->args, "count", RESULTS_DEFAULT), (int64_t)RESULTS_MAX), n = 0;
    cleanup(json_unrefp) json_t *all = NULL;
    cleanup(buf_done) struct buf text = {0};
    const json_t *list, *each;
    struct err e;
    size_t i;

    if (page->status != 200)
        return result_fail(c->result, -EREMOTEIO, "search: %s answered with status %ld%s", engine->name, page->status,
                           page->status == 401 || page->status == 403 ? ": its key or its settings do not allow it (searxng: the "
                               "format json)" : "");
    if (js_parse_wire(buf_str(&page->body), &all, &e) < 0)
        return result_fail(c->result, -EPROTO, "search: what %s answered is not JSON (%s)", engine->name, *page->type ? page->type
                           : e.msg);
    list = all;
    for (i = 0; i < ARRAY_SIZE(engine->list) && engine->list[i]; i++)
        list = json_object_get(list, engine->list[i]);
    json_array_foreach(list, i, each) {
        if (n == max || !js_str(each, engine->link).n)
            continue;
        buf_addf(&text, "%lld. ", (long long)++n);
        add_words(&text, js_str(each, engine->title));
        buf_addf(&text, "\n   %.*s\n   ", STR(str_head(js_str(each, engine->link), 500)));
        add_words(&text, js_str(each, engine->text));
        buf_addc(&text, '\n');
    }
    if (n == 0)
        buf_adds(&text, "Nothing was found.\n");
    utf8_add_clean(&c->result->text, buf_str(&text));
    result_ok(c->result);
    return 0;
}

static CO int search_run(struct call *c)
{
    cleanup(freep) char *base = NULL, *key = NULL;
    const struct engine *engine = find_engine(c, &base);
    cleanup(buf_done) struct buf url = {0};
    const char *headers[] = { "Accept: application/json", "User-Agent: rein/" REIN_VERSION, NULL, NULL };
    struct web_page page = {0};
    struct err e = {0};
    struct str query;
    int r;

    if (!engine || !call_text(c, "query", &query))
        return 0;
    if (engine->key_env) {
        const char *secret = getenv(engine->key_env);

        if (!secret || !*secret)
            return result_fail(c->result, -EACCES, "search: the key for %s is missing: the user has to set %s", engine->name,
                               engine->key_env);
        headers[2] = key = xasprintf("%s: %s", engine->key_header, secret);
    }
    buf_addf(&url, "%s%s", base, engine->path);
    web_add_escaped(&url, query);
    r = web_get(url.p, headers, c->listed, &page, &e);
    r = r < 0 ? result_fail(c->result, r, "search: %s", e.msg) : answer(c, engine, &page);
    web_page_done(&page);
    return r;
}

const struct tool tool_search = {
    .name       = "search",
    .effect     = EFFECT_KEYED,
    .origin     = FROM_WEB,
    .title_args = "query",
    .grant      = GRANT_REACH,
    .needs      = search_needs,
    .run        = search_run,
    .settle     = web_settle,
};
