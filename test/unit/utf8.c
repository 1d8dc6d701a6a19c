#include "base/utf8.h"

#include "test.h"

static void well_formed(void **state)
{
    static const char *const good[] = { "", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf" };
    static const char *const bad[] = { "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                                       "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe2\x82", "\xf0\x9f\x98", "a\xc2z" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(utf8_valid(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(utf8_valid(str_of(bad[i])));
}

static void cleaned(void **state)
{
    struct buf b = {0};

    (void)state;
    utf8_add_clean(&b, LIT("a\xff" "b\xe2\x82" "c\xe2\x82\xac"));
    assert_string_equal(b.p, "a\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd" "c\xe2\x82\xac");
    buf_done(&b);
}

static void cut(void **state)
{
    struct str s = LIT("ab\xf0\x9f\x98\x80z");

    (void)state;
    assert_int_equal(utf8_cut(s, 2), 2);
    for (size_t n = 3; n < 6; n++)
        assert_int_equal(utf8_cut(s, n), 2);
    assert_int_equal(utf8_cut(s, 6), 6);
    assert_int_equal(utf8_cut(s, 100), 7);
    assert_int_equal(utf8_align(s, 3), 6);
    assert_int_equal(utf8_align(s, 6), 6);
}

static void printable(void **state)
{
    struct buf b = {0};

    (void)state;
    utf8_add_printable(&b, LIT("a\x1b[31m\r\n\tb\x7f\xc2\x9b" "c\xe2\x80\xae" "d\xe2\x81\xa6\xf3\xa0\x81\x81\xff\xe4\xb8\x96\xc3\xa9"));
    assert_string_equal(b.p, "a.[31m.\n\tb..c.d..\xef\xbf\xbd\xe4\xb8\x96\xc3\xa9");
    buf_clear(&b);
    /* zero width, mark, separator, filler, selectors; then a picture with its selector, and a family of three with joiners */
    utf8_add_printable(&b, LIT("a\xe2\x80\x8b" "b\xe2\x80\x8f" "c\xe2\x80\xa8" "d\xe3\x85\xa4" "e\xef\xb8\x8f" "\xef\xb8\x8f" "f\xc2\xad"
                                "\xe2\x9d\xa4\xef\xb8\x8f \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 x\xe2\x80\x8dy"));
    assert_string_equal(b.p, "a.b.c.d.e..f.\xe2\x9d\xa4\xef\xb8\x8f \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 x.y");
    buf_done(&b);
}

RUN(T(well_formed), T(cleaned), T(cut), T(printable))
