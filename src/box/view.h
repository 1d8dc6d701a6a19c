/* view.h - the files of a box: a new root, made of pieces of the host's. */
#pragma once

#include "box/profile.h"

/* Carries out a profile's records in a mount namespace that is this process's own, and makes the result its root. False with an
 * errno; *ret_what is the path, or what it was about. *ret_lower: what lies below the layer (O_PATH); -1: there is none. */
bool view_build(const struct profile *p, int *ret_lower, const char **ret_what);

/* The same in a mount namespace that is a copy of one in which all before `then` has been done. */
bool view_finish(const struct profile *p, int *ret_lower, const char **ret_what);
