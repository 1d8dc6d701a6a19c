/* path.h - paths as text. What a path really leads to is decided by the kernel, in env. */
#pragma once

#include "base/str.h"

/* Absolute form of `path` seen from the absolute `cwd`, with `.`, `..` and double slashes taken out. Caller frees. */
char *path_resolve(const char *cwd, struct str path);

/* If `path` is `root` or lies beneath it: the part after root without a leading slash ("." for root itself). */
bool path_beneath(const char *root, const char *path, const char **ret_rest);

/* Creates a directory and its parents, mode 0700 each. 0 or a negative errno. */
int path_mkdirs(const char *path);

/* Removes what stands there with all that is in it, as far as it can be; links are not followed. `dir` as for openat. */
void path_remove(int dir, const char *name);
