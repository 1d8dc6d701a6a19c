/* box.h - the box of a workspace: what its commands see and may change, written down as a profile for rein-box (box/profile.h).
 *
 * They see the system's programs and libraries, what of /etc is no secret, the toolchains of the user's PATH without their
 * credentials, the workspace, and a home and a /tmp of the session's own. Nothing else of the machine is there. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "core/egress.h"
#include "files/guard.h"
#include "rt/fiber.h"

enum tier {
    TIER_NONE,          /* commands run with the user's rights */
    TIER_LANDLOCK,      /* Landlock and a system call filter; the workspace's protected files cannot be told apart from others */
    TIER_LIVE,          /* namespaces, a view of its own, protected files read-only */
};

const char *tier_name(enum tier tier);

/* The best that this machine allows now, and in one sentence why it is not better (NULL: it is the best), which is the
 * caller's. What was found is kept in `home` for this life of the machine; `anew`: that is not believed. */
CO enum tier tier_find(const char *home, bool anew, char **ret_why);

struct box_limits {
    int64_t memory, disk, file;         /* bytes */
    int64_t processes, files;
};
#define BOX_LIMITS ((struct box_limits){ .memory = INT64_C(2) << 30, .disk = INT64_C(4) << 30, .file = INT64_C(2) << 30, \
                                         .processes = 2000, .files = 16384 })

#define BOX_HELD 5

struct boxing {
    enum tier tier;
    bool read_only;             /* nothing of the workspace can be changed */
    char *scratch;              /* a folder for what the session's commands keep at home and in /tmp */
    bool shelf;                 /* there may be layers: of commands or, anyhow, of file tools */
    bool layers;                /* each command gets a layer of the workspace (files/layer.h) */
    char *git_root;             /* git's folder, where that lies outside of the workspace: a second root; NULL: it does not */
    char *plan;                 /* one layer for all of them, which lies below all else; NULL: none */
    char *layer;                /* that of the profile which is made next; NULL: it changes the workspace in place */
    bool masks;                 /* and what is protected is read-only for it; where there is a layer, its keeper sees to that */
    struct guard guard;         /* what of the workspace the last command had to leave as it was */
    bool guarded;               /* that is known */
    bool proxied;               /* its commands have a way out (proxy.h); what they find it by is told them */
    const struct egress *list;  /* and where to */
    int64_t let_out;            /* connections that were made there for them */
    void (*listening)(void *arg, int fd);   /* is given the socket of that, once there is one, to keep */
    void *listening_arg;
    int *held;                  /* namespaces that commands enter: BOX_HELD descriptors; NULL: not yet */
    char *own[2];               /* variables that say where those are */
    char **git;                 /* and for which hosts git asks by way of rein, which has their keys; NULL at the end */
    struct box_limits limits;
    struct buf base;            /* records that are the same for every command, once they are known */
};

/* The folders of the scratch, made. */
int boxing_begin(struct boxing *b, struct err *e);
void boxing_done(struct boxing *b);

/* What of the workspace a command has to leave as it is: found out before it (guard.h has the list), told to those who look after
 * it, after a crash as the rein before knew it (false: not at all). What may not stay then is moved out to where the user finds it
 * (false: it is on another file system). */
int boxing_guard(struct boxing *b, struct str list, struct err *e);
bool boxing_guarded(struct boxing *b, struct buf *ret);
bool boxing_hold_back(const struct boxing *b, int root, const char *path, const char *key, size_t number);

/* Has the box's namespaces made, if they are not yet. They stay for as long as this process, or a command in them, lives. */
CO int boxing_hold(struct boxing *b, const char *root, struct err *e);

/* The profile of a command in `root`. */
void boxing_profile(struct boxing *b, const char *root, struct buf *out);

/* A profile as a file in memory, for rein-box to read. A descriptor or -errno. */
int boxing_file(const struct buf *profile);
int boxing_write(int fd, const struct buf *profile);

/* Where a command finds, and leaves, its directory and variables: on this machine and as it sees it. The caller frees both. */
char *boxing_shell(const struct boxing *b, const char *key, char **ret_inside);

/* The variables that a command gets, of those that the user has: by a list of what may be known. `set` is added. The array is the
 * caller's, the texts are borrowed. */
char **boxing_environment(struct boxing *b, char **user, const char *const *set, size_t nset);

/* One record of a profile. */
void profile_add(struct buf *out, const char *verb, const char *a, const char *b);
