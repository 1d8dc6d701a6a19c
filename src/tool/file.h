/* file.h - what edit and write share: a file's old content, the planned new one, and how it gets there exactly once. */
#pragma once

#include "core/harness.h"

struct change {
    char *path;                 /* as it stands in the log */
    bool existed;
    struct hash before;
    struct buf old, new;
    struct buf note;            /* the sentence for the model when it is done */
};

/* Reads the file into a change that is kept in c->state. 0, or the call is closed. NULL in *ret then. */
CO int change_load(struct call *c, struct str path, struct change **ret);

/* Writes the plan: path and hashes before and after, and the note. */
void change_plan(struct call *c, struct change *ch);

/* tool.run and tool.settle of every tool that changes one file. */
CO int change_run(struct call *c);
CO int change_settle(struct call *c);
