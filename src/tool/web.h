/* web.h - a page from the web, as the tools that read there need it. */
#pragma once

#include "core/tool.h"

#define WEB_BODY_MAX ((size_t)5 << 20)

struct web_page {
    char *url;                  /* where it was in the end */
    unsigned redirects;
    long status;
    char type[128];             /* as the server says, in lower case, without parameters; "" */
    char charset[32];           /* the same; "" */
    struct buf body;
    bool cut;                   /* there was more than WEB_BODY_MAX */
};

/* Gets a page with GET, over at most five redirects on the same host: -EXDEV says where one leads that is on another, which is
 * asked for by itself. `headers` as in http_req, may be NULL. `listed`: -EACCES when
 * the host's name leads to an address that is not meant by it (egress.h). -EINVAL for an address that is not
 * http or https. The caller ends *ret with web_page_done, also after an error. */
CO int web_get(const char *url, const char *const *headers, bool listed, struct web_page *ret, struct err *e);
void web_page_done(struct web_page *p);

/* tool.settle of what reads the web: a request may have gone out; asking once more does no harm, and is the model's to decide. */
CO int web_settle(struct call *c);

/* The host of an address, in small letters. False: it has none, or is written in a way that another reader might take for another
 * one. */
#define WEB_HOST_MAX 256
bool web_host(const char *url, char ret[WEB_HOST_MAX]);

/* tool.needs of an address: HOST, or HOST:PORT where it has a port of its own. */
void web_needs(const char *url, void (*each)(void *arg, struct str what), void *arg);

/* An address as it stands in a page, seen from the page's own. Caller frees. */
char *web_join(const char *base, struct str link);

/* Appends text with what is special in an address as %XX. */
void web_add_escaped(struct buf *out, struct str text);
