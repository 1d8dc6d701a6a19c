/* outline.c - what is defined where, in a file or a folder, for few bytes: by Universal Ctags where it is installed, else by the
 * lines that look like definitions. */
#include "base/utf8.h"
#include "core/harness.h"

#include <stdio.h>

#define FILES_LIMIT    ((size_t)100 << 10)      /* bytes of file names given to ctags: one argument of a program holds 128 KiB */
#define OUTPUT_LIMIT   ((size_t)4 << 20)
#define CTAGS_MS       60000
#define NO_CTAGS       66               /* exit status of the command below when there is none */
#define SIGNATURE_MAX  120

/* Kinds of tags that help to find one's way, as ctags calls them. */
static const char *const kinds[] = {
    "function", "func", "method", "class", "struct", "union", "enum", "interface", "trait", "typedef", "type", "module",
    "namespace", "package", "impl", "object", "record", "protocol", "subroutine", "procedure", "singletonMethod", "constructor",
    "generator", "table", "view", "trigger", "target", "chapter", "section", "subsection", "subsubsection", "implementation",
    "annotation", "component",
};

/* How definitions begin, by the names of files. */
static const struct {
    const char *files, *pattern;
} looks[] = {
    { "*.{c,h,cc,cpp,cxx,hpp,hh,m,mm,cu}",
      "^(?!(?:else|return|if|for|while|switch|case|do|goto)\\b)(?:[A-Za-z_][\\w:<>,*&~ \\t]*[\\s*&])?[~\\w:]+\\s*\\([^;]*$|"
      "^\\s*(?:typedef\\s+)?(?:struct|union|enum|class|namespace)\\s+\\w+[^;]*$" },
    { "*.{py,pyi}", "^\\s*(?:async\\s+)?(?:def|class)\\s+\\w+" },
    { "*.{js,jsx,ts,tsx,mjs,cjs}", "^\\s*(?:export\\s+)?(?:default\\s+)?(?:declare\\s+)?(?:abstract\\s+)?(?:async\\s+)?"
      "(?:function\\*?|class|interface|type|enum|namespace)\\s+\\w+|"
      "^(?:export\\s+)?(?:const|let)\\s+\\w+\\s*=\\s*(?:async\\s*)?(?:\\(|function)" },
    { "*.go", "^(?:func|type)\\b" },
    { "*.rs",
      "^\\s*(?:pub(?:\\([^)]*\\))?\\s+)?(?:async\\s+|unsafe\\s+|const\\s+)*"
      "(?:fn|struct|enum|trait|impl|mod|union|macro_rules!)\\b" },
    { "*.{java,kt,kts,scala,cs,swift,dart}",
      "^\\s*(?:(?:public|private|protected|internal|static|final|abstract|sealed|open|override|async|data)\\s+)*"
      "(?:class|interface|enum|record|struct|object|protocol|extension|fun|func|def)\\s+\\w+|"
      "^\\s*(?:public|private|protected|internal)\\s[^=;]*\\([^;]*$" },
    { "*.{rb,rake}", "^\\s*(?:def|class|module)\\s+\\S+" },
    { "*.php", "^\\s*(?:(?:public|private|protected|static|final|abstract)\\s+)*(?:function|class|interface|trait|enum)\\s+\\w+" },
    { "*.{sh,bash,zsh}", "^\\s*(?:function\\s+\\w+|\\w+\\s*\\(\\))" },
    { "*.{lua,jl,ex,exs,erl,hs,ml,clj,el,lisp,r,R}",
    "^\\s*(?:local\\s+)?(?:function|defmodule|defp?|module|data|type|class|instance|let|\\(def\\w*)\\s" },
    { "*.sql", "(?i)^\\s*create\\s+(?:or\\s+replace\\s+)?(?:table|view|function|procedure|trigger|index|type)\\b" },
    { "*.{md,markdown,rst}", "^#{1,4} \\S" },
    { "Makefile makefile GNUmakefile *.mk", "^[A-Za-z0-9_.%/-]+:(?!=)" },
    { "*.{toml,ini,cfg}", "^\\[" },
    { "*.{proto,graphql,thrift}", "^\\s*(?:message|service|enum|rpc|type|interface|struct|input)\\s+\\w+" },
};

static struct str path_of(const struct call *c)
{
    struct str path = js_str(c->args, "path");

    return path.n ? path : LIT(".");
}

static bool wanted(const json_t *tag, struct str kind)
{
    if (str_is(kind, "member") && str_is(js_str(tag, "language"), "Python"))
        return true;                    /* a method; in other languages a field */
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (str_is(kind, kinds[i]))
            return true;
    return false;
}

/* One tag of one file: a line of its own. */
static void add_line(struct buf *out, const json_t *tag, struct str kind, struct str name)
{
    struct str signature = js_str(tag, "signature"), scope = js_str(tag, "scope");

    buf_addf(out, "%lld %s%.*s %.*s", (long long)js_int(tag, "line", 0), scope.n ? "  " : "", STR(kind), STR(name));
    utf8_add_clean(out, str_head(signature, utf8_cut(signature, SIGNATURE_MAX)));
    buf_addc(out, '\n');
}

/* One tag among those of many files: functions by their names alone. */
static void add_short(struct buf *out, struct buf *file, struct str path, const json_t *tag, struct str kind, struct str name)
{
    bool plain = kind.n >= 4 && (strncmp(kind.p, "func", 4) == 0 || strncmp(kind.p, "meth", 4) == 0 ||
                                 strncmp(kind.p, "memb", 4) == 0);

    if (!str_eq(buf_str(file), path)) {
        buf_addf(out, "%s%.*s:", out->n ? "\n" : "", STR(path));
        buf_clear(file);
        buf_add_str(file, path);
    } else {
        buf_addc(out, ',');
    }
    buf_addf(out, " %.*s%s%.*s %lld", STR(plain ? str_head(kind, 0) : kind), plain ? "" : " ", STR(name),
             (long long)js_int(tag, "line", 0));
}

/* Turns the lines of ctags into the outline. */
static void add_tags(struct buf *out, struct str json, bool many)
{
    cleanup(buf_done) struct buf file = {0};

    while (json.n) {
        const char *nl = memchr(json.p, '\n', json.n);
        struct str line = str_head(json, nl ? (size_t)(nl - json.p) : json.n), kind, name;
        cleanup(json_unrefp) json_t *tag = NULL;

        json = str_from(json, line.n + 1);
        if (js_parse_wire(line, &tag, NULL) < 0)
            continue;
        kind = js_str(tag, "kind");
        name = js_str(tag, "name");
        if (!wanted(tag, kind) || str_find(name, LIT("__anon"), 0) == 0)
            continue;
        if (many)
            add_short(out, &file, js_str(tag, "path"), tag, kind, name);
        else
            add_line(out, tag, kind, name);
    }
    if (many && out->n)
        buf_addc(out, '\n');
}

/* Runs ctags over the files. 1: the outline is in out; 0: there is no ctags. */
static CO int by_ctags(struct call *c, struct str files, bool many, struct buf *out, struct err *e)
{
    cleanup(buf_done) struct buf command = {0}, json = BUF_MAX(OUTPUT_LIMIT + 1);
    struct env_ready *ready = NULL;
    cleanup(env_outcome_done) struct env_outcome o = {0};
    int64_t size = 0;
    int r;

    buf_addf(&command, "ctags --version 2>/dev/null | grep -q Universal || exit %d\n"
             "exec ctags --quiet --options=NONE --output-format=json --fields=NFnKSZl --sort=no -f - -L - 2>/dev/null <<'END OF "
                 "FILES'\n", NO_CTAGS);
    buf_add_str(&command, files);
    buf_adds(&command, "END OF FILES\n");
    r = env_ready(c->env, &(struct env_command){
        .command = command.p, .timeout_ms = CTAGS_MS, .key = c->key, .hide_env = c->hide_env, .keep_above = (int64_t)OUTPUT_LIMIT,
    }, &ready, e);
    if (r == 0)
        r = env_run(c->env, ready, &o, e);
    env_drop(c->env, ready);
    if (r < 0)
        return r;
    if (o.exit_status == NO_CTAGS)
        return 0;
    if (o.exit_status != 0)
        return err_set(e, -EIO, "ctags ended with status %d", o.exit_status);
    r = env_output(c->env, c->key, 0, OUTPUT_LIMIT, &json, &size, e);
    if (r < 0)
        return r;
    add_tags(out, buf_str(&json), many);
    return 1;
}

/* Searches for lines that look like definitions. */
static CO int by_looks(struct call *c, struct buf *out, struct err *e)
{
    size_t max = c->harness->result_head + c->harness->result_tail;

    for (size_t i = 0; i < ARRAY_SIZE(looks) && out->n < max; i++) {
        struct env_search what = { .path = path_of(c), .pattern = str_of(looks[i].pattern), .globs = str_of(looks[i].files),
            .max = max };
        struct env_found found = {0};
        int r = env_search(c->env, &what, &found, e);

        if (r < 0)
            return r;
        buf_add_str(out, buf_str(&found.text));
        buf_done(&found.text);
    }
    return 0;
}

static CO int outline_run(struct call *c)
{
    size_t head = c->harness->result_head, tail = c->harness->result_tail;
    cleanup(buf_done) struct buf out = BUF_MAX(OUTPUT_LIMIT * 2);
    struct env_search what = { .path = path_of(c), .globs = js_str(c->args, "files"), .max = FILES_LIMIT };
    struct env_found found = {0};
    struct env_stat st = {0};
    struct str path = path_of(c);
    struct buf probe = {0};
    struct err e = {0};
    bool many;
    int r = env_search(c->env, &what, &found, &e);

    if (r == 0) {
        many = env_read(c->env, path, 0, 1, &probe, &st, &e) == -EISDIR;
        r = found.files ? by_ctags(c, buf_str(&found.text), many, &out, &e) : 1;
        if (r == 0)
            r = by_looks(c, &out, &e);
    }
    buf_done(&probe);
    buf_done(&found.text);
    if (r < 0)
        return result_fail(c->result, r, "outline: %s", e.msg);
    if (!out.n)
        buf_addf(&c->result->text, "[nothing is defined here, as far as can be seen in %lld files]\n", (long long)found.files);
    result_bounded(c->result, buf_str(&out), head + tail, 0, "take a smaller folder, or files");
    if (found.shown < found.files)
        buf_addf(&c->result->text, "[%lld of %lld files; take a smaller folder, or files, to see the rest]\n",
                 (long long)found.shown,
                 (long long)found.files);
    result_ok(c->result);
    return 0;
}

const struct tool tool_outline = {
    .name       = "outline",
    .effect     = EFFECT_PURE,
    .origin     = FROM_WORKSPACE,
    .title_args = "path files",
    .run        = outline_run,
};
