/* grants.h - what a person has allowed for more than one call. Kept in the user's ledger (`rein grants` lists them):
 *
 *     grant   {kind, what, root, session, until, by, hash}     given with the answer to a call; the event's seq is its number
 *             {revoke}                                         taken back
 *             {once, by, hash}                                 an approval of one call, which its session's log has as well
 */
#pragma once

#include "base/js.h"

enum grant_kind {
    GRANT_NONE,
    GRANT_RUN,              /* a command that begins with these words, as far as the rules go (rules.h) */
    GRANT_WRITE,            /* that file */
    GRANT_REACH,            /* that host */
};

struct grant {
    uint64_t id;
    enum grant_kind kind;
    char *what;
    char *root;             /* the workspace that it is for */
    char *session;          /* only that session; NULL: all of the workspace */
    int64_t given, until;   /* wall clock, ns */
};

struct grants {
    struct grant *v;
    size_t n, cap;
};

const char *grant_kind_name(enum grant_kind kind);

/* Takes an event of the ledger in. */
void grants_fold(struct grants *g, uint64_t seq, int64_t time, const json_t *body);

/* All of them, as a snapshot has them, and back. `now`: what has run out is left out. */
void grants_add_json(const struct grants *g, int64_t now, struct buf *out);
void grants_read(struct grants *g, const json_t *list);

void grants_done(struct grants *g);

/* Whether a grant holds in a workspace and session now. */
bool grant_holds(const struct grant *g, enum grant_kind kind, const char *root, const char *session, int64_t now);
