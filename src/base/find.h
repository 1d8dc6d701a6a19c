/* find.h - finding the lines of a text that a pattern matches, fast: PCRE2's JIT behind a search for a piece of text that every
 * match has to hold.
 *
 * A match lies within one line: what a pattern could match beyond it is not seen. Lines end in LF; a CR before it does not count.
 * */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct pattern;

struct find_how {
    bool literal, ignore_case;
};

/* -EINVAL says what is wrong with the pattern, and where. */
int pattern_new(struct str text, struct find_how how, struct pattern **ret, struct err *e);
void pattern_free(struct pattern *p);                   /* takes NULL */

/* Whether the pattern has other than ASCII characters, so that it can only match text that has been decoded. */
bool pattern_is_wide(const struct pattern *p);

/* What one thread needs to use a pattern. The text is borrowed until the next one. */
struct finder;
struct finder *finder_new(const struct pattern *p);
void finder_free(struct finder *f);                     /* takes NULL */

void find_begin(struct finder *f, struct str text);

struct found {
    size_t begin, end;                  /* the line, without its end */
    size_t at;                          /* where the match begins */
};

/* The next matching line at or after `from`, which is the beginning of a line and not before that of the last call. 1, 0 when there
 * is none, -E2BIG when the pattern takes too much work on this text. */
int find_next(struct finder *f, size_t from, struct found *ret);
