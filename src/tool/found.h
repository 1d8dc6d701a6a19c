/* found.h - what grep and glob share: a search of the workspace as the model gets to see it. */
#pragma once

#include "core/harness.h"

/* Searches, and closes the call. `nothing` says that nothing was found, `narrower` how to ask for less. */
CO int found_run(struct call *c, const struct env_search *what, const char *nothing, const char *narrower);

/* The argument path, "." unless given. */
struct str found_path(const struct call *c);
