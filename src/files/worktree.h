/* worktree.h - git's folder of a workspace, where that lies outside: of a worktree, or a submodule. */
#pragma once

#include "base/str.h"

/* Its path, absolute and without links, or NULL: there is none, or it does not know of this workspace, as anything could be named
 * in a file .git. `root`: the workspace's path, without links; fd: of it. *ret_index: the
 * workspace's own index, in that folder. The caller frees both. */
char *worktree_git(int fd, const char *root, const char **ret_index);
