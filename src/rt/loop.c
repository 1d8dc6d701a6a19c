#include "rt/loop.h"

#include <signal.h>

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };

static struct {
    uv_loop_t uv;
    bool running;
    void (*on_signal)(int);
    uv_signal_t signal[ARRAY_SIZE(signals)];
    uv_idle_t idle;
} loop;

uv_loop_t *loop_uv(void)
{
    assert(loop.running);
    return &loop.uv;
}

static void nothing(uv_idle_t *i)
{
    (void)i;
}

/* uv_run() runs timers that are due before it polls: without this it would then sleep with a fiber ready. */
void loop_stir(void)
{
    uv_idle_start(&loop.idle, nothing);
}

static void on_signal(uv_signal_t *s, int signo)
{
    (void)s;
    loop.on_signal(signo);
}

/* What nobody waits for any more; its data is then what frees it. */
static void close_left(uv_handle_t *h, void *unused)
{
    (void)unused;
    if (!uv_is_closing(h))
        uv_close(h, (uv_close_cb)(uintptr_t)h->data);
}

int loop_run(fiber_fn *fn, void *arg, void (*on_signal_fn)(int signo))
{
    struct scope all = SCOPE_INIT;

    assert(!loop.running);
    if (uv_loop_init(&loop.uv) < 0)
        return -ENOMEM;
    loop.running = true;
    loop.on_signal = on_signal_fn;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        uv_signal_init(&loop.uv, &loop.signal[i]);
        uv_signal_start(&loop.signal[i], on_signal, signals[i]);
        uv_unref((uv_handle_t *)&loop.signal[i]);
    }

    uv_idle_init(&loop.uv, &loop.idle);
    scope_go(&all, "main", fn, arg);
    while (fiber_run_ready() > 0) {
        uv_idle_stop(&loop.idle);
        uv_run(&loop.uv, UV_RUN_ONCE);
    }

    uv_walk(&loop.uv, close_left, NULL);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop.uv);
    loop.running = false;
    return all.error;
}
