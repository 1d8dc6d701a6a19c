/* store_impl.h - what store.c (the thread, appends, opening) and store_rows.c (sessions, leases, reading) share. */
#pragma once

#include "core/store.h"
#include "rt/loop.h"

#include <pthread.h>
#include <sqlite3.h>

/* 2^31 sessions of 2^32 events. */
#define EVENT_KEY(session, seq) ((session) << 32 | (int64_t)(seq))

enum statement {
    ST_BEGIN, ST_COMMIT, ST_ROLLBACK, ST_EPOCH, ST_TOP, ST_INSERT, ST_BLOB, ST_LOAD, ST_FIRST, ST_LATEST, ST_LAST, ST_PARENT,
    ST_MAX,
};

/* Something for the thread to do. */
struct op {
    struct op *next;
    int (*run)(struct store *s, struct op *op);     /* on the thread; NULL for an append and for the end */
    void *arg;
    int result;
    struct err e;
    struct gate done;
    bool stop;
    /* An append; the op is on the heap then. */
    struct lease lease;
    struct event *const *evs;
    size_t nevs;
    store_done_fn *then;
    void *then_arg;
};

struct store {
    char *home;
    enum store_mode mode;
    sqlite3 *db;
    sqlite3_stmt *st[ST_MAX];
    int lock_fd;                        /* one byte per session: F_OFD_SETLK, dropped by the kernel with its owner */
    bool log_synced;                    /* what an earlier rein has left in the log file is on disk */
    struct store_stats stats;

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct op *queue, **queue_end;      /* to the thread, under the mutex */
    struct op *done;                    /* from the thread, under the mutex */
    uv_async_t async;
    struct gate closed;
};

/* Hands the operation over and waits for it. */
CO int store_submit(struct store *s, struct op *op, struct err *e);

/* On the thread only. */
int store_sync_log(struct store *s, struct err *e);                     /* before anything that was there is read */
int store_lock(struct store *s, int64_t key);                           /* the lease's lock: 0 or a negative errno */
void store_unlock(struct store *s, int64_t key);
sqlite3_stmt *store_statement(struct store *s, enum statement i);       /* prepared once; NULL on an error of the database */
int store_step(sqlite3_stmt *st);                                       /* runs a statement without rows and resets it */
int store_error(struct store *s, struct err *e, const char *what);      /* the database's last error as errno and sentence */
