#include "numbers.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
    struct list list = { 0 };

    for (int i = 1; i < argc; i++)
        if (list_add(&list, strtol(argv[i], NULL, 10)) < 0)
            return 1;
    printf("%zu numbers, sum %ld, largest %ld\n", list.count, stats_sum(&list), stats_largest(&list));
    list_free(&list);
    return 0;
}
