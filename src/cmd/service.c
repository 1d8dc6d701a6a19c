#include "cmd/service.h"

#include "base/utf8.h"

#define LOCAL_CONNECT_MS   300
#define LOCAL_ANSWER_MS    2000
#define REMOTE_CONNECT_MS  5000
#define REMOTE_ANSWER_MS   10000

bool service_ready(const struct service *s, const char *key, struct asked *ret)
{
    *ret = (struct asked){ .provider = provider_find(str_of(s->api)) };
    if (!ret->provider || !ret->provider->list || !s->base_url)
        return false;
    ret->model = (struct model){ .service = s, .base_url = (char *)s->base_url, .key = (char *)key };
    ret->model.timers = s->local ? (struct timers){ LOCAL_CONNECT_MS, LOCAL_ANSWER_MS, LOCAL_ANSWER_MS, LOCAL_ANSWER_MS }
                                 : (struct timers){ REMOTE_CONNECT_MS, REMOTE_ANSWER_MS, REMOTE_ANSWER_MS, REMOTE_ANSWER_MS };
    return true;
}

CO void service_ask(struct asked *a)
{
    a->result = a->provider->list(&a->model, &a->listing, &a->e);
}

bool service_lists(const struct asked *a, const char *name)
{
    const json_t *each;
    size_t i;

    json_array_foreach(a->listing.names, i, each)
        if (strcmp(json_string_value(each), name) == 0)
            return true;
    return false;
}

CO int service_local(struct config *c, const char *name, char **ret, struct err *e)
{
    cleanup(freep) const struct service **known = NULL;
    cleanup(buf_done) struct buf run = {0};
    const struct service *alone = NULL;
    size_t n = 0, running = 0, models;
    int r = config_services(c, &known, &n, e);

    *ret = NULL;
    for (size_t i = 0; r == 0 && i < n && !*ret; i++) {
        cleanup(asked_done) struct asked asked = {0};

        if (!known[i]->local || !service_ready(known[i], known[i]->key_env ? getenv(known[i]->key_env) : NULL, &asked))
            continue;
        service_ask(&asked);
        if (asked.result < 0)
            continue;
        if (service_lists(&asked, name))
            *ret = xasprintf("%s/%s", known[i]->name, name);
        models = json_array_size(asked.listing.names);
        buf_addf(&run, "%s%s with %zu model%s", running++ ? ", " : "", known[i]->name, models, models == 1 ? "" : "s");
        alone = known[i];
    }
    if (r == 0 && !*ret && running == 1)
        *ret = xasprintf("%s/%s", alone->name, name);
    if (r == 0 && !*ret)
        return err_set(e, -EHOSTUNREACH, "no server on this machine has a model '%s'; %s%s", name, running ? "there is " : "none "
                       "runs at the usual ports of llama.cpp, vLLM, SGLang, Ollama and LM Studio: start one, or name its address "
                       "with --base-url", running ? run.p : "");
    return r;
}

void asked_done(struct asked *a)
{
    listing_done(&a->listing);
}

static const char *proxy_of(const char *url)
{
    bool tls = strncmp(url, "https:", 6) == 0;
    const char *names[] = { tls ? "https_proxy" : "http_proxy", tls ? "HTTPS_PROXY" : "HTTP_PROXY", "all_proxy", "ALL_PROXY" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (getenv(names[i]) && *getenv(names[i]))
            return names[i];
    return NULL;
}

/* What fails, and what a person can do. */
static void tell_hop(const struct asked *a, struct buf *out)
{
    const struct http_trail *t = &a->listing.trail;
    const char *url = a->model.base_url, *proxy = proxy_of(url);
    bool silent = a->result == -ETIMEDOUT;

    switch (t->hop) {
    case HOP_LIBRARY:
        buf_addf(out, "%s", a->e.msg);
        return;
    case HOP_ADDRESS:
        buf_addf(out, "address: %s is no address: %s", url, a->e.msg);
        return;
    case HOP_NAME:
    case HOP_PROXY_NAME:
        if (silent)
            buf_addf(out, "name server: it does not answer; see /etc/resolv.conf");
        else
            buf_addf(out, "name: %s; is there a network, and is the %s right?", a->e.msg,
                     t->hop == HOP_PROXY_NAME ? proxy ? proxy : "proxy's name" : "address");
        return;
    case HOP_CONNECT:
        buf_addf(out, "connection: %s%s%s", a->e.msg, proxy ? "; it goes through the proxy of " : "", proxy ? proxy : "");
        return;
    case HOP_PROXY:
        buf_addf(out, "proxy: it answered with status %ld%s; see %s", t->proxy_status,
                 t->proxy_status == 407 ? ", and wants a name and a password (http://NAME:PASSWORD@HOST:PORT)" : "",
                 proxy ? proxy : "the proxy's settings");
        return;
    case HOP_TLS:
        buf_addf(out, "certificate: %s; --ca FILE adds one to trust", a->e.msg);
        return;
    case HOP_SENT:
    case HOP_ANSWER:
        buf_addf(out, "answer: %s", a->e.msg);
        return;
    }
}

bool service_tell(const struct asked *a, const char *key_env, struct buf *out)
{
    const struct listing *l = &a->listing;

    buf_addf(out, "%s ", a->model.base_url);
    if (a->result < 0) {
        tell_hop(a, out);
        return false;
    }
    if (l->status == 401 || l->status == 403) {
        buf_addf(out, "key: status %ld, the key%s%s was not accepted", l->status, key_env ? " in " : "", key_env ? key_env : "");
        return false;
    }
    if (l->status != 200 && l->status != 404 && l->status != 405) {     /* not every service has such a list */
        buf_addf(out, "answer: status %ld", l->status);
        return false;
    }
    buf_addf(out, "answers in %lld ms", (long long)l->ms);
    if (l->names)
        buf_addf(out, ", %zu model%s", json_array_size(l->names), json_array_size(l->names) == 1 ? "" : "s");
    return true;
}
