/* proxy.h - the way out of a box, for its commands: an HTTP proxy on the loopback of the box, whose socket rein has, and which
 * connects them to hosts of the user's list and to nothing else.
 *
 * It takes CONNECT, behind which a command speaks TLS with the host itself, and plain requests for http://. A host is matched
 * against the list before its name is looked up, and what the name leads to is checked again; that address is dialled, and no other
 * (core/egress.h). Where the list has a key for a host, a plain request goes to it over TLS, with the key put in: no command ever
 * has it. What is said no to gets a status and a sentence that says why. */
#pragma once

#include "core/egress.h"
#include "rt/fiber.h"

#define PROXY_PORT "3128"       /* on 127.0.0.1 in the box */

/* Told of every decision, which is durable when it returns; may say no to what the list allows, with a sentence: -EACCES. `why`
 * NULL: the list allows it; else why not. */
typedef CO int proxy_decided(void *arg, const char *host, int port, const char *why, struct err *e);

struct proxy {
    int listener;
    const struct egress *list;
    proxy_decided *decided;
    void *arg;
    int64_t *let_out;               /* counts the connections that were let out, or NULL */
};

/* Serves until it is cancelled: a fiber. Takes a struct proxy, which has to live as long. */
CO int proxy_serve(void *proxy);
