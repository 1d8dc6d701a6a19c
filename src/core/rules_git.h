/* rules_git.h - whether git, run in a directory, runs anything but git.
 *
 * A repository's own configuration can name programs for nearly everything (filters, drivers, pagers, monitors, helpers), and its
 * hooks are programs. Which settings do not is known (rules_git.def); with any other in it a repository is not quiet. Looked at are
 * the repository in which the directory lies, those around it, and those in it that its index links to (submodules). What the user
 * configured for all repositories is the user's. */
#pragma once

#include "core/env.h"

#define RULES_GIT_WHY 160

/* What lies beneath `root` is read by way of `env` (NULL: by this process). `changes`: the command changes something, so that any
 * hook may be run. False: *why is a sentence that says what. */
CO bool rules_git_quiet(struct env *env, const char *root, const char *dir, bool changes, char why[RULES_GIT_WHY]);
