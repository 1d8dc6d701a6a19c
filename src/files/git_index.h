/* git_index.h - what git's index says, apart from what it remembers of the files on this disk: `git status` writes that anew
 * whenever a file was replaced, and so whenever somebody looks.
 * Source: gitformat-index(5). */
#pragma once

#include "base/hash.h"

/* False: it is no index that can be read, or one that says it in part only (a split index). */
bool git_index_digest(int fd, struct hash *ret);

/* The same for a file in a folder. */
bool git_index_digest_at(int dir, const char *name, struct hash *ret);

/* The paths in it, in the order of their bytes. Ended with git_names_done. False as above. */
struct git_names {
    char **v;
    size_t n, cap;
};
bool git_index_names(int fd, struct git_names *ret);
bool git_names_have(const struct git_names *names, const char *path);
void git_names_done(struct git_names *names);
