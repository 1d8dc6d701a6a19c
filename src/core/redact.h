/* redact.h - secrets stay out of the log, the screen, the model's context and the environment of commands.
 *
 * A secret is a value that was learnt: the keys of services, and variables of rein's environment whose names say so; or what has
 * the form of one: tokens of well-known services, private keys. It is replaced where it comes in, before anything is written, by a
 * mark that is never longer. What is known is the whole process's.
 *
 * Not covered: the file that a command's own output goes to, which is the command's as its other files are; what a model is shown
 * of it is. */
#pragma once

#include "base/buf.h"

#define REDACT_MARK "[secret]"

/* The name says that a variable's value is a secret: API_KEY, GITHUB_TOKEN, ... Names that `redact_keep` was given do not. */
bool redact_name(struct str name);
void redact_keep(struct str name);

/* From now on that variable's name says so, whatever it is; its value is learnt. */
void redact_hide(struct str name);

/* Learns a value, unless it is too short or too common to be one. */
void redact_learn(struct str value);
void redact_learn_environment(void);

/* Replaces all secrets in a text, in place; it may be JSON. Returns how many. */
size_t redact(struct buf *text);

/* The same over pieces: what may be the beginning of a secret waits for the next piece. */
struct redactor {
    struct buf held;
    size_t found;
};

/* Appends to `out` what is certain by now. */
void redactor_feed(struct redactor *r, struct str piece, struct buf *out);
void redactor_end(struct redactor *r, struct buf *out);
void redactor_done(struct redactor *r);
