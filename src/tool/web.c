#include "tool/web.h"

#include "base/clock.h"
#include "core/egress.h"
#include "rt/http.h"

#include <ctype.h>
#include <stdio.h>

#define REDIRECTS_MAX 5
#define CONNECT_MS    10000
#define IDLE_MS       20000
#define TOTAL_S       60

void web_page_done(struct web_page *p)
{
    free(p->url);
    buf_done(&p->body);
    *p = (struct web_page){0};
}

void web_add_escaped(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (isalnum(c) || strchr("-_.~", c))
            buf_addc(out, (char)c);
        else
            buf_addf(out, "%%%02X", c);
    }
}

char *web_join(const char *base, struct str link)
{
    const char *host = strstr(base, "://"), *path;
    size_t upto, scheme = 0;

    while (scheme < link.n && (isalnum((unsigned char)link.p[scheme]) || strchr("+.-", link.p[scheme])))
        scheme++;
    if (!host || (scheme && scheme < link.n && link.p[scheme] == ':'))
        return str_dup(link);
    if (link.n > 1 && link.p[0] == '/' && link.p[1] == '/')
        return xasprintf("%.*s:%.*s", (int)(host - base), base, STR(link));
    host += 3;
    path = host + strcspn(host, "/?#");
    if (link.n && link.p[0] == '/')
        return xasprintf("%.*s%.*s", (int)(path - base), base, STR(link));
    upto = strcspn(path, "?#");
    if (link.n && link.p[0] == '?')
        return xasprintf("%.*s%.*s", (int)(path - base + (ptrdiff_t)upto), base, STR(link));
    while (upto && path[upto - 1] != '/')
        upto--;
    return xasprintf("%.*s%s%.*s", (int)(path - base + (ptrdiff_t)upto), base, upto ? "" : "/", STR(link));
}

/* type/subtype; charset=x */
static void read_type(struct web_page *p, struct str value)
{
    size_t n = 0;
    ssize_t at;

    while (n < value.n && value.p[n] != ';' && value.p[n] != ' ' && n < sizeof(p->type) - 1) {
        p->type[n] = (char)tolower((unsigned char)value.p[n]);
        n++;
    }
    p->type[n] = 0;
    for (at = 0; (size_t)at + 8 < value.n; at++)
        if (strncasecmp(value.p + at, "charset=", 8) == 0) {
            struct str name = str_from(value, (size_t)at + 8);

            if (name.n && name.p[0] == '"')
                name = str_from(name, 1);
            n = 0;
            while (n < name.n && !strchr("\"; ", name.p[n]) && n < sizeof(p->charset) - 1) {
                p->charset[n] = name.p[n];
                n++;
            }
            p->charset[n] = 0;
            return;
        }
}

static bool is_web(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

bool web_host(const char *url, char ret[WEB_HOST_MAX])
{
    const char *at = strncasecmp(url, "http://", 7) == 0 ? url + 7 : strncasecmp(url, "https://", 8) == 0 ? url + 8 : NULL;
    size_t n = 0;

    while (at && n < WEB_HOST_MAX - 1 && (isalnum((unsigned char)at[n]) || at[n] == '.' || at[n] == '-')) {
        ret[n] = (char)tolower((unsigned char)at[n]);
        n++;
    }
    ret[n] = 0;
    if (n == 0)
        return false;
    at += n;
    if (*at == ':') {
        at++;
        at += strspn(at, "0123456789");
    }
    return *at == 0 || strchr("/?#", *at);
}

void web_needs(const char *url, void (*each)(void *arg, struct str what), void *arg)
{
    const char *at = strstr(url, "://"), *port;
    char host[WEB_HOST_MAX];

    if (!web_host(url, host))
        return;
    port = at + 3 + strlen(host);
    if (*port == ':' && port[1] != 0 && !strchr("/?#", port[1])) {
        cleanup(freep) char *both = xasprintf("%s:%.*s", host, (int)strspn(port + 1, "0123456789"), port + 1);

        each(arg, str_of(both));
    } else {
        each(arg, str_of(host));
    }
}

/* Where the user has a proxy, it is that one which looks names up, and the only one that is dialled. */
static bool behind_proxy(void)
{
    static const char *const names[] = { "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (getenv(names[i]) && *getenv(names[i]))
            return true;
    return false;
}

static bool may_dial(void *host, const struct sockaddr *addr)
{
    return egress_address(host, addr);
}

/* One request. 1: a redirect, whose target is p->url now. */
static CO int get(const char *const *headers, bool listed, struct web_page *p, int64_t deadline, struct err *e)
{
    cleanup(http_closep) struct http *h = NULL;
    char host[WEB_HOST_MAX];
    struct http_req req = { .url = p->url, .headers = headers, .connect_ms = CONNECT_MS, .idle_ms = IDLE_MS };
    struct str location;
    ssize_t n;
    int r;

    if (!is_web(p->url))
        return err_set(e, -EINVAL, "%.200s is not an address with http:// or https://", p->url);
    if (listed && !behind_proxy()) {
        if (!web_host(p->url, host))
            return err_set(e, -EACCES, "%.200s: its host is not written plainly", p->url);
        req.may_dial = may_dial;
        req.may_dial_arg = host;
    }
    r = http_open(&req, &h, &p->status, e);
    if (r < 0)
        return err_prefix(e, r, "%.200s: ", p->url);
    location = http_header(h, "Location");
    if (p->status >= 300 && p->status < 400 && p->status != 304 && location.n) {
        char *to = web_join(p->url, location);

        free(p->url);
        p->url = to;
        return 1;
    }
    read_type(p, http_header(h, "Content-Type"));
    p->body.max = WEB_BODY_MAX * 2;
    while (p->body.n <= WEB_BODY_MAX && (n = http_read(h, &p->body, e)) != 0) {
        if (n == -E2BIG)
            break;
        if (n < 0)
            return err_prefix(e, (int)n, "%.200s: ", p->url);
        if (clock_steady() > deadline)
            return err_set(e, -ETIMEDOUT, "%.200s: not all of it had come after %d s", p->url, TOTAL_S);
    }
    if (p->body.n > WEB_BODY_MAX) {
        p->cut = true;
        p->body.n = WEB_BODY_MAX;
    }
    return 0;
}

/* What is no address of the web at all, is told so when it is asked for. */
static bool leaves_host(const char *from, const char *to)
{
    char x[WEB_HOST_MAX], y[WEB_HOST_MAX];

    return is_web(to) && !(web_host(from, x) && web_host(to, y) && strcmp(x, y) == 0);
}

static bool same_origin(const char *a, const char *b)
{
    const char *host = strstr(a, "://");
    size_t n = host ? (size_t)(host - a) + 3 + strcspn(host + 3, "/?#") : strlen(a);

    return strncasecmp(a, b, n) == 0 && (b[n] == 0 || strchr("/?#", b[n]));
}

CO int web_get(const char *url, const char *const *headers, bool listed, struct web_page *ret, struct err *e)
{
    int64_t deadline = clock_steady() + TOTAL_S * NS_PER_S;
    int r;

    *ret = (struct web_page){ .url = xstrdup(url) };
    while ((r = get(headers, listed, ret, deadline, e)) == 1) {
        if (++ret->redirects > REDIRECTS_MAX)
            return err_set(e, -ELOOP, "more than %d redirects, the last to %.200s", REDIRECTS_MAX, ret->url);
        if (leaves_host(url, ret->url))
            return err_set(e, -EXDEV, "it leads to another host, and was not followed: %.400s", ret->url);
        if (!same_origin(url, ret->url))
            headers = NULL;             /* a key is for the address that it was given for */
    }
    return r;
}

CO int web_settle(struct call *c)
{
    c->result->outcome = OUT_NOT_DONE;
    buf_adds(&c->result->text, "Not done: rein was stopped during this call. Repeat it if it is still needed.");
    return 0;
}
