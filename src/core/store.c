/* store.c - see store.h. An operation is a struct op: queued, run on the thread, answered on the loop. Appends that wait
 * side by side share one transaction. */
#include "core/store_impl.h"

#include "base/clock.h"
#include "base/path.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_STEP_US    500
#define BUSY_LIMIT_MS   10000
#define APPLICATION_ID  0x7265696e      /* "rein" */
#define SPIN_NS         50000

static const char schema[] =
    "CREATE TABLE session(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,"
    " cwd TEXT NOT NULL, parent INTEGER NOT NULL, parent_seq INTEGER NOT NULL);"
    /* The key of an event is (session, seq) in one integer, EVENT_KEY: one tree, in which a session's events lie side by
     * side, where a table with an index of its own would write a second page in every commit. */
    "CREATE TABLE event(key INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind INTEGER NOT NULL, cause INTEGER NOT NULL,"
    " labels INTEGER NOT NULL, salt BLOB, body TEXT, blob BLOB, hash BLOB NOT NULL);"
    "CREATE TABLE blob(hash BLOB PRIMARY KEY, data BLOB NOT NULL);"
    /* Who took the lease last: pid, boot and start time name one process of one machine. */
    "CREATE TABLE lease(session INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, pid INTEGER NOT NULL,"
    " since INTEGER NOT NULL, boot TEXT NOT NULL DEFAULT '', started INTEGER NOT NULL DEFAULT 0);"
    "INSERT INTO session VALUES(0, 'ledger', 0, '', -1, 0);";

/* What makes a store of format N one of format N + 1; each is one transaction with the new number. */
static const char *const migrations[STORE_FORMAT] = {
    [1] = "ALTER TABLE lease ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
          "ALTER TABLE lease ADD COLUMN started INTEGER NOT NULL DEFAULT 0;",
};

static const char *const statement_sql[ST_MAX] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_EPOCH] = "SELECT epoch FROM lease WHERE session = ?1",
    /* A session without events of its own goes on where its parent was forked. */
    [ST_TOP] = "SELECT coalesce((SELECT max(key) FROM event WHERE key BETWEEN ?1 << 32 AND ?2),"
               " (SELECT (key << 32) + parent_seq FROM session WHERE key = ?1))",
    [ST_INSERT] = "INSERT INTO event(key, time, kind, cause, labels, salt, body, blob, hash)"
                  " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [ST_BLOB] = "INSERT INTO blob(hash, data) VALUES(?1, ?2) ON CONFLICT DO NOTHING",
#define COLUMNS "e.key, e.time, e.kind, e.cause, e.labels, e.salt, e.body, e.blob, e.hash, b.data" \
                " FROM event e LEFT JOIN blob b ON b.hash = e.blob WHERE e.key BETWEEN ?1 AND ?2"
    [ST_LOAD] = "SELECT " COLUMNS " ORDER BY e.key",
    [ST_FIRST] = "SELECT " COLUMNS " AND e.kind = ?3 ORDER BY e.key LIMIT 1",
    [ST_LATEST] = "SELECT " COLUMNS " AND e.kind = ?3 ORDER BY e.key DESC LIMIT 1",
    [ST_LAST] = "SELECT " COLUMNS " ORDER BY e.key DESC LIMIT 1",
    [ST_PARENT] = "SELECT parent, parent_seq FROM session WHERE key = ?1",
};

/* The thread's side. */

int store_error(struct store *s, struct err *e, const char *what)
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
        return err_set(e, -EUCLEAN, "the session store in %s is damaged: %s; `rein log salvage` says what can still be "
                       "read", s->home, sqlite3_errmsg(s->db));
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

sqlite3_stmt *store_statement(struct store *s, enum statement i)
{
    if (!s->st[i])
        sqlite3_prepare_v3(s->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL);
    return s->st[i];
}

int store_step(sqlite3_stmt *st)
{
    int r = st ? sqlite3_step(st) : SQLITE_ERROR;

    if (st) {
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
    }
    return r == SQLITE_DONE ? 0 : -EIO;
}

static int run(struct store *s, enum statement i)
{
    return store_step(store_statement(s, i));
}

static void rollback(struct store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        run(s, ST_ROLLBACK);
}

static int insert_event(struct store *s, int64_t key, const struct event *ev)
{
    sqlite3_stmt *st = store_statement(s, ST_INSERT);
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
        sqlite3_stmt *bs = store_statement(s, ST_BLOB);

        if (!bs)
            return -EIO;
        sqlite3_bind_blob(bs, 1, h.b, HASH_SIZE, SQLITE_TRANSIENT);
        sqlite3_bind_blob64(bs, 2, ev->body.p, ev->body.n, SQLITE_STATIC);
        if (store_step(bs) < 0)
            return -EIO;
        sqlite3_bind_blob(st, 8, h.b, HASH_SIZE, SQLITE_TRANSIENT);
    } else {
        sqlite3_bind_text64(st, 7, ev->body.p, ev->body.n, SQLITE_STATIC, SQLITE_UTF8);
    }
    sqlite3_bind_blob(st, 9, ev->hash.b, HASH_SIZE, SQLITE_STATIC);
    s->stats.events_written++;
    return store_step(st);
}

/* The one integer that a query gives, 0 for none or NULL. -EIO when the database could not say. */
static int query(sqlite3_stmt *st, int64_t *ret)
{
    int r = sqlite3_step(st);

    *ret = r == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : -EIO;
}

/* 0, -ESTALE, -ENOLINK, or -EIO with the database's own error set. */
static int append_one(struct store *s, struct op *op)
{
    sqlite3_stmt *epoch = store_statement(s, ST_EPOCH), *top = store_statement(s, ST_TOP);
    int64_t key = op->lease.key, first = EVENT_KEY(key, op->evs[0]->seq), now, last;

    if (!epoch || !top)
        return -EIO;
    sqlite3_bind_int64(epoch, 1, key);
    if (query(epoch, &now) < 0)
        return -EIO;
    if ((uint64_t)now != op->lease.epoch)
        return err_set(&op->e, -ESTALE, "another rein drives this session now; this one writes no more");
    sqlite3_bind_int64(top, 1, key);
    sqlite3_bind_int64(top, 2, first);
    if (query(top, &last) < 0)
        return -EIO;
    /* Appends are handed over without waiting for the one before: when that failed, this one would leave a gap. */
    if (first != last + 1)
        return err_set(&op->e, -ENOLINK, "the events before this one were not written");
    for (size_t i = 0; i < op->nevs; i++)
        if (insert_event(s, op->lease.key, op->evs[i]) < 0)
            return -EIO;
    return 0;
}

struct contend {
    int64_t key;
    struct event *ev;
};

static int contend_run(struct store *s, struct op *op)
{
    struct contend *c = op->arg;
    sqlite3_stmt *top = store_statement(s, ST_TOP);
    int64_t first = EVENT_KEY(c->key, c->ev->seq), last = 0;
    int r = top ? run(s, ST_BEGIN) : -EIO;

    if (r == 0) {
        sqlite3_bind_int64(top, 1, c->key);
        sqlite3_bind_int64(top, 2, EVENT_KEY(c->key, UINT32_MAX));
        r = query(top, &last);
    }
    if (r == 0 && first != last + 1) {
        rollback(s);
        return err_set(&op->e, -EAGAIN, "another rein wrote first");
    }
    if (r == 0)
        r = insert_event(s, c->key, c->ev);
    if (r == 0)
        r = run(s, ST_COMMIT);
    if (r == 0) {
        s->stats.commits++;
        return 0;
    }
    r = store_error(s, &op->e, "an entry in the ledger");
    rollback(s);
    return r;
}

CO int store_contend(struct store *s, int64_t key, struct event *ev, struct err *e)
{
    struct contend c = { key, ev };
    struct op op = { .run = contend_run, .arg = &c };

    return store_submit(s, &op, e);
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
        r = store_error(s, &e, "an append");
        rollback(s);
        for (struct op *op = first; op != end; op = op->next) {
            op->result = r;
            op->e = e;
        }
        return;
    }
    s->stats.commits++;
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

CO int store_submit(struct store *s, struct op *op, struct err *e)
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

/* A folder and those above it, up to the root. One that this user may not open holds no name that he has made. */
static int sync_names(const char *path)
{
    cleanup(freep) char *up = xstrdup(path);
    int r = sync_dir(path);

    for (char *slash = strrchr(up, '/'); slash && r == 0; slash = strrchr(up, '/')) {
        *slash = 0;
        r = sync_dir(*up ? up : "/");
        if (r == -EACCES || r == -EPERM)
            r = 0;
    }
    return r;
}

static int exec(struct store *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_error(s, e, "opening");
}

/* A rein that was killed between writing its events and syncing them has left them in the log file, where the next one finds them
 * like any others. Nobody may be told of them before they are on disk. */
int store_sync_log(struct store *s, struct err *e)
{
    cleanup(freep) char *path = xasprintf("%s/rein.db-wal", s->home);
    cleanup(closep) int fd = s->log_synced ? -1 : open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && fdatasync(fd) < 0 && errno != EROFS && errno != EINVAL)
        return err_set(e, -errno, "the session store in %s cannot be made durable: %s", s->home, strerror(errno));
    s->log_synced = true;
    return 0;
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

/* Changes the store from one format to another, unless another rein was faster: whoever gets the write lock second finds it
 * done. */
static int change_format(struct store *s, int64_t from, int64_t to, const char *change, struct err *e)
{
    int r = exec(s, "BEGIN IMMEDIATE", e);

    if (r == 0 && pragma_int(s, "PRAGMA user_version") == from) {
        char sql[128];

        r = exec(s, change, e);
        snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%lld", APPLICATION_ID, (long long)to);
        if (r == 0)
            r = exec(s, sql, e);
    }
    if (r == 0)
        r = exec(s, "COMMIT", e);
    if (r < 0)
        rollback(s);
    return r;
}

/* Sets the database up as every rein uses it and reads its format. */
static int set_up(struct store *s, int64_t *ret_format, struct err *e)
{
    int r = 0;

    /* FULL, not NORMAL: an intent has to be on disk before its effect, also when the power fails. */
    if (s->mode == STORE_WRITE)
        r = exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;"
                    "PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY", e);
    if (r < 0)
        return r;
    /* The log file stays when the last rein closes it: the next one overwrites it, and a sync that changes no size is half
     * as long. */
    sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_PERSIST_WAL, &(int){ 1 });
    *ret_format = pragma_int(s, "PRAGMA user_version");
    return *ret_format < 0 ? store_error(s, e, "opening") : 0;
}

static int no_store(struct store *s, struct err *e)
{
    return err_set(e, -ENOENT, "there is no session store in %s yet", s->home);
}

/* Makes the folder and the file where they are missing. */
static int make_files(struct store *s, const char *path, struct err *e)
{
    cleanup(closep) int fd = -1;
    int r;

    if (s->mode == STORE_READ && access(path, F_OK) < 0)
        return errno == ENOENT ? no_store(s, e) : err_set(e, -errno, "the session store in %s: %s", s->home, strerror(errno));
    if (s->mode == STORE_READ)
        return 0;
    r = path_mkdirs(s->home);
    if (r < 0)
        return err_set(e, r, "the session store %s cannot be made: %s", s->home, strerror(-r));
    /* Made here for its mode; SQLite gives its side files the same. */
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? err_set(e, -errno, "the session store in %s cannot be written: %s", s->home, strerror(errno)) : 0;
}

static int open_database(struct store *s, const char *path, int64_t *ret_format, struct err *e)
{
    /* Whoever only reads may write too, where the rights are there: what a killed rein left half done is taken back first. */
    int flags = SQLITE_OPEN_READWRITE | (s->mode == STORE_WRITE ? SQLITE_OPEN_CREATE : 0), r;

    if (sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL) != SQLITE_OK)
        return store_error(s, e, "opening");
    sqlite3_busy_handler(s->db, on_busy, s);
    if (s->mode == STORE_READ)
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    /* Changing the journal mode does not ask the busy handler: while another first start does it, this one tries again. */
    for (int tries = 0; (r = set_up(s, ret_format, e)) == -EBUSY && on_busy(s, tries); tries++)
        ;
    return r;
}

/* Brings the store to this rein's format: makes the tables, or migrates. */
static int bring_up(struct store *s, int64_t format, struct err *e)
{
    int r = 0;

    if (format > STORE_FORMAT)
        return err_set(e, -EPROTO, "the session store in %s has format %lld, this rein knows %d: use the newer rein",
                       s->home, (long long)format, STORE_FORMAT);
    if (s->mode == STORE_READ)
        return format ? 0 : no_store(s, e);     /* 0: the first rein was stopped before it had made the tables */
    if (format == 0)
        return change_format(s, 0, STORE_FORMAT, schema, e);
    for (; format < STORE_FORMAT && r == 0; format++)
        r = change_format(s, format, format + 1, migrations[format], e);
    return r;
}

/* Makes the names of the store's files and folders durable, and opens the file that the leases are locked in. That one is made
 * last: a rein that finds it knows that this was done, whenever an earlier one was killed. (The log file may come and go; SQLite
 * syncs its name in every process.) */
static int settle(struct store *s, struct err *e)
{
    cleanup(freep) char *lock = xasprintf("%s/lease", s->home);
    int r = 0;

    s->lock_fd = open(lock, O_RDWR | O_CLOEXEC);
    if (s->lock_fd < 0 && errno == ENOENT) {
        r = sync_names(s->home);
        if (r < 0)
            return err_set(e, r, "the session store in %s cannot be made durable: %s", s->home, strerror(-r));
        s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    return s->lock_fd < 0 ? err_set(e, -errno, "the session store in %s cannot be written: %s", s->home, strerror(errno)) : 0;
}

static int open_run(struct store *s, struct op *op)
{
    cleanup(freep) char *path = xasprintf("%s/rein.db", s->home);
    int64_t format = 0;
    int r = make_files(s, path, &op->e);

    if (r == 0)
        r = open_database(s, path, &format, &op->e);
    if (r == 0)
        r = bring_up(s, format, &op->e);
    if (r == 0 && s->mode == STORE_WRITE)
        r = settle(s, &op->e);
    return r;
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
    store_submit(s, &op, NULL);
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
    r = store_submit(s, &op, e);
    if (r < 0)
        return r;
    *ret = TAKE(s);
    return 0;
}

struct store_stats store_stats(const struct store *s)
{
    return s->stats;
}
