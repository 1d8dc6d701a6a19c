#include "base/clock.h"

int64_t clock_even(void)
{
    static int64_t offset;

    if (!offset)
        offset = clock_wall() - clock_steady();
    return clock_steady() + offset;
}
