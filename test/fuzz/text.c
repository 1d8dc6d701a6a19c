/* text.c - bytes of files and of programs: encodings and the way back, rules of what git ignores, patterns of names, terminal codes, compilers'
 * hints. */
#include "base/ansi.h"
#include "base/charset.h"
#include "base/glob.h"
#include "base/ignore.h"
#include "base/magic.h"
#include "base/utf8.h"
#include "provider/hints.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Every place of the text has one in the bytes, in order, and what is copied in pieces is the whole. */
static void encodings(struct str bytes)
{
    struct buf copy = {0};
    struct charset charset;
    struct decoded d;
    struct err e;
    size_t last, step;

    if (!charset_guess(bytes, true, &charset) || decoded_init(&d, &charset, bytes, &e) < 0)
        return;
    if (!charset_is_utf8(&charset) && !utf8_valid(d.text))
        abort();
    step = d.text.n / 50 + 1;
    last = charset.mark;
    buf_add_str(&copy, str_head(bytes, last));
    for (size_t at = 0; at <= d.text.n; at = utf8_align(d.text, at + step)) {
        size_t byte = decoded_byte(&d, at);

        if (byte < last || byte > bytes.n)
            abort();
        buf_add(&copy, bytes.p + last, byte - last);
        last = byte;
        if (at >= d.text.n)
            break;
    }
    buf_add_str(&copy, str_from(bytes, last));
    if (!str_eq(buf_str(&copy), bytes))
        abort();
    buf_done(&copy);
    decoded_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str all = { (const char *)data, n };
    const char *nl = n ? memchr(all.p, '\n', n) : NULL;
    struct str line = str_head(all, nl ? (size_t)(nl - all.p) : n), rest = str_from(all, line.n);
    struct ignore *rules;
    struct globs *globs;
    struct buf out = {0}, new = {0};
    struct report report;
    struct plan plan = {0};
    struct cluster c;

    if (n == 0)
        return 0;
    encodings(all);
    rules = ignore_new(all);
    globs = globs_new(line);
    if (rules) {
        ignore_match(rules, line, true);
        ignore_match(rules, LIT("a/b.c"), false);
    }
    ignore_free(rules);
    glob_match(line, rest, true);
    glob_match(line, rest, false);
    if (globs)
        globs_want(globs, LIT("a/b.c"));
    globs_free(globs);
    magic_say(all, &out);
    magic_image(all);
    buf_clear(&out);
    ansi_add_text(&out, all);
    if (out.n > n || (out.n && memchr(out.p, 27, out.n)))
        abort();
    report_read(&report, all);
    plan_make(&plan, &report);
    for (size_t at = 0; plan_cluster(&plan, at, 3, &c); at = c.first + c.n) {
        buf_clear(&new);
        plan_apply(&plan, &c, rest, &new);
    }
    plan_done(&plan);
    report_done(&report);
    buf_done(&out);
    buf_done(&new);
    return 0;
}
