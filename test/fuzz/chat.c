/* chat.c - a whole stream of a Chat Completions server, hostile or not: the answer that is put together can be written into an
 * event, folded and given back. */
#include "../../src/provider/chat.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void ignore(void *arg, enum delta what, struct str text)
{
    (void)arg;
    (void)what;
    (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct answer a = {0};
    struct fault f = {0};
    struct sink sink = { ignore, NULL };
    struct stream s = { .a = &a, .sink = &sink, .fault = &f };
    struct sse sse = {0};
    int r = sse_feed(&sse, (struct str){ (const char *)data, n }, on_chunk, &s);

    finish(&s);
    for (size_t i = 0; r == 0 && i < 1; i++) {
        struct msg_call *calls = xcalloc(a.ncalls, sizeof(*calls));
        struct msg m = { .role = ROLE_ASSISTANT, .text = buf_str(&a.text), .extra = a.extra.n ? buf_str(&a.extra) : LIT(""),
                         .calls = calls, .ncalls = a.ncalls };
        struct buf out = {0};
        json_t *j = NULL;
        struct err e;

        for (size_t c = 0; c < a.ncalls; c++)
            calls[c] = (struct msg_call){ buf_str(&a.calls[c].id), buf_str(&a.calls[c].name), buf_str(&a.calls[c].args) };
        encode_chat_message(&m, &out);
        if (js_parse(buf_str(&out), &j, &e) < 0)
            abort();
        json_decref(j);
        buf_done(&out);
        free(calls);
    }
    sse_done(&sse);
    stream_done(&s);
    answer_done(&a);
    return 0;
}
