/* hints.h - a compiler's fix-it hints: from what a build wrote to the lines as they should be.
 *
 * Hints are those of GCC and Clang under -fdiagnostics-parseable-fixits:  fix-it:"FILE":{LINE:COL-LINE:COL}:"TEXT" */
#pragma once

#include "base/buf.h"

struct fix {
    char *file, *text;
    unsigned line, from, line_to, to;   /* columns from 1, in bytes */
};

struct group {                          /* an error or a warning, with the hints that belong to it */
    bool error;
    struct str message, where;
    struct fix *fixes;
    size_t n, cap;
};

struct report {
    struct group *groups;
    size_t n, cap;
    struct str *undefined;              /* names that the linker did not find */
    size_t nundefined, undefined_cap;
    char *folder;                       /* where the compiler runs at this point */
};

void report_read(struct report *r, struct str output);
void report_done(struct report *r);

/* Which hints to follow. */
struct plan {
    struct fix **v;                     /* borrowed, by file and place */
    size_t n, cap;
};

/* Only what stands in the way of the build is followed. What is put in, and not in place of something, may be the cause of all
 * errors behind it in the file: those wait for the next build. */
void plan_make(struct plan *p, const struct report *r);
void plan_done(struct plan *p);
bool plan_same(const struct plan *a, const struct plan *b);

/* Fixes of one file so near to each other that one change makes them. */
struct cluster {
    size_t first, n;
    unsigned start, count;              /* lines that are read and replaced */
};

/* The cluster that begins at a fix, with lines around it. False behind the last. */
bool plan_cluster(const struct plan *p, size_t from, unsigned around, struct cluster *ret);

/* The cluster's lines with its fixes made. False when they do not fit. */
bool plan_apply(const struct plan *p, const struct cluster *c, struct str lines, struct buf *out);

/* Takes the first line off, without its end. */
struct str take_line(struct str *text);
