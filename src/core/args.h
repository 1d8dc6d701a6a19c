/* args.h - the arguments of a call: from a model's words to an object that fits the tool's parameters, or one line that says
 * why not.
 *
 * What is mended is only what can be read in one way (base/mend.h); text encoded twice, and a value in another dress than the
 * schema's where the dress alone is wrong, "12" for 12, are put right too. A call that changes something is never made from text
 * that ends too early. The same words give the same arguments, now and when the log is read again. */
#pragma once

#include "base/js.h"

struct args_form {
    const json_t *schema;               /* of the tool's parameters */
    bool pure;                          /* the tool only reads: missing brackets at the end may be added */
};

/* The arguments as an object, owned by the caller, with what was mended appended to `mended`. NULL: a line for the model is in
 * `say`, which begins after "Not run: ". */
json_t *args_read(struct str text, const struct args_form *form, struct buf *mended, struct buf *say);

/* The text as an object that services accept in a request's history: itself, mended, or {}. */
void args_for_history(struct str text, struct buf *out);
