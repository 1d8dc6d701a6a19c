/* utf8.h - deciding what is UTF-8 and making it so. Source: Unicode 15, table 3-7. */
#pragma once

#include "base/buf.h"

/* Length in bytes (1-4) of the well-formed sequence at p, or 0 if there is none. A NUL byte counts as one. */
size_t utf8_seq(const char *p, size_t n);

bool utf8_valid(struct str s);
bool utf8_ascii(struct str s);

/* Appends s with every ill-formed byte replaced by U+FFFD. */
int utf8_add_clean(struct buf *b, struct str s);

/* The same for a person: what could move a cursor, change colours, turn text around, or is not seen at all (control characters
 * but for newline and tab, bidirectional marks, zero-width characters, fillers, tags, selectors) becomes a dot. */
int utf8_add_printable(struct buf *b, struct str s);

/* The same for a person who has to decide: all that is not seen is written out, as \u{202e}, and what is ill-formed as \xff. */
int utf8_add_escaped(struct buf *b, struct str s);

/* The longest prefix of at most n bytes that does not end inside a sequence. */
size_t utf8_cut(struct str s, size_t n);

/* The first offset at or after `at` that does not lie inside a sequence. */
size_t utf8_align(struct str s, size_t at);
