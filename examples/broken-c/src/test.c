#include "numbers.h"

#include <assert.h>

int main(void)
{
    struct list list = { 0 };

    assert(stats_sum(&list) == 0 && stats_largest(&list) == 0);
    for (long i = 1; i <= 100; i++)
        assert(list_add(&list, i % 2 ? i : -i) == 0);
    assert(list.count == 100);
    assert(stats_sum(&list) == -50);
    assert(stats_largest(&list) == 99);
    list_free(&list);
    assert(list.count == 0);
    return 0;
}
