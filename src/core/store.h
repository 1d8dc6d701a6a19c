/* store.h - where events live: one SQLite database under REIN_HOME, and the thread that owns it.
 *
 * Every operation is handed to the store's thread and waited for; what arrives while a commit is being made durable
 * goes into the next one (group commit). No other thread touches the database, and the loop never waits for a disk.
 *
 * Appends are handed over and answered later; everything else is waited for. Waits here are not cut short by
 * cancellation: an append either happened or did not, and the caller learns which. */
#pragma once

#include "base/err.h"
#include "core/event.h"
#include "rt/fiber.h"

#define STORE_FORMAT   2
#define SESSION_ID_MAX 32

struct store;

struct session_row {
    int64_t key;                        /* 0 is the user's ledger */
    char id[SESSION_ID_MAX];
    int64_t created;                    /* ns, wall clock */
    char *cwd;
    int64_t parent;                     /* key of the session it was forked from, -1 for none */
    uint64_t parent_seq;                /* its events up to this one are also the fork's; 0 without a parent */
};

void session_row_done(struct session_row *row);

/* Who drives a session. Ownership is a lock the kernel drops with its process; the epoch fences late writes. */
struct lease {
    int64_t key;
    uint64_t epoch;                     /* grows by one with every owner */
};

enum store_mode { STORE_WRITE, STORE_READ };

/* Opens REIN_HOME/rein.db; STORE_WRITE creates what is missing. -EROFS, -EACCES, -ENOSPC, -EUCLEAN when it is damaged,
 * -EPROTO when a newer rein wrote it, -ENOENT for STORE_READ when there is none. */
CO int store_open(const char *home, enum store_mode mode, struct store **ret, struct err *e);
CO void store_close(struct store *s);          /* takes NULL */

static inline CO void store_closep(struct store **s)
{
    store_close(*s);
}

/* Makes a session and takes its lease, in one commit: fills key, id and created of the row. */
CO int store_create(struct store *s, struct session_row *row, struct lease *ret, struct err *e);

/* The same for a session of another store: key, and id unless that is empty, stay. -EEXIST. */
CO int store_restore(struct store *s, struct session_row *row, struct lease *ret, struct err *e);

/* By id or an unambiguous beginning of it; NULL: the latest. -ENOENT, or -ENOTUNIQ naming the candidates. */
CO int store_find(struct store *s, const char *id, struct session_row *ret, struct err *e);

/* Newest first, at most `max`. The caller frees the array with store_rows_free. */
CO int store_list(struct store *s, size_t max, struct session_row **ret, size_t *ret_n, struct err *e);
void store_rows_free(struct session_row *rows, size_t n);

/* Takes the lease. -EBUSY names who has it. */
CO int store_lease(struct store *s, int64_t key, struct lease *ret, struct err *e);
/* The process that drives the session now. -ENOENT when nobody does. */
CO int store_owner(struct store *s, int64_t key, int64_t *ret_pid, struct err *e);
CO void store_release(struct store *s, const struct lease *l);

/* Called on the loop, on no fiber: 0, the events are durable; or why they are not. */
typedef void store_done_fn(void *arg, int result, const struct err *e);

/* Hands events over to be appended, all or none, and returns at once. `done` is called when they are durable, in the order
 * of the calls; -ESTALE: the lease has passed on. `evs` is borrowed until then. */
void store_append(struct store *s, const struct lease *l, struct event *const *evs, size_t n, store_done_fn *done, void *arg);

/* Appends one event to a session that nobody drives, if it comes right after the last. -EAGAIN: another was faster. */
CO int store_contend(struct store *s, int64_t key, struct event *ev, struct err *e);

/* Loads up to `max` events from seq `from` on, in order, those that a fork shares with its parents included; each is owned by
 * the caller. Returns how many. */
CO ssize_t store_load(struct store *s, int64_t key, uint64_t from, struct event **evs, size_t max, struct err *e);

/* The session's own first event of a kind, and its last of all; what it shares with a parent is not looked at. -ENOENT. */
CO int store_first(struct store *s, int64_t key, enum kind kind, struct event **ret, struct err *e);
CO int store_last(struct store *s, int64_t key, struct event **ret, struct err *e);
/* The last one of a kind, among those up to `upto` (0: all). */
CO int store_latest(struct store *s, int64_t key, enum kind kind, uint64_t upto, struct event **ret, struct err *e);

struct store_sizes {
    int64_t sessions, events;
    int64_t database, log;              /* bytes of rein.db and rein.db-wal */
};

/* Counts and measures; reads the whole index of events. */
CO int store_measure(struct store *s, struct store_sizes *ret, struct err *e);

/* Removes a session for good. -EBUSY when it is being driven, -EMLINK when another was forked from it. */
CO int store_forget(struct store *s, int64_t key, struct err *e);

/* Removes what nothing refers to, writes the database anew when much of it is free, and empties its log file. */
CO int store_tidy(struct store *s, struct err *e);

struct store_stats {
    uint64_t commits, events_written, events_read;
};
struct store_stats store_stats(const struct store *s);
