/* command.h - what bash and job share: the output of a command as the model gets to see it. */
#pragma once

#include "core/harness.h"

/* Appends what a command wrote from an offset on: all of it, or its two ends. */
CO int command_output(struct call *c, const char *key, int64_t from, const struct env_outcome *o);

/* Appends how it ended by itself, in brackets. */
void command_end(struct buf *text, const struct env_outcome *o);
/* What it has left that its box does not let stay; and what it changed, if that is known. */
void command_moved_out(struct buf *text, const struct env_outcome *o);
void command_changed(struct buf *text, const struct env_outcome *o);

/* The same for a job, ended or not. */
CO int job_output(struct call *c, const char *key, int64_t from, const struct env_job *job);

/* Records what is known of the job, and that its output so far has been shown. */
void job_facts(struct call *c, const char *id, const char *key, const struct env_job *job, bool stays);
