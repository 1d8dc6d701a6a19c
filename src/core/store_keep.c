/* store_keep.c - what keeps the store small: its size, sessions that are given up, and what nothing refers to any more. */
#include "core/store_impl.h"

#include "base/clock.h"

#include <stdio.h>
#include <sys/stat.h>

#define NEVER_BEGUN_NS  (3600 * NS_PER_S)   /* a session without events is being made, unless it is older */
#define FREE_SHARE      5                   /* a database of which a fifth is free is written anew */

static int64_t file_size(struct store *s, const char *name)
{
    cleanup(freep) char *path = xasprintf("%s/%s", s->home, name);
    struct stat st;

    return stat(path, &st) < 0 ? 0 : st.st_size;
}

static int64_t integer(struct store *s, const char *sql, int *r)
{
    sqlite3_stmt *st = NULL;
    int64_t v = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
        *r = -EIO;
    else
        v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

static int sizes_run(struct store *s, struct op *op)
{
    struct store_sizes *z = op->arg;
    int r = 0;

    z->sessions = integer(s, "SELECT count(*) FROM session WHERE key > 0", &r);
    z->events = integer(s, "SELECT count(*) FROM event", &r);
    z->database = file_size(s, "rein.db");
    z->log = file_size(s, "rein.db-wal");
    return r < 0 ? store_error(s, &op->e, "measuring") : 0;
}

CO int store_measure(struct store *s, struct store_sizes *ret, struct err *e)
{
    struct op op = { .run = sizes_run, .arg = ret };

    *ret = (struct store_sizes){0};
    return store_submit(s, &op, e);
}

static int exec(struct store *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;
}

static int with_key(struct store *s, const char *sql, int64_t key)
{
    sqlite3_stmt *st = NULL;
    int r = -EIO;

    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(st, 1, key);
        r = sqlite3_step(st) == SQLITE_DONE ? 0 : -EIO;
    }
    sqlite3_finalize(st);
    return r;
}

static bool has_forks(struct store *s, int64_t key)
{
    sqlite3_stmt *st = NULL;
    bool found = true;

    if (sqlite3_prepare_v2(s->db, "SELECT count(*) FROM session WHERE parent = ?1", -1, &st, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(st, 1, key);
        found = sqlite3_step(st) != SQLITE_ROW || sqlite3_column_int64(st, 0) > 0;
    }
    sqlite3_finalize(st);
    return found;
}

/* One session goes, in one transaction, unless somebody drives it or a fork shares its events. */
static int forget(struct store *s, int64_t key)
{
    int r = store_lock(s, key);

    if (r < 0)
        return -EBUSY;
    r = exec(s, "PRAGMA secure_delete=ON; BEGIN IMMEDIATE");     /* what is removed is overwritten */
    if (r == 0 && has_forks(s, key))
        r = -EMLINK;
    if (r == 0)
        r = with_key(s, "DELETE FROM event WHERE key BETWEEN ?1 << 32 AND (?1 << 32) + 4294967295", key);
    if (r == 0)
        r = with_key(s, "DELETE FROM lease WHERE session = ?1", key);
    if (r == 0)
        r = with_key(s, "DELETE FROM session WHERE key = ?1", key);
    if (r == 0)
        r = exec(s, "COMMIT");
    if (!sqlite3_get_autocommit(s->db))
        exec(s, "ROLLBACK");
    store_unlock(s, key);
    return r;
}

static int forget_run(struct store *s, struct op *op)
{
    int r = forget(s, *(const int64_t *)op->arg);

    if (r == -EBUSY)
        return err_set(&op->e, r, "it is being driven");
    if (r == -EMLINK)
        return err_set(&op->e, r, "another session was forked from it");
    return r < 0 ? store_error(s, &op->e, "removing a session") : 0;
}

CO int store_forget(struct store *s, int64_t key, struct err *e)
{
    struct op op = { .run = forget_run, .arg = &key };

    return store_submit(s, &op, e);
}

/* Sessions whose rein was stopped before their first event: nobody was ever told of them. */
static int forget_unbegun(struct store *s)
{
    int64_t before = clock_wall() - NEVER_BEGUN_NS, keys[64];
    sqlite3_stmt *st = NULL;
    int r = 0, n = 0;

    if (sqlite3_prepare_v2(s->db, "SELECT key FROM session WHERE key > 0 AND created < ?1 AND NOT EXISTS"
                           " (SELECT 1 FROM event e WHERE e.key BETWEEN session.key << 32 AND (session.key << 32) + 4294967295)",
                           -1, &st, NULL) != SQLITE_OK)
        return -EIO;
    sqlite3_bind_int64(st, 1, before);
    while (n < (int)ARRAY_SIZE(keys) && (r = sqlite3_step(st)) == SQLITE_ROW)
        keys[n++] = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    if (r != SQLITE_ROW && r != SQLITE_DONE && n == 0)
        return -EIO;
    for (int i = 0; i < n; i++) {
        r = forget(s, keys[i]);
        if (r == -EIO)
            return r;
    }
    return 0;
}

static int tidy_run(struct store *s, struct op *op)
{
    int r = forget_unbegun(s);

    /* An event and its blob are written in one transaction, so a blob without an event has none to come. */
    if (r == 0)
        r = exec(s, "PRAGMA secure_delete=ON; DELETE FROM blob WHERE hash NOT IN (SELECT blob FROM event WHERE blob IS NOT NULL)");
    if (r == 0 && integer(s, "PRAGMA freelist_count", &r) * FREE_SHARE > integer(s, "PRAGMA page_count", &r) && r == 0) {
        r = exec(s, "VACUUM");
        if (r < 0 && (sqlite3_errcode(s->db) & 0xff) == SQLITE_BUSY)
            r = 0;                      /* others are at work: it can wait */
    }
    if (r < 0)
        return store_error(s, &op->e, "tidying");
    exec(s, "PRAGMA wal_checkpoint(TRUNCATE)");     /* as far as others let it */
    return 0;
}

CO int store_tidy(struct store *s, struct err *e)
{
    struct op op = { .run = tidy_run };

    return store_submit(s, &op, e);
}
