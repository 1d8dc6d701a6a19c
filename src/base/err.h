/* err.h - one sentence about what went wrong, for a person who has to act on it. */
#pragma once

#include "base/util.h"

struct err {
    char msg[512];          /* names the thing first, then what is wrong with it; no newline */
};

/* Writes the sentence and returns r, so that a failing function can say both in its return statement. */
int err_set(struct err *e, int r, const char *fmt, ...) printf_fmt(3, 4);

/* Puts words in front of a sentence that is already there. */
int err_prefix(struct err *e, int r, const char *fmt, ...) printf_fmt(3, 4);
