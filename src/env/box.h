/* box.h - the box of a workspace: what its commands see and may change, written down as a profile for rein-box (box/profile.h).
 *
 * They see the system's programs and libraries, what of /etc is no secret, the toolchains of the user's PATH without their
 * credentials, the workspace, and a home and a /tmp of the session's own. Nothing else of the machine is there. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "env/guard.h"
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
    struct guard guard;         /* what of the workspace the last command had to leave as it was */
    bool guarded;               /* that is known */
    bool proxied;               /* its commands have a way out (proxy.h); what they find it by is told them */
    void (*listening)(void *arg, int fd);   /* is given the socket of that, once there is one, to keep */
    void *listening_arg;
    int *held;                  /* namespaces that commands enter: BOX_HELD descriptors; NULL: not yet */
    char *own[2];               /* variables that say where those are */
    struct box_limits limits;
    struct buf base;            /* records that are the same for every command, once they are known */
};

/* The folders of the scratch, made. */
int boxing_begin(struct boxing *b, struct err *e);
void boxing_done(struct boxing *b);

/* Removes a scratch with all that commands have left in it. */
void boxing_remove(const char *scratch);

/* Looks at the workspace before a command, and after it: then says how many things were moved out of it that must not stay, and
 * which. After a crash the first look is the one of the rein before. */
int boxing_look(struct boxing *b, int root, struct err *e);
size_t boxing_check(struct boxing *b, int root, const char *key, struct buf *told);

/* Has the box's namespaces made, if they are not yet. They stay for as long as this process, or a command in them, lives. */
CO int boxing_hold(struct boxing *b, const char *root, struct err *e);

/* The profile of a command in `root`. */
void boxing_profile(struct boxing *b, const char *root, struct buf *out);

/* A profile as a file in memory, for rein-box to read. A descriptor or -errno. */
int boxing_file(const struct buf *profile);

/* Where a command finds, and leaves, its directory and variables: on this machine and as it sees it. The caller frees both. */
char *boxing_shell(const struct boxing *b, const char *key, char **ret_inside);

/* The variables that a command gets, of those that the user has: by a list of what may be known. `set` is added. The array is the
 * caller's, the texts are borrowed. */
char **boxing_environment(const struct boxing *b, char **user, const char *const *set, size_t nset);

/* One record of a profile. */
void profile_add(struct buf *out, const char *verb, const char *a, const char *b);
