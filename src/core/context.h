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
    char *id, *tool;
    struct buf text;
    char *image_type, *image;   /* what goes with the result, or NULL */
    uint64_t seq;               /* of the result's event */
    bool filled, is_error, custom;
    bool stays;                 /* a person's words, or the plan itself: never folded */
};

struct context_result {         /* a result's message, where it stands among all bytes */
    uint64_t seq;
    size_t at, n;
    char *call_id, *tool;
    bool stays;
    bool custom;                /* as of its call */
    bool first;                 /* no comma stands before it */
};

/* What of the history the model is not given, since it comes from another one. */
struct context_dropped {
    int64_t reasoning, images, withheld;    /* withheld: messages with private data, for a model that is not local */
};

struct context {
    const struct provider *provider;
    const struct model *model;
    bool images;                /* the model takes them */
    struct context_dropped dropped;
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

/* Both are borrowed. `images`: the model takes them. */
void context_init(struct context *c, const struct provider *p, const struct model *m, bool images);
void context_done(struct context *c);

/* Called once, before the first fold, with what stays the same for the whole session. */
int context_head(struct context *c, const struct harness *h, const char *system, const char *session);

/* Folds an event that view_fold() has just folded into v. */
int context_fold(struct context *c, const struct view *v, const struct event *ev, const json_t *body);

/* How many bytes fewer the context would have if the results of events between two seqs said `outcome` instead. */
size_t context_saving(const struct context *c, uint64_t from, uint64_t to, const char *outcome);

/* What results would say that are left out because the conversation is longer than the model takes. */
#define CONTEXT_LEFT_OUT "left out, since the conversation had grown too long. Call the tool again if it matters."

/* The eldest results that have to go for the context to lose half of its bytes, or as much as there is: those of events before
 * *ret_to. How many bytes that saves. */
size_t context_squeeze(const struct context *c, uint64_t *ret_to);

/* Makes the next request: its pieces, size, SHA-256, and how many of its bytes the last one had already. The pieces are
 * valid until the context changes. */
void context_request(struct context *c, struct request *rq, struct hash *ret_hash, size_t *ret_repeated);
