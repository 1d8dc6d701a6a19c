#include "tool/inspect.h"

#include <stdio.h>
#include <string.h>

#define WORDS_MAX 64
#define REF_MAX   512
#define OID_MAX   64                    /* hexadecimal digits of SHA-256; SHA-1 has 40 */
#define LINE_LAST 4096                  /* bytes from the end of the reflog in which its last line lies */

/* The words of a command that is nothing but one program and its arguments: no pipe, list, redirection, expansion or pattern. */
struct words {
    char *v[WORDS_MAX];
    size_t n;
    char *text;                         /* owns them */
};

static void words_done(struct words *w)
{
    free(w->text);
}

/* False when it is more than one simple command, or says something that only a shell can tell. */
static bool words_of(struct str command, struct words *w)
{
    char *to = w->text = xmalloc(command.n + 1), quote = 0;
    bool open = false;

    w->n = 0;
    for (size_t i = 0; i < command.n; i++) {
        char c = command.p[i];

        if (quote ? c == quote : c == '\'' || c == '"') {
            if (!quote && !open) {
                if (w->n == WORDS_MAX)
                    return false;
                w->v[w->n++] = to;
                open = true;
            }
            quote = quote ? 0 : c;
            continue;
        }
        if (quote == '"' && (c == '$' || c == '`' || c == '\\' || c == '!'))
            return false;
        if (!quote && strchr(";&|<>()$`\\*?[]{}~#!=\n\r", c))
            return false;
        if (!quote && (c == ' ' || c == '\t')) {
            if (open)
                *to++ = 0;
            open = false;
            continue;
        }
        if (!open) {
            if (w->n == WORDS_MAX)
                return false;
            w->v[w->n++] = to;
            open = true;
        }
        *to++ = c;
    }
    *to = 0;
    return !quote && w->n > 0;
}

static bool is_one_of(const char *word, const char *list)
{
    size_t n = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0))
            return n > 0;
    return false;
}

/* Programs that change nothing, whatever their arguments are, and git's words of which the same holds. */
static bool only_reads(const struct words *w)
{
    if (w->n > 1 && strcmp(w->v[0], "git") == 0) {
        for (size_t i = 2; i < w->n; i++)
            if (strncmp(w->v[i], "--output", 8) == 0)
                return false;           /* diff and log can write a file */
        return is_one_of(w->v[1], "status log diff show blame ls-files ls-tree rev-parse rev-list describe shortlog cat-file");
    }
    return is_one_of(w->v[0], "true false echo printf pwd ls cat head tail wc grep egrep fgrep stat test cmp diff basename dirname "
                              "realpath readlink id uname whoami which du df nl od cksum md5sum sha1sum sha256sum");
}

/* A repository, as its own files tell. */
struct git {
    char ref[REF_MAX];                  /* what HEAD names; "" when it is a commit, or there is no repository */
    char oid[OID_MAX + 1];              /* the commit; "" before the first */
    char index[2 * 32 + 1];             /* the index's own checksum */
    bool there, lock;                   /* lock: index.lock lies there, which stops every later command */
};

static CO int read_small(struct call *c, const char *path, int64_t from, size_t max, struct buf *out, int64_t *ret_size)
{
    struct env_stat st = {0};
    struct err e;
    int r;

    buf_clear(out);
    r = env_read(c->env, str_of(path), from, max, out, &st, &e);
    if (ret_size)
        *ret_size = st.size;
    return r;
}

static void take_line(const struct buf *b, char *to, size_t max)
{
    size_t n = MIN(strcspn(b->p ? b->p : "", "\r\n"), max - 1);

    memcpy(to, b->p ? b->p : "", n);
    to[n] = 0;
}

/* A ref that has no file of its own stands in packed-refs. */
static CO int read_packed(struct call *c, struct git *g)
{
    cleanup(buf_done) struct buf all = BUF_MAX(ENV_FILE_MAX);
    int r = read_small(c, ".git/packed-refs", 0, ENV_FILE_MAX, &all, NULL);
    size_t n = strlen(g->ref);

    for (char *line = all.p; r == 0 && line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        size_t oid = strspn(line, "0123456789abcdef");

        if (oid <= OID_MAX && line[oid] == ' ' && strncmp(line + oid + 1, g->ref, n) == 0 && line[oid + 1 + n] == '\n') {
            memcpy(g->oid, line, oid);
            g->oid[oid] = 0;
            break;
        }
    }
    return r == -ECANCELED ? r : 0;
}

static CO int git_look(struct call *c, struct git *g)
{
    cleanup(buf_done) struct buf text = BUF_MAX(LINE_LAST);
    int64_t size = 0;
    int r = read_small(c, ".git/HEAD", 0, REF_MAX, &text, NULL);

    *g = (struct git){0};
    if (r < 0)
        return r == -ECANCELED ? r : 0;
    g->there = true;
    if (strncmp(buf_str(&text).p, "ref: ", 5) == 0) {
        cleanup(freep) char *path = NULL;

        take_line(&text, g->ref, sizeof(g->ref));
        memmove(g->ref, g->ref + 5, strlen(g->ref + 5) + 1);
        path = xasprintf(".git/%s", g->ref);
        r = read_small(c, path, 0, REF_MAX, &text, NULL);
        if (r == 0)
            take_line(&text, g->oid, sizeof(g->oid));
        else if (r != -ECANCELED)
            r = read_packed(c, g);
    } else {
        take_line(&text, g->oid, sizeof(g->oid));
    }
    if (r != -ECANCELED)
        r = read_small(c, ".git/index.lock", 0, 1, &text, NULL);
    g->lock = r == 0;
    if (r != -ECANCELED)
        r = read_small(c, ".git/index", 0, 1, &text, &size);
    if (r == 0 && size > 20)
        r = read_small(c, ".git/index", size - 20, 20, &text, NULL);
    for (size_t i = 0; r == 0 && i < text.n && i < 32; i++)
        snprintf(g->index + 2 * i, 3, "%02x", (unsigned char)text.p[i]);
    return r == -ECANCELED ? r : 0;
}

CO int inspect_plan(struct call *c, struct str command)
{
    struct git g;
    int r;

    if (str_find(command, LIT("git"), 0) < 0)
        return 0;
    r = git_look(c, &g);
    if (r < 0 || !g.there)
        return r;
    js_key(&c->plan, "git");
    buf_addc(&c->plan, '{');
    js_add_text(&c->plan, "ref", g.ref);
    js_add_text(&c->plan, "oid", g.oid);
    js_add_text(&c->plan, "index", g.index);
    js_add_bool(&c->plan, "lock", g.lock);
    buf_addc(&c->plan, '}');
    return 0;
}

/* Whether the reflog's last line says that a commit led from `old` to `now`. */
static CO int committed(struct call *c, struct str old, const char *now, bool *ret)
{
    cleanup(buf_done) struct buf text = BUF_MAX(LINE_LAST + 1);
    cleanup(freep) char *want = NULL;
    int64_t size = 0;
    const char *line, *tab;
    int r = read_small(c, ".git/logs/HEAD", 0, 1, &text, &size);

    *ret = false;
    if (r == 0)
        r = read_small(c, ".git/logs/HEAD", MAX(size - LINE_LAST, (int64_t)0), LINE_LAST, &text, NULL);
    if (r < 0 || text.n < 2)
        return r == -ECANCELED ? r : 0;
    line = memrchr(text.p, '\n', text.n - 1);
    line = line ? line + 1 : text.p;
    tab = strchr(line, '\t');
    want = xasprintf("%.*s %s ", STR(old.n ? old : LIT("0000000000000000000000000000000000000000")), now);
    *ret = strncmp(line, want, strlen(want)) == 0 && tab && strncmp(tab + 1, "commit", 6) == 0;
    return 0;
}

static CO int git_settle(struct call *c, const struct words *w, const json_t *before, enum outcome *ret, struct buf *known)
{
    struct str oid = js_str(before, "oid"), index = js_str(before, "index"), ref = js_str(before, "ref");
    bool moved, staged, made = false;
    struct git now;
    int r = git_look(c, &now);

    if (r < 0)
        return r;
    moved = !str_is(oid, now.oid) || !str_is(ref, now.ref);
    staged = !str_is(index, now.index);
    buf_addf(known, moved ? " HEAD moved from %.*s to %.12s." : " HEAD is where it was.", STR(str_head(oid, 12)), now.oid);
    buf_adds(known, staged ? " The index was changed." : " The index is as it was.");
    if (now.lock && !js_bool(before, "lock", false))
        buf_adds(known, " It left .git/index.lock, which has to be removed before git works again.");
    if (!w->n || strcmp(w->v[0], "git") != 0 || w->n < 2)
        return 0;
    if (strcmp(w->v[1], "commit") == 0) {
        /* A branch is moved by one rename, the last thing a commit does. */
        if (moved)
            r = committed(c, oid, now.oid, &made);
        /* After a restart of the machine what it made may not all be on the disk. */
        *ret = !moved ? OUT_NOT_DONE : made && c->same_life ? OUT_OK : OUT_OPEN;
    } else if (strcmp(w->v[1], "add") == 0) {
        *ret = !staged ? OUT_NOT_DONE : c->same_life ? OUT_OK : OUT_OPEN;    /* the index is replaced by one rename */
    }
    return r;
}

CO int inspect_settle(struct call *c, struct str command, enum outcome *ret, struct buf *known)
{
    cleanup(words_done) struct words w = {0};
    const json_t *git = json_object_get(c->planned, "git");

    *ret = OUT_OPEN;
    if (!words_of(command, &w))
        w.n = 0;
    if (w.n && only_reads(&w)) {
        *ret = OUT_NOT_DONE;
        buf_adds(known, " It only reads: it can be run again.");
        return 0;
    }
    return git ? git_settle(c, &w, git, ret, known) : 0;
}
