#include "tool/file.h"

static void change_free(void *p)
{
    struct change *ch = p;

    free(ch->path);
    buf_done(&ch->old);
    buf_done(&ch->new);
    buf_done(&ch->note);
    free(ch);
}

CO int change_load(struct call *c, struct str path, struct change **ret)
{
    struct change *ch = xcalloc(1, sizeof(*ch));
    const struct hash *known;
    struct env_stat st = {0};
    struct err e = {0};
    int r;

    c->state = ch;
    c->state_free = change_free;
    ch->path = env_resolve(c->env, path);
    ch->old.max = ENV_FILE_MAX + 1;
    ch->new.max = ENV_FILE_MAX;
    *ret = NULL;

    r = env_read(c->env, path, 0, ENV_FILE_MAX + 1, &ch->old, &st, &e);
    if (r == -ENOENT || r == -ENOTDIR) {
        *ret = ch;
        return 0;
    }
    if (r < 0)
        return result_fail(c->result, r, "%s: %s", c->tool->name, e.msg);
    if (st.size > (int64_t)ENV_FILE_MAX || ch->old.n > ENV_FILE_MAX)
        return result_fail(c->result, -E2BIG, "%s: %s has %lld bytes; files above %zu MiB are changed with bash", c->tool->name,
                           ch->path, (long long)st.size, ENV_FILE_MAX >> 20);
    ch->existed = true;
    ch->before = hash_bytes(buf_str(&ch->old));
    known = view_known(c->view, ch->path);
    if (known && !hash_eq(known, &ch->before))
        return result_fail(c->result, -ESTALE, "%s: %s was changed since you last saw it; read it again", c->tool->name,
                           ch->path);
    *ret = ch;
    return 0;
}

void change_plan(struct call *c, struct change *ch)
{
    struct hash after = hash_bytes(buf_str(&ch->new));
    char hex[HASH_HEX];

    js_add_text(&c->plan, "path", ch->path);
    if (ch->existed)
        js_add_text(&c->plan, "before", hash_hex(&ch->before, hex));
    js_add_text(&c->plan, "after", hash_hex(&after, hex));
    js_add_str(&c->plan, "note", buf_str(&ch->note));
}

CO int change_run(struct call *c)
{
    struct change *ch = c->state;
    struct hash after = hash_bytes(buf_str(&ch->new));
    struct env_write w = { str_of(ch->path), ch->existed ? &ch->before : NULL, buf_str(&ch->new), c->key };
    struct err e = {0};
    int r = env_write(c->env, &w, &e);

    if (r == -EUCLEAN) {
        result_file(c->result, ch->path, &after);
        return result_fail(c->result, r, "%s: %s", c->tool->name, e.msg);
    }
    if (r < 0)
        return result_fail(c->result, r, "%s: %s; nothing was changed", c->tool->name, e.msg);
    buf_add_str(&c->result->text, buf_str(&ch->note));
    result_file(c->result, ch->path, &after);
    result_ok(c->result);
    return 0;
}

/* A rename happens or does not: the file holds the planned content, or what it held before, or what someone else has put
 * there since. In the last case it is not ours to claim; the model has to look. */
CO int change_settle(struct call *c)
{
    struct str path = js_str(c->planned, "path"), before = js_str(c->planned, "before");
    struct hash planned, old, now;
    struct env_stat st = {0};
    struct err e = {0};
    int r;

    if (!path.p || !hash_from_hex(js_str(c->planned, "after"), &planned))
        return result_fail(c->result, -EBADMSG, "the intent's plan cannot be read");
    r = env_tidy(c->env, path, c->foreign ? NULL : c->key, &e);
    if (r == 0)
        r = env_look(c->env, path, &st, &now, &e);
    if (r < 0)
        return result_fail(c->result, r, "rein was stopped during this call, and the file cannot be looked at: %s", e.msg);
    if (st.exists && hash_eq(&now, &planned)) {
        buf_add_str(&c->result->text, js_str(c->planned, "note"));
        result_file(c->result, path.p, &now);
        result_ok(c->result);
        return 0;
    }
    c->result->outcome = OUT_NOT_DONE;
    if (st.exists ? hash_from_hex(before, &old) && hash_eq(&now, &old) : !before.p)
        buf_addf(&c->result->text, "Not done: rein was stopped before %.*s was changed. It is as it was before.", STR(path));
    else
        buf_addf(&c->result->text, "Not there: rein was stopped during this call, and %.*s was changed by something else since. "
                 "Read it before you go on.", STR(path));
    return 0;
}
