#include "core/egress.h"

#include "base/base64.h"
#include "base/buf.h"
#include "core/redact.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>

void egress_done(struct egress *g)
{
    while (g->n) {
        g->n--;
        free(g->v[g->n].name);
        free(g->v[g->n].key_env);
        free(g->v[g->n].header);
    }
    free(g->v);
    *g = (struct egress){0};
}

static bool is_name(const char *s)
{
    size_t n = strlen(s);

    if (n > 2 && s[0] == '*' && s[1] == '.')
        return is_name(s + 2) && strchr(s + 2, '.');
    return n > 0 && n < 254 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") == n && s[0] != '-' && s[0] != '.';
}

static bool is_variable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '_')
            return false;
    return s.n > 0 && !isdigit((unsigned char)*s.p);
}

static bool is_header(struct str s)
{
    size_t name = 0;

    while (name < s.n && (isalnum((unsigned char)s.p[name]) || s.p[name] == '-'))
        name++;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return name > 0 && name < s.n && s.p[name] == ':' &&
           (str_find(s, LIT("{key}"), 0) >= 0 || str_find(s, LIT("{basic:"), 0) >= 0);
}

/* The key that goes with a host. */
static int read_key(const json_t *each, struct egress_host *h, struct err *e)
{
    struct str variable = js_str(each, "key_env"), header = js_str(each, "header");

    if (!variable.n && !header.n)
        return 0;
    if (!is_variable(variable))
        return err_set(e, -EBADMSG, "network: %.80s: key_env is the name of a variable of the environment, which holds the key",
                       h->name);
    if (h->name[0] == '*' || h->fetch_only)
        return err_set(e, -EBADMSG, "network: %.80s: a key goes to one host by its name, with what commands ask of it", h->name);
    if (header.n && !is_header(header))
        return err_set(e, -EBADMSG, "network: %.80s: header is \"Name: value\" with {key} or {basic:USER} in the value", h->name);
    redact_hide(variable);
    h->key_env = str_dup(variable);
    h->header = header.n ? str_dup(header) : xstrdup("Authorization: Bearer {key}");
    return 0;
}

static int read_one(const json_t *each, struct egress *ret, struct err *e)
{
    static const char *const known[] = { "host", "port", "fetch_only", "private", "key_env", "header" };
    struct str name = json_is_string(each) ? (struct str){ json_string_value(each), json_string_length(each) }
                                           : js_str(each, "host");
    struct egress_host h = { .port = (int)js_int(each, "port", 0), .fetch_only = js_bool(each, "fetch_only", false),
                             .is_private = js_bool(each, "private", false) };
    const char *key;
    json_t *value;
    int r;

    if (!name.n || (size_t)strnlen(name.p, name.n) != name.n)
        return err_set(e, -EBADMSG, "network: an entry is a host, or {host: NAME, port: N, fetch_only: true, private: true}");
    json_object_foreach((json_t *)(json_is_object(each) ? each : NULL), key, value) {
        bool is = false;

        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            is = is || strcmp(key, known[i]) == 0;
        if (!is)
            return err_set(e, -EBADMSG, "network: %.60s: there is no setting '%.40s'", name.p, key);
    }
    h.name = str_dup(name);
    for (char *p = h.name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (!is_name(h.name) || h.port < 0 || h.port > 65535) {
        free(h.name);
        return err_set(e, -EBADMSG, "network: '%.80s' is no name of a host (\"*.\" may stand in front), or its port is none",
                       name.p);
    }
    r = json_is_object(each) ? read_key(each, &h, e) : 0;
    if (r < 0) {
        free(h.name);
        return r;
    }
    GROW(ret->v, ret->n, ret->cap);
    ret->v[ret->n++] = h;
    return 0;
}

int egress_key(const struct egress_host *h, struct buf *out, struct err *e)
{
    const char *key = getenv(h->key_env);

    if (!key || !*key)
        return err_set(e, -ENOENT, "the key for %s is to be in the variable %s, which is not set where rein was started", h->name,
                       h->key_env);
    for (const char *p = key; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return err_set(e, -EBADMSG, "the variable %s holds a line break or the like, which no key has", h->key_env);
    for (const char *p = h->header; *p;) {
        if (strncmp(p, "{key}", 5) == 0) {
            buf_adds(out, key);
            p += 5;
        } else if (strncmp(p, "{basic:", 7) == 0 && strchr(p, '}')) {
            const char *end = strchr(p, '}');
            cleanup(freep) char *both = xasprintf("%.*s:%s", (int)(end - p - 7), p + 7, key);
            size_t at = out->n;

            base64_add(out, str_of(both));
            redact_learn(str_from(buf_str(out), at));
            p = end + 1;
        } else {
            buf_addc(out, *p++);
        }
    }
    buf_adds(out, "\r\n");
    return 0;
}

int egress_read(const json_t *list, struct egress *ret, struct err *e)
{
    const json_t *each;
    size_t i;
    int r = 0;

    json_array_foreach(list, i, each)
        if (r == 0)
            r = read_one(each, ret, e);
    return r;
}

static bool is_literal(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

const struct egress_host *egress_find(const struct egress *g, const char *host, int port, bool command)
{
    for (size_t i = 0; g && i < g->n; i++) {
        const struct egress_host *h = &g->v[i];
        size_t n = strlen(host), below = strlen(h->name) - (h->name[0] == '*');
        bool is = h->name[0] != '*' ? strcasecmp(host, h->name) == 0
                : !is_literal(host) && n > below && strcasecmp(host + n - below, h->name + 1) == 0;

        if (is && (h->port ? port == h->port : port == 80 || port == 443) && !(command && h->fetch_only))
            return h;
    }
    return NULL;
}

static bool in4(uint32_t a, uint32_t net, int bits)
{
    return (a ^ net) >> (32 - bits) == 0;
}

/* Everything that the registries do not give out to the public, and one address of a cloud's own. */
static bool is_public4(uint32_t a)
{
    static const struct { uint32_t net; int bits; } not_public[] = {
        { 0x00000000, 8 }, { 0x0a000000, 8 }, { 0x64400000, 10 }, { 0x7f000000, 8 }, { 0xa9fe0000, 16 }, { 0xac100000, 12 },
        { 0xc0000000, 24 }, { 0xc0000200, 24 }, { 0xc0586300, 24 }, { 0xc0a80000, 16 }, { 0xc6120000, 15 }, { 0xc6336400, 24 },
        { 0xcb007100, 24 }, { 0xe0000000, 4 }, { 0xf0000000, 4 }, { 0xa83f8110, 32 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(not_public); i++)
        if (in4(a, not_public[i].net, not_public[i].bits))
            return false;
    return true;
}

static bool begins(const uint8_t *a, const char *with, size_t n)
{
    return memcmp(a, with, n) == 0;
}

/* Of 2000::/3 only, without what leads somewhere else by way of its digits. */
static bool is_public6(const uint8_t a[16])
{
    static const uint8_t zero[12];

    if (memcmp(a, zero, 10) == 0 && a[10] == 0xff && a[11] == 0xff)
        return is_public4(be32(a + 12));
    if (begins(a, "\x00\x64\xff\x9b\0\0\0\0\0\0\0\0", 12))
        return is_public4(be32(a + 12));
    if ((a[0] & 0xe0) != 0x20)
        return false;
    return !begins(a, "\x20\x02", 2) && !begins(a, "\x20\x01\x0d\xb8", 4) && !(begins(a, "\x20\x01", 2) && a[2] < 2) &&
           !begins(a, "\x3f\xff", 2);
}

bool egress_address(const char *host, const struct sockaddr *addr)
{
    struct in_addr v4;
    struct in6_addr v6;
    bool local = strcasecmp(host, "localhost") == 0;

    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;

        if (inet_pton(AF_INET, host, &v4) == 1)
            return v4.s_addr == in->sin_addr.s_addr;
        return local ? in4(ntohl(in->sin_addr.s_addr), 0x7f000000, 8) : is_public4(ntohl(in->sin_addr.s_addr));
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)addr;

        if (inet_pton(AF_INET6, host, &v6) == 1)
            return memcmp(&v6, &in->sin6_addr, 16) == 0;
        return local ? IN6_IS_ADDR_LOOPBACK(&in->sin6_addr) : is_public6(in->sin6_addr.s6_addr);
    }
    return false;
}
