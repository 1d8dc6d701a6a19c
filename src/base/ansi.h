/* ansi.h - what a program wrote for a terminal, as text. Source: ECMA-48. */
#pragma once

#include "base/buf.h"

/* Appends the text without escape sequences, as it would stand on a screen line by line: a carriage return begins the line anew, a
 * backspace takes a character back. Line ends of CR LF are kept. */
void ansi_add_text(struct buf *out, struct str s);
