#include "base/path.h"

#include "test.h"

static void resolved(void **state)
{
    static const char *const cases[][3] = {
        { "/w", "a", "/w/a" }, { "/w", "./a//b/", "/w/a/b" }, { "/w", "../x", "/x" }, { "/w", "/abs/./y", "/abs/y" },
        { "/w", "../../../..", "/" }, { "/w/v", "a/../..", "/w" }, { "/", "", "/" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *p = path_resolve(cases[i][0], str_of(cases[i][1]));

        assert_string_equal(p, cases[i][2]);
        free(p);
    }
}

static void beneath(void **state)
{
    const char *rest = NULL;

    (void)state;
    assert_true(path_beneath("/w", "/w/a/b", &rest));
    assert_string_equal(rest, "a/b");
    assert_true(path_beneath("/w", "/w", &rest));
    assert_string_equal(rest, ".");
    assert_true(path_beneath("/", "/etc", &rest));
    assert_string_equal(rest, "etc");
    assert_false(path_beneath("/w", "/wide", &rest));
    assert_false(path_beneath("/w/a", "/w", &rest));
}

RUN(T(resolved), T(beneath))
