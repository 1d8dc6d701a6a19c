/* The store and the chain on a disk: what is appended comes back, and what does not belong is refused. */
#include "core/log.h"
#include "rt/loop.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char home[64];
static CO int (*body)(struct store *s);

static CO int in_store(void *arg)
{
    struct store *s = NULL;
    struct err e = {0};
    int r = store_open(home, STORE_WRITE, &s, &e);

    (void)arg;
    if (r == 0)
        r = body(s);
    else
        fprintf(stderr, "%s\n", e.msg);
    store_close(s);
    return r;
}

static void ignore_signal(int signo)
{
    (void)signo;
}

static void with_store(CO int (*fn)(struct store *s))
{
    snprintf(home, sizeof(home), "/tmp/rein-unit-%d", getpid());
    body = fn;
    assert_int_equal(loop_run(in_store, NULL, ignore_signal), 0);
}

static void remove_store(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -r %s", home);
    assert_int_equal(system(command), 0);
}

static CO int begin(struct store *s, struct log *l)
{
    struct session_row row = { .cwd = xstrdup("/w"), .parent = -1 };
    struct lease lease = {0};
    struct err e;
    int r = store_create(s, &row, &lease, &e);

    log_init(l, s, &row);
    l->lease = lease;
    return r;
}

static void put(struct log *l, size_t size, char fill)
{
    struct buf b = {0};

    buf_adds(&b, "{\"text\":\"");
    for (size_t i = 0; i < size; i++)
        buf_addc(&b, fill);
    buf_adds(&b, "\"}");
    log_stage(l, EV_USER, 0, FROM_USER, &b);
}

struct seen {
    size_t n, bytes;
};

static int count(void *arg, struct event *ev, struct err *e)
{
    struct seen *seen = arg;

    (void)e;
    seen->n++;
    seen->bytes += ev->body.n;
    return 0;
}

/* Small bodies, and large ones that are stored by content, come back in order, and the chain holds. */
static CO int comes_back(struct store *s)
{
    struct session_row row;
    struct log l = {0}, again = {0};
    struct seen seen = {0};
    struct err e = {0};
    struct hash head;
    int r = begin(s, &l);

    for (int i = 0; i < 300 && r == 0; i++) {
        put(&l, i % 50 == 0 ? 40000 : 100, (char)('a' + i % 7));
        if (i % 3 == 0)
            r = log_commit(&l, &e);
    }
    if (r == 0)
        r = log_commit(&l, &e);
    head = l.head;
    if (r < 0 || !log_clean(&l))
        return -1;
    r = store_find(s, l.row.id, &row, &e);
    if (r < 0)
        return r;
    log_init(&again, s, &row);
    r = log_read(&again, count, &seen, &e);
    if (r == 0 && (seen.n != 300 || seen.bytes != 294 * 111 + 6 * 40011 || !hash_eq(&head, &again.head)))
        r = -1;
    log_done(&again);
    log_done(&l);
    return r;
}

/* Events whose place is not the next one are refused, and the log says that it failed. */
static CO int refuses_gaps(struct store *s)
{
    struct log l = {0};
    struct err e = {0};
    int r = begin(s, &l);

    put(&l, 10, 'a');
    if (r == 0)
        r = log_commit(&l, &e);
    l.next_seq += 3;
    put(&l, 10, 'b');
    if (r == 0 && log_commit(&l, &e) != -EIO)
        r = -1;
    put(&l, 10, 'c');
    if (r == 0 && (log_commit(&l, &e) != -EIO || log_clean(&l)))
        r = -1;                         /* nothing is tried again */
    log_done(&l);
    return r;
}

/* Who has an older epoch writes nothing. */
static CO int refuses_the_late(struct store *s)
{
    struct log l = {0};
    struct lease other;
    struct err e = {0};
    int r = begin(s, &l);

    put(&l, 10, 'a');
    if (r == 0)
        r = log_commit(&l, &e);
    if (r == 0)
        r = store_lease(s, l.row.key, &other, &e);      /* the same process may: its lock is its own */
    put(&l, 10, 'b');
    if (r == 0 && log_commit(&l, &e) != -EIO)
        r = -1;
    if (r == 0 && !strstr(e.msg, "another rein"))
        r = -1;
    log_done(&l);
    return r;
}

static CO int finds(struct store *s)
{
    struct session_row row;
    struct err e = {0};

    if (store_find(s, NULL, &row, &e) < 0)
        return -1;
    session_row_done(&row);
    if (store_find(s, "nothing", &row, &e) != -ENOENT || store_find(s, "", &row, &e) != -ENOTUNIQ)
        return -1;
    return 0;
}

static void all(void **state)
{
    (void)state;
    with_store(comes_back);
    with_store(refuses_gaps);
    with_store(refuses_the_late);
    with_store(finds);
    remove_store();
}

RUN(T(all))
