#include "cmd/service.h"

#include "base/utf8.h"

CO void service_ask(struct asked *a)
{
    a->result = a->provider->list(&a->model, &a->listing, &a->e);
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
