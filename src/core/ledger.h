/* ledger.h - session 0: what all sessions of a user share. Nobody drives it and every rein writes to it, one event at a time, each
 * on top of what it has read: who was overtaken reads again and thinks again.
 *
 *     quota   {quota, until, pace, struck, why, session}   a key was refused for asking too often
 *             {quota, next, session}                       a session uses that key; when the next one may
 *     budget  {budget, entry, reserve}                     set aside from a shared budget, before a request leaves
 *             {budget, entry, spent}                       what it did cost
 *     grant   what a person allowed, or took back: grants.h
 *     snapshot {quotas, budgets, grants}                   all of that so far: reading begins at the last one
 *
 * A refusal pauses the key, not the request. From then on requests with it leave one by one, `pace` apart; a new refusal doubles
 * the pace, and every five seconds without one halve it, until nobody has to wait for a turn any more. What is set aside and never
 * accounted for, since its rein was killed, stays spent. */
#pragma once

#include "core/grants.h"
#include "core/log.h"

struct ledger {
    struct log log;
    struct quota *quotas;
    size_t nquotas, quotas_cap;
    struct account *accounts;
    size_t naccounts, accounts_cap;
    struct grants grants;
    bool begun;                     /* it has been read from its last snapshot on */
    uint64_t snapshot;              /* seq of that one, 0: there is none */
};

#define QUOTA_ID 17
#define LEDGER_ID "ledger"

/* Its row, as a session's. */
struct session_row ledger_row(void);

void ledger_init(struct ledger *l, struct store *store);
void ledger_done(struct ledger *l);

/* The name under which a key's quota stands: it tells nothing about the key. */
void quota_name(const char *base_url, const char *key, char ret[QUOTA_ID]);

/* Reads what others have written since, behind what was handed to the store before. */
CO int ledger_read(struct ledger *l, struct err *e);

/* Whether the key may be used at once, by what was read last. */
bool ledger_open(struct ledger *l, const char *quota);

/* Waits until the key may be used: 1 if it had to queue for that, else 0. -ETIMEDOUT, with a sentence, when that takes longer than
 * `patience_ms`; -ECANCELED. */
CO int ledger_pass(struct ledger *l, const char *quota, const char *session, int64_t patience_ms, struct err *e);

/* The key was refused, with the demand to wait. `queued`: although it had queued, so that the pace is still too fast; others were
 * under way when the first was refused, and tell nothing new. */
CO int ledger_strike(struct ledger *l, const char *quota, const char *session, bool queued, int64_t wait_ms, const char *why,
                     struct err *e);

/* Sets aside what a request may cost (billionths of a dollar) from a budget of `cap`; `entry` names it. Waits, up to the patience,
 * while others have set aside what they may not need. -EDQUOT when it does not fit. */
CO int ledger_reserve(struct ledger *l, const char *budget, int64_t cap, const char *entry, int64_t cost, int64_t patience_ms,
                      struct err *e);
CO int ledger_settle(struct ledger *l, const char *budget, const char *entry, int64_t cost, struct err *e);

/* A person's word on a call, which `by` names (SESSION:CALL), and whose tool and arguments have that hash. `g`: it is for more than
 * this one; NULL: for this one. */
CO int ledger_approve(struct ledger *l, const struct grant *g, const char *by, const char *hash, struct err *e);

/* Takes a grant back. -ENOENT: there is none of that number. */
CO int ledger_revoke(struct ledger *l, uint64_t id, struct err *e);
