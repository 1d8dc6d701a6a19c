#include "base/buf.h"

#include "test.h"

static void grows(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_addf(&b, "%d,", i), 0);
    assert_int_equal(b.n, 3890);
    assert_int_equal(b.p[b.n], 0);
    buf_skip(&b, 4);
    assert_memory_equal(b.p, "2,3,", 4);
    buf_done(&b);
    assert_null(b.p);
}

static void keeps_its_maximum(void **state)
{
    struct buf b = BUF_MAX(10);

    (void)state;
    assert_int_equal(buf_adds(&b, "0123456789"), 0);
    assert_int_equal(buf_addc(&b, 'x'), -E2BIG);
    assert_int_equal(buf_adds(&b, ""), -E2BIG);         /* the error stays, so that it may be checked at the end */
    assert_string_equal(b.p, "0123456789");
    buf_clear(&b);
    assert_int_equal(buf_adds(&b, "again"), 0);
    buf_done(&b);
}

static void taken(void **state)
{
    struct buf b = {0};
    char *p = buf_take(&b);

    (void)state;
    assert_string_equal(p, "");
    free(p);
    buf_adds(&b, "text");
    p = buf_take(&b);
    assert_string_equal(p, "text");
    assert_int_equal(b.n, 0);
    free(p);
}

RUN(T(grows), T(keeps_its_maximum), T(taken))
