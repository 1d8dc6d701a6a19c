/* numbers.h - a list of numbers, and what can be said of them. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stddef.h>

struct list {
    long *values;
    size_t count, capacity;
};

int list_add(struct list *list, long value);    /* 0, or -1 when there is no memory */
void list_free(struct list *list);

long stats_sum(const struct list *list);
long stats_largest(const struct list *list);    /* 0 of an empty list */

#endif
