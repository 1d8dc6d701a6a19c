/* cmd_models.c - which models there are: the services that have a key or are set up, and the servers on this machine, each asked
 * whether it is there; and what is known of a model. */
#include "cmd/service.h"

#define SHOWN_MAX          20           /* names of one service; all with a pattern, or --json */

struct entry {
    struct asked asked;
    const struct service *service;
    const char *key_env;                /* the variable, or NULL */
    bool ask;
};

static CO int ask(void *arg)
{
    service_ask(&((struct entry *)arg)->asked);
    return 0;
}

/* Whether a service is worth a line, and can be asked. */
static bool prepare(struct agent *a, const struct service *s, struct entry *e)
{
    const char *command = config_key_command(&a->config, s);
    const char *key = s->key_env ? getenv(s->key_env) : NULL;

    *e = (struct entry){ .service = s, .key_env = s->key_env };
    if (!service_ready(s, key, &e->asked))
        return false;
    e->ask = (!s->key_env && !command) || (key && *key);
    return true;
}

static void add_facts(struct agent *a, struct buf *out, const char *id)
{
    struct facts f;
    struct err e;

    if (config_facts(&a->config, id, &f, &e) < 0)
        return;
    if (f.context)
        js_add_int(out, "context", f.context);
    if (f.output)
        js_add_int(out, "output", f.output);
    if (f.images || f.no_images)
        js_add_bool(out, "images", f.images);
    if (f.price.known && (f.price.in || f.price.out)) {
        js_add_int(out, "in_per_million", f.price.in);
        js_add_int(out, "out_per_million", f.price.out);
    }
}

static void print_facts(struct agent *a, const char *id)
{
    struct facts f;
    struct err e;

    if (config_facts(&a->config, id, &f, &e) < 0)
        return;
    printf("  %s", id);
    if (f.context)
        printf("  %lldk tokens", (long long)f.context / 1000);
    if (f.images)
        printf("  images");
    if (f.price.known && (f.price.in || f.price.out))
        printf("  $%.2f in, $%.2f out", (double)f.price.in / 1e6, (double)f.price.out / 1e6);
    putchar('\n');
}

static void print_entry(struct agent *a, const struct entry *e, const char *pattern)
{
    cleanup(buf_done) struct buf text = {0};
    const json_t *name;
    bool good = false;
    size_t i, shown = 0;

    if (e->ask)
        good = service_tell(&e->asked, e->key_env, &text);
    else
        buf_addf(&text, "%s no key: %s is not set", e->service->base_url, e->key_env ? e->key_env : "its variable");
    if (!e->ask || (!good && e->service->local))
        return;                         /* nobody has set it up, or it does not run */
    printf("%-10s %-9s %s ", e->service->name, e->service->api, good ? "ok  " : "BAD ");
    print_safe(stdout, buf_str(&text));
    putchar('\n');
    json_array_foreach(e->asked.listing.names, i, name) {
        cleanup(freep) char *id = xasprintf("%s/%s", e->service->name, json_string_value(name));

        if (pattern ? !strstr(id, pattern) : shown == SHOWN_MAX)
            continue;
        print_facts(a, id);
        shown++;
    }
    if (shown < json_array_size(e->asked.listing.names) && !pattern)
        printf("  and %zu more; rein models WORD finds some\n", json_array_size(e->asked.listing.names) - shown);
}

static void print_json(struct agent *a, const struct entry *e)
{
    cleanup(buf_done) struct buf text = {0}, out = {0};
    bool good = e->ask && service_tell(&e->asked, e->key_env, &text);
    const json_t *name;
    size_t i;

    buf_addc(&out, '{');
    js_add_text(&out, "service", e->service->name);
    js_add_text(&out, "api", e->service->api);
    js_add_text(&out, "base_url", e->service->base_url);
    js_add_bool(&out, "local", e->service->local);
    js_add_text(&out, "state", good ? "ok" : e->ask ? "bad" : "no key");
    if (e->ask)
        js_add_str(&out, "text", buf_str(&text));
    js_key(&out, "models");
    buf_addc(&out, '[');
    json_array_foreach(e->asked.listing.names, i, name) {
        cleanup(freep) char *id = xasprintf("%s/%s", e->service->name, json_string_value(name));

        buf_adds(&out, i ? ",{" : "{");
        js_add_text(&out, "id", id);
        add_facts(a, &out, id);
        buf_addc(&out, '}');
    }
    buf_adds(&out, "]}");
    puts(out.p);
}

static CO int models_main(struct agent *a)
{
    const char *pattern = a->in->nargs ? a->in->args[0] : NULL;
    cleanup(scope_done) struct scope all = SCOPE_INIT;
    cleanup(freep) const struct service **known = NULL;
    cleanup(freep) struct entry *list = NULL;
    size_t n = 0, nknown;
    struct err e = {0};
    bool any = false;

    if (config_services(&a->config, &known, &nknown, &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    list = xcalloc(nknown + 1, sizeof(*list));
    for (size_t i = 0; i < nknown; i++)
        n += prepare(a, known[i], &list[n]);
    for (size_t i = 0; i < n; i++)
        if (list[i].ask)
            scope_go(&all, "ask a service", ask, &list[i]);
    scope_join(&all);
    for (size_t i = 0; i < n; i++) {
        any = any || (list[i].ask && list[i].asked.result == 0);
        if (a->in->opt.json)
            print_json(a, &list[i]);
        else
            print_entry(a, &list[i], pattern);
        asked_done(&list[i].asked);
    }
    if (!any && !a->in->opt.json)
        puts("no service has a key, and no local server runs. Set a key (DEEPSEEK_API_KEY, ANTHROPIC_API_KEY, OPENAI_API_KEY, "
             "...), start llama.cpp, Ollama, vLLM or LM Studio here, or try --model builtin/apprentice");
    return STATUS_DONE;
}

int cmd_models(struct invocation *in)
{
    return agent_main(in, models_main);
}
