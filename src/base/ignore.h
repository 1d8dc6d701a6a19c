/* ignore.h - which files git leaves out: the rules of one .gitignore. Source: gitignore(5). */
#pragma once

#include "base/str.h"

struct ignore;

/* Reads a file of rules. NULL when it holds none. */
struct ignore *ignore_new(struct str text);
void ignore_free(struct ignore *v);                     /* takes NULL */

enum ignored { IGNORE_SAYS_NOTHING, IGNORE_LEAVE_OUT, IGNORE_TAKE_IN };

/* What the last rule that matches says of a path, relative to the directory of the file of rules. What lies in a directory that is
 * left out is left out too, whatever the rules say of it: the caller looks at directories first. */
enum ignored ignore_match(const struct ignore *v, struct str path, bool is_dir);
