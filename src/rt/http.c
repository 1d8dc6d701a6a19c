#include "rt/http.h"

#include "base/buf.h"
#include "rt/loop.h"
#include "rt/offload.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#define HEADERS_MAX  ((size_t)64 << 10)
#define INCOMING_MAX ((size_t)2 << 20)      /* bytes that wait for their reader; with more the transfer pauses */
#define CA_DIRECTORY "/etc/ssl/certs"       /* hashed; reading the bundle instead costs 15 ms of the first request */

/* Every function of the library that is used, as X(result, name, arguments). */
#define CURL_FUNCTIONS(X)                                                                       \
    X(CURLcode, curl_global_init, (long))                                                       \
    X(char *, curl_version, (void))                                                             \
    X(CURL *, curl_easy_init, (void))                                                           \
    X(CURLcode, curl_easy_setopt, (CURL *, CURLoption, ...))                                    \
    X(CURLcode, curl_easy_getinfo, (CURL *, CURLINFO, ...))                                     \
    X(const char *, curl_easy_strerror, (CURLcode))                                             \
    X(CURLcode, curl_easy_pause, (CURL *, int))                                                 \
    X(CURLcode, curl_easy_send, (CURL *, const void *, size_t, size_t *))                       \
    X(CURLcode, curl_easy_recv, (CURL *, void *, size_t, size_t *))                             \
    X(void, curl_easy_cleanup, (CURL *))                                                        \
    X(CURLM *, curl_multi_init, (void))                                                         \
    X(CURLMcode, curl_multi_setopt, (CURLM *, CURLMoption, ...))                                \
    X(CURLMcode, curl_multi_add_handle, (CURLM *, CURL *))                                      \
    X(CURLMcode, curl_multi_remove_handle, (CURLM *, CURL *))                                   \
    X(CURLMcode, curl_multi_socket_action, (CURLM *, curl_socket_t, int, int *))                \
    X(CURLMcode, curl_multi_assign, (CURLM *, curl_socket_t, void *))                           \
    X(CURLMsg *, curl_multi_info_read, (CURLM *, int *))                                        \
    X(CURLMcode, curl_multi_cleanup, (CURLM *))                                                 \
    X(struct curl_slist *, curl_slist_append, (struct curl_slist *, const char *))              \
    X(void, curl_slist_free_all, (struct curl_slist *))

static struct {
#define X(result, name, args) result (*name) args;
    CURL_FUNCTIONS(X)
#undef X
    void *dl;
    CURLM *multi;
    uv_timer_t timer;
    bool loading, failed;
    char why[256];
    struct gate loaded;
    struct http_tls tls;
} lib;

#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

struct http {
    CURL *easy;
    struct curl_slist *headers;
    const struct str *body;
    bool (*may_dial)(void *arg, const struct sockaddr *addr);
    void *may_dial_arg;
    bool not_dialled;           /* an address that may not be */
    size_t nbody, at, at_byte;
    bool all_sent;              /* the body was handed over to its end */
    struct buf in, head;
    struct gate ready;
    bool head_done, ended, paused, tls;
    CURLcode result;
    int64_t idle_ms;
    char error[CURL_ERROR_SIZE];
};

struct socket_watch {
    uv_poll_t poll;
    curl_socket_t fd;
};

/* Opening: on a pool thread, since it reads 30 files. */

static void load_run(struct job *j)
{
    (void)j;
    lib.dl = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL);
    if (!lib.dl) {
        snprintf(lib.why, sizeof(lib.why), "%s", dlerror());
        return;
    }
#define X(result, name, args)                                                                   \
    *(void **)&lib.name = dlsym(lib.dl, #name);                                                 \
    if (!lib.name) {                                                                            \
        snprintf(lib.why, sizeof(lib.why), "%s", dlerror());                                    \
        return;                                                                                 \
    }
    CURL_FUNCTIONS(X)
#undef X
    if (lib.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        snprintf(lib.why, sizeof(lib.why), "libcurl does not initialise");
}

static void load_free(struct job *j)
{
    free(j);
}

static void finish_transfers(void)
{
    CURLMsg *msg;
    int left;

    while ((msg = lib.curl_multi_info_read(lib.multi, &left))) {
        struct http *h = NULL;

        if (msg->msg != CURLMSG_DONE)
            continue;
        lib.curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &h);
        h->ended = true;
        h->head_done = true;
        h->result = msg->data.result;
        gate_open(&h->ready, 0);
    }
}

static void on_timer(uv_timer_t *t)
{
    int running;

    (void)t;
    lib.curl_multi_socket_action(lib.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    finish_transfers();
}

static int want_timer(CURLM *m, long ms, void *arg)
{
    (void)m;
    (void)arg;
    if (ms < 0)
        uv_timer_stop(&lib.timer);
    else
        uv_timer_start(&lib.timer, on_timer, (uint64_t)ms, 0);     /* 0 fires in the next round, never from here */
    return 0;
}

static void on_socket(uv_poll_t *p, int status, int events)
{
    struct socket_watch *w = container_of(p, struct socket_watch, poll);
    int flags = 0, running;

    if (status < 0)
        flags = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    lib.curl_multi_socket_action(lib.multi, w->fd, flags, &running);
    finish_transfers();
}

static void watch_closed(uv_handle_t *p)
{
    free(container_of((uv_poll_t *)p, struct socket_watch, poll));
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct socket_watch *w = assigned;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

    (void)easy;
    (void)arg;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            uv_poll_stop(&w->poll);
            lib.curl_multi_assign(lib.multi, fd, NULL);
            uv_close((uv_handle_t *)&w->poll, watch_closed);
        }
        return 0;
    }
    if (!w) {
        w = xcalloc(1, sizeof(*w));
        w->fd = fd;
        if (uv_poll_init_socket(loop_uv(), &w->poll, fd) < 0) {
            free(w);
            return -1;
        }
        lib.curl_multi_assign(lib.multi, fd, w);
    }
    uv_poll_start(&w->poll, events, on_socket);
    return 0;
}

static CO int load(void *arg)
{
    struct job *j = xcalloc(1, sizeof(*j));

    (void)arg;
    j->run = load_run;
    j->free = load_free;
    fiber_shield();
    offload(j, "libcurl to load", FIBER_FOREVER);
    fiber_unshield();
    job_free(j);
    if (lib.why[0]) {
        lib.failed = true;
    } else {
        lib.multi = lib.curl_multi_init();
        lib.curl_multi_setopt(lib.multi, CURLMOPT_SOCKETFUNCTION, want_socket);
        lib.curl_multi_setopt(lib.multi, CURLMOPT_TIMERFUNCTION, want_timer);
        uv_timer_init(loop_uv(), &lib.timer);
        uv_unref((uv_handle_t *)&lib.timer);
    }
    gate_open(&lib.loaded, 0);
    return 0;
}

void http_prefetch(struct scope *s)
{
    if (lib.loading)
        return;
    lib.loading = true;
    scope_go(s, "load libcurl", load, NULL);
}

static CO int need_library(struct err *e)
{
    int r;

    if (!lib.loading) {
        lib.loading = true;
        load(NULL);
    }
    while (!lib.multi && !lib.failed) {
        /* A gate has one waiter. Who comes third looks again; it is over in milliseconds. */
        r = lib.loaded.waiter ? fiber_sleep(1) : gate_wait(&lib.loaded, "libcurl to load", FIBER_FOREVER);
        if (r < 0)
            return r;
    }
    gate_open(&lib.loaded, 0);          /* for whoever else waits */
    if (lib.failed)
        return err_set(e, -ENOPKG, "libcurl cannot be opened: %s; install the package libcurl4", lib.why);
    return 0;
}

CO int http_library(const char **ret_version, struct err *e)
{
    int r = need_library(e);

    if (r == 0)
        *ret_version = lib.curl_version();
    return r;
}

/* Callbacks of a transfer: they run inside the library, on the loop's stack, and only move bytes and open gates. */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct http *h = arg;

    h->head_done = true;
    gate_open(&h->ready, 0);
    if (h->in.n > INCOMING_MAX) {
        h->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    buf_add(&h->in, p, size * n);
    return size * n;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct http *h = arg;

    if (n >= 5 && memcmp(p, "HTTP/", 5) == 0)
        buf_clear(&h->head);            /* a second head: 100 Continue came first */
    buf_add(&h->head, p, size * n);     /* above the maximum the rest is not kept */
    return size * n;
}

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
    struct http *h = arg;
    size_t room = size * n, done = 0;

    while (done < room && h->at < h->nbody) {
        struct str left = str_from(h->body[h->at], h->at_byte);
        size_t take = MIN(left.n, room - done);

        memcpy(to + done, left.p, take);
        done += take;
        h->at_byte += take;
        if (take == left.n) {
            h->at++;
            h->at_byte = 0;
        }
    }
    h->all_sent = h->at == h->nbody;
    return done;
}

/* The library rewinds when it finds that a kept connection had died. It may have died of the request: once that was sent whole, it
 * is not for the library to send it again. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct http *h = arg;

    if (h->all_sent)
        return CURL_SEEKFUNC_FAIL;
    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    h->at = h->at_byte = 0;
    h->all_sent = false;
    return CURL_SEEKFUNC_OK;
}

static int transfer_error(struct http *h, struct err *e)
{
    const char *text = h->error[0] ? h->error : lib.curl_easy_strerror(h->result);

    if (h->not_dialled && h->result == CURLE_COULDNT_CONNECT)
        return err_set(e, -EACCES, "its name leads to an address that may not be reached: one of this machine, or of a "
                       "private network");
    switch (h->result) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(e, -ETIMEDOUT, "%s", text);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return err_set(e, -EHOSTUNREACH, "%s", text);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return err_set(e, -EINVAL, "%s", text);
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return err_set(e, -EPROTO, "%s", text);
    default:
        return err_set(e, -ECONNRESET, "%s", text);
    }
}

/* Where a transfer got to, from what the library says of it. */
static void note_trail(struct http *h, struct http_trail *t)
{
    long proxy = 0;
    double name = 0, connected = 0, secured = 0;

    if (!t)
        return;
    lib.curl_easy_getinfo(h->easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
    lib.curl_easy_getinfo(h->easy, CURLINFO_NAMELOOKUP_TIME, &name);
    lib.curl_easy_getinfo(h->easy, CURLINFO_CONNECT_TIME, &connected);
    lib.curl_easy_getinfo(h->easy, CURLINFO_APPCONNECT_TIME, &secured);
    t->proxy_status = proxy;
    t->sent = h->all_sent || (!h->nbody && secured > 0);
    t->hopeless = false;
    switch (h->result) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        t->hop = HOP_ADDRESS;
        t->hopeless = true;
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
        t->hop = HOP_NAME;
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
        t->hop = HOP_PROXY_NAME;
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        t->hop = HOP_TLS;
        t->hopeless = true;
        break;
    case CURLE_SSL_CONNECT_ERROR:
        t->hop = HOP_TLS;
        break;
    default:
        t->hop = t->sent || secured > 0 || (connected > 0 && !h->tls) ? HOP_SENT : connected > 0 ? HOP_TLS : name > 0 ? HOP_CONNECT
                 : HOP_NAME;
    }
    if (proxy / 100 > 2) {
        t->hop = HOP_PROXY;
        t->hopeless = proxy == 407 || proxy == 403;
    }
}

void http_use(const struct http_tls *tls)
{
    lib.tls = *tls;
}

/* The address that was looked at is the one that is dialled: there is no second look-up between. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
    struct http *h = arg;

    (void)purpose;
    if (!h->may_dial(h->may_dial_arg, &addr->addr)) {
        h->not_dialled = true;
        return CURL_SOCKET_BAD;
    }
    return socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
}

/* The library reads https_proxy, HTTPS_PROXY, all_proxy and no_proxy itself, but not HTTP_PROXY, which a web server's clients could
 * set for its programs; rein is no such program, and who sets it means it. */
static const char *plain_proxy(const char *url)
{
    const char *own = getenv("http_proxy"), *upper = getenv("HTTP_PROXY");

    return strncasecmp(url, "http://", 7) == 0 && !own && upper && *upper ? upper : NULL;
}

CO int http_open(const struct http_req *req, struct http **ret, long *ret_status, struct err *e)
{
    cleanup(http_closep) struct http *h = NULL;
    const char *own_ca = lib.tls.ca ? lib.tls.ca : getenv("SSL_CERT_FILE"), *proxy = plain_proxy(req->url);
    curl_off_t total = 0;
    int r;

    r = need_library(e);
    if (r < 0)
        return r;
    h = xcalloc(1, sizeof(*h));
    h->head.max = HEADERS_MAX;
    h->body = req->body;
    h->nbody = req->nbody;
    h->idle_ms = req->idle_ms;
    h->tls = strncasecmp(req->url, "https:", 6) == 0;
    for (size_t i = 0; i < req->nbody; i++)
        total += (curl_off_t)req->body[i].n;
    h->easy = lib.curl_easy_init();
    h->headers = lib.curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; req->headers && req->headers[i]; i++)
        h->headers = lib.curl_slist_append(h->headers, req->headers[i]);

#define SET(option, value) lib.curl_easy_setopt(h->easy, CURLOPT_##option, value)
    SET(PRIVATE, h);
    SET(URL, req->url);
    SET(PROTOCOLS_STR, "http,https");
    SET(NOSIGNAL, 1L);
    SET(QUICK_EXIT, 1L);                /* do not wait for a name server that stays silent */
    SET(ERRORBUFFER, h->error);
    SET(HTTPHEADER, h->headers);
    SET(ACCEPT_ENCODING, "");
    SET(CONNECTTIMEOUT_MS, (long)req->connect_ms);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, h);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, h);
    SET(BUFFERSIZE, 64L << 10);
    SET(PROXYAUTH, (long)CURLAUTH_ANY);
    SET(SUPPRESS_CONNECT_HEADERS, 1L);
    SET(TCP_KEEPALIVE, 1L);
    if (req->may_dial) {
        h->may_dial = req->may_dial;
        h->may_dial_arg = req->may_dial_arg;
        SET(OPENSOCKETFUNCTION, open_socket);
        SET(OPENSOCKETDATA, h);
        SET(FRESH_CONNECT, 1L);         /* one that is open already may have been dialled unasked */
    }
    if (req->raw) {
        SET(CONNECT_ONLY, 1L);
        SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);     /* what is agreed on with the other side's TLS */
        SET(NOPROXY, "*");
    } else if (proxy) {
        SET(PROXY, proxy);
    }
    if (lib.tls.cert)
        SET(SSLCERT, lib.tls.cert);
    if (lib.tls.key)
        SET(SSLKEY, lib.tls.key);
    SET(CAINFO, own_ca);
    if ((lib.tls.ca || !own_ca) && access(CA_DIRECTORY, R_OK) == 0)
        SET(CAPATH, CA_DIRECTORY);
    if (req->body) {
        SET(POST, 1L);
        SET(POSTFIELDSIZE_LARGE, total);
        SET(READFUNCTION, on_send);
        SET(READDATA, h);
        SET(SEEKFUNCTION, on_seek);
        SET(SEEKDATA, h);
        SET(UPLOAD_BUFFERSIZE, 512L << 10);
    }
#undef SET
    lib.curl_multi_add_handle(lib.multi, h->easy);

    while (!h->head_done) {
        r = gate_wait(&h->ready, "the answer's head", req->connect_ms + req->idle_ms);
        if (r < 0)
            note_trail(h, req->trail);
        if (r == -ETIMEDOUT)
            return err_set(e, r, "no answer within %lld s", (long long)((req->connect_ms + req->idle_ms) / 1000));
        if (r < 0)
            return r;
    }
    note_trail(h, req->trail);
    if (h->ended && h->result != CURLE_OK)
        return transfer_error(h, e);
    if (req->trail)
        req->trail->hop = HOP_ANSWER;
    lib.curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, ret_status);
    *ret = TAKE(h);
    return 0;
}

CO ssize_t http_read(struct http *h, struct buf *into, struct err *e)
{
    ssize_t n;
    int r;

    while (h->in.n == 0 && !h->ended) {
        r = gate_wait(&h->ready, "the answer's next bytes", h->idle_ms);
        if (r == -ETIMEDOUT)
            return err_set(e, r, "the answer stopped for %lld s", (long long)(h->idle_ms / 1000));
        if (r < 0)
            return r;
    }
    if (h->in.n == 0)
        return transfer_error(h, e);
    n = (ssize_t)h->in.n;
    r = buf_add_str(into, buf_str(&h->in));
    buf_clear(&h->in);
    if (h->paused) {
        h->paused = false;
        lib.curl_easy_pause(h->easy, CURLPAUSE_CONT);
        finish_transfers();
    }
    return r < 0 ? err_set(e, r, "the answer is larger than %zu bytes", into->max) : n;
}

void http_idle(struct http *h, int64_t ms)
{
    h->idle_ms = ms;
}

struct str http_header(struct http *h, const char *name)
{
    struct str head = buf_str(&h->head), found = {0};
    size_t len = strlen(name);

    while (head.n) {
        const char *nl = memchr(head.p, '\n', head.n);
        struct str line = str_head(head, nl ? (size_t)(nl - head.p) : head.n);

        head = str_from(head, line.n + 1);
        if (line.n <= len || strncasecmp(line.p, name, len) != 0 || line.p[len] != ':')
            continue;
        line = str_from(line, len + 1);
        while (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
            line = str_from(line, 1);
        while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' '))
            line.n--;
        found = line;
    }
    return found;
}

int http_fd(struct http *h)
{
    curl_socket_t fd = -1;

    lib.curl_easy_getinfo(h->easy, CURLINFO_ACTIVESOCKET, &fd);
    return fd;
}

static ssize_t moved(CURLcode r, size_t n)
{
    return r == CURLE_OK ? (ssize_t)n : r == CURLE_AGAIN ? -EAGAIN : -ECONNRESET;
}

ssize_t http_send(struct http *h, struct str data)
{
    size_t n = 0;
    CURLcode r = lib.curl_easy_send(h->easy, data.p, data.n, &n);

    return moved(r, n);
}

ssize_t http_recv(struct http *h, char *to, size_t max)
{
    size_t n = 0;
    CURLcode r = lib.curl_easy_recv(h->easy, to, max, &n);

    return moved(r, n);
}

void http_close(struct http *h)
{
    if (!h)
        return;
    if (h->easy) {
        lib.curl_multi_remove_handle(lib.multi, h->easy);
        lib.curl_easy_cleanup(h->easy);
    }
    lib.curl_slist_free_all(h->headers);
    buf_done(&h->in);
    buf_done(&h->head);
    free(h);
}
