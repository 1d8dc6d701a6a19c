/* sse.c - a stream in pieces gives what it gives in one. */
#include "rt/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int note(void *arg, struct str event, struct str data)
{
    buf_addf(arg, "[%zu:", event.n);
    buf_add_str(arg, event);
    buf_addf(arg, "|%zu:", data.n);
    return buf_add_str(arg, data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf whole = {0}, pieces = {0};
    struct sse a = { .max = 4096 }, b = { .max = 4096 };
    size_t size = n ? 1 + data[0] % 7 : 1;
    int r = sse_feed(&a, (struct str){ (const char *)data, n }, note, &whole), q = 0;

    for (size_t at = 0; at < n && q == 0; at += size)
        q = sse_feed(&b, str_head((struct str){ (const char *)data + at, n - at }, size), note, &pieces);
    if (r != q || (r == 0 && !str_eq(buf_str(&whole), buf_str(&pieces))))
        abort();
    sse_done(&a);
    sse_done(&b);
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
