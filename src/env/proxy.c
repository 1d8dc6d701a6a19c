#include "env/proxy.h"

#include "base/buf.h"
#include "rt/http.h"
#include "rt/net.h"
#include "rt/proc.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#define HEAD_MAX        ((size_t)32 << 10)
#define HOST_MAX        254
#define HEAD_MS         30000
#define CONNECT_MS      15000
#define IDLE_MS         600000
#define BYTES_MAX       ((int64_t)4 << 30)      /* that one connection may carry, each way */
#define CONNECTIONS_MAX 64
#define PIECE           ((size_t)64 << 10)

struct connection {
    struct proxy *proxy;
    int client;
    int *open;                          /* connections in all */
};

/* What a request asks for. */
struct wish {
    struct str method, rest;            /* rest: what the host is to be asked for, with its leading slash */
    char host[HOST_MAX];
    int port;
    bool tunnel;
};

/* HOST, HOST:PORT or [ADDRESS]:PORT, written plainly. */
static bool read_host(struct str s, int port, struct wish *w)
{
    size_t n = 0;

    if (s.n && *s.p == '[') {
        const char *end = memchr(s.p, ']', s.n);

        n = end ? (size_t)(end - s.p) - 1 : 0;
        if (n == 0 || n >= HOST_MAX)
            return false;
        memcpy(w->host, s.p + 1, n);
        s = str_from(s, n + 2);
    } else {
        while (n < s.n && n < HOST_MAX - 1 && (isalnum((unsigned char)s.p[n]) || s.p[n] == '.' || s.p[n] == '-' || s.p[n] == '_'))
            n++;
        memcpy(w->host, s.p, n);
        s = str_from(s, n);
    }
    w->host[n] = 0;
    for (size_t i = 0; i < n; i++)
        w->host[i] = (char)tolower((unsigned char)w->host[i]);
    w->port = port;
    if (s.n) {
        if (*s.p != ':' || s.n < 2 || s.n > 6)
            return false;
        w->port = 0;
        for (size_t i = 1; i < s.n; i++) {
            if (!isdigit((unsigned char)s.p[i]))
                return false;
            w->port = w->port * 10 + (s.p[i] - '0');
        }
    }
    return n > 0 && w->port > 0 && w->port < 65536;
}

/* METHOD TARGET HTTP/1.x. A target is a host for CONNECT, else a whole address. */
static bool read_wish(struct str line, struct wish *w)
{
    const char *first = memchr(line.p, ' ', line.n), *last = memrchr(line.p, ' ', line.n);
    struct str target;
    size_t n;

    if (!first || first == last || (line.n - (size_t)(last - line.p)) != 9 || memcmp(last, " HTTP/1.", 8) != 0)
        return false;
    w->method = (struct str){ line.p, (size_t)(first - line.p) };
    target = (struct str){ first + 1, (size_t)(last - first) - 1 };
    for (size_t i = 0; i < w->method.n; i++)
        if (!isupper((unsigned char)w->method.p[i]))
            return false;
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || target.p[i] == 0x7f)
            return false;
    w->tunnel = str_is(w->method, "CONNECT");
    if (w->tunnel)
        return read_host(target, 443, w);
    if (target.n < 8 || strncasecmp(target.p, "http://", 7) != 0)
        return false;
    target = str_from(target, 7);
    for (n = 0; n < target.n && !strchr("/?#", target.p[n]); n++)
        ;
    w->rest = str_from(target, n);
    return read_host(str_head(target, n), 80, w);
}

static CO void refuse(int client, int status, const char *words)
{
    cleanup(buf_done) struct buf out = {0};

    buf_addf(&out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %zu\r\n\r\nrein: %s\n",
             status, status == 403 ? "Forbidden" : status == 400 ? "Bad Request" : "Bad Gateway", strlen(words) + 7, words);
    net_write(client, buf_str(&out), HEAD_MS);
    shutdown(client, SHUT_WR);
}

/* The other side of a command's connection: a socket, or TLS where rein puts a key in. */
struct far {
    int fd;
    struct http *tls;
};

static void far_done(struct far *f)
{
    if (!f->tls && f->fd >= 0)
        close(f->fd);
    http_close(f->tls);
}

static CO int far_write(const struct far *f, int fd, struct str data)
{
    if (!f->tls)
        return net_write(fd, data, IDLE_MS);
    while (data.n) {
        ssize_t n = http_send(f->tls, data);
        int r = n == -EAGAIN ? fd_writable(fd, "a host that reads", IDLE_MS) : n < 0 ? (int)n : 0;

        if (r < 0)
            return r;
        data = str_from(data, (size_t)MAX(n, (ssize_t)0));
    }
    return 0;
}

static CO ssize_t far_read(const struct far *f, int fd, char *to, size_t max)
{
    ssize_t n;
    int r;

    if (!f->tls)
        return net_read(fd, to, max, IDLE_MS);
    while ((n = http_recv(f->tls, to, max)) == -EAGAIN)
        if ((r = fd_readable(fd, "a host that writes", IDLE_MS)) < 0)
            return r;
    return n;
}

/* The request as its host is to have it: for that host and no other behind the same address, without what is between the command
 * and its proxy, and with the header that has the key ("": none), whose own name counts for nothing. One request a connection. */
static void add_request(const struct wish *w, int port, struct str key, struct str headers, struct buf *out)
{
    static const char *const between[] = { "host:", "proxy-connection:", "proxy-authorization:", "connection:", "keep-alive:" };
    ssize_t colon = str_find(key, LIT(":"), 0);
    bool is_v6 = strchr(w->host, ':');

    buf_addf(out, "%.*s %s%.*s HTTP/1.1\r\n", STR(w->method), w->rest.n && *w->rest.p == '/' ? "" : "/", STR(w->rest));
    buf_addf(out, "Host: %s%s%s", is_v6 ? "[" : "", w->host, is_v6 ? "]" : "");
    if (port != (key.n ? 443 : 80))
        buf_addf(out, ":%d", port);
    buf_adds(out, "\r\n");
    while (headers.n) {
        ssize_t end = str_find(headers, LIT("\r\n"), 0);
        struct str line = str_head(headers, end < 0 ? headers.n : (size_t)end);
        bool drop = false;

        headers = str_from(headers, end < 0 ? headers.n : (size_t)end + 2);
        for (size_t i = 0; i < ARRAY_SIZE(between); i++)
            drop = drop || (line.n >= strlen(between[i]) && strncasecmp(line.p, between[i], strlen(between[i])) == 0);
        drop = drop || (colon > 0 && line.n > (size_t)colon && strncasecmp(line.p, key.p, (size_t)colon + 1) == 0);
        if (!drop && line.n)
            buf_addf(out, "%.*s\r\n", STR(line));
    }
    buf_add_str(out, key);
    buf_adds(out, "Connection: close\r\n\r\n");
}

struct stream {
    const struct far *far;
    int client, far_fd;
    bool in;                            /* to the command */
};

/* One direction, to its end. */
static CO int stream(void *arg)
{
    const struct stream *s = arg;
    cleanup(freep) char *piece = xmalloc(PIECE);
    int64_t total = 0;
    ssize_t n;
    int r = 0;

    while (r == 0 && total < BYTES_MAX && (n = s->in ? far_read(s->far, s->far_fd, piece, PIECE)
                                                     : net_read(s->client, piece, PIECE, IDLE_MS)) > 0) {
        struct str data = { piece, (size_t)n };

        r = s->in ? net_write(s->client, data, IDLE_MS) : far_write(s->far, s->far_fd, data);
        total += n;
    }
    if (s->in || !s->far->tls)
        shutdown(s->in ? s->client : s->far_fd, SHUT_WR);
    if (r < 0 || total >= BYTES_MAX)
        shutdown(s->in ? s->far_fd : s->client, SHUT_RD);
    return r == -ECANCELED ? r : 0;
}

/* The loop waits for a descriptor in one way at a time: each direction has descriptors of its own. */
static CO int relay(int client, const struct far *far)
{
    cleanup(scope_done) struct scope both = SCOPE_INIT;
    cleanup(closep) int client_too = fcntl(client, F_DUPFD_CLOEXEC, 0), far_too = fcntl(far->fd, F_DUPFD_CLOEXEC, 0);
    struct stream out = { far, client, far_too, false }, in = { far, client_too, far->fd, true };

    if (client_too < 0 || far_too < 0)
        return -errno;

    scope_go(&both, "proxy: sends", stream, &out);
    scope_go(&both, "proxy: receives", stream, &in);
    return scope_join(&both);
}

/* What may be dialled for an entry of the list. */
struct dialling {
    const struct egress_host *entry;
    const char *host;
};

static bool may_dial(void *arg, const struct sockaddr *addr)
{
    const struct dialling *d = arg;

    return d->entry->is_private || egress_address(d->host, addr);
}

/* Over TLS, with what rein trusts: the key that goes over it is for that host alone. */
static CO int dial_tls(const struct wish *w, int port, struct dialling *d, struct far *ret, struct err *e)
{
    bool is_v6 = strchr(w->host, ':');
    cleanup(freep) char *url = xasprintf("https://%s%s%s:%d/", is_v6 ? "[" : "", w->host, is_v6 ? "]" : "", port);
    struct http_req req = { .url = url, .may_dial = may_dial, .may_dial_arg = d, .connect_ms = CONNECT_MS, .idle_ms = CONNECT_MS,
                            .raw = true };
    long status;
    int r = http_open(&req, &ret->tls, &status, e);

    if (r == 0)
        ret->fd = http_fd(ret->tls);
    return r < 0 ? err_prefix(e, r, "%s: ", w->host) : 0;
}

/* Connects to what is asked for, if it may be. 0, or the command has got its answer. */
static CO int reach(struct connection *c, const struct wish *w, struct far *ret, int *ret_port, struct buf *ret_key)
{
    struct proxy *p = c->proxy;
    struct dialling d = { egress_find(p->list, w->host, w->port, true), w->host };
    char why[400], addr[NET_ADDR];
    struct err e = {0};
    bool asked;
    int r;

    *ret_port = w->port;
    if (!d.entry) {
        snprintf(why, sizeof(why), "%s:%d is not among the hosts that commands may reach; the user can add it (network: in "
                 "config.yaml)", w->host, w->port);
        p->decided(p->arg, w->host, w->port, why, &e);
        refuse(c->client, 403, why);
        return -EACCES;
    }
    r = p->decided(p->arg, w->host, w->port, NULL, &e);
    asked = r == 0;
    if (asked && p->let_out)
        ++*p->let_out;
    if (r == 0 && d.entry->key_env && !w->tunnel) {
        *ret_port = w->port == 80 ? 443 : w->port;
        r = egress_key(d.entry, ret_key, &e);
        if (r == 0)
            r = dial_tls(w, *ret_port, &d, ret, &e);
    } else if (r == 0) {
        r = ret->fd = net_connect(w->host, w->port, may_dial, &d, CONNECT_MS, addr, &e);
    }
    if (r == -EACCES && asked)
        p->decided(p->arg, w->host, w->port, e.msg, &(struct err){0});
    if (r < 0 && r != -ECANCELED)
        refuse(c->client, r == -EACCES ? 403 : 502, e.msg);
    return MIN(r, 0);
}

static CO int serve(void *arg)
{
    struct connection *c = arg;
    cleanup(buf_done) struct buf head = BUF_MAX(HEAD_MAX + 1), first = {0}, key = {0};
    cleanup(far_done) struct far far = { .fd = -1 };
    cleanup(closep) int client = c->client;
    struct wish w = {0};
    ssize_t end = -1, line, n = 1;
    int port;
    char *to;

    while (end < 0 && (to = buf_room(&head, 4096)) && (n = net_read(client, to, 4096, HEAD_MS)) > 0) {
        head.n += (size_t)n;
        end = str_find(buf_str(&head), LIT("\r\n\r\n"), 0);
    }
    line = end < 0 ? -1 : str_find(buf_str(&head), LIT("\r\n"), 0);
    if (n > 0 && (line < 0 || !read_wish(str_head(buf_str(&head), (size_t)line), &w))) {
        refuse(client, 400, "this proxy takes CONNECT HOST:PORT, and requests for http://");
    } else if (n > 0 && (n = reach(c, &w, &far, &port, &key)) == 0) {
        struct str headers = str_from(str_head(buf_str(&head), (size_t)end + 2), (size_t)line + 2);

        if (w.tunnel)
            n = net_write(client, LIT("HTTP/1.1 200 Connection established\r\n\r\n"), HEAD_MS);
        else
            add_request(&w, port, buf_str(&key), headers, &first);
        buf_add_str(&first, str_from(buf_str(&head), (size_t)end + 4));
        if (n >= 0)
            n = far_write(&far, far.fd, buf_str(&first));
        if (n >= 0)
            n = relay(client, &far);
    }
    --*c->open;
    free(c);
    return n == -ECANCELED ? -ECANCELED : 0;
}

CO int proxy_serve(void *arg)
{
    struct proxy *p = arg;
    cleanup(scope_done) struct scope all = SCOPE_INIT;
    int open = 0, r;

    while ((r = fd_readable(p->listener, "the box's connections", FIBER_FOREVER)) == 0) {
        int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct connection *c;

        if (fd < 0)
            continue;
        if (open == CONNECTIONS_MAX) {
            close(fd);
            continue;
        }
        open++;
        c = xmalloc(sizeof(*c));
        *c = (struct connection){ p, fd, &open };
        scope_go(&all, "proxy", serve, c);
    }
    return r;
}
