/* egress.h - where a session that nobody is asked about may reach to: the user's list, by host and port, matched before a name is
 * looked up, and again by the address that it led to.
 *
 *     network:
 *       - registry.npmjs.org                                   ports 80 and 443
 *       - {host: "*.example.org", port: 8443, fetch_only: true}     only for the tools fetch and search, not for commands
 *       - {host: git.corp.example, private: true}              its name may lead to an address of the user's own network
 *       - {host: api.example.com, key_env: EXAMPLE_TOKEN}       what commands ask of it is told with a key that they do not have
 *       - {host: git.example.com, key_env: GIT_TOKEN, header: "Authorization: Basic {basic:git}"}
 *
 * A key is that variable's value in rein's own environment. A command asks for http://HOST/...; rein puts the header in and asks
 * HOST over TLS. In a header {key} stands for the key, {basic:USER} for user and key as HTTP's basic authentication has them.
 *
 * A name leads to public addresses only: what is of this machine, of a private network, or an address from which a cloud's machine
 * reads its own secrets, is refused, unless the list has that very address, or localhost, or says that it may. */
#pragma once

#include "base/js.h"

#include <sys/socket.h>

struct egress_host {
    char *name;                 /* in small letters; "*." in front: all names below it */
    int port;                   /* 0: 80 and 443 */
    bool fetch_only;
    bool is_private;            /* its name may lead to addresses that are not public */
    char *key_env, *header;     /* a variable, and the header that its value is told in; NULL: none */
};

struct egress {
    struct egress_host *v;
    size_t n, cap;
};

/* The list of the configuration. -EBADMSG says what is wrong with it. */
int egress_read(const json_t *list, struct egress *ret, struct err *e);
void egress_done(struct egress *g);

/* The entry that allows a host, or NULL. */
const struct egress_host *egress_find(const struct egress *g, const char *host, int port, bool command);

/* The line by which a request shows who it is from. -ENOENT: the variable is not set; -EBADMSG: it holds what no header can. */
int egress_key(const struct egress_host *h, struct buf *out, struct err *e);

/* Whether a host's name may have led to an address. A name that is an address, or localhost, is allowed for itself. */
bool egress_address(const char *host, const struct sockaddr *addr);
