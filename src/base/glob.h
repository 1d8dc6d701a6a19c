/* glob.h - patterns for the names of files, with the meaning that git gives them.
 *
 *     ?  any one byte but /        *  any bytes but /        [a-z] [!a-z] [[:alpha:]]  one of a set, never /
 *     \x  x itself                 ** as a whole part of a path: any number of parts, also none
 *
 * A pattern that takes more than some hundred thousand steps matches nothing. */
#pragma once

#include "base/str.h"

/* `path`: false for a pattern that is matched against a single name, where * may match anything. */
bool glob_match(struct str pattern, struct str name, bool path);

/* A list like "*.c !test/ src/{a,b}": in the sense of a .gitignore, so that one without a slash matches at any depth; braces
 * stand for alternatives. */
struct globs;
struct globs *globs_new(struct str list);               /* NULL: braces that do not match, or more than 64 alternatives */
void globs_free(struct globs *g);                       /* takes NULL */

/* Whether a path, relative to where the search began, is wanted: it is matched by a pattern, or there are only patterns with !, and
 * none of those matches it or a directory above it. */
bool globs_want(const struct globs *g, struct str path);
