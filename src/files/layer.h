/* layer.h - a layer over the workspace: where a command's changes lie until it is known what becomes of them.
 *
 * A layer is a folder .rein/layers/ID in the workspace, hidden in every box, with the two folders that overlayfs wants: u, the
 * changes, and w. Being in the workspace it is on the same mount, so that a file is put in place by one rename, and what was there
 * goes into the layer by the same one: a kept layer is what is needed to take it back.
 *
 * What a command left in u is not believed: it is walked by held descriptors without following a link. From it a plan is made, a
 * list of steps, each of which is done or not done as the inode in its place says:
 *
 *     x PATH      what is there and what is in the layer are exchanged
 *     a PATH      there is nothing there: what is in the layer is moved there
 *     r PATH      it is removed: moved into the layer
 *     m PATH      a folder that stays: its mode, owner and time
 *     i HASHES    no step: of the step before, which is about git's index, what the new and the old one say (git_index.h). Who
 *                 looks at a repository writes that file anew, which is no change
 *     n PATH      no step: what lies in a folder that comes with the step before; nobody may have added to it or changed it
 *     o PATH      when that is taken back, or put in place again. The same of a folder that goes
 *
 * The plan is on disk before the first step, and so is the direction, in the file `state`: keeping, kept, undoing, undone. What
 * is cut short is carried on before the next layer is made; what fails is put back. Taking a kept layer back is the same plan
 * the other way round, and undone it may be kept again.
 *
 * What layers hold of replaced files is limited: with more the eldest go, and cannot be taken back any more. */
#pragma once

#include "files/ops.h"

#include <sys/stat.h>

#define LAYERS_BYTES_MAX ((int64_t)1 << 30)

/* The folder of the layers, made. A descriptor or -errno. */
int shelf_make(struct workspace *w);

/* FILES_LAYER: makes the layer o->temp. */
int op_layer(struct op *o);

/* Carries on what was cut short, and throws away the eldest, where layers hold too much. */
void layer_tidy(struct op *o);

/* A layer that changed nothing goes, and what the next one needs is made ready. */
void layer_leave(struct op *o);

/* FILES_CHANGES: "KIND SIZE PATH", each ended by a zero byte: + new, M changed, - removed, T of another type, m a folder's mode;
 * and first ! for what guard.h is about. Behind the kind marks: u a file goes of which git has no copy, r it runs when somebody
 * builds, tests or commits (later.def), l it is large. */
int op_changes(struct op *o);

/* FILES_KEEP and FILES_UNDO. Nothing is changed by -EPERM, where something is protected and q->all does not say that a person has
 * seen it; -ESTALE, when somebody else changed what it is about; -EMLINK for a file with several names; -EALREADY, -ENODATA as in
 * env/layer.h. */
int op_keep(struct op *o);
int op_undo(struct op *o);

/* Keeps what a file tool is about to change (layer_file.c), as the layer o->layer: `name` in `dir` is what there is (`old`;
 * NULL: it is new), and the file with the new content (NULL: it is to be removed) is renamed over it next. `real` is its path
 * without links, o->made the first folder that had to be made for it. */
void kept_put(struct op *o, int dir, const char *name, const char *real, const struct stat *old, const struct stat *new);

/* The layer is removed: if its step was not done, after a crash; anyhow. */
void kept_tidy(struct op *o);
void kept_forget(struct op *o);

/* FILES_LAYERS. */
int op_layers(struct op *o);

/* FILES_DROP: the layer is removed, which after it was kept means that it cannot be taken back. */
int op_drop(struct op *o);
