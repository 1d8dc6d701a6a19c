#include "base/ansi.h"

#include "test.h"

static void becomes(const char *in, size_t n, const char *want)
{
    struct buf out = {0};

    ansi_add_text(&out, (struct str){ in, n });
    assert_string_equal(buf_str(&out).p, want);
    buf_done(&out);
}

#define BECOMES(in, want) becomes(in, sizeof(in) - 1, want)

static void texts(void **state)
{
    (void)state;
    BECOMES("", "");
    BECOMES("plain\ntext", "plain\ntext");
    BECOMES("\x1b[1;31mred\x1b[0m", "red");
    BECOMES("\x1b]0;title\a" "after", "after");
    BECOMES("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link");
    BECOMES("\x1b(Bx\x1b=y", "xy");
    BECOMES("\x1bPq#0\x1b\\z", "z");
    BECOMES(" 1%\r 50%\r100%\n", "100%\n");
    BECOMES("a\r\nb\r\n", "a\r\nb\r\n");
    BECOMES("a\r\r\n", "a\r\n");
    BECOMES("abc\r", "abc");
    BECOMES("N\bNA\bAME\n", "NAME\n");
    BECOMES("\xe4\xb8\x96\b\xe7\x95\x8c", "\xe7\x95\x8c");
    BECOMES("\b\b\nx\b\b\n", "\n\n");
    BECOMES("cut\x1b", "cut");
    BECOMES("cut\x1b[", "cut");
    BECOMES("cut\x1b[12", "cut");
    BECOMES("\x1b]never ended\nnext", "\nnext");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(texts) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
