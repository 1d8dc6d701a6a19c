#include "rt/sse.h"

#include "test.h"

struct seen {
    struct buf text;
    int stop_at, n;
};

static int note(void *arg, struct str event, struct str data)
{
    struct seen *s = arg;

    if (s->stop_at && ++s->n == s->stop_at)
        return -EPROTO;
    buf_addf(&s->text, "[%.*s|%.*s]", STR(event), STR(data));
    return 0;
}

/* Whatever the sizes of the pieces, the same events come out. */
static void split(const char *in, const char *want)
{
    size_t n = strlen(in);

    for (size_t size = 1; size <= n; size++) {
        struct seen s = {0};
        struct sse p = {0};

        for (size_t at = 0; at < n; at += size)
            assert_int_equal(sse_feed(&p, str_head((struct str){ in + at, n - at }, size), note, &s), 0);
        assert_string_equal(buf_str(&s.text).p, want);
        buf_done(&s.text);
        sse_done(&p);
    }
}

static void lines(void **state)
{
    (void)state;
    split("data: a\n\ndata:b\r\n\r\ndata:  c\r\rdata\n\n", "[|a][|b][| c][|]");
    split("\xef\xbb\xbf" "event: x\ndata: 1\ndata: 2\n\n: comment\n\nid: 9\nretry: 1\ndata: 3\n\n", "[x|1\n2][|3]");
    split("data: cut off", "");
    split("\r\n\r\ndata: \xe4\xb8\x96\r\n\r\n", "[|\xe4\xb8\x96]");
}

static void bounded(void **state)
{
    struct seen s = {0};
    struct sse p = { .max = 100 };
    int r = 0;

    (void)state;
    for (int i = 0; i < 50 && r == 0; i++)
        r = sse_feed(&p, LIT("data: 0123456789\n"), note, &s);
    assert_int_equal(r, -E2BIG);
    sse_done(&p);
}

static void stops(void **state)
{
    struct seen s = { .stop_at = 2 };
    struct sse p = {0};

    (void)state;
    assert_int_equal(sse_feed(&p, LIT("data: 1\n\ndata: 2\n\ndata: 3\n\n"), note, &s), -EPROTO);
    assert_string_equal(s.text.p, "[|1]");
    buf_done(&s.text);
    sse_done(&p);
}

RUN(T(lines), T(bounded), T(stops))
