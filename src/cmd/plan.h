/* plan.h - mode plan: what a session changes lies in one layer over the workspace, which its tools and its commands see and nobody
 * else does, until a person has it put in place (rein redo) or dropped (rein undo). The layer stays from one turn to the next. */
#pragma once

#include "cmd/agent.h"

/* The layer that the session's box is to have: the one that waits, or a new one, into box->plan. The env has no box yet. */
CO int plan_begin(struct agent *a, struct boxing *box, struct err *e);

/* Tells the model that mode plan has begun, or ended. Not yet committed. */
void plan_say(struct session *s);

/* What the layer holds now, for the log and the user. The session's box is taken down. */
CO int plan_offer(struct agent *a, struct err *e);
