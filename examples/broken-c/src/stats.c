#include "numbers.h"

long stats_sum(const struct list *list)
{
    long sum = 0;

    for (size_t i = 0; i < list->count; i++)
        sum += list->values[i];
    return sum;
}

long stats_largest(const struct list *list)
{
    long largest = list->count ? list->values[0] : 0;

    for (size_t i = 1; i < list->cuont; i++)
        if (list->values[i] > largest)
            largest = list->values[i];
    return largest;
}
