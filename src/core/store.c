/* store.c - see store.h. An operation is a struct op: queued, run on the thread, answered on the loop. Appends that wait
 * side by side share one transaction. */
#include "core/store.h"

#include "base/clock.h"
#include "base/path.h"
#include "rt/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_STEP_US    500
#define BUSY_LIMIT_MS   10000
#define APPLICATION_ID  0x7265696e      /* "rein" */
#define NAMES_SHOWN     5
#define SPIN_NS         50000

/* 2^31 sessions of 2^32 events. */
#define EVENT_KEY(session, seq) ((session) << 32 | (int64_t)(seq))

static const char schema[] =
    "CREATE TABLE session(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,"
    " cwd TEXT NOT NULL, parent INTEGER NOT NULL, parent_seq INTEGER NOT NULL);"
    /* The key of an event is (session, seq) in one integer, EVENT_KEY: one tree, in which a session's events lie side by
     * side, where a table with an index of its own would write a second page in every commit. */
    "CREATE TABLE event(key INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind INTEGER NOT NULL, cause INTEGER NOT NULL,"
    " labels INTEGER NOT NULL, salt BLOB, body TEXT, blob BLOB, hash BLOB NOT NULL);"
    "CREATE TABLE blob(hash BLOB PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE lease(session INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, pid INTEGER NOT NULL,"
    " since INTEGER NOT NULL);"
    "INSERT INTO session VALUES(0, 'ledger', 0, '', -1, 0);";

enum statement {
    ST_BEGIN, ST_COMMIT, ST_ROLLBACK, ST_EPOCH, ST_TOP, ST_INSERT, ST_BLOB, ST_LOAD, ST_FIRST, ST_LAST, ST_MAX,
};

static const char *const statement_sql[ST_MAX] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_EPOCH] = "SELECT epoch FROM lease WHERE session = ?1",
    [ST_TOP] = "SELECT max(key) FROM event WHERE key BETWEEN ?1 AND ?2",
    [ST_INSERT] = "INSERT INTO event(key, time, kind, cause, labels, salt, body, blob, hash)"
                  " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [ST_BLOB] = "INSERT INTO blob(hash, data) VALUES(?1, ?2) ON CONFLICT DO NOTHING",
#define COLUMNS "e.key, e.time, e.kind, e.cause, e.labels, e.salt, e.body, e.blob, e.hash, b.data" \
                " FROM event e LEFT JOIN blob b ON b.hash = e.blob WHERE e.key BETWEEN ?1 AND ?2"
    [ST_LOAD] = "SELECT " COLUMNS " ORDER BY e.key",
    [ST_FIRST] = "SELECT " COLUMNS " AND e.kind = ?3 ORDER BY e.key LIMIT 1",
    [ST_LAST] = "SELECT " COLUMNS " ORDER BY e.key DESC LIMIT 1",
};

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
    struct store_stats stats;

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct op *queue, **queue_end;      /* to the thread, under the mutex */
    struct op *done;                    /* from the thread, under the mutex */
    uv_async_t async;
    struct gate closed;
};

/* The thread's side. */

static int db_error(struct store *s, struct err *e, const char *what)
{
    int code = s->db ? sqlite3_errcode(s->db) : SQLITE_NOMEM, sys = s->db ? sqlite3_system_errno(s->db) : 0;

    switch (code & 0xff) {
    case SQLITE_FULL:
        return err_set(e, -ENOSPC, "the session store in %s is full: %s failed; free some disk space", s->home, what);
    case SQLITE_READONLY:
        return err_set(e, -EROFS, "the session store in %s cannot be written (read-only): %s failed", s->home, what);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        if (sys == EROFS)
            return err_set(e, -EROFS, "the session store in %s is on a read-only file system", s->home);
        return err_set(e, sys ? -sys : -EACCES, "the session store in %s cannot be opened: %s", s->home,
                       strerror(sys ? sys : EACCES));
    case SQLITE_BUSY:
        return err_set(e, -EBUSY, "the session store in %s is in use by another program: %s waited %d s", s->home, what,
                       BUSY_LIMIT_MS / 1000);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(e, -EUCLEAN, "the session store in %s is damaged: %s", s->home, sqlite3_errmsg(s->db));
    case SQLITE_NOMEM:
        return err_set(e, -ENOMEM, "out of memory in the session store: %s failed", what);
    default:
        if (sys == ENOSPC || sys == EDQUOT)
            return err_set(e, -ENOSPC, "the session store in %s is full: %s failed; free some disk space", s->home,
                           what);
        return err_set(e, -EIO, "the session store in %s: %s failed: %s%s%s", s->home, what, sqlite3_errmsg(s->db),
                       sys ? ", " : "", sys ? strerror(sys) : "");
    }
}

static int on_busy(void *arg, int tries)
{
    (void)arg;
    usleep(BUSY_STEP_US);
    return tries < BUSY_LIMIT_MS * 1000 / BUSY_STEP_US;
}

static sqlite3_stmt *statement(struct store *s, enum statement i)
{
    if (!s->st[i])
        sqlite3_prepare_v3(s->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL);
    return s->st[i];
}

/* Runs a statement without rows whose parameters are bound. */
static int step(struct store *s, sqlite3_stmt *st)
{
    int r = st ? sqlite3_step(st) : SQLITE_ERROR;

    (void)s;
    if (st) {
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
    }
    return r == SQLITE_DONE ? 0 : -EIO;
}

static int run(struct store *s, enum statement i)
{
    return step(s, statement(s, i));
}

static void rollback(struct store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        run(s, ST_ROLLBACK);
}

static int insert_event(struct store *s, int64_t key, const struct event *ev)
{
    sqlite3_stmt *st = statement(s, ST_INSERT);
    bool blob = ev->body.n > EVENT_BLOB_MIN;

    if (!st)
        return -EIO;
    sqlite3_bind_int64(st, 1, EVENT_KEY(key, ev->seq));
    sqlite3_bind_int64(st, 2, ev->time);
    sqlite3_bind_int(st, 3, (int)ev->kind);
    sqlite3_bind_int64(st, 4, (int64_t)ev->cause);
    sqlite3_bind_int64(st, 5, ev->labels);
    sqlite3_bind_blob(st, 6, ev->salt, EVENT_SALT, SQLITE_STATIC);
    if (blob) {
        struct hash h = hash_bytes(ev->body);
        sqlite3_stmt *bs = statement(s, ST_BLOB);

        if (!bs)
            return -EIO;
        sqlite3_bind_blob(bs, 1, h.b, HASH_SIZE, SQLITE_TRANSIENT);
        sqlite3_bind_blob64(bs, 2, ev->body.p, ev->body.n, SQLITE_STATIC);
        if (step(s, bs) < 0)
            return -EIO;
        sqlite3_bind_blob(st, 8, h.b, HASH_SIZE, SQLITE_TRANSIENT);
    } else {
        sqlite3_bind_text64(st, 7, ev->body.p, ev->body.n, SQLITE_STATIC, SQLITE_UTF8);
    }
    sqlite3_bind_blob(st, 9, ev->hash.b, HASH_SIZE, SQLITE_STATIC);
    s->stats.events_written++;
    return step(s, st);
}

/* The one integer that a query gives, 0 for none. */
static int64_t query(sqlite3_stmt *st)
{
    int64_t v = st && sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;

    if (st)
        sqlite3_reset(st);
    return v;
}

/* 0, -ESTALE, -ENOLINK, or -EIO with the database's own error set. */
static int append_one(struct store *s, struct op *op)
{
    sqlite3_stmt *epoch = statement(s, ST_EPOCH), *top = statement(s, ST_TOP);
    int64_t key = op->lease.key, first = EVENT_KEY(key, op->evs[0]->seq), last;

    if (!epoch || !top)
        return -EIO;
    sqlite3_bind_int64(epoch, 1, key);
    if ((uint64_t)query(epoch) != op->lease.epoch)
        return err_set(&op->e, -ESTALE, "another rein drives this session now; this one writes no more");
    sqlite3_bind_int64(top, 1, EVENT_KEY(key, 0));
    sqlite3_bind_int64(top, 2, first);
    last = query(top);
    /* Appends are handed over without waiting for the one before: when that failed, this one would leave a gap. */
    if (first != (last ? last : EVENT_KEY(key, 0)) + 1)
        return err_set(&op->e, -ENOLINK, "the events before this one were not written");
    for (size_t i = 0; i < op->nevs; i++)
        if (insert_event(s, op->lease.key, op->evs[i]) < 0)
            return -EIO;
    return 0;
}

/* Makes the appends from `first` up to, not including, `end` durable in one commit. A failure of the database fails
 * every one of them: nothing is retried, since an fsync that failed once may have dropped what it was for. */
static void append_group(struct store *s, struct op *first, struct op *end)
{
    struct err e = {0};
    int r = run(s, ST_BEGIN);

    for (struct op *op = first; op != end && r == 0; op = op->next) {
        op->result = append_one(s, op);
        if (op->result == -EIO)
            r = -EIO;
    }
    if (r == 0)
        r = run(s, ST_COMMIT);
    if (r < 0) {
        r = db_error(s, &e, "an append");
        rollback(s);
        for (struct op *op = first; op != end; op = op->next) {
            op->result = r;
            op->e = e;
        }
        return;
    }
    s->stats.commits++;
    for (struct op *op = first; op != end; op = op->next)
        s->stats.appends++;
}

static void *store_thread(void *arg)
{
    struct store *s = arg;
    bool stop = false;

    while (!stop) {
        struct op *ops, *last = NULL;

        /* The next append often follows within microseconds, and waking a thread costs as much as half a commit. */
        for (int64_t until = clock_steady() + SPIN_NS; !__atomic_load_n(&s->queue, __ATOMIC_RELAXED) && clock_steady() < until;)
            sched_yield();
        pthread_mutex_lock(&s->mutex);
        while (!s->queue)
            pthread_cond_wait(&s->wake, &s->mutex);
        ops = s->queue;
        s->queue = NULL;
        s->queue_end = &s->queue;
        pthread_mutex_unlock(&s->mutex);

        for (struct op *op = ops; op;) {
            struct op *end = op->next;

            last = op;
            if (op->evs) {
                for (; end && end->evs; end = end->next)
                    last = end;
                append_group(s, op, end);
            } else if (op->run) {
                op->result = op->run(s, op);
            }
            stop = stop || op->stop;
            op = end;
        }
        pthread_mutex_lock(&s->mutex);
        last->next = s->done;
        s->done = ops;
        pthread_mutex_unlock(&s->mutex);
        uv_async_send(&s->async);
    }
    return NULL;
}

/* The loop's side. */

static void on_done(uv_async_t *a)
{
    struct store *s = container_of(a, struct store, async);
    struct op *ops;

    pthread_mutex_lock(&s->mutex);
    ops = s->done;
    s->done = NULL;
    pthread_mutex_unlock(&s->mutex);
    while (ops) {
        struct op *next = ops->next;    /* the fiber may return and take its op with it */

        if (ops->then) {
            ops->then(ops->then_arg, ops->result, &ops->e);
            free(ops);
        } else {
            gate_open(&ops->done, 0);
        }
        ops = next;
    }
}

static void hand_over(struct store *s, struct op *op)
{
    pthread_mutex_lock(&s->mutex);
    op->next = NULL;
    *s->queue_end = op;
    s->queue_end = &op->next;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

static CO int submit(struct store *s, struct op *op, struct err *e)
{
    hand_over(s, op);
    fiber_shield();
    gate_wait(&op->done, "the store", FIBER_FOREVER);
    fiber_unshield();
    if (op->result < 0 && e)
        *e = op->e;
    return op->result;
}

void store_append(struct store *s, const struct lease *l, struct event *const *evs, size_t n, store_done_fn *done, void *arg)
{
    struct op *op = xcalloc(1, sizeof(*op));

    op->lease = *l;
    op->evs = evs;
    op->nevs = n;
    op->then = done;
    op->then_arg = arg;
    hand_over(s, op);
}

/* Opening. */

static int sync_dir(const char *path)
{
    cleanup(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int exec(struct store *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(s, e, "opening");
}

static int64_t pragma_int(struct store *s, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int64_t v = -1;

    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

/* Two first starts may race: whoever gets the write lock second finds the tables made. */
static int create_tables(struct store *s, struct err *e)
{
    int r = exec(s, "BEGIN IMMEDIATE", e);

    if (r == 0 && pragma_int(s, "PRAGMA user_version") == 0) {
        char sql[128];

        r = exec(s, schema, e);
        snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID, STORE_FORMAT);
        if (r == 0)
            r = exec(s, sql, e);
    }
    if (r == 0)
        r = exec(s, "COMMIT", e);
    if (r < 0)
        rollback(s);
    return r;
}

static int open_run(struct store *s, struct op *op)
{
    cleanup(freep) char *path = xasprintf("%s/rein.db", s->home), *lock = xasprintf("%s/lease", s->home);
    struct err *e = &op->e;
    int flags = s->mode == STORE_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    bool fresh = access(path, F_OK) < 0;
    int64_t format;
    int r;

    if (s->mode == STORE_READ && fresh)
        return err_set(e, errno == ENOENT ? -ENOENT : -errno, "there is no session store in %s%s%s", s->home,
                       errno == ENOENT ? " yet" : ": ", errno == ENOENT ? "" : strerror(errno));
    if (s->mode == STORE_WRITE) {
        r = path_mkdirs(s->home);
        if (r < 0)
            return err_set(e, r, "the session store %s cannot be made: %s", s->home, strerror(-r));
        s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (s->lock_fd < 0) {
            r = -errno;
            return err_set(e, r, "the session store in %s cannot be written: %s", s->home, strerror(-r));
        }
    }
    if (fresh && s->mode == STORE_WRITE) {
        /* Made here for its mode; SQLite gives its side files the same. */
        cleanup(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0) {
            r = -errno;
            return err_set(e, r, "the session store in %s cannot be written: %s", s->home, strerror(-r));
        }
    }
    if (sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL) != SQLITE_OK)
        return db_error(s, e, "opening");
    sqlite3_busy_handler(s->db, on_busy, s);
    if (s->mode == STORE_WRITE) {
        /* FULL, not NORMAL: an intent has to be on disk before its effect, also when the power fails. */
        r = exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;"
                    "PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY", e);
        if (r < 0)
            return r;
        /* The log file stays when the last rein closes it: the next one overwrites it, and a sync that changes no size is
         * half as long. */
        sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_PERSIST_WAL, &(int){ 1 });
    }
    format = pragma_int(s, "PRAGMA user_version");
    if (format < 0)
        return db_error(s, e, "opening");
    if (format == 0 && s->mode == STORE_WRITE) {
        r = create_tables(s, e);
        if (r == 0 && fresh) {
            cleanup(freep) char *parent = path_resolve(s->home, LIT(".."));

            r = sync_dir(s->home);
            if (r == 0)
                r = sync_dir(parent);
            if (r < 0)
                return err_set(e, r, "the session store in %s cannot be made durable: %s", s->home, strerror(-r));
        }
        return r;
    }
    if (format > STORE_FORMAT)
        return err_set(e, -EPROTO, "the session store in %s has format %lld, this rein knows %d: use the newer rein",
                       s->home, (long long)format, STORE_FORMAT);
    return 0;
}

static int close_run(struct store *s, struct op *op)
{
    (void)op;
    for (size_t i = 0; i < ST_MAX; i++)
        sqlite3_finalize(s->st[i]);
    if (s->db)
        sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    gate_open(&container_of((uv_async_t *)h, struct store, async)->closed, 0);
}

CO void store_close(struct store *s)
{
    struct op op = { .run = close_run, .stop = true };

    if (!s)
        return;
    submit(s, &op, NULL);
    pthread_join(s->thread, NULL);
    uv_close((uv_handle_t *)&s->async, on_closed);
    fiber_shield();
    gate_wait(&s->closed, "the store to close", FIBER_FOREVER);
    fiber_unshield();
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->wake);
    free(s->home);
    free(s);
}

CO int store_open(const char *home, enum store_mode mode, struct store **ret, struct err *e)
{
    cleanup(store_closep) struct store *s = xcalloc(1, sizeof(*s));
    struct op op = { .run = open_run };
    sigset_t all, old;
    int r;

    s->home = xstrdup(home);
    s->mode = mode;
    s->lock_fd = -1;
    s->queue_end = &s->queue;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->wake, NULL);
    uv_async_init(loop_uv(), &s->async, on_done);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);       /* signals are the loop's */
    r = pthread_create(&s->thread, NULL, store_thread, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    assert(r == 0);
    r = submit(s, &op, e);
    if (r < 0)
        return r;
    *ret = TAKE(s);
    return 0;
}

/* Sessions. */

void session_row_done(struct session_row *row)
{
    free(row->cwd);
    row->cwd = NULL;
}

void store_rows_free(struct session_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        session_row_done(&rows[i]);
    free(rows);
}

#define ROW_COLUMNS "key, id, created, cwd, parent, parent_seq"

static void read_row(sqlite3_stmt *st, struct session_row *row)
{
    row->key = sqlite3_column_int64(st, 0);
    snprintf(row->id, sizeof(row->id), "%s", (const char *)sqlite3_column_text(st, 1));
    row->created = sqlite3_column_int64(st, 2);
    row->cwd = xstrdup((const char *)sqlite3_column_text(st, 3));
    row->parent = sqlite3_column_int64(st, 4);
    row->parent_seq = (uint64_t)sqlite3_column_int64(st, 5);
}

/* Ten characters of base 32 without those that look alike: 50 random bits. */
static void random_id(char id[SESSION_ID_MAX])
{
    static const char digit[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint64_t bits = 0;

    if (getrandom(&bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
        bits = (uint64_t)clock_wall();
    for (size_t i = 0; i < 10; i++, bits >>= 5)
        id[i] = digit[bits & 31];
    id[10] = 0;
}

static int create_run(struct store *s, struct op *op)
{
    struct session_row *row = op->arg;
    sqlite3_stmt *st = NULL;
    int r;

    random_id(row->id);
    row->created = clock_wall();
    sqlite3_prepare_v2(s->db, "INSERT INTO session(id, created, cwd, parent, parent_seq) VALUES(?1, ?2, ?3, ?4, ?5)",
                       -1, &st, NULL);
    sqlite3_bind_text(st, 1, row->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, row->created);
    sqlite3_bind_text(st, 3, row->cwd, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 4, row->parent);
    sqlite3_bind_int64(st, 5, (int64_t)row->parent_seq);
    r = step(s, st);
    if (r < 0)
        r = db_error(s, &op->e, "making a session");
    else
        row->key = sqlite3_last_insert_rowid(s->db);
    sqlite3_finalize(st);
    return r;
}

CO int store_create(struct store *s, struct session_row *row, struct err *e)
{
    struct op op = { .run = create_run, .arg = row };

    return submit(s, &op, e);
}

struct query {
    const char *id;
    size_t max;
    struct session_row *rows;
    size_t n, cap;
};

static int query_run(struct store *s, struct op *op)
{
    struct query *q = op->arg;
    sqlite3_stmt *st = NULL;
    int r;

    sqlite3_prepare_v2(s->db, "SELECT " ROW_COLUMNS " FROM session WHERE session.key > 0"
                       " AND EXISTS (SELECT 1 FROM event e WHERE e.key = (session.key << 32) + 1)"
                       " AND (?1 IS NULL OR substr(id, 1, length(?1)) = ?1) ORDER BY created DESC, key DESC LIMIT ?2",
                       -1, &st, NULL);
    sqlite3_bind_text(st, 1, q->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (int64_t)q->max);
    while ((r = st ? sqlite3_step(st) : SQLITE_ERROR) == SQLITE_ROW) {
        GROW(q->rows, q->n, q->cap);
        read_row(st, &q->rows[q->n++]);
    }
    r = r == SQLITE_DONE ? 0 : db_error(s, &op->e, "listing sessions");
    sqlite3_finalize(st);
    return r;
}

CO int store_list(struct store *s, size_t max, struct session_row **ret, size_t *ret_n, struct err *e)
{
    struct query q = { .max = max };
    struct op op = { .run = query_run, .arg = &q };
    int r = submit(s, &op, e);

    if (r < 0) {
        store_rows_free(q.rows, q.n);
        return r;
    }
    *ret = q.rows;
    *ret_n = q.n;
    return 0;
}

CO int store_find(struct store *s, const char *id, struct session_row *ret, struct err *e)
{
    struct query q = { .id = id, .max = id ? NAMES_SHOWN : 1 };
    struct op op = { .run = query_run, .arg = &q };
    int r = submit(s, &op, e);
    size_t pick = 0;

    if (r < 0)
        goto out;
    for (size_t i = 0; id && i < q.n; i++)
        if (strcmp(q.rows[i].id, id) == 0) {
            pick = i;
            q.n = i + 1;
        }
    if (q.n == 0) {
        r = id ? err_set(e, -ENOENT, "no session begins with '%s'; `rein sessions` lists them", id)
               : err_set(e, -ENOENT, "there is no session yet");
    } else if (id && q.n > 1 && strcmp(q.rows[pick].id, id) != 0) {
        r = err_set(e, -ENOTUNIQ, "'%s' begins more than one session, for example %s and %s", id, q.rows[0].id,
                    q.rows[1].id);
    } else {
        *ret = q.rows[pick];
        q.rows[pick].cwd = NULL;
    }
out:
    store_rows_free(q.rows, q.n);
    return r;
}

/* Leases. */

static int lock_byte(struct store *s, int64_t key, short type)
{
    struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = key, .l_len = 1 };

    return fcntl(s->lock_fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

struct owner {
    int64_t key, pid;
};

static int owner_run(struct store *s, struct op *op)
{
    struct owner *o = op->arg;
    sqlite3_stmt *st = NULL;
    int r = -ENOENT;

    sqlite3_prepare_v2(s->db, "SELECT pid FROM lease WHERE session = ?1", -1, &st, NULL);
    sqlite3_bind_int64(st, 1, o->key);
    if (st && sqlite3_step(st) == SQLITE_ROW) {
        o->pid = sqlite3_column_int64(st, 0);
        r = 0;
    }
    sqlite3_finalize(st);
    return r < 0 ? err_set(&op->e, r, "nobody has driven that session") : 0;
}

CO int store_owner(struct store *s, int64_t key, int64_t *ret_pid, struct err *e)
{
    struct owner o = { .key = key };
    struct op op = { .run = owner_run, .arg = &o };
    int r = submit(s, &op, e);

    if (r == 0)
        *ret_pid = o.pid;
    return r;
}

static int lease_run(struct store *s, struct op *op)
{
    struct lease *l = op->arg;
    sqlite3_stmt *st = NULL;
    int r = lock_byte(s, l->key, F_WRLCK);

    if (r == -EAGAIN || r == -EACCES) {
        struct owner o = { .key = l->key };

        owner_run(s, &(struct op){ .arg = &o });
        return err_set(&op->e, -EBUSY, "the session is being driven by another rein, process %lld; wait for it or end it",
                       (long long)o.pid);
    }
    if (r < 0)
        return err_set(&op->e, r, "the lease of the session cannot be locked: %s", strerror(-r));
    sqlite3_prepare_v2(s->db, "INSERT INTO lease VALUES(?1, 1, ?2, ?3) ON CONFLICT(session) DO UPDATE"
                       " SET epoch = epoch + 1, pid = ?2, since = ?3 RETURNING epoch", -1, &st, NULL);
    sqlite3_bind_int64(st, 1, l->key);
    sqlite3_bind_int64(st, 2, getpid());
    sqlite3_bind_int64(st, 3, clock_wall());
    r = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (r == SQLITE_ROW) {
        l->epoch = (uint64_t)sqlite3_column_int64(st, 0);
        r = sqlite3_step(st);
    }
    r = r == SQLITE_DONE ? 0 : db_error(s, &op->e, "taking the lease");
    sqlite3_finalize(st);
    if (r < 0)
        lock_byte(s, l->key, F_UNLCK);
    return r;
}

CO int store_lease(struct store *s, int64_t key, struct lease *ret, struct err *e)
{
    struct lease l = { .key = key };
    struct op op = { .run = lease_run, .arg = &l };
    int r = submit(s, &op, e);

    if (r == 0)
        *ret = l;
    return r;
}

static int release_run(struct store *s, struct op *op)
{
    return lock_byte(s, ((const struct lease *)op->arg)->key, F_UNLCK);
}

CO void store_release(struct store *s, const struct lease *l)
{
    struct lease copy = *l;
    struct op op = { .run = release_run, .arg = &copy };

    submit(s, &op, NULL);
}

/* Reading. */

struct load {
    int64_t key;
    uint64_t from;
    enum statement which;
    enum kind kind;                     /* ST_FIRST */
    struct event **evs;
    size_t n, max;
};

static int read_event(struct store *s, sqlite3_stmt *st, struct event **ret, struct err *e)
{
    uint64_t seq = (uint64_t)sqlite3_column_int64(st, 0) & UINT32_MAX;
    int kind = sqlite3_column_int(st, 2);
    bool blob = sqlite3_column_type(st, 7) != SQLITE_NULL;
    int column = blob ? 9 : 6;
    struct buf body = { .max = SIZE_MAX / 4 };
    struct event *ev;

    if (!kind_known(kind) || sqlite3_column_bytes(st, 8) != HASH_SIZE)
        return err_set(e, -EUCLEAN, "event %llu is damaged, or was written by a newer rein", (unsigned long long)seq);
    buf_add(&body, sqlite3_column_blob(st, column), (size_t)sqlite3_column_bytes(st, column));
    ev = event_new((enum kind)kind, seq, sqlite3_column_int64(st, 1),
                   (uint64_t)sqlite3_column_int64(st, 3), (uint32_t)sqlite3_column_int64(st, 4), &body);
    ev->erased = sqlite3_column_type(st, column) == SQLITE_NULL;
    if (sqlite3_column_bytes(st, 5) == EVENT_SALT)
        memcpy(ev->salt, sqlite3_column_blob(st, 5), EVENT_SALT);
    memcpy(ev->hash.b, sqlite3_column_blob(st, 8), HASH_SIZE);
    s->stats.events_read++;
    *ret = ev;
    return 0;
}

static int load_run(struct store *s, struct op *op)
{
    struct load *l = op->arg;
    sqlite3_stmt *st = statement(s, l->which);
    int r = SQLITE_ERROR, bad = 0;

    if (st) {
        sqlite3_bind_int64(st, 1, EVENT_KEY(l->key, l->from));
        sqlite3_bind_int64(st, 2, EVENT_KEY(l->key, UINT32_MAX));
        if (l->which == ST_FIRST)
            sqlite3_bind_int(st, 3, (int)l->kind);
        while (l->n < l->max && (r = sqlite3_step(st)) == SQLITE_ROW) {
            bad = read_event(s, st, &l->evs[l->n], &op->e);
            if (bad < 0)
                break;
            l->n++;
        }
    }
    if (bad == 0 && r != SQLITE_ROW && r != SQLITE_DONE)
        bad = db_error(s, &op->e, "reading events");
    if (st)
        sqlite3_reset(st);
    if (bad < 0)
        while (l->n)
            event_unref(l->evs[--l->n]);
    return bad;
}

static CO ssize_t load(struct store *s, struct load *l, struct err *e)
{
    struct op op = { .run = load_run, .arg = l };
    int r = l->max ? submit(s, &op, e) : 0;

    return r < 0 ? r : (ssize_t)l->n;
}

CO ssize_t store_load(struct store *s, int64_t key, uint64_t from, struct event **evs, size_t max, struct err *e)
{
    struct load l = { .key = key, .which = ST_LOAD, .from = from, .evs = evs, .max = max };

    return load(s, &l, e);
}

static CO int load_single(struct store *s, struct load *l, struct event **ret, struct err *e)
{
    struct event *ev = NULL;
    ssize_t n;

    l->evs = &ev;
    l->max = 1;
    n = load(s, l, e);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return err_set(e, -ENOENT, "there is no such event");
    *ret = ev;
    return 0;
}

CO int store_first(struct store *s, int64_t key, enum kind kind, struct event **ret, struct err *e)
{
    struct load l = { .key = key, .which = ST_FIRST, .kind = kind };

    return load_single(s, &l, ret, e);
}

CO int store_last(struct store *s, int64_t key, struct event **ret, struct err *e)
{
    struct load l = { .key = key, .which = ST_LAST };

    return load_single(s, &l, ret, e);
}

struct store_stats store_stats(const struct store *s)
{
    return s->stats;
}
