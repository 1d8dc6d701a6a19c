/* mend.h - text that was meant to be JSON, made into JSON where there is only one way to read it.
 *
 * Models, and the servers that parse their words, get JSON wrong in a few ways again and again. Those that leave no doubt about the
 * value are mended:
 *
 *     markup around it            ```json fences, </tool_call>, <|...|> marks, a closing bracket too many, the same object twice
 *     raw control characters      a newline in a string instead of \n
 *     Python and JavaScript       'single quotes', True, None, keys without quotes, a comma before a closing bracket
 *     brackets missing at the end  only when asked for, and only behind a whole value that cannot go on: not behind a number
 *
 * Everything else stays an error: an open string, a backslash before a letter that needs none (it may mean either of two things),
 * text between the values. Nothing of a value is ever guessed. */
#pragma once

#include "base/js.h"

/* Appends strict JSON to `out` and, to `what`, what was mended, as words that follow "mended: ". -EBADMSG says what is wrong and
 * how to write it; -ENODATA that the text ends too early. `close`: missing brackets at its end are added. */
int js_mend(struct str text, bool close, struct buf *out, struct buf *what, struct err *e);
