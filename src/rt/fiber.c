/* fiber.c - stacks, switches, scopes.
 *
 * A stack is entered once with makecontext and from then on left and resumed with siglongjmp: 30 ns a switch, where
 * swapcontext pays two system calls for the signal mask. FORTIFY's longjmp check takes such a jump for an attack, so
 * this file is built without it. AddressSanitizer and valgrind are told of every stack and switch. */
#undef _FORTIFY_SOURCE
#include "rt/fiber.h"

#include "base/buf.h"
#include "rt/loop.h"

#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <uv.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_SIZE ((size_t)1 << 20)
#else
#define STACK_SIZE ((size_t)256 << 10)
#endif

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(a, b) 0
#define VALGRIND_STACK_DEREGISTER(id) (void)(id)
#endif

#define SPARE_STACKS 16

enum state { READY, RUNNING, PARKED, DONE };

struct fiber {
    sigjmp_buf ctx;
    char *stack;                        /* lowest usable byte; the guard page is below it */
    unsigned valgrind_id;
    void *fake;                         /* ASan's fake stack while switched out */
    enum state state;
    bool started, cancelled;
    int shield;
    struct scope *scope;
    struct fiber *prev, *next;          /* siblings in the scope */
    struct fiber *all_prev, *all_next;
    struct fiber *next_ready;
    fiber_fn *fn;
    void *arg;
    struct gate *gate;                  /* while PARKED */
    const char *why;
    int result;
    bool has_timer;
    uv_timer_t timer;
    char name[32];
};

static struct {
    sigjmp_buf ctx;
    void *fake;
    const void *bottom;
    size_t size;
    struct fiber *current, *all;
    struct fiber *ready_head, *ready_tail;
    char *spare[SPARE_STACKS];
    size_t nspare, alive;
} rt;

static char *stack_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p;

    if (rt.nspare)
        return rt.spare[--rt.nspare];
    p = mmap(NULL, STACK_SIZE + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK,
             -1, 0);
    if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) < 0) {
        fprintf(stderr, "rein: no memory map left for a fiber's stack (see vm.max_map_count)\n");
        abort();
    }
    return p + page;
}

static void stack_free(char *stack)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

#ifdef WITH_ASAN
    __asan_unpoison_memory_region(stack, STACK_SIZE);
#endif
    if (rt.nspare < SPARE_STACKS)
        rt.spare[rt.nspare++] = stack;
    else
        munmap(stack - page, STACK_SIZE + page);
}

static void make_ready(struct fiber *f)
{
    f->state = READY;
    f->next_ready = NULL;
    if (rt.ready_tail)
        rt.ready_tail->next_ready = f;
    else
        rt.ready_head = f;
    rt.ready_tail = f;
    loop_stir();
}

/* From the running fiber to the loop. Comes back when the loop resumes it; from a dead fiber never. */
static void switch_out(struct fiber *f)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(f->state == DONE ? NULL : &f->fake, rt.bottom, rt.size);
#endif
    if (sigsetjmp(f->ctx, 0) == 0)
        siglongjmp(rt.ctx, 1);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(f->fake, &rt.bottom, &rt.size);
#endif
}

static void trampoline(void)
{
    struct fiber *f = rt.current;

#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, &rt.bottom, &rt.size);
#endif
    f->result = f->fn(f->arg);
    f->state = DONE;
    switch_out(f);
    abort();
}

/* From the loop into a fiber, until it parks or ends. */
static void switch_in(struct fiber *f)
{
    rt.current = f;
    f->state = RUNNING;
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&rt.fake, f->stack, STACK_SIZE);
#endif
    if (sigsetjmp(rt.ctx, 0) == 0) {
        if (f->started) {
            siglongjmp(f->ctx, 1);
        } else {
            ucontext_t uc;

            f->started = true;
            getcontext(&uc);
            uc.uc_stack.ss_sp = f->stack;
            uc.uc_stack.ss_size = STACK_SIZE;
            uc.uc_link = NULL;
            makecontext(&uc, trampoline, 0);
            setcontext(&uc);
        }
    }
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(rt.fake, NULL, NULL);
#endif
    rt.current = NULL;
}

static void timer_closed(uv_handle_t *h)
{
    free(container_of((uv_timer_t *)h, struct fiber, timer));
}

static void fiber_end(struct fiber *f)
{
    struct scope *s = f->scope;

    if (f->result < 0 && s->error == 0)
        s->error = f->result;
    if (f->prev)
        f->prev->next = f->next;
    else
        s->kids = f->next;
    if (f->next)
        f->next->prev = f->prev;
    if (f->all_prev)
        f->all_prev->all_next = f->all_next;
    else
        rt.all = f->all_next;
    if (f->all_next)
        f->all_next->all_prev = f->all_prev;
    VALGRIND_STACK_DEREGISTER(f->valgrind_id);
    stack_free(f->stack);
    rt.alive--;
    if (!s->kids)
        gate_open(&s->empty, 0);
    if (f->has_timer)
        uv_close((uv_handle_t *)&f->timer, timer_closed);
    else
        free(f);
}

size_t fiber_run_ready(void)
{
    while (rt.ready_head) {
        struct fiber *f = rt.ready_head;

        rt.ready_head = f->next_ready;
        if (!rt.ready_head)
            rt.ready_tail = NULL;
        switch_in(f);
        if (f->state == DONE)
            fiber_end(f);
    }
    return rt.alive;
}

static void wake(struct fiber *f, int result)
{
    assert(f->state == PARKED);
    f->gate->waiter = NULL;
    f->gate = NULL;
    f->result = result;
    if (f->has_timer)
        uv_timer_stop(&f->timer);
    make_ready(f);
}

static void timed_out(uv_timer_t *t)
{
    struct fiber *f = container_of(t, struct fiber, timer);

    if (f->state == PARKED)
        wake(f, -ETIMEDOUT);
}

CO int gate_wait(struct gate *g, const char *why, int64_t timeout_ms)
{
    struct fiber *f = rt.current;

    assert(f && !g->waiter);
    if (f->cancelled && !f->shield)
        return -ECANCELED;
    if (!g->open) {
        f->gate = g;
        f->why = why;
        f->state = PARKED;
        g->waiter = f;
        if (timeout_ms != FIBER_FOREVER) {
            if (!f->has_timer) {
                uv_timer_init(loop_uv(), &f->timer);
                f->has_timer = true;
            }
            /* The loop's idea of now may be as old as the work this fiber has just done. */
            uv_update_time(loop_uv());
            uv_timer_start(&f->timer, timed_out, (uint64_t)MAX(timeout_ms, (int64_t)0), 0);
        }
        switch_out(f);
        f->why = NULL;
        if (f->result < 0 && !g->open)
            return f->result;
    }
    g->open = false;
    return g->result;
}

void gate_open(struct gate *g, int result)
{
    g->open = true;
    g->result = result;
    if (g->waiter)
        wake(g->waiter, 0);
}

CO int fiber_sleep(int64_t ms)
{
    struct gate never = {0};
    int r = gate_wait(&never, "a timer", ms);

    return r == -ETIMEDOUT ? 0 : r;
}

void scope_go(struct scope *s, const char *name, fiber_fn *fn, void *arg)
{
    struct fiber *f = xcalloc(1, sizeof(*f));

    snprintf(f->name, sizeof(f->name), "%s", name);
    f->stack = stack_new();
    f->valgrind_id = VALGRIND_STACK_REGISTER(f->stack, f->stack + STACK_SIZE);
    f->fn = fn;
    f->arg = arg;
    f->scope = s;
    f->cancelled = s->cancelled;
    f->next = s->kids;
    if (f->next)
        f->next->prev = f;
    s->kids = f;
    f->all_next = rt.all;
    if (rt.all)
        rt.all->all_prev = f;
    rt.all = f;
    rt.alive++;
    make_ready(f);
}

void scope_cancel(struct scope *s)
{
    s->cancelled = true;
    for (struct fiber *f = s->kids; f; f = f->next) {
        f->cancelled = true;
        if (f->state == PARKED && !f->shield)
            wake(f, -ECANCELED);
    }
}

CO int scope_join(struct scope *s)
{
    int r = 0;

    while (s->kids && r == 0)
        r = gate_wait(&s->empty, "its children", FIBER_FOREVER);
    if (r == -ECANCELED) {
        scope_cancel(s);
        fiber_shield();
        while (s->kids)
            gate_wait(&s->empty, "its cancelled children", FIBER_FOREVER);
        fiber_unshield();
        return r;
    }
    return fiber_cancelled() && !rt.current->shield ? -ECANCELED : s->error;
}

CO void scope_done(struct scope *s)
{
    if (!s->kids)
        return;
    scope_cancel(s);
    fiber_shield();
    scope_join(s);
    fiber_unshield();
}

bool fiber_cancelled(void)
{
    return rt.current && rt.current->cancelled;
}

void fiber_shield(void)
{
    rt.current->shield++;
}

void fiber_unshield(void)
{
    assert(rt.current->shield > 0);
    rt.current->shield--;
}

static size_t stack_used(const struct fiber *f)
{
#ifdef WITH_ASAN
    (void)f;
    return 0;               /* red zones are not zero: nothing to be told from the bytes */
#else
    size_t i = 0;

    while (i < STACK_SIZE && f->stack[i] == 0)
        i++;
    return STACK_SIZE - i;
#endif
}

void fiber_table(struct buf *out)
{
    static const char *const word[] = { "ready", "running", "parked", "done" };

    buf_addf(out, "%-28s %-8s %-9s %s\n", "FIBER", "STATE", "STACK", "WAITS FOR");
    for (const struct fiber *f = rt.all; f; f = f->all_next)
        buf_addf(out, "%-28s %-8s %5.1f KB  %s%s%s\n", f->name, word[f->state], (double)stack_used(f) / 1024,
                 f->why ? f->why : "-", f->cancelled ? " (cancelled)" : "", f->shield ? " (shielded)" : "");
    buf_addf(out, "%zu alive, %zu spare stacks, %zu KB each\n", rt.alive, rt.nspare, STACK_SIZE / 1024);
}
