#include "base/js.h"

#include "test.h"

#include <stdlib.h>

static void strict(void **state)
{
    static const char *const bad[] = { "", "{", "{'a':1}", "[1,]", "{\"a\":1,\"a\":2}", "[NaN]", "[01]", "\"\\ud800\"", "\"\xff\"",
                                       "\"\\x\"", "{} x", "[\"\\u0000\"]", "\"a\nb\"" };
    struct err e;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *j = NULL;

        assert_int_equal(js_parse(str_of(bad[i]), &j, &e), -EBADMSG);
        assert_true(e.msg[0] != 0);
    }
    for (size_t i = 0; i < 9; i++) {                    /* a NUL byte, wherever it stands */
        char text[] = "[1.0, \"a\"]";
        json_t *j = NULL;

        text[i] = 0;
        assert_int_equal(js_parse((struct str){ text, sizeof(text) - 1 }, &j, &e), -EBADMSG);
    }
}

static void depth(void **state)
{
    struct buf b = {0};
    json_t *j = NULL;
    struct err e;

    (void)state;
    for (int i = 0; i < JS_DEPTH_MAX; i++)
        buf_addc(&b, '[');
    for (int i = 0; i < JS_DEPTH_MAX; i++)
        buf_addc(&b, ']');
    assert_int_equal(js_parse(buf_str(&b), &j, &e), 0);
    json_decref(j);
    buf_clear(&b);
    for (int i = 0; i < 1000000; i++)
        buf_addc(&b, '[');
    assert_int_equal(js_parse(buf_str(&b), &j, &e), -EBADMSG);
    buf_done(&b);
}

/* Long strings go around jansson: on random documents, good and broken, the answer has to be the same. */
static void long_strings(void **state)
{
    static const char *const pieces[] = { "abcdefgh", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\xc3\xa9", "\xff",
                                          "\\q", "\"", "{", "}", "\t", "\\/", "rein-cut-0", "," };
    unsigned seed = 7;
    int good = 0;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct buf b = {0};
        json_t *mine = NULL, *theirs;
        struct err e;
        int n = 20 + rand_r(&seed) % 200;

        buf_adds(&b, "{\"k\":[1,\"");
        for (int i = 0; i < n; i++)
            buf_adds(&b, pieces[rand_r(&seed) % (round % 3 ? 1 + rand_r(&seed) % 6 : (int)ARRAY_SIZE(pieces))]);
        buf_adds(&b, "\",{\"text\":\"");
        for (int i = 0; i < n; i++)
            buf_adds(&b, pieces[0]);
        buf_adds(&b, "\"}]}");
        theirs = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
        assert_int_equal(js_parse(buf_str(&b), &mine, &e) == 0, theirs != NULL);
        if (theirs) {
            good++;
            assert_true(json_equal(mine, theirs));
        }
        json_decref(mine);
        json_decref(theirs);
        buf_done(&b);
    }
    assert_true(good > 1000 && good < 2900);
}

static void long_keys(void **state)
{
    struct buf b = {0};
    json_t *j = NULL;
    struct err e;

    (void)state;
    buf_adds(&b, "{");
    for (int k = 0; k < 2; k++) {
        buf_adds(&b, k ? ",\"" : "\"");
        for (int i = 0; i < 300; i++)
            buf_addc(&b, 'k');
        buf_adds(&b, "\":1");
    }
    buf_adds(&b, "}");
    assert_int_equal(js_parse(buf_str(&b), &j, &e), -EBADMSG);     /* the same key twice */
    buf_done(&b);
}

static void wire(void **state)
{
    json_t *j = NULL;
    struct err e;

    (void)state;
    assert_int_equal(js_parse_wire(LIT("{\"a\":\"x\xff\\ud800y\\u0000\\ude00\\ud83d\\ude00\"}"), &j, &e), 0);
    assert_true(str_is(js_str(j, "a"), "x\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80"));
    json_decref(j);
    assert_int_equal(js_parse_wire(LIT("{\"a\":"), &j, &e), -EBADMSG);
}

static void written(void **state)
{
    struct buf b = {0};
    json_t *j = NULL;
    struct err e;

    (void)state;
    buf_addc(&b, '{');
    js_add_str(&b, "text", LIT("a\"\\\n\t\r\x01\x7f\xff\xe4\xb8\x96" "{"));
    js_add_int(&b, "n", -5);
    js_add_bool(&b, "yes", true);
    js_add_text(&b, "none", NULL);
    js_add_raw(&b, "raw", LIT("[1.10]"));
    buf_addc(&b, '}');
    assert_string_equal(b.p, "{\"text\":\"a\\\"\\\\\\n\\t\\r\\u0001\\u007f\xef\xbf\xbd\xe4\xb8\x96{\",\"n\":-5,\"yes\":true,\"raw\":[1.10]}");
    assert_int_equal(js_parse(buf_str(&b), &j, &e), 0);
    assert_int_equal(js_int(j, "n", 0), -5);
    assert_int_equal(js_int(j, "text", 3), 3);
    assert_true(js_bool(j, "yes", false));
    json_decref(j);
    buf_done(&b);
}

RUN(T(strict), T(depth), T(long_strings), T(long_keys), T(wire), T(written))
