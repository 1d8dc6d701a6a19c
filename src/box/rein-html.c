/* rein-html.c - HTML on standard input, as text with Markdown's marks on standard output: rein-html BASE-URL
 *
 * A program of its own, since its input comes from anywhere and libxml2 is large: once it has been loaded, it can read what it was
 * given, write what it makes of it and use memory, and the kernel ends it for anything else. The input is UTF-8. */
#include <errno.h>
#include <libxml/HTMLparser.h>
#include <libxml/uri.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define INPUT_MAX   (16u << 20)
#define OUTPUT_MAX  (16u << 20)
#define MEMORY_MAX  (1ul << 30)
#define CPU_SECONDS 10
#define DEPTH_MAX   400

struct out {
    char *p;
    size_t n, cap;
    unsigned lines;             /* line ends at the end of the text so far; 2 and more: an empty line */
    bool space;                 /* a blank is due before the next word */
    unsigned pre, indent;
    bool quiet;                 /* nothing but text: within a link or a heading */
};

static const char *base = "";

static void put(struct out *o, const char *p, size_t n)
{
    if (n > OUTPUT_MAX - o->n)
        n = OUTPUT_MAX - o->n;
    if (o->n + n > o->cap) {
        o->cap = (o->n + n) * 2 + 4096;
        o->p = realloc(o->p, o->cap);
        if (!o->p)
            _exit(3);
    }
    memcpy(o->p + o->n, p, n);
    o->n += n;
}

/* Ends the line, and leaves `n` - 1 empty ones. */
static void lines(struct out *o, unsigned n)
{
    if (o->n == 0)
        return;
    while (o->lines < n) {
        put(o, "\n", 1);
        o->lines++;
    }
    o->space = false;
}

static void begin_word(struct out *o)
{
    if (o->lines)
        for (unsigned i = 0; i < o->indent; i++)
            put(o, "  ", 2);
    else if (o->space)
        put(o, " ", 1);
    o->space = false;
    o->lines = 0;
}

static void mark(struct out *o, const char *text)
{
    begin_word(o);
    put(o, text, strlen(text));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static void text(struct out *o, const char *s)
{
    if (o->pre) {
        for (; *s; s++) {
            put(o, s, 1);
            o->lines = *s == '\n';
        }
        return;
    }
    while (*s) {
        size_t n = 0;

        if (is_space(*s)) {
            o->space = true;
            s++;
            continue;
        }
        while (s[n] && !is_space(s[n]))
            n++;
        begin_word(o);
        put(o, s, n);
        s += n;
    }
}

static bool is(const xmlNode *n, const char *names)
{
    const char *name = (const char *)n->name, *at = names;
    size_t len = strlen(name);

    while ((at = strstr(at, name))) {
        if ((at == names || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0))
            return true;
        at += len;
    }
    return false;
}

static void children(struct out *o, const xmlNode *n, unsigned depth);

static void link_node(struct out *o, xmlNode *n, unsigned depth)
{
    xmlChar *href = xmlGetProp(n, (const xmlChar *)"href"), *url = href ? xmlBuildURI(href, (const xmlChar *)base) : NULL;
    bool web = url && strncmp((const char *)url, "http", 4) == 0 && href[0] != '#' && !o->quiet;
    size_t before;

    if (web)
        mark(o, "[");
    before = o->n;
    children(o, n, depth);
    if (web && o->n == before) {        /* a link without words says nothing */
        o->n--;
        o->space = true;
    } else if (web) {
        put(o, "](", 2);
        put(o, (const char *)url, strlen((const char *)url));
        put(o, ")", 1);
    }
    xmlFree(url);
    xmlFree(href);
}

static void heading(struct out *o, const xmlNode *n, unsigned depth)
{
    bool quiet = o->quiet;

    lines(o, 2);
    for (char i = '0'; i < n->name[1]; i++)
        put(o, "#", 1);
    put(o, " ", 1);
    o->lines = 0;
    o->quiet = true;
    children(o, n, depth);
    o->quiet = quiet;
    lines(o, 2);
}

static void item(struct out *o, const xmlNode *n, unsigned depth)
{
    char number[24] = "- ";

    if (n->parent && is(n->parent, "ol")) {
        unsigned at = 1;

        for (const xmlNode *p = n->prev; p; p = p->prev)
            at += p->type == XML_ELEMENT_NODE && is(p, "li");
        snprintf(number, sizeof(number), "%u. ", at);
    }
    lines(o, 1);
    mark(o, number);
    children(o, n, depth);
    lines(o, 1);
}

static void element(struct out *o, xmlNode *n, unsigned depth)
{
    if (is(n, "script style noscript template svg iframe object head select"))
        return;
    if (is(n, "br")) {
        lines(o, 1);
    } else if (is(n, "hr")) {
        lines(o, 2);
        put(o, "---", 3);
        o->lines = 0;
        lines(o, 2);
    } else if (is(n, "h1 h2 h3 h4 h5 h6")) {
        heading(o, n, depth);
    } else if (is(n, "a")) {
        link_node(o, n, depth);
    } else if (is(n, "pre")) {
        lines(o, 2);
        put(o, "```\n", 4);
        o->lines = 1;
        o->pre++;
        children(o, n, depth);
        o->pre--;
        lines(o, 1);
        put(o, "```", 3);
        o->lines = 0;
        lines(o, 2);
    } else if (is(n, "code kbd samp tt") && !o->pre) {
        mark(o, "`");
        children(o, n, depth);
        put(o, "`", 1);
    } else if (is(n, "img")) {
        xmlChar *alt = xmlGetProp(n, (const xmlChar *)"alt");

        if (alt && *alt) {
            mark(o, "[image: ");
            text(o, (const char *)alt);
            put(o, "]", 1);
        }
        xmlFree(alt);
    } else if (is(n, "ul ol")) {
        bool inner = n->parent && is(n->parent, "li");

        lines(o, inner ? 1 : 2);
        o->indent += inner;
        children(o, n, depth);
        o->indent -= inner;
        lines(o, inner ? 1 : 2);
    } else if (is(n, "li")) {
        item(o, n, depth);
    } else if (is(n, "tr")) {
        lines(o, 1);
        children(o, n, depth);
        lines(o, 1);
    } else if (is(n, "td th")) {
        mark(o, "| ");
        children(o, n, depth);
        o->space = true;
    } else if (is(n, "p div section article main header footer nav aside table blockquote figure figcaption form fieldset dl dt "
                  "dd details "
                     "summary address body html")) {
        bool block = !is(n, "div dt dd summary figcaption");

        lines(o, block ? 2 : 1);
        children(o, n, depth);
        lines(o, block ? 2 : 1);
    } else {
        children(o, n, depth);
    }
}

static void children(struct out *o, const xmlNode *n, unsigned depth)
{
    if (depth > DEPTH_MAX)
        return;
    for (xmlNode *c = n->children; c; c = c->next)
        if (c->type == XML_TEXT_NODE || c->type == XML_CDATA_SECTION_NODE)
            text(o, (const char *)c->content);
        else if (c->type == XML_ELEMENT_NODE)
            element(o, c, depth + 1);
}

static xmlNode *find(xmlNode *n, const char *name, unsigned depth)
{
    for (; n && depth < DEPTH_MAX; n = n->next) {
        xmlNode *below;

        if (n->type != XML_ELEMENT_NODE)
            continue;
        if (is(n, name))
            return n;
        below = find(n->children, name, depth + 1);
        if (below)
            return below;
    }
    return NULL;
}

static bool limit(int what, unsigned long max)
{
    return setrlimit(what, &(struct rlimit){ max, max }) == 0;
}

/* From here on only these calls are left. */
static bool confine(void)
{
    static const int calls[] = {
        SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap),
        SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(rt_sigreturn), SCMP_SYS(clock_gettime),
        SCMP_SYS(getrandom), SCMP_SYS(rt_sigprocmask), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(tgkill),
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    bool ok = filter != NULL;

    for (size_t i = 0; ok && i < sizeof(calls) / sizeof(*calls); i++)
        ok = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0) == 0;
    ok = ok && limit(RLIMIT_AS, MEMORY_MAX) && limit(RLIMIT_CPU, CPU_SECONDS) && limit(RLIMIT_CORE, 0) &&
         limit(RLIMIT_NOFILE, 3) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return ok;
}

int main(int argc, char **argv)
{
    struct out o = { .lines = 2 };
    xmlNode *root, *title, *main_part;
    char *in = malloc(INPUT_MAX);
    size_t n = 0;
    ssize_t got;
    htmlDocPtr doc;

    if (argc == 2)
        base = argv[1];
    xmlInitParser();
    if (!in || argc > 2 || !confine())
        return 125;
    while (n < INPUT_MAX && (got = read(0, in + n, INPUT_MAX - n)) > 0)
        n += (size_t)got;
    doc = htmlReadMemory(in, (int)n, NULL, "UTF-8",
                         HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET);
    root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root)
        _exit(0);
    title = find(root, "title", 0);
    if (title) {
        put(&o, "# ", 2);
        o.lines = 0;
        o.quiet = true;
        children(&o, title, 0);
        o.quiet = false;
        lines(&o, 2);
    }
    main_part = find(root, "main", 0);
    element(&o, main_part ? main_part : root, 0);
    while (o.n && is_space(o.p[o.n - 1]))
        o.n--;
    put(&o, "\n", 1);
    for (size_t at = 0; at < o.n; at += (size_t)got) {
        got = write(1, o.p + at, o.n - at);
        if (got <= 0)
            _exit(4);
    }
    _exit(0);
}
