/* repo.h - which files of a repository git leaves out, beside its .gitignore files: .git/info/exclude, and the user's own rules. */
#pragma once

#include "base/ignore.h"

struct repo;

/* The repository of which a directory is the top, or NULL. `home`: the user's. */
struct repo *repo_open(int dir, const char *home);
void repo_free(struct repo *r);         /* takes NULL */

/* What these rules say of a path, relative to the top. */
enum ignored repo_says(const struct repo *r, struct str path, bool is_dir);

/* The rules in a file, or NULL when there are none; `flags` for openat. */
struct ignore *rules_read(int dir, const char *path, int flags);
