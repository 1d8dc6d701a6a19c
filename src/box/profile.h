/* profile.h - what a box is to look like: a list of records that rein writes and rein-box carries out, in order.
 *
 * A record is three texts, each closed by a NUL byte: a verb and two arguments, of which the second may be empty. Paths are
 * absolute and without links, but for the last component of what `ro` names; those of the host are A, those in the box are B
 * (empty: as A).
 *
 *   uid                     the box is a user namespace of its own; first record of a live box, absent in one of Landlock alone
 *   ro A B                  A, read-only, at B; a symbolic link is copied as such; what does not exist is left out
 *   rw A B                  A, writable, at B; it has to exist
 *   keep A ""               what is at A stays as it is: read-only in something writable
 *   pin A ""                A may be written into, but not be moved away
 *   hide A ""               an empty file or directory stands where A is
 *   dir A ""                a directory, made in the box
 *   layer A B               what is written to A goes into the folders u and w of B, a path relative to A; for once
 *   plan A B                the same, for a layer that may have been one before, and may be one again
 *   tmpfs A BYTES           an empty file system at A
 *   dev "" ""               /dev with what programs need, /dev/shm and terminals of its own
 *   proc "" ""              /proc of the box's own processes
 *   net "" ""               the network stays the host's (otherwise there is none but loopback)
 *   then "" ""              what follows is about one program; all before it may have been done already, for several
 *   cd A ""                 where the program starts
 *   limit NAME NUMBER       file (bytes), files, memory (bytes), processes, disk (bytes by which the roots may grow), copies (bytes
 *                           that a layer may copy of files which lie below, since they are changed)
 * / */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum limit { LIMIT_FILE, LIMIT_FILES, LIMIT_MEMORY, LIMIT_PROCESSES, LIMIT_DISK, LIMIT_COPIES, LIMITS };

struct record {
    const char *verb, *a, *b;
};

struct profile {
    char *text;
    struct record *v;
    size_t n;
    bool own_users, host_net;
    uint64_t limit[LIMITS];             /* 0: none */
    const char *cd;
};

/* Reads all of a descriptor. False, with a sentence in *ret_why, when it is no profile. */
bool profile_read(int fd, struct profile *ret, const char **ret_why);
