/*
 * Who runs next. A thread that cannot go on switches to the next that can; only where there is
 * none does the worker itself look what can be done.
 */
#include "tests/cuda_on_cpu/gang.h"
#include "tests/cuda_on_cpu/include/shim/memory.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <utility>

__thread struct shim_thread *shim_self;
__thread struct worker *shim_worker;

enum { IDLE_TURNS = 4, PAUSE_US = 50, TOLD_MOST = 12 };

double shim_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

uint32_t worker_random(void)
{
    uint64_t x = shim_worker->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    shim_worker->random = x;
    return (uint32_t)(x >> 20);
}

/* --- those that can go on ------------------------------------------------------------------------
 */

static size_t ready_count(const struct ready *ready)
{
    return (size_t)(ready->tail - ready->head);
}

static struct thread **ready_at(struct ready *ready, uint64_t i)
{
    return &ready->ring[i & (ready->ring.size() - 1)];
}

static void ready_add(struct thread *thread)
{
    struct ready *ready = &shim_worker->ready;
    thread->state = THREAD_READY;
    *ready_at(ready, ready->tail++) = thread;
}

/* NULL: nobody, or it is time that the worker looks what all wait for. */
static struct thread *ready_take(void)
{
    struct worker *w = shim_worker;
    const size_t n = ready_count(&w->ready);
    if (n == 0 || w->idle > IDLE_TURNS * (n + 1))
        return nullptr;
    if (shim_settings()->seed >= 2) {
        std::swap(*ready_at(&w->ready, w->ready.head),
                  *ready_at(&w->ready, w->ready.head + worker_random() % n));
        if (worker_random() % 8 == 0)
            async_deliver_some(w->gang, false);
    }
    return *ready_at(&w->ready, w->ready.head++);
}

void list_add(struct thread_list *list, struct thread *thread)
{
    thread->next = nullptr;
    if (list->last)
        list->last->next = thread;
    else
        list->first = thread;
    list->last = thread;
}

void thread_wake(struct thread *thread)
{
    ready_add(thread);
    worker_progress();
}

void list_wake(struct thread_list *list)
{
    struct thread *thread = list->first;
    if (shim_settings()->seed == 1) {
        struct thread *reversed = nullptr;
        while (thread) {
            struct thread *next = thread->next;
            thread->next = reversed;
            reversed = thread;
            thread = next;
        }
        thread = reversed;
    }
    *list = {};
    while (thread) {
        struct thread *next = thread->next;
        thread_wake(thread);
        thread = next;
    }
}

/* --- going from one to another -------------------------------------------------------------------
 */

static void thread_main(void);

/* From the thread that runs (or the worker) to another (NULL: the worker). `last`: never back. */
static void switch_to(struct thread *to, bool last)
{
    struct worker *w = shim_worker;
    struct thread *from = self();
    void **fake = from ? &from->fake : &w->fake;
    if (to && !to->stack) {
        to->stack = fiber_take(&w->stacks);
        to->sp = fiber_prepare(to->stack, thread_main);
    }
    shim_self = to;
    if (has_tsan())
        __tsan_switch_to_fiber(to ? to->stack->tsan : w->tsan, 1);
    if (has_asan())
        __sanitizer_start_switch_fiber(last ? nullptr : fake,
                                       to ? to->stack->memory : w->stack_bottom,
                                       to ? fiber_stack_size() : w->stack_size);
    fiber_switch(from ? &from->sp : &w->sp, to ? to->sp : w->sp);
    if (has_asan())
        __sanitizer_finish_switch_fiber(*fake, nullptr, nullptr);
}

static void switch_away(void)
{
    struct thread *next = ready_take();
    if (next != self())
        switch_to(next, false);
}

void thread_wait(const char *why, const struct shim_site *site)
{
    struct thread *t = self();
    t->state = THREAD_WAITS;
    t->why = why;
    t->site = site;
    switch_away();
}

void thread_step_back(void)
{
    ready_add(self());
    switch_away();
}

void shim_yield(const struct shim_site *site)
{
    struct thread *t = self();
    if (!t)
        shim_fail("%s:%d: a kernel's function is called outside kernels", site->file, site->line);
    t->why = "spins";
    t->site = site;
    shim_worker->idle++;
    thread_step_back();
}

void shim_maybe_yield(void)
{
    if (shim_settings()->seed >= 2 && shim_self && worker_random() % 4 == 0)
        thread_step_back();
}

void shim_progress(void)
{
    if (shim_self)
        worker_progress();
}

void shim_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void thread_done(struct thread *thread)
{
    struct gang *gang = shim_worker->gang;
    thread->state = THREAD_DONE;
    block_of(thread)->live--;
    gang->live--;
    async_thread_done(thread);
    warp_thread_done(thread);
    barrier_thread_done(thread);
    worker_progress();
}

/* Where every stack begins. A thread that ends leaves its stack to the next, if that has none. */
static void thread_main(void)
{
    struct worker *w = shim_worker;
    if (has_asan())
        __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
    for (;;) {
        struct thread *t = self();
        tsan_take(&w->begin_key);
        w->gang->launch->run(w->gang->launch->box);
        tsan_give(&w->end_key);
        thread_done(t);
        struct thread *next = ready_take();
        if (next && !next->stack && !has_tsan()) {
            next->stack = t->stack;
            shim_self = next;
            continue;
        }
        if (next && !next->stack) { /* not this one, which is still in use */
            next->stack = fiber_take(&w->stacks);
            next->sp = fiber_prepare(next->stack, thread_main);
        }
        fiber_give(&w->stacks, t->stack);
        switch_to(next, true);
    }
}

/* --- the worker ----------------------------------------------------------------------------------
 */

[[noreturn]] static void report_stuck(struct gang *gang, const char *what)
{
    fflush(nullptr);
    fprintf(stderr, "cuda_on_cpu: %s in kernel %s:\n", what, gang->launch->config.name);
    int told = 0;
    for (const struct thread &t : gang->threads) {
        if (t.state == THREAD_DONE)
            continue;
        if (told++ == TOLD_MOST) {
            fprintf(stderr, "  and others\n");
            break;
        }
        fprintf(stderr, "  block (%u,%u,%u) thread (%u,%u,%u): %s", t.block->index.x,
                t.block->index.y, t.block->index.z, t.index.x, t.index.y, t.index.z,
                t.why ? t.why : "has not begun");
        if (t.site)
            fprintf(stderr, " at %s:%d", t.site->file, t.site->line);
        fprintf(stderr, "\n");
    }
    _exit(SHIM_EXIT);
}

/* All that can go on only wait, in loops: for something on its way, or for another worker or the
   host, which get this processor for a moment. */
static void worker_idle(struct worker *w)
{
    w->idle = 0;
    if (async_deliver_some(w->gang, true)) {
        w->idle_since = 0;
        return;
    }
    const double now = shim_now();
    if (w->idle_since == 0)
        w->idle_since = now;
    if (now - w->idle_since > shim_settings()->stuck_s)
        report_stuck(w->gang, "livelock: threads only spin");
    if (sched_yield() != 0 || now - w->idle_since > 1e-3)
        usleep(PAUSE_US);
}

void gang_run(struct gang *gang)
{
    struct worker *w = shim_worker;
    size_t n = gang->threads.size(), size = 1;
    while (size < n + 1)
        size *= 2;
    if (w->ready.ring.size() < size)
        w->ready.ring.resize(size);
    w->ready.head = w->ready.tail = 0;
    fiber_reserve(&w->stacks, n);
    w->gang = gang;
    worker_progress();
    for (size_t i = 0; i < n; i++)
        ready_add(&gang->threads[shim_settings()->seed == 1 ? n - 1 - i : i]);
    while (gang->live > 0) {
        if (ready_count(&w->ready) == 0) {
            if (!async_deliver_some(gang, false))
                report_stuck(gang, "deadlock");
            continue;
        }
        struct thread *next = ready_take();
        if (next)
            switch_to(next, false);
        else
            worker_idle(w);
    }
    async_gang_done(gang);
    w->gang = nullptr;
}
