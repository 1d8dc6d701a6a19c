/* write.c - a whole file. Encoding, byte order mark and CRLF line ends of the file that is replaced are kept. */
#include "tool/file.h"

static size_t count(struct str s, struct str what)
{
    size_t n = 0;

    for (ssize_t at = 0; (at = str_find(s, what, (size_t)at)) >= 0; at += (ssize_t)what.n)
        n++;
    return n;
}

/* False: the call is closed. */
static bool fill(struct call *c, struct change *ch, struct str content)
{
    struct str old = ch->was.text, bom = LIT("\xef\xbb\xbf");
    size_t lines = count(old, LIT("\n"));
    bool crlf = lines && count(old, LIT("\r\n")) == lines && count(content, LIT("\r\n")) == 0;
    cleanup(buf_done) struct buf dressed = BUF_MAX(ENV_FILE_MAX * 2);

    if (ch->charset.mark && content.n >= bom.n && memcmp(content.p, bom.p, bom.n) == 0)
        content = str_from(content, bom.n);
    if (crlf) {
        add_crlf(&dressed, content);
        content = buf_str(&dressed);
    }
    return change_keep(c, ch, 0, ch->charset.mark) && change_add(c, ch, content);
}

static CO int write_prepare(struct call *c)
{
    struct changes *all = changes_new(c);
    struct str path, content;
    struct change *ch;
    int r;

    if (!call_text(c, "path", &path) || !call_text(c, "content", &content))
        return 0;
    r = change_load(c, all, path, &ch);
    if (r < 0 || !ch)
        return r;
    if (ch->existed && !view_known(c->view, ch->path))
        return result_fail(c->result, -EEXIST, "write: %s exists (%zu bytes) and you have not read it; read it first, or use "
                           "edit", ch->path, ch->old.n);
    if (!fill(c, ch, content))
        return 0;
    buf_addf(&all->note, "%s %s: %zu bytes, %zu lines.", ch->existed ? "Replaced" : "Created", ch->path, ch->new.n,
             count(content, LIT("\n")) + (content.n && content.p[content.n - 1] != '\n'));
    if (!charset_is_utf8(&ch->charset))
        buf_addf(&all->note, " In %s, as before.", ch->charset.name);
    changes_plan(c, all);
    return 0;
}

static CO int write_settle(struct call *c)
{
    return changes_settle(c, NULL);
}

const struct tool tool_write = {
    .name      = "write",
    .effect    = EFFECT_PROBE,
    .origin    = FROM_WORKSPACE,
    .title_args = "path",
    .grant     = GRANT_WRITE,
    .needs     = file_needs,
    .prepare   = write_prepare,
    .run       = changes_run,
    .settle    = write_settle,
};
