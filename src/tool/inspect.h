/* inspect.h - what can be told of a shell command that was cut off. One that only reads can simply be run again; of some git
 * commands the repository's own files tell whether they took effect. */
#pragma once

#include "core/tool.h"

/* Before: adds to the plan what the repository is like, when the command has to do with git. */
CO int inspect_plan(struct call *c, struct str command);

/* After: OUT_OK and OUT_NOT_DONE when that is certain, OUT_OPEN when it is not. Appends to `known` what was found either way, as
 * whole sentences that begin with a space. */
CO int inspect_settle(struct call *c, struct str command, enum outcome *ret, struct buf *known);
