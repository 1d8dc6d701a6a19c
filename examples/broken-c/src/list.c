#include "numbers.h"

#include <stdlib.h>

int list_add(struct list *list, long value)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        long *values = realloc(list->values, capacity * sizeof(*values));

        if (!values)
            return -1;
        list->values = values;
        list->capacity = capacity
    }
    list->values[list->count++] = value;
    return 0;
}

void list_free(struct list *list)
{
    free(list->values);
    *list = (struct list){ 0 };
}
