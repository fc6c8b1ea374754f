#define _GNU_SOURCE
#include "base/thread.h"

#include "base/error.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The ticket holds the number of the loop (high bits) and its next round (low bits). A worker takes
   a round by compare-and-swap, so one that slept through a loop can never take a round of another:
   fn, arg and n are only written while the ticket is closed, and a swap on an old ticket fails (an
   old ticket comes back after 2^32 loops: hours, in which the worker would have to stand still). */
enum { ROUND_BITS = 32 };
#define ROUND_CLOSED (((uint64_t)1 << ROUND_BITS) - 1)

enum { SPINS_BEFORE_SLEEP = 4000, SPINS_BEFORE_YIELD = 2000 };

struct worker {
    struct pool *pool;
    int index;
    pthread_t thread;
};

struct pool {
    int n_threads;
    struct worker *workers; /* n_threads - 1, indices from 1 */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_int sleepers;
    atomic_bool quit;

    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic int64_t done;
    void (*_Atomic fn)(void *, int64_t, int);
    void *_Atomic arg;
    _Atomic int64_t n;
};

int thread_count_available(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = sched_getaffinity(0, sizeof set, &set) == 0
                ? CPU_COUNT(&set)
                : (int)sysconf(_SC_NPROCESSORS_ONLN); /* more of them than the set holds */
    return n > 0 ? n : 1;
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* a short pause, where "yield" is none on most processors */
#endif
}

/* Takes rounds of the present loop until there are none. */
static void work(struct pool *pool, int thread)
{
    for (;;) {
        uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
        void (*fn)(void *, int64_t, int) = atomic_load(&pool->fn);
        void *arg = atomic_load(&pool->arg);
        int64_t n = atomic_load(&pool->n);
        int64_t round = (int64_t)(ticket & ROUND_CLOSED);
        if (round >= n)
            return;
        if (!atomic_compare_exchange_strong(&pool->ticket, &ticket, ticket + 1))
            continue;
        fn(arg, round, thread);
        atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
    }
}

static bool has_work(struct pool *pool)
{
    uint64_t ticket = atomic_load(&pool->ticket);
    return (int64_t)(ticket & ROUND_CLOSED) < atomic_load(&pool->n);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *pool = w->pool;
    int spins = 0;
    while (!atomic_load(&pool->quit)) {
        if (has_work(pool)) {
            work(pool, w->index);
            spins = 0;
        } else if (spins++ < SPINS_BEFORE_SLEEP) {
            relax();
        } else {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->sleepers, 1);
            while (!has_work(pool) && !atomic_load(&pool->quit))
                pthread_cond_wait(&pool->wake, &pool->lock);
            atomic_fetch_sub(&pool->sleepers, 1);
            pthread_mutex_unlock(&pool->lock);
            spins = 0;
        }
    }
    return NULL;
}

static void wake_all(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

struct pool *pool_open(int n_threads)
{
    assert(n_threads >= 1);
    struct pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    if (!pool) {
        error_set("out of memory for a pool of %d threads", n_threads);
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    pool->workers = calloc((size_t)n_threads, sizeof *pool->workers);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    atomic_store(&pool->ticket, ROUND_CLOSED);
    pool->n_threads = 1;
    for (int i = 1; pool->workers && i < n_threads; i++) {
        struct worker *w = &pool->workers[i - 1];
        *w = (struct worker){.pool = pool, .index = i};
        int failed = pthread_create(&w->thread, NULL, worker_main, w);
        if (failed) {
            error_set("cannot start thread %d of %d: %s; ask for fewer with --threads", i + 1,
                      n_threads, strerror(failed));
            pool_close(pool);
            return NULL;
        }
        pool->n_threads++;
    }
    if (!pool->workers) {
        error_set("out of memory for a pool of %d threads", n_threads);
        pool_close(pool);
        return NULL;
    }
    return pool;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->quit, true);
    wake_all(pool);
    for (int i = 1; i < pool->n_threads; i++)
        pthread_join(pool->workers[i - 1].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

int pool_n_threads(const struct pool *pool)
{
    return pool->n_threads;
}

void pool_run(struct pool *pool, void (*fn)(void *, int64_t, int), void *arg, int64_t n)
{
    if (pool->n_threads == 1 || n <= 1) {
        for (int64_t i = 0; i < n; i++)
            fn(arg, i, 0);
        return;
    }
    assert(n < (int64_t)ROUND_CLOSED);
    uint64_t loop = (atomic_load(&pool->ticket) >> ROUND_BITS) + 1;
    atomic_store(&pool->ticket, loop << ROUND_BITS | ROUND_CLOSED);
    atomic_store(&pool->fn, fn);
    atomic_store(&pool->arg, arg);
    atomic_store(&pool->n, n);
    atomic_store(&pool->done, 0);
    atomic_store(&pool->ticket, loop << ROUND_BITS);
    if (atomic_load(&pool->sleepers) > 0)
        wake_all(pool);
    work(pool, 0);
    for (int spins = 0; atomic_load_explicit(&pool->done, memory_order_acquire) < n;)
        spin_pause(&spins);
}

void spin_pause(int *spins)
{
    if (*spins < SPINS_BEFORE_YIELD) {
        ++*spins;
        relax();
    } else {
        sched_yield();
    }
}
