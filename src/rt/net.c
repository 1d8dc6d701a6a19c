#include "rt/net.h"

#include "base/buf.h"
#include "rt/offload.h"
#include "rt/proc.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#define LOOKUP_MS 15000

struct lookup {
    struct job job;
    char *host, port[8];
    struct addrinfo *found;
    int result;
};

static void lookup_run(struct job *job)
{
    struct lookup *l = container_of(job, struct lookup, job);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };

    l->result = getaddrinfo(l->host, l->port, &hints, &l->found);
}

static void lookup_free(struct job *job)
{
    struct lookup *l = container_of(job, struct lookup, job);

    if (l->found)
        freeaddrinfo(l->found);
    free(l->host);
    free(l);
}

/* Connects to one address. */
static CO int dial(const struct addrinfo *a, int64_t timeout_ms)
{
    cleanup(closep) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r, on = 1, error = 0;
    socklen_t n = sizeof(error);

    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return TAKE_FD(fd);
    if (errno != EINPROGRESS)
        return -errno;
    r = fd_writable(fd, "a connection", timeout_ms);
    if (r < 0)
        return r;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error)
        return error ? -error : -errno;
    return TAKE_FD(fd);
}

CO int net_connect(const char *host, int port, bool (*may)(void *arg, const struct sockaddr *addr), void *arg, int64_t timeout_ms,
                   char ret_addr[NET_ADDR], struct err *e)
{
    struct lookup *l = xcalloc(1, sizeof(*l));
    int r;

    l->job.run = lookup_run;
    l->job.free = lookup_free;
    l->host = xstrdup(host);
    snprintf(l->port, sizeof(l->port), "%d", port);
    r = offload(&l->job, "a name", LOOKUP_MS);
    if (r < 0)
        return r == -ECANCELED ? r : err_set(e, r, "the name %.100s could not be looked up in time", host);
    if (l->result != 0) {
        r = err_set(e, -ENOENT, "the name %.100s: %s", host, gai_strerror(l->result));
        job_free(&l->job);
        return r;
    }
    r = err_set(e, -EACCES, "its name leads to an address that may not be reached: one of this machine, or of a private network");
    for (const struct addrinfo *a = l->found; a && r < 0 && r != -ECANCELED; a = a->ai_next) {
        if (may && !may(arg, a->ai_addr))
            continue;
        getnameinfo(a->ai_addr, a->ai_addrlen, ret_addr, NET_ADDR, NULL, 0, NI_NUMERICHOST);
        r = dial(a, timeout_ms);
        if (r < 0 && r != -ECANCELED)
            err_set(e, r, "%.100s (%s) does not answer: %s", host, ret_addr, strerror(-r));
    }
    job_free(&l->job);
    return r;
}

CO int net_write(int fd, struct str data, int64_t timeout_ms)
{
    while (data.n) {
        ssize_t n = send(fd, data.p, data.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        int r;

        if (n >= 0) {
            data = str_from(data, (size_t)n);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        r = fd_writable(fd, "a peer that reads", timeout_ms);
        if (r < 0)
            return r;
    }
    return 0;
}

CO ssize_t net_read(int fd, char *to, size_t max, int64_t timeout_ms)
{
    for (;;) {
        ssize_t n = recv(fd, to, max, MSG_DONTWAIT);
        int r;

        if (n >= 0)
            return n;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        r = fd_readable(fd, "a peer that writes", timeout_ms);
        if (r < 0)
            return r;
    }
}
