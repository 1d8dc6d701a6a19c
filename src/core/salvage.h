/* salvage.h - what can still be read of a damaged store.
 *
 * The database and its log file are read page by page, without SQLite and without trust in anything that points from one page to
 * another: rows are known by their shape, bodies by their hash, and an event counts only when it continues its session's chain. So
 * whatever is found is what was written, in the order in which it was written, wherever the damage is. */
#pragma once

#include "core/store.h"

struct salvaged {
    struct session_row row;     /* id "" when its row is lost: then it cannot be restored by name, and gets a new one */
    uint64_t events;            /* from the first on, each verified */
    uint64_t beyond;            /* readable, but after a gap: they cannot be verified */
    uint64_t missing;           /* seq of the first event that is missing or damaged; 0 when nothing is known to be */
    const char *why;            /* one sentence about that; a constant */
};

struct salvage;

/* Reads REIN_HOME/rein.db and rein.db-wal. -ENOENT, or why they cannot be read at all. */
int salvage_open(const char *home, struct salvage **ret, struct err *e);
void salvage_free(struct salvage *v);           /* takes NULL */

/* What was found, by key. Borrowed. */
const struct salvaged *salvage_sessions(const struct salvage *v, size_t *ret_n);

/* The verified event of a session, from 1 (a fork's own begin after its parent's); the caller owns it. */
struct event *salvage_event(const struct salvage *v, size_t session, uint64_t seq);

/* Puts every session with a verified event into a store, under its old id. Returns how many. */
CO int salvage_restore(const struct salvage *v, struct store *to, struct err *e);
