/* log.h - the durable record of a session.
 *
 * A log is an append-only chain of events. Everything else about a session - the transcript, the cost, what the
 * screen shows - is computed by reading it from the start, so:
 *
 *   1. an event is on disk before anyone acts on it or is told of it;
 *   2. an event, once written, never changes, and its hash covers all that came before;
 *   3. sequence numbers have no gap, whatever process died while writing.
 *
 * log_stage() gives an event its place in the chain; log_flush() hands all that is staged to the store, and log_commit()
 * also waits until it is durable. Before that nothing which depends on it leaves the process: that is what log_clean()
 * lets callers assert. A commit that failed ends the log: it takes no more events, because what the disk holds is not
 * known until it is read again. */
#pragma once

#include "core/store.h"

struct log {
    struct store *store;
    struct session_row row;
    struct lease lease;                 /* epoch 0: opened for reading */
    uint64_t next_seq;
    struct hash head;
    struct event **staged;
    size_t nstaged, cap;
    uint8_t salts[16][EVENT_SALT];      /* random bytes for the next events */
    size_t salts_left;
    unsigned under_way;                 /* commits that are not answered yet */
    struct gate answered;
    bool failed;
    struct err why;                     /* of the failure */
    void (*durable)(void *arg, const struct event *ev);     /* told of each event once it is; may be NULL */
    void *durable_arg;
};

/* Called for each event in order. A negative result ends the reading and is returned. */
typedef int log_fn(void *arg, struct event *ev, struct err *e);

/* A log whose session exists. `row` is taken over. Nothing is read yet. */
void log_init(struct log *l, struct store *store, struct session_row *row);

/* Takes the lease, so that events may be staged. */
CO int log_drive(struct log *l, struct err *e);

/* Reads all events, checks that the chain holds, and calls fn for each. -EUCLEAN names the first bad event. */
CO int log_read(struct log *l, log_fn *fn, void *arg, struct err *e);

/* Puts an event at the end of the chain. Takes the bytes of `body` over; the event belongs to the log. */
struct event *log_stage(struct log *l, enum kind kind, uint64_t cause, uint32_t labels, struct buf *body);

/* Appends one event to a log that many write and nobody drives, on top of what was read of it, and tells fn of it once it is
 * durable. -EAGAIN: another was faster; log_read says what it wrote. Takes the bytes of `body` over. */
CO int log_contend(struct log *l, enum kind kind, uint32_t labels, struct buf *body, log_fn *fn, void *arg, struct err *e);

/* Hands over what is staged, and does not wait. */
void log_flush(struct log *l);

/* Hands it over and waits until all of the log is durable. One fiber at a time. */
CO int log_commit(struct log *l, struct err *e);

static inline bool log_clean(const struct log *l)
{
    return l->nstaged == 0 && l->under_way == 0 && !l->failed;
}

/* Waits for commits under way, gives the lease back and frees what the log owns. What is staged is lost. */
CO void log_done(struct log *l);
