/* base/thread: every round of every loop exactly once, by a thread of the pool. */
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { ROUNDS_MAX = 3000, THREADS_MAX = 8 };

struct loop {
    int n_threads;
    int64_t factor;
    int64_t done[ROUNDS_MAX]; /* plain: a round done twice at once is a data race */
    int64_t by_thread[THREADS_MAX * 16];
};

static void count_round(void *arg, int64_t i, int thread)
{
    struct loop *loop = arg;
    if (thread < 0 || thread >= loop->n_threads)
        abort();
    loop->done[i] += loop->factor;
    loop->by_thread[thread * 16]++;
}

static void test_every_round_once(void **state)
{
    static struct loop loop;
    for (int n_threads = 1; n_threads <= THREADS_MAX; n_threads++) {
        struct pool *pool = pool_open(n_threads);
        assert_non_null(pool);
        assert_int_equal(pool_n_threads(pool), n_threads);
        loop.n_threads = n_threads;
        for (int repeat = 0; repeat < 600; repeat++) {
            int64_t n = repeat * 7919 % (repeat % 50 == 49 ? ROUNDS_MAX : 40);
            for (int64_t i = 0; i < ROUNDS_MAX; i++)
                loop.done[i] = 0;
            for (int t = 0; t < n_threads; t++)
                loop.by_thread[t * 16] = 0;
            loop.factor = repeat + 1;
            pool_run(pool, count_round, &loop, n);
            int64_t sum = 0;
            for (int t = 0; t < n_threads; t++)
                sum += loop.by_thread[t * 16];
            assert_int_equal(sum, n);
            for (int64_t i = 0; i < ROUNDS_MAX; i++)
                if (loop.done[i] != (i < n ? loop.factor : 0))
                    fail_msg("%d threads, loop %d: round %d of %d", n_threads, repeat, (int)i,
                             (int)n);
        }
        pool_close(pool);
    }
}

/* Each loop reads what the one before it wrote, whoever that was. */
static void chain_round(void *arg, int64_t i, int thread)
{
    int64_t(*cells)[64] = arg;
    int64_t step = cells[2][0];
    cells[(step + 1) & 1][i] = cells[step & 1][(i + 1) % 64] + 1;
}

static void test_loops_in_order(void **state)
{
    static int64_t cells[3][64];
    struct pool *pool = pool_open(4);
    assert_non_null(pool);
    enum { LOOPS = 5000 };
    for (int64_t step = 0; step < LOOPS; step++) {
        cells[2][0] = step;
        pool_run(pool, chain_round, cells, 64);
    }
    for (int i = 0; i < 64; i++)
        assert_int_equal(cells[LOOPS & 1][i], LOOPS);
    pool_close(pool);
}

/* Workers that went to sleep wake for the next loop; a pool may close asleep, awake or unused. */
static void test_sleep_and_close(void **state)
{
    static struct loop loop;
    for (int repeat = 0; repeat < 8; repeat++) {
        struct pool *pool = pool_open(3);
        assert_non_null(pool);
        loop.n_threads = 3;
        loop.factor = 1;
        for (int k = 0; k < repeat; k++) {
            if (k & 1)
                usleep(3000);
            loop.done[0] = loop.done[63] = 0;
            pool_run(pool, count_round, &loop, 64);
            assert_int_equal(loop.done[0], 1);
            assert_int_equal(loop.done[63], 1);
        }
        if (repeat & 2)
            usleep(3000);
        pool_close(pool);
    }
    pool_close(NULL);
    assert_in_range(thread_count_available(), 1, 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_round_once),
        cmocka_unit_test(test_loops_in_order),
        cmocka_unit_test(test_sleep_and_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
