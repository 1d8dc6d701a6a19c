/* layer.h - commands over a layer: the workspace stays as it is until somebody has seen what they did (src/files/layer.h). */
#pragma once

#include "core/env.h"

/* 0, or -EXDEV with a sentence: a file system is mounted somewhere in the workspace, which an overlay does not show. */
int layer_possible(struct env *v, struct err *e);

/* Makes a layer, where one is possible. Not durable before it is kept. */
CO int layer_make(struct env *v, const char *name, struct err *e);

/* From now on the commands of a boxed environment run over a layer of that name: letters, digits and '-'. Not durable
 * before it is kept. */
CO int layer_begin(struct env *v, const char *name, struct err *e);

enum layer_state { LAYER_NONE, LAYER_NEW, LAYER_KEEPING, LAYER_KEPT, LAYER_UNDOING, LAYER_UNDONE };

/* The layers of the workspace, in no order. The caller ends it with layers_done. */
struct layers {
    struct layer_row {
        char *name;
        enum layer_state state;
        int64_t since;                  /* ns since 1970: when it came into that state */
    } *v;
    size_t n, cap;
};
CO int layer_list(struct env *v, struct layers *ret, struct err *e);
void layers_done(struct layers *l);

/* What has become of a layer. */
CO int layer_look(struct env *v, const char *name, enum layer_state *ret, struct err *e);

/* What lies in it: a line a change, "+ SIZE PATH", paths with what cannot be seen written out. `empty_goes`: it is dropped when
 * that is nothing. */
CO int layer_changes(struct env *v, const char *name, bool empty_goes, struct buf *out, int64_t *ret_n, struct err *e);

/* Names such a list, by all but its marks: those depend on who looks. Returns ret. */
char *layer_list_hash(struct str changes, char ret[HASH_HEX]);

/* When there is no layer left: what held them goes, too. */
CO void layers_close(struct env *v);

/* Puts it in place, takes it back, puts it in place again, forgets it. Nothing is done by -ESTALE, when somebody else has
 * changed what it is about; by -EPERM, when something of it is protected and no person has `seen` it; by -EALREADY, when there
 * is nothing to take back, or to put in place again; by -ENODATA, when it never was in place. A layer that was kept and is
 * dropped cannot be taken back. */
CO int layer_keep(struct env *v, const char *name, bool seen, struct err *e);
CO int layer_undo(struct env *v, const char *name, struct err *e);
CO int layer_redo(struct env *v, const char *name, struct err *e);
CO int layer_drop(struct env *v, const char *name, struct err *e);
