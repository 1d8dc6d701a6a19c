/* file.h - what edit, write and patch share: files' old content, the planned new one, and how it gets there exactly once.
 *
 * A call's changes are made all or none. Files are written first and removed last, each by itself in one step (core/env.h); when
 * one cannot be, those before it are put back. After a crash the plan in the log and the files tell how far it came: a call of
 * several files that was begun is carried on to its end. */
#pragma once

#include "base/charset.h"
#include "core/harness.h"

struct change {
    char *path;                 /* as it stands in the log */
    bool existed, exists;       /* before; afterwards */
    struct hash before;
    struct env_stat was_like;   /* mode and owner that it had, or that a file which is moved here has */
    bool like;                  /* they are known: a file that is made, or put back, gets them */
    bool binary;                /* what was there is no text */
    struct charset charset;     /* what was there is in, and what is written */
    struct buf old, new;        /* bytes */
    struct decoded was;         /* old as UTF-8 */
};

struct changes {
    struct change **v;
    size_t n, cap;
    struct buf note;            /* for the model when they are made */
};

/* The call's own, in c->state. */
struct changes *changes_new(struct call *c);

/* Reads the file into a new change. 0, or the call is closed: NULL in *ret then. */
CO int change_load(struct call *c, struct changes *all, struct str path, struct change **ret);

/* tool.needs of what changes the file that its argument "path" names. */
void file_needs(const json_t *args, void (*each)(void *arg, struct str what), void *arg);

/* Places of the text that are to be replaced. */
struct span {
    size_t at, n;
    struct str new;             /* borrowed from the arguments or from `owned` */
};

struct spans {
    struct span *v;
    size_t n, cap;
    char **owned;               /* texts made for it */
    size_t nowned, owned_cap;
};

#define PLACES_SHOWN 8          /* lines named in one result */

void spans_add(struct spans *s, size_t at, size_t n, struct str new);
struct str spans_own(struct spans *s, struct buf *text);        /* takes the text over */
void spans_done(struct spans *s);

/* Makes the new content of the old one with the spans replaced, in whatever order they come, and appends the lines at which they
 * then are, " 3, 17", to `note`. False with the call closed when two overlap, or the content cannot be written. */
bool change_splice(struct call *c, struct change *ch, struct spans *s, struct buf *note);

/* The line of a place, from 1. */
size_t line_of(struct str text, size_t at);

/* Whether the line ends around a place are CRLF: judged by the next line end, or the one before. */
bool crlf_at(struct str text, size_t at);

/* Appends text to the new content, in the file's encoding. False: the call is closed, since the encoding does not have it, the file
 * grows too large, or the text holds what stands in place of a secret. */
bool change_add(struct call *c, struct change *ch, struct str utf8);

/* The same for bytes of the old content. */
bool change_keep(struct call *c, struct change *ch, size_t from, size_t to);

/* The text with a carriage return before every line feed that has none. */
void add_crlf(struct buf *out, struct str text);

/* Writes the plan: paths and hashes before and after, and the note. */
void changes_plan(struct call *c, struct changes *all);

/* tool.run, and what settle does. `rebuild` makes the new content of one planned file anew, from what it holds now: needed for
 * calls of several files; 0, or the call is closed. */
CO int changes_run(struct call *c);
CO int changes_settle(struct call *c, CO int (*rebuild)(struct call *c, struct changes *all, struct str path, struct change **ret));
