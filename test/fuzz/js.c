/* js.c - our way around jansson for long strings accepts and gives what jansson alone does, and what we write it can read. */
#include "base/js.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = { (const char *)data, n };
    json_t *ours = NULL, *wire = NULL, *theirs = json_loadb((const char *)data, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    struct buf written = {0};
    struct err e;
    int r = js_parse(text, &ours, &e);

    if (r == 0 && (!theirs || !json_equal(ours, theirs)))
        abort();
    if (r < 0 && theirs && !strstr(e.msg, "nested") && !memchr(text.p, 0, n))     /* jansson overlooks some NUL bytes */
        abort();
    if (js_parse_wire(text, &wire, &e) == 0)
        json_decref(wire);
    json_decref(ours);
    json_decref(theirs);

    js_add(&written, text);
    if (js_parse(buf_str(&written), &ours, &e) < 0 && !memchr(text.p ? text.p : "", 0, n))
        abort();
    else if (!memchr(text.p ? text.p : "", 0, n))
        json_decref(ours);
    buf_done(&written);
    return 0;
}
