/* store_rows.c - sessions, leases and events as rows of the database. */
#include "core/store_impl.h"

#include "base/clock.h"
#include "rt/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define NAMES_SHOWN 5

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

/* "" for a text that a damaged database has lost. */
static const char *text_column(sqlite3_stmt *st, int i)
{
    const unsigned char *text = sqlite3_column_text(st, i);

    return text ? (const char *)text : "";
}

static void read_row(sqlite3_stmt *st, struct session_row *row)
{
    row->key = sqlite3_column_int64(st, 0);
    snprintf(row->id, sizeof(row->id), "%s", text_column(st, 1));
    row->created = sqlite3_column_int64(st, 2);
    row->cwd = xstrdup(text_column(st, 3));
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
    int r = store_sync_log(s, &op->e);

    if (r < 0)
        return r;
    sqlite3_prepare_v2(s->db, "SELECT " ROW_COLUMNS " FROM session WHERE session.key > 0"
                       " AND EXISTS (SELECT 1 FROM event e WHERE e.key = (session.key << 32) + parent_seq + 1)"
                       " AND (?1 IS NULL OR substr(id, 1, length(?1)) = ?1) ORDER BY created DESC, key DESC LIMIT ?2",
                       -1, &st, NULL);
    sqlite3_bind_text(st, 1, q->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (int64_t)q->max);
    while ((r = st ? sqlite3_step(st) : SQLITE_ERROR) == SQLITE_ROW) {
        GROW(q->rows, q->n, q->cap);
        read_row(st, &q->rows[q->n++]);
    }
    r = r == SQLITE_DONE ? 0 : store_error(s, &op->e, "listing sessions");
    sqlite3_finalize(st);
    return r;
}

CO int store_list(struct store *s, size_t max, struct session_row **ret, size_t *ret_n, struct err *e)
{
    struct query q = { .max = max };
    struct op op = { .run = query_run, .arg = &q };
    int r = store_submit(s, &op, e);

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
    int r = store_submit(s, &op, e);
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

int store_lock(struct store *s, int64_t key)
{
    return lock_byte(s, key, F_WRLCK);
}

void store_unlock(struct store *s, int64_t key)
{
    lock_byte(s, key, F_UNLCK);
}

struct owner {
    int64_t key, pid;
};

/* A pid alone may belong to another program by now. */
static bool is_process(int64_t pid, const char *boot, int64_t started)
{
    return boot && strcmp(boot, proc_boot()) == 0 && started && proc_started((pid_t)pid) == started;
}

static int owner_run(struct store *s, struct op *op)
{
    struct owner *o = op->arg;
    sqlite3_stmt *st = NULL;
    int r = -ENOENT;

    sqlite3_prepare_v2(s->db, "SELECT pid, boot, started FROM lease WHERE session = ?1", -1, &st, NULL);
    sqlite3_bind_int64(st, 1, o->key);
    if (st && sqlite3_step(st) == SQLITE_ROW &&
        is_process(sqlite3_column_int64(st, 0), (const char *)sqlite3_column_text(st, 1), sqlite3_column_int64(st, 2))) {
        o->pid = sqlite3_column_int64(st, 0);
        r = 0;
    }
    sqlite3_finalize(st);
    return r < 0 ? err_set(&op->e, r, "nobody drives that session now") : 0;
}

CO int store_owner(struct store *s, int64_t key, int64_t *ret_pid, struct err *e)
{
    struct owner o = { .key = key };
    struct op op = { .run = owner_run, .arg = &o };
    int r = store_submit(s, &op, e);

    if (r == 0)
        *ret_pid = o.pid;
    return r;
}

/* Takes the next epoch. Inside a transaction or by itself. */
static int take_epoch(struct store *s, struct lease *l)
{
    sqlite3_stmt *st = NULL;
    int r;

    sqlite3_prepare_v2(s->db, "INSERT INTO lease VALUES(?1, 1, ?2, ?3, ?4, ?5) ON CONFLICT(session) DO UPDATE"
                       " SET epoch = epoch + 1, pid = ?2, since = ?3, boot = ?4, started = ?5 RETURNING epoch", -1, &st, NULL);
    sqlite3_bind_int64(st, 1, l->key);
    sqlite3_bind_int64(st, 2, getpid());
    sqlite3_bind_int64(st, 3, clock_wall());
    sqlite3_bind_text(st, 4, proc_boot(), -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 5, proc_started(getpid()));
    r = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (r == SQLITE_ROW) {
        l->epoch = (uint64_t)sqlite3_column_int64(st, 0);
        r = sqlite3_step(st);
    }
    sqlite3_finalize(st);
    return r == SQLITE_DONE ? 0 : -EIO;
}

struct creation {
    struct session_row *row;
    struct lease *lease;
    bool restore;
};

static int create_run(struct store *s, struct op *op)
{
    const struct creation *c = op->arg;
    struct session_row *row = c->row;
    sqlite3_stmt *st = NULL;
    int r = store_step(store_statement(s, ST_BEGIN));

    if (!row->id[0])
        random_id(row->id);
    if (!c->restore)
        row->created = clock_wall();
    sqlite3_prepare_v2(s->db, "INSERT INTO session(id, created, cwd, parent, parent_seq, key) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                       -1, &st, NULL);
    if (c->restore)
        sqlite3_bind_int64(st, 6, row->key);
    sqlite3_bind_text(st, 1, row->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, row->created);
    sqlite3_bind_text(st, 3, row->cwd, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 4, row->parent);
    sqlite3_bind_int64(st, 5, (int64_t)row->parent_seq);
    if (r == 0)
        r = store_step(st);
    sqlite3_finalize(st);
    c->lease->key = row->key = sqlite3_last_insert_rowid(s->db);
    if (r == 0)
        r = take_epoch(s, c->lease);
    if (r == 0)
        r = store_step(store_statement(s, ST_COMMIT));
    if (r < 0) {
        r = store_error(s, &op->e, "making a session");
        if (!sqlite3_get_autocommit(s->db))
            store_step(store_statement(s, ST_ROLLBACK));
        return r;
    }
    r = store_lock(s, row->key);
    return r < 0 ? err_set(&op->e, r, "the lease of a new session cannot be locked: %s", strerror(-r)) : 0;
}

static CO int create(struct store *s, struct session_row *row, bool restore, struct lease *ret, struct err *e)
{
    struct lease l = {0};
    struct creation c = { row, &l, restore };
    struct op op = { .run = create_run, .arg = &c };
    int r = store_submit(s, &op, e);

    if (r == 0)
        *ret = l;
    return r;
}

CO int store_create(struct store *s, struct session_row *row, struct lease *ret, struct err *e)
{
    return create(s, row, false, ret, e);
}

CO int store_restore(struct store *s, struct session_row *row, struct lease *ret, struct err *e)
{
    return create(s, row, true, ret, e);
}

static int lease_run(struct store *s, struct op *op)
{
    struct lease *l = op->arg;
    int r = store_lock(s, l->key);

    if (r == -EAGAIN || r == -EACCES) {
        struct owner o = { .key = l->key };

        owner_run(s, &(struct op){ .arg = &o });
        return err_set(&op->e, -EBUSY, "the session is being driven by another rein, process %lld; wait for it or end it",
                       (long long)o.pid);
    }
    if (r < 0)
        return err_set(&op->e, r, "the lease of the session cannot be locked: %s", strerror(-r));
    r = take_epoch(s, l);
    if (r < 0)
        r = store_error(s, &op->e, "taking the lease");
    if (r < 0)
        store_unlock(s, l->key);
    return r;
}

CO int store_lease(struct store *s, int64_t key, struct lease *ret, struct err *e)
{
    struct lease l = { .key = key };
    struct op op = { .run = lease_run, .arg = &l };
    int r = store_submit(s, &op, e);

    if (r == 0)
        *ret = l;
    return r;
}

static int release_run(struct store *s, struct op *op)
{
    store_unlock(s, ((const struct lease *)op->arg)->key);
    return 0;
}

CO void store_release(struct store *s, const struct lease *l)
{
    struct lease copy = *l;
    struct op op = { .run = release_run, .arg = &copy };

    store_submit(s, &op, NULL);
}

/* Reading. */

struct load {
    int64_t key;
    uint64_t from, upto;                /* upto: ST_LATEST; 0: no end */
    enum statement which;
    enum kind kind;                     /* ST_FIRST, ST_LATEST */
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

/* Which session's row an event of this one is: its own, or of the parent that it shares it with; and up to where. */
static int64_t row_of(struct store *s, int64_t key, uint64_t seq, uint64_t *ret_upto)
{
    sqlite3_stmt *st = store_statement(s, ST_PARENT);

    *ret_upto = UINT32_MAX;
    while (st) {
        int64_t parent = -1;
        uint64_t shared = 0;

        sqlite3_bind_int64(st, 1, key);
        if (sqlite3_step(st) == SQLITE_ROW) {
            parent = sqlite3_column_int64(st, 0);
            shared = (uint64_t)sqlite3_column_int64(st, 1);
        }
        sqlite3_reset(st);
        if (seq > shared)
            break;
        *ret_upto = MIN(*ret_upto, shared);
        key = parent;
    }
    return key;
}

/* The rows of one session among those that are asked for. */
static int load_rows(struct store *s, struct op *op, int64_t key, uint64_t from, uint64_t upto)
{
    struct load *l = op->arg;
    sqlite3_stmt *st = store_statement(s, l->which);
    int r = SQLITE_ERROR, bad = 0;

    if (st) {
        sqlite3_bind_int64(st, 1, EVENT_KEY(key, from));
        sqlite3_bind_int64(st, 2, EVENT_KEY(key, upto));
        if (l->which == ST_FIRST || l->which == ST_LATEST)
            sqlite3_bind_int(st, 3, (int)l->kind);
        while (l->n < l->max && (r = sqlite3_step(st)) == SQLITE_ROW) {
            bad = read_event(s, st, &l->evs[l->n], &op->e);
            if (bad < 0)
                break;
            l->n++;
        }
    }
    if (bad == 0 && r != SQLITE_ROW && r != SQLITE_DONE)
        bad = store_error(s, &op->e, "reading events");
    if (st)
        sqlite3_reset(st);
    return bad;
}

static int load_run(struct store *s, struct op *op)
{
    struct load *l = op->arg;
    uint64_t upto = l->upto ? l->upto : UINT32_MAX;
    int r = store_sync_log(s, &op->e);

    if (r < 0)
        return r;
    do {
        uint64_t from = l->from + l->n;
        int64_t key = l->which == ST_LOAD ? row_of(s, l->key, from, &upto) : l->key;

        r = load_rows(s, op, key, from, upto);
    } while (r == 0 && l->which == ST_LOAD && upto != UINT32_MAX && l->from + l->n == upto + 1 && l->n < l->max);
    if (r < 0)
        while (l->n)
            event_free(l->evs[--l->n]);
    return r;
}

static CO ssize_t load(struct store *s, struct load *l, struct err *e)
{
    struct op op = { .run = load_run, .arg = l };
    int r = l->max ? store_submit(s, &op, e) : 0;

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

CO int store_latest(struct store *s, int64_t key, enum kind kind, uint64_t upto, struct event **ret, struct err *e)
{
    struct load l = { .key = key, .which = ST_LATEST, .kind = kind, .upto = upto };

    return load_single(s, &l, ret, e);
}

CO int store_last(struct store *s, int64_t key, struct event **ret, struct err *e)
{
    struct load l = { .key = key, .which = ST_LAST };

    return load_single(s, &l, ret, e);
}
