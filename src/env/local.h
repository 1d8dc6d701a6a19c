/* local.h - files and processes of this machine, with the user's own rights. */
#pragma once

#include "core/env.h"

/* `root` is the workspace and the directory that paths start from; absolute, without links. Outputs of commands go below
 * `home`/spool.
 * -EPERM for a root that may not be one: /, the home directory, one that contains `home` or lies in it. */
int env_local(const char *root, const char *home, struct env **ret, struct err *e);

/* From now on commands run in a box, which is the environment's own then. */
struct boxing;
void env_box(struct env *v, struct boxing *box);

/* The path of git's folder, where that lies outside of the workspace (files/worktree.h), else NULL; the caller frees. */
CO int env_git(struct env *v, char **ret, struct err *e);

/* The files are those of a session: what an earlier rein of it had begun to write is waited for. */
void env_session(struct env *v, const char *id);

/* Path of the supervisor beside this program, or a sentence why there is none. Caller frees. */
int env_box_path(char **ret, struct err *e);
