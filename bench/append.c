/* append.c - durable appends: append FOLDER EVENTS BATCH. Prints events per second of rein's store and of bare SQLite with the same
 * tables, bodies and batches, in turn. */
#include "base/clock.h"
#include "core/log.h"
#include "rt/loop.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#define BODY 600
#define ROUNDS 5

static struct {
    const char *folder;
    int64_t events, batch;
} arg;

static CO double rein_round(struct log *log)
{
    static char text[BODY];
    int64_t began = clock_steady();
    struct err e = {0};

    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"text\":\"", 9);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    for (int64_t i = 0; i < arg.events; i += arg.batch) {
        for (int64_t k = 0; k < arg.batch; k++) {
            struct buf body = {0};

            buf_add(&body, text, sizeof(text));
            log_stage(log, EV_RESULT, 1, FROM_TOOL, &body);
        }
        if (log_commit(log, &e) < 0) {
            fprintf(stderr, "append: %s\n", e.msg);
            exit(1);
        }
    }
    return (double)arg.events * 1e9 / (double)(clock_steady() - began);
}

static double bare_round(sqlite3 *db, sqlite3_stmt *st, int64_t *seq)
{
    static char text[BODY];
    int64_t began = clock_steady();

    memset(text, 'x', sizeof(text));
    for (int64_t i = 0; i < arg.events; i += arg.batch) {
        sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        for (int64_t k = 0; k < arg.batch; k++) {
            sqlite3_bind_int64(st, 1, ++*seq);
            sqlite3_bind_int64(st, 2, began);
            sqlite3_bind_int(st, 3, 13);
            sqlite3_bind_int64(st, 4, 1);
            sqlite3_bind_int64(st, 5, 8);
            sqlite3_bind_blob(st, 6, text, EVENT_SALT, SQLITE_STATIC);
            sqlite3_bind_text(st, 7, text, BODY, SQLITE_STATIC);
            sqlite3_bind_null(st, 8);
            sqlite3_bind_blob(st, 9, text, HASH_SIZE, SQLITE_STATIC);
            sqlite3_step(st);
            sqlite3_reset(st);
        }
        if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
            exit(1);
    }
    return (double)arg.events * 1e9 / (double)(clock_steady() - began);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static CO int main_fiber(void *unused)
{
    cleanup(freep) char *home = xasprintf("%s/home", arg.folder), *path = xasprintf("%s/bare.db", arg.folder);
    double rein[ROUNDS], bare[ROUNDS];
    struct session_row row = { .cwd = xstrdup("/"), .parent = -1 };
    struct lease lease;
    struct store *store;
    struct err e = {0};
    struct log log;
    sqlite3_stmt *st;
    int64_t seq = 0;
    sqlite3 *db;

    (void)unused;
    if (store_open(home, STORE_WRITE, &store, &e) < 0 || store_create(store, &row, &lease, &e) < 0) {
        fprintf(stderr, "append: %s\n", e.msg);
        return -1;
    }
    log_init(&log, store, &row);
    log.lease = lease;
    sqlite3_open(path, &db);
    sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE event(key INTEGER PRIMARY KEY,"
                 " time INTEGER NOT NULL, kind INTEGER NOT NULL, cause INTEGER NOT NULL, labels INTEGER NOT NULL, salt BLOB,"
                 " body TEXT, blob BLOB, hash BLOB NOT NULL)", NULL, NULL, NULL);
    sqlite3_prepare_v2(db, "INSERT INTO event VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", -1, &st, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        rein[i] = rein_round(&log);
        bare[i] = bare_round(db, st, &seq);
    }
    qsort(rein, ROUNDS, sizeof(*rein), by_value);
    qsort(bare, ROUNDS, sizeof(*bare), by_value);
    printf("%.0f %.0f\n", rein[ROUNDS / 2], bare[ROUNDS / 2]);
    sqlite3_finalize(st);
    sqlite3_close(db);
    log_done(&log);
    store_close(store);
    return 0;
}

static void on_signal(int signo)
{
    (void)signo;
    _exit(130);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    arg.folder = argv[1];
    arg.events = atoll(argv[2]);
    arg.batch = atoll(argv[3]);
    return loop_run(main_fiber, NULL, on_signal) < 0;
}
