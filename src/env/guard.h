/* guard.h - files of a workspace that make programs outside the box do something: git's configuration and hooks, settings of
 * editors and agents, start-up files of shells. A box may not change them, and may not leave new ones.
 *
 * Those that are there when a command starts are read-only in its box. What is new when it has ended, and nothing of it is left
 * running, is looked at: a fresh repository with nothing but ordinary settings stays, all else is moved out of the workspace. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct guarded {
    char *path;             /* below the root */
    uint64_t dev, ino;
    char kind;              /* see guard.c */
};

struct guard {
    struct guarded *v;
    size_t n, cap;
};

/* Looks through a workspace. What cannot be read is left out. Hard links are looked for once: with the list of an earlier look
 * (`before`) its links are taken over, since a box cannot make any to what is not in the workspace. */
void guard_scan(int root, const struct guard *before, struct guard *ret);
void guard_done(struct guard *g);

bool guard_equal(const struct guard *a, const struct guard *b);

/* The records that keep a box from changing them; `root` is the workspace's path. */
void guard_profile(const struct guard *g, const char *root, struct buf *out);

/* Looks again, and moves what is new and may not stay into the folder `to`. Says in `told` which, one path a line; returns how
 * many. */
size_t guard_check(int root, const struct guard *before, const char *to, struct buf *told);

/* The list as a file, for a rein that comes after a crash. */
int guard_save(const struct guard *g, const char *path);
int guard_load(const char *path, struct guard *ret);

/* Whether a path below the root is one of those, or lies in one: a file tool is not to write it. */
bool guard_covers(const char *rel);
