/* fetch.c - a page from the web as text. HTML is made into text by rein-html, a confined program of its own; what the server says
 * that it sends is compared with what came. */
#include "base/charset.h"
#include "base/magic.h"
#include "base/utf8.h"
#include "core/harness.h"
#include "rt/proc.h"
#include "tool/web.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define HTML_MS    15000                /* for rein-html: it may use 10 s of CPU */
#define META_SNIFF 2048
#define ERROR_SHOWN 1000                /* bytes of a page that goes with an error */

enum content { CONTENT_HTML, CONTENT_TEXT, CONTENT_OTHER };

/* What came, whatever it was called: HTML that is called text is text, but a picture that is called HTML is none. */
static enum content content_of(const struct web_page *p)
{
    struct str body = buf_str(&p->body);
    struct charset charset;
    bool is_text = charset_guess(body, true, &charset);

    if (!is_text)
        return CONTENT_OTHER;
    if (strcmp(p->type, "text/html") == 0 || strcmp(p->type, "application/xhtml+xml") == 0)
        return CONTENT_HTML;
    if (!*p->type && str_find(str_head(body, 1024), LIT("<html"), 0) >= 0)
        return CONTENT_HTML;
    return CONTENT_TEXT;
}

/* The encoding that a page names itself: <meta charset=x>, or in its http-equiv form. */
static struct str meta_charset(struct str body)
{
    struct str head = str_head(body, META_SNIFF), name;
    ssize_t at = str_find(head, LIT("charset="), 0);
    size_t n = 0;

    if (at < 0)
        return (struct str){0};
    name = str_from(head, (size_t)at + 8);
    while (name.n && strchr("\"' ", name.p[0]))
        name = str_from(name, 1);
    while (n < name.n && !strchr("\"' />;", name.p[n]))
        n++;
    return str_head(name, n);
}

/* The body as UTF-8. */
static void to_utf8(const struct web_page *p, enum content kind, struct buf *out)
{
    struct str body = buf_str(&p->body), named = str_of(p->charset);
    struct charset charset;
    struct err e;

    if (!named.n && kind == CONTENT_HTML)
        named = meta_charset(body);
    if (!named.n || charset_named(named, body, &charset, &e) < 0)
        charset_guess(body, true, &charset);
    body = str_from(body, charset.mark);
    if (charset_is_utf8(&charset))
        utf8_add_clean(out, body);
    else
        charset_decode_piece(&charset, body, true, out);
}

/* Gives the page to rein-html and reads what it makes of it. */
static CO int html_to_text(const char *url, struct str html, struct buf *out, struct err *e)
{
    static char *const no_env[] = { NULL };
    cleanup(closep) int in = memfd_create("page", MFD_CLOEXEC), from = -1, to = -1,
        here = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup(proc_freep) struct proc *proc = NULL;
    cleanup(freep) char *path = NULL;
    int pipe_fds[2], r;
    size_t at = 0;

    r = proc_beside("rein-html", &path, e);
    if (r < 0)
        return r;
    if (in < 0 || here < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_set(e, -errno, "no descriptors are left: %s", strerror(errno));
    from = pipe_fds[0];
    to = pipe_fds[1];
    fcntl(from, F_SETFL, O_NONBLOCK);
    while (at < html.n) {
        ssize_t n = write(in, html.p + at, html.n - at);

        if (n <= 0)
            return err_set(e, -EIO, "the page cannot be handed on");
        at += (size_t)n;
    }
    lseek(in, 0, SEEK_SET);
    r = proc_spawn(&(struct proc_spec){
        path, (char *const[]){ (char *)"rein-html", (char *)url, NULL }, no_env, here,
        (struct proc_fd[]){ { in, 0 }, { to, 1 } }, 2,
    }, &proc, e);
    if (r < 0)
        return r;
    close(TAKE_FD(to));
    for (;;) {
        char *room = buf_room(out, 64 << 10);
        ssize_t n;

        r = fd_readable(from, "rein-html", HTML_MS);
        if (r < 0)
            return r == -ETIMEDOUT ? err_set(e, r, "the page takes too long to be made into text") : r;
        n = room ? read(from, room, 64 << 10) : -1;
        if (n == 0)
            return out->n ? 0 : err_set(e, -EBADMSG, "the page cannot be made into text");
        if (n < 0 && errno != EAGAIN)
            return err_set(e, -EIO, "the page's text is too large");
        out->n += (size_t)MAX(n, (ssize_t)0);
    }
}

static void add_head(struct call *c, const struct web_page *p)
{
    if (p->redirects)
        buf_addf(&c->result->text, "[redirected to %s]\n", p->url);
    if (p->cut)
        buf_addf(&c->result->text, "[only the first %zu MiB]\n", WEB_BODY_MAX >> 20);
}

/* Shows the text, and keeps what does not fit for read. */
static void show(struct call *c, struct str text)
{
    size_t head = c->harness->result_head + c->harness->result_tail;
    cleanup(freep) char *hint = NULL;
    struct err e;

    if (text.n > head && env_keep(c->env, c->key, text, &e) == 0) {
        hint = xasprintf("read the path output:%s for the rest", c->key + strlen(c->session) + 1);
        js_add_text(&c->result->facts, "output", c->key);
    }
    result_bounded(c->result, text, head, 0, hint);
}

static CO int answer(struct call *c, struct web_page *p)
{
    cleanup(buf_done) struct buf text = BUF_MAX(WEB_BODY_MAX * 4), plain = BUF_MAX(WEB_BODY_MAX * 4), what = {0};
    enum content kind = content_of(p);
    struct err e = {0};
    int r = 0;

    js_add_int(&c->result->facts, "status", p->status);
    if (kind == CONTENT_OTHER) {
        magic_say(buf_str(&p->body), &what);
        return result_fail(c->result, -EINVAL, "fetch: %s is not text but %s, of %zu bytes%s%s%s; it is not shown", p->url, what.p,
                           p->body.n,
                           *p->type ? " (the server calls it " : "", p->type, *p->type ? ")" : "");
    }
    to_utf8(p, kind, &text);
    if (kind == CONTENT_HTML && text.n)
        r = html_to_text(p->url, buf_str(&text), &plain, &e);
    if (r < 0)
        return result_fail(c->result, r, "fetch: %s: %s", p->url, e.msg);
    add_head(c, p);
    if (p->status >= 400) {
        buf_addf(&c->result->text, "[status %ld]\n", p->status);
        utf8_add_clean(&c->result->text, str_head(buf_str(kind == CONTENT_HTML ? &plain : &text), ERROR_SHOWN));
        c->result->outcome = OUT_ERROR;
        return 0;
    }
    show(c, buf_str(kind == CONTENT_HTML ? &plain : &text));
    if (!text.n)
        buf_adds(&c->result->text, "[it is empty]");
    result_ok(c->result);
    return 0;
}

static CO int fetch_run(struct call *c)
{
    static const char *const headers[] = { "User-Agent: rein/" REIN_VERSION, "Accept: text/html, text/*;q=0.9, application/json, "
        "*/*;q=0.5", NULL };
    struct web_page page = {0};
    struct err e = {0};
    struct str url;
    int r;

    if (!call_text(c, "url", &url))
        return 0;
    r = web_get(url.p, headers, c->listed, &page, &e);
    r = r < 0 ? result_fail(c->result, r, "fetch: %s", e.msg) : answer(c, &page);
    web_page_done(&page);
    return r;
}

static void fetch_needs(const json_t *args, void (*each)(void *arg, struct str what), void *arg)
{
    if (js_str(args, "url").n)
        web_needs(js_str(args, "url").p, each, arg);
}

const struct tool tool_fetch = {
    .name       = "fetch",
    .effect     = EFFECT_KEYED,
    .origin     = FROM_WEB,
    .title_args = "url",
    .grant      = GRANT_REACH,
    .needs      = fetch_needs,
    .run        = fetch_run,
    .settle     = web_settle,
};
