/* privacy.h - what a user calls private, by the names of files, and finding it again in whatever text it has come into.
 *
 * Every run of PRIVATE_RUN bytes of the private files is known by a hash. A text that holds one of them holds private data, whether
 * a file tool read it, a command printed it or a model says it. Runs of few different bytes tell nothing and are not known. */
#pragma once

#include "core/env.h"

#define PRIVATE_RUN 16

struct privacy;

/* `names`: patterns as of a .gitignore, with blanks between; files below `root`, which is the environment's, are read, up to 64 MB
 * of them. -EINVAL, -E2BIG. */
CO int privacy_load(struct env *env, const char *root, struct str names, struct privacy **ret, struct err *e);
void privacy_free(struct privacy *p);                   /* takes NULL */

/* A file of that name is private; an absolute path, or one below the root. */
bool privacy_path(const struct privacy *p, struct str path);

/* The text holds a run of a private file. */
bool privacy_holds(const struct privacy *p, struct str text);
