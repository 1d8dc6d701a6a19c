/* write.c - a whole file. A byte order mark and CRLF line ends of the file that is replaced are kept. */
#include "tool/file.h"

static size_t count(struct str s, struct str what)
{
    size_t n = 0;

    for (ssize_t at = 0; (at = str_find(s, what, (size_t)at)) >= 0; at += (ssize_t)what.n)
        n++;
    return n;
}

static void fill(struct change *ch, struct str content)
{
    struct str old = buf_str(&ch->old), bom = LIT("\xef\xbb\xbf");
    size_t lines = count(old, LIT("\n"));
    bool crlf = lines && count(old, LIT("\r\n")) == lines && count(content, LIT("\r\n")) == 0;

    if (old.n >= bom.n && memcmp(old.p, bom.p, bom.n) == 0 && (content.n < bom.n || memcmp(content.p, bom.p, bom.n) != 0))
        buf_add_str(&ch->new, bom);
    if (!crlf) {
        buf_add_str(&ch->new, content);
        return;
    }
    while (content.n) {
        const char *nl = memchr(content.p, '\n', content.n);
        size_t n = nl ? (size_t)(nl - content.p) : content.n;

        buf_add(&ch->new, content.p, n);
        if (nl)
            buf_adds(&ch->new, "\r\n");
        content = str_from(content, n + 1);
    }
}

static CO int write_prepare(struct call *c)
{
    struct str path, content;
    struct change *ch;
    int r;

    if (!call_text(c, "path", &path) || !call_text(c, "content", &content))
        return 0;
    r = change_load(c, path, &ch);
    if (r < 0 || !ch)
        return r;
    if (ch->existed && !view_known(c->view, ch->path))
        return result_fail(c->result, -EEXIST, "write: %s exists (%zu bytes) and you have not read it; read it first, or use "
                           "edit", ch->path, ch->old.n);
    fill(ch, content);
    if (buf_err(&ch->new) < 0)
        return result_fail(c->result, -E2BIG, "write: the content is larger than %zu MiB", ENV_FILE_MAX >> 20);
    buf_addf(&ch->note, "%s %s: %zu bytes, %zu lines.", ch->existed ? "Replaced" : "Created", ch->path, ch->new.n,
             count(buf_str(&ch->new), LIT("\n")) + (ch->new.n && ch->new.p[ch->new.n - 1] != '\n'));
    change_plan(c, ch);
    return 0;
}

const struct tool tool_write = {
    .name      = "write",
    .effect    = EFFECT_PROBE,
    .title_args = "path",
    .prepare   = write_prepare,
    .run       = change_run,
    .settle    = change_settle,
};
