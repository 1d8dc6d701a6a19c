/* guard.h - files of a workspace that make programs outside the box do something: git's configuration and hooks, settings of
 * editors and agents, start-up files of shells. A box may not change them, and may not leave new ones.
 *
 * Those that are there when a command starts are read-only in its box. What is new when it has ended, and nothing of it is left
 * running, is looked at: a fresh repository with nothing but ordinary settings stays, all else is moved out of the workspace. */
#pragma once

#include "base/buf.h"

#include <sys/stat.h>

/* Kinds: what it is, and so how it is kept and judged. */
#define KIND_FILE   'f'         /* by name; also .git as a file, which says where the repository is */
#define KIND_FOLDER 'd'
#define KIND_LINK   'l'         /* by name, but a symbolic link: that it still is the same one is all that counts */
#define KIND_GIT    'g'         /* a git directory */
#define KIND_CONFIG 'c'         /* and in it: configuration */
#define KIND_HOOKS  'h'
#define KIND_SHARED 's'         /* a file, or a folder of such, that is the same as one outside the workspace: a hard link */
#define KIND_SECRET 'x'         /* such a one that only its owner may read */

struct guarded {
    char *path;             /* below the root; "": the root itself */
    uint64_t dev, ino;
    char kind;
    bool below;             /* it lies under a layer, which makes it count: a repository is complete by what is in the layer */
};

struct guard {
    struct guarded *v;
    size_t n, cap;
};

/* Looks through a workspace. What cannot be read is left out. Hard links are looked for once: with the list of an earlier look
 * (`before`) its links are taken over, since a box cannot make any to what is not in the workspace. `below`: what lies under the
 * root when that is a layer, else -1. */
void guard_scan(int root, int below, const struct guard *before, struct guard *ret);
void guard_done(struct guard *g);

bool guard_has(const struct guard *g, const struct guarded *one);
bool guard_equal(const struct guard *a, const struct guard *b);

/* Looks again: the paths of what is new and may not stay, each ended by a zero byte. `named`: the workspace's path as commands know
 * it; `below`: as for guard_scan. In a layer everything is new, but what is as it was below may stay. */
void guard_check(int root, int below, const char *named, const struct guard *before, struct buf *ret);

/* The list as bytes: a line "KIND DEVICE INODE PATH" each, ended by a zero byte, and "end". False: that is no such list. */
void guard_write(const struct guard *g, struct buf *out);
bool guard_read(struct str text, struct guard *ret);

/* The part of a path that is a name of guard.def, or NULL. */
const char *guard_name(const char *rel);

/* Whether a path below the root is one of those, or lies in one: a file tool is not to write it. */
bool guard_covers(const char *rel);

/* Whether a file is hidden in a box, as the list says; if guard_may_hide says no, no list does. */
bool guard_may_hide(const struct stat *st);
bool guard_hides(const struct guard *g, const struct stat *st);
