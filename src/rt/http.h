/* http.h - one HTTP request whose answer is read as it comes.
 *
 * libcurl's multi interface on the loop. The library brings 30 shared objects, so it is opened with dlopen on first
 * use, on a pool thread; nothing else in rein knows of it. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "rt/fiber.h"

#include <sys/socket.h>

struct http;

/* How far a request came: the hop at which it failed, or HOP_ANSWER. */
enum http_hop { HOP_LIBRARY, HOP_ADDRESS, HOP_NAME, HOP_PROXY_NAME, HOP_CONNECT, HOP_PROXY, HOP_TLS, HOP_SENT, HOP_ANSWER };

struct http_trail {
    enum http_hop hop;
    bool hopeless;                      /* trying again does not help: an address or a certificate is wrong */
    bool sent;                          /* the other side may have got the whole request */
    long proxy_status;                  /* what a proxy answered to CONNECT, or 0 */
};

struct http_req {
    const char *url;
    const char *const *headers;         /* "Name: value", NULL at the end */
    const struct str *body;             /* pieces sent one after the other with POST; borrowed until http_close */
    size_t nbody;
    /* Asked for each address before it is dialled, that of a proxy too; NULL: all may be. */
    bool (*may_dial)(void *arg, const struct sockaddr *addr);
    void *may_dial_arg;
    int64_t connect_ms, idle_ms;        /* to a connection; to the next byte of the answer */
    bool raw;                           /* only a connection is made, past any proxy, for http_send and http_recv */
    struct http_trail *trail;           /* filled in by http_open, however it ends; may be NULL */
};

/* For all requests from then on; each may be NULL. The strings are borrowed. `ca`: a file of certificates that are trusted beside
 * the system's; `cert` and `key`: files with which this side shows who it is. */
struct http_tls {
    const char *ca, *cert, *key;
};
void http_use(const struct http_tls *tls);

/* Opens the library ahead of its first use, in the background. Harmless when called twice. */
void http_prefetch(struct scope *s);

/* Sends the request and waits for the answer's head. 0 with the HTTP status in *ret_status whatever it is;
 * -ETIMEDOUT, -ECANCELED, -ENOPKG without libcurl, -EHOSTUNREACH when no connection could be had, -EACCES when none
 * of its addresses may be dialled, -EPROTO when
 * what came was not HTTP, -ECONNRESET when the peer went away. */
CO int http_open(const struct http_req *req, struct http **ret, long *ret_status, struct err *e);

/* Appends what has come, waiting if there is nothing yet. Bytes read, 0 at the end of a complete answer, or the
 * errors of http_open. */
CO ssize_t http_read(struct http *h, struct buf *into, struct err *e);

/* Changes how long http_read waits from now on. */
void http_idle(struct http *h, int64_t ms);

/* Value of an answer's header, {NULL, 0} if it has none; the last one of that name. Valid until http_close. */
struct str http_header(struct http *h, const char *name);

/* Bytes over a raw connection: how many went or came (0: its other end is closed), -EAGAIN, or -ECONNRESET. http_fd is what to wait
 * for then. */
ssize_t http_send(struct http *h, struct str data);
ssize_t http_recv(struct http *h, char *to, size_t max);
int http_fd(struct http *h);

/* Ends the transfer, closing its socket if the answer is not complete. Takes NULL. */
void http_close(struct http *h);

static inline void http_closep(struct http **h)
{
    http_close(*h);
}

/* The library's name and version once it is open, or a sentence why it is not. */
CO int http_library(const char **ret_version, struct err *e);
