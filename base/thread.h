/*
 * A pool of worker threads for loops whose rounds are independent.
 *
 * The pool decides who does a round, never what a round is: callers cut work into rounds by the
 * sizes of the problem alone, so results do not depend on the number of threads.
 *
 * pool_run is called by one thread at a time (the pool's owner); the owner works too. Workers spin
 * for some microseconds after a loop, then sleep, so that a busy machine is left in peace.
 */
#ifndef HISS_BASE_THREAD_H
#define HISS_BASE_THREAD_H

#include <stdint.h>

struct pool;

/* Processors this process may run on, at least 1. */
int thread_count_available(void);

/* Starts a pool of `n_threads` (the caller included; at least 1). NULL with error_text on failure.
 */
struct pool *pool_open(int n_threads);
void pool_close(struct pool *pool);
int pool_n_threads(const struct pool *pool);

/* Calls fn(arg, i, thread) for every i in [0, n), each once, in any order, by any thread of the
   pool; `thread` in [0, pool_n_threads) tells which, for scratch memory of its own. Returns when
   all are done. With one thread, or n = 1, the caller does it all at once. */
void pool_run(struct pool *pool, void (*fn)(void *arg, int64_t i, int thread), void *arg,
              int64_t n);

/* One turn of waiting for what another thread will do soon: a pause, and from the 2000th turn on
   the processor is given to others. *spins: turns so far, 0 at first. Any thread. */
void spin_pause(int *spins);

#endif
