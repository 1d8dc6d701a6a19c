/* context.h - what the model sees: a projection of the log in one provider's format.
 *
 * Every message is serialised once, when its event is folded, and never touched again; a request is the list of blocks
 * so far and a closing piece. So the body of request n+1 begins with the body of request n less that piece, and a turn
 * costs its new bytes.
 *
 * The exception is a `compact` event, which is named and counted: when a step of the plan is closed, what was observed for it may
 * be folded into its outcome. The results' messages stay, with other words; all before them stays as it is.
 *
 * Results are put in the order of their calls, whatever order they came in. Any prefix of any log makes a legal request:
 * calls without a result get one that says so, just before the request is made (the pairing check). */
#pragma once

#include "core/provider.h"

struct context_block {
    char *p;
    size_t n, cap;
};

struct context_slot {           /* a call that waits for its result */
    char *id;
    struct buf text;
    char *image_type, *image;   /* what goes with the result, or NULL */
    uint64_t seq;               /* of the result's event */
    bool filled, is_error;
    bool stays;                 /* a person's words, or the plan itself: never folded */
};

struct context_result {         /* a result's message, where it stands among all bytes */
    uint64_t seq;
    size_t at, n;
    char *call_id;
    bool stays;
};

struct context {
    const struct provider *provider;
    struct context_block *blocks;
    size_t nblocks, cap;
    size_t bytes;
    struct hashing prefix;      /* over all blocks */
    struct context_slot *slots;
    size_t nslots;
    struct context_result *results;
    size_t nresults, results_cap;
    char **held;                /* messages of people that came while calls were open */
    size_t nheld, held_cap;
    struct str *parts;          /* of the last request */
    size_t last_bytes;          /* of the last request, without its closing piece */
};

void context_init(struct context *c, const struct provider *p);
void context_done(struct context *c);

/* Called once, before the first fold, with what stays the same for the whole session. */
int context_head(struct context *c, const struct model *m, const struct harness *h, const char *system);

/* Folds an event that view_fold() has just folded into v. */
int context_fold(struct context *c, const struct view *v, const struct event *ev, const json_t *body);

/* How many bytes fewer the context would have if the results of events between two seqs said `outcome` instead. */
size_t context_saving(const struct context *c, uint64_t from, uint64_t to, const char *outcome);

/* Makes the next request: its pieces, size, SHA-256, and how many of its bytes the last one had already. The pieces are
 * valid until the context changes. */
void context_request(struct context *c, struct request *rq, struct hash *ret_hash, size_t *ret_repeated);
