/* encode.c - messages as OpenAI's Chat Completions API takes them. Everything that stays the same stands in front of the
 * messages, so that a body only grows at its end. */
#include "provider/encode.h"

#include "core/args.h"

int encode_chat_head(const struct model *m, const struct harness *h, const char *system, struct buf *out)
{
    buf_addc(out, '{');
    js_add_text(out, "model", m->name);
    js_add_bool(out, "stream", true);
    js_add_raw(out, "stream_options", LIT("{\"include_usage\":true}"));
    if (h->max_output)
        js_add_int(out, "max_tokens", h->max_output);
    if (h->ntools) {
        js_key(out, "tools");
        buf_addc(out, '[');
        for (size_t i = 0; i < h->ntools; i++)
            buf_addf(out, "%s{\"type\":\"function\",\"function\":%s}", i ? "," : "", h->tools[i].json);
        buf_addc(out, ']');
    }
    js_key(out, "messages");
    buf_adds(out, "[{\"role\":\"system\",\"content\":");
    js_add(out, str_of(system));
    return buf_addc(out, '}');
}

static void add_calls(const struct msg *m, struct buf *out)
{
    js_key(out, "tool_calls");
    buf_addc(out, '[');
    for (size_t i = 0; i < m->ncalls; i++) {
        const struct msg_call *c = &m->calls[i];
        cleanup(buf_done) struct buf args = {0};

        buf_adds(out, i ? ",{" : "{");
        js_add_str(out, "id", c->id);
        js_add_text(out, "type", "function");
        js_key(out, "function");
        buf_addc(out, '{');
        js_add_str(out, "name", c->name);
        /* Services parse the arguments of the history and refuse the whole request for broken ones; what was broken stands
         * in the call's result. */
        args_for_history(c->args, &args);
        js_add_str(out, "arguments", buf_str(&args));
        buf_adds(out, "}}");
    }
    buf_addc(out, ']');
}

/* The text and the image behind it, as a data URL. */
static void add_image(const struct msg *m, struct buf *out)
{
    js_key(out, "content");
    buf_adds(out, "[{");
    js_add_text(out, "type", "text");
    js_add_str(out, "text", m->text);
    buf_adds(out, "},{");
    js_add_text(out, "type", "image_url");
    buf_addf(out, ",\"image_url\":{\"url\":\"data:%.*s;base64,", STR(m->image_type));
    buf_add_str(out, m->image);
    buf_adds(out, "\"}}]");
}

int encode_chat_message(const struct msg *m, struct buf *out)
{
    static const char *const roles[] = { "user", "assistant", "tool" };

    buf_addc(out, '{');
    js_add_text(out, "role", roles[m->role]);
    if (m->role == ROLE_TOOL)
        js_add_str(out, "tool_call_id", m->call_id);
    if (m->role == ROLE_ASSISTANT && m->ncalls && m->text.n == 0)
        js_add_raw(out, "content", LIT("null"));
    else if (m->image.n)
        add_image(m, out);
    else
        js_add_str(out, "content", m->text);
    if (m->extra.n > 2) {
        buf_addc(out, ',');
        buf_add(out, m->extra.p + 1, m->extra.n - 2);       /* the members of the object */
    }
    if (m->ncalls)
        add_calls(m, out);
    return buf_addc(out, '}');
}
