#include "base/yaml.h"

#include "test.h"

static void reads(void **state)
{
    json_t *j = NULL;
    struct err e;

    (void)state;
    assert_int_equal(yaml_parse(LIT("name: coder\nn: -3\nquoted: '3'\nyes: true\nnone: ~\nlist: [a, b]\nmap:\n  k: v # c\n"), &j, &e), 0);
    assert_true(str_is(js_str(j, "name"), "coder"));
    assert_int_equal(js_int(j, "n", 0), -3);
    assert_true(str_is(js_str(j, "quoted"), "3"));
    assert_true(js_bool(j, "yes", false));
    assert_true(json_is_null(json_object_get(j, "none")));
    assert_int_equal(json_array_size(json_object_get(j, "list")), 2);
    assert_true(str_is(js_str(json_object_get(j, "map"), "k"), "v"));
    json_decref(j);
}

static void refuses(void **state)
{
    static const char *const bad[] = { "a: [", "a: 1\na: 2\n", "a: &x [1]\nb: *x\n", "a: 1\n b: 2\n", "? [x]\n: 1\n", "a: \xff\n" };
    struct err e;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *j = NULL;

        assert_int_equal(yaml_parse(str_of(bad[i]), &j, &e), -EBADMSG);
        assert_non_null(strstr(e.msg, "line"));
    }
}

RUN(T(reads), T(refuses))
