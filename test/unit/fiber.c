#include "rt/loop.h"
#include "rt/offload.h"

#include "base/clock.h"
#include "test.h"

static fiber_fn *body;
static int outcome;

static CO int wrapped(void *arg)
{
    return outcome = body(arg);
}

static void ignore_signal(int signo)
{
    (void)signo;
}

static int on_loop(fiber_fn *fn)
{
    int r;

    body = fn;
    r = loop_run(wrapped, NULL, ignore_signal);
    assert_int_equal(r, outcome);
    return r;
}

static CO int adds(void *arg)
{
    int *n = arg;

    for (int i = 0; i < 3; i++) {
        int r = fiber_sleep(1);

        if (r < 0)
            return r;
    }
    ++*n;
    return 0;
}

static CO int thousand(void *arg)
{
    struct scope s = SCOPE_INIT;
    int n = 0, r;

    (void)arg;
    for (int i = 0; i < 1000; i++)
        scope_go(&s, "adder", adds, &n);
    r = scope_join(&s);
    return r < 0 ? r : n;
}

static void many(void **state)
{
    (void)state;
    body = thousand;
    loop_run(wrapped, NULL, ignore_signal);
    assert_int_equal(outcome, 1000);
}

static CO int fails(void *arg)
{
    (void)arg;
    return -EDOM;
}

static CO int forever(void *arg)
{
    struct gate never = {0};

    (void)arg;
    return gate_wait(&never, "nothing", FIBER_FOREVER);
}

static CO int first_error(void *arg)
{
    struct scope s = SCOPE_INIT;
    int n = 0;

    (void)arg;
    scope_go(&s, "fails", fails, NULL);
    scope_go(&s, "adder", adds, &n);
    return scope_join(&s) == -EDOM && n == 1 ? 0 : -1;
}

static CO int cancels(void *arg)
{
    struct scope s = SCOPE_INIT;

    (void)arg;
    for (int i = 0; i < 10; i++)
        scope_go(&s, "forever", forever, NULL);
    fiber_sleep(1);
    scope_cancel(&s);
    return scope_join(&s) == -ECANCELED ? 0 : -1;
}

static CO int parent(void *arg)
{
    struct scope s = SCOPE_INIT;

    (void)arg;
    scope_go(&s, "child", forever, NULL);
    return scope_join(&s);
}

/* Cancelling goes down through joins, and waits in a cancelled fiber end at once. */
static CO int cancels_deep(void *arg)
{
    struct scope s = SCOPE_INIT;
    int r;

    (void)arg;
    scope_go(&s, "parent", parent, NULL);
    fiber_sleep(1);
    scope_cancel(&s);
    r = scope_join(&s);
    scope_go(&s, "late", forever, NULL);        /* born cancelled */
    scope_join(&s);
    return r == -ECANCELED ? 0 : -1;
}

static CO int shielded(void *arg)
{
    int r;

    fiber_shield();
    r = fiber_sleep(5);
    fiber_unshield();
    *(bool *)arg = r == 0 && fiber_cancelled();
    return fiber_sleep(1000);
}

static CO int shield(void *arg)
{
    struct scope s = SCOPE_INIT;
    bool finished = false;

    (void)arg;
    scope_go(&s, "shielded", shielded, &finished);
    fiber_sleep(1);
    scope_cancel(&s);
    return scope_join(&s) == -ECANCELED && finished ? 0 : -1;
}

static CO int times_out(void *arg)
{
    struct gate g = {0};
    int64_t began = clock_steady();
    int r = gate_wait(&g, "a gate", 20);

    (void)arg;
    if (r != -ETIMEDOUT || clock_steady() - began < 19 * NS_PER_MS)
        return -1;
    gate_open(&g, 7);
    return gate_wait(&g, "an open gate", 0) == 7 && !g.open ? 0 : -1;
}

static struct gate by_timer;

static void open_by_timer(uv_timer_t *t)
{
    gate_open(&by_timer, 0);
    uv_close((uv_handle_t *)t, NULL);
}

/* A gate that a timer opens before the loop polls: the loop may not sleep on it. */
static CO int woken_by_timer(void *arg)
{
    static uv_timer_t t;

    (void)arg;
    for (int i = 0; i < 20; i++) {
        int r;

        uv_timer_init(loop_uv(), &t);
        uv_timer_start(&t, open_by_timer, 0, 0);
        r = gate_wait(&by_timer, "a timer of the loop's", 3000);
        if (r < 0)
            return r;
        fiber_sleep(1);
    }
    return 0;
}

struct slow {
    struct job job;
    int *freed;
    int result;
};

static void slow_run(struct job *j)
{
    struct timespec t = { 0, 20 * 1000 * 1000 };

    nanosleep(&t, NULL);
    container_of(j, struct slow, job)->result = 42;
}

static void slow_free(struct job *j)
{
    struct slow *s = container_of(j, struct slow, job);

    ++*s->freed;
    free(s);
}

static int freed;

static CO int offloads(void *arg)
{
    struct slow *s = xcalloc(1, sizeof(*s));
    int r;

    (void)arg;
    s->job.run = slow_run;
    s->job.free = slow_free;
    s->freed = &freed;
    r = offload(&s->job, "a slow job", FIBER_FOREVER);
    if (r == 0) {
        r = s->result == 42 ? 0 : -1;
        job_free(&s->job);
    }
    return r;
}

static CO int offload_cancelled(void *arg)
{
    struct scope s = SCOPE_INIT;
    int64_t began = clock_steady();

    (void)arg;
    scope_go(&s, "offloads", offloads, NULL);
    fiber_sleep(1);
    scope_cancel(&s);
    if (scope_join(&s) != -ECANCELED || clock_steady() - began > 15 * NS_PER_MS)
        return -1;
    return fiber_sleep(60);                     /* the job ends by itself, and is freed */
}

static void scopes(void **state)
{
    (void)state;
    assert_int_equal(on_loop(first_error), 0);
    assert_int_equal(on_loop(cancels), 0);
    assert_int_equal(on_loop(cancels_deep), 0);
    assert_int_equal(on_loop(shield), 0);
    assert_int_equal(on_loop(times_out), 0);
    assert_int_equal(on_loop(woken_by_timer), 0);
}

static void jobs(void **state)
{
    (void)state;
    assert_int_equal(on_loop(offloads), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(on_loop(offload_cancelled), 0);
    assert_int_equal(freed, 2);
}

RUN(T(many), T(scopes), T(jobs))
