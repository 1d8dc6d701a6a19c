/* net.h - TCP connections of rein's own, where an HTTP library is no help. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "rt/fiber.h"

#include <sys/socket.h>

#define NET_ADDR 64

/* Looks a host up and connects to the first of its addresses that `may` allows and that answers. A descriptor that does not block,
 * the address in ret_addr; -EACCES: none of them is allowed, -ENOENT: it has none, -ETIMEDOUT, -ECANCELED, or what connecting
 * said. */
CO int net_connect(const char *host, int port, bool (*may)(void *arg, const struct sockaddr *addr), void *arg, int64_t timeout_ms,
                   char ret_addr[NET_ADDR], struct err *e);

/* Writes all of it to a descriptor that does not block; the time is that between two bytes. */
CO int net_write(int fd, struct str data, int64_t timeout_ms);

/* What comes next, at most max bytes: how many, 0 at the end, or a negative errno. */
CO ssize_t net_read(int fd, char *to, size_t max, int64_t timeout_ms);
