/* kernels/cpu/limits.c: the plain work is done, all of it. */
#include "kernels/ops.h"
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>

static void test_every_float_is_read(void **state)
{
    enum { N = 3 * LIMIT_ROUND };
    struct backend *be = backend_open("cpu", 1);
    float *x = backend_alloc(be, N * sizeof(*x));
    for (int i = 0; i < N; i++) {
        x[i] = 1;
        assert_true(be->ops->limit_read(x, N, 3) == 3.0f * (float)(i + 1));
    }
    backend_free(be, x);
    backend_close(be);
}

/* x = 0.999 x + 0.001 stays at 1 and moves everything else towards it, as slowly as it is done. */
static void test_every_multiply_is_done(void **state)
{
    struct backend *be = backend_open("cpu", 1);
    float start = be->ops->limit_multiply(0), one = be->ops->limit_multiply(LIMIT_ROUND);
    float limit = be->ops->limit_multiply(LIMIT_ROUND * 20000), before = one;
    assert_true(one != start);
    for (int n = 2; n < 20; n++) {
        float now = be->ops->limit_multiply(LIMIT_ROUND * n);
        assert_true((now - before) * (limit - before) > 0);
        before = now;
    }
    backend_close(be);
}

/* x = 2^-x swings around 0.641, closer each time: a round moves it, and many leave it there. */
static void test_every_exponential_is_made(void **state)
{
    struct backend *be = backend_open("cpu", 1);
    float limit = be->ops->limit_exp(LIMIT_ROUND * 1000), before = be->ops->limit_exp(0);
    assert_true(limit > 0 && be->ops->limit_exp(LIMIT_ROUND * 2000) == limit);
    for (int n = 1; n < 4; n++) {
        float now = be->ops->limit_exp(LIMIT_ROUND * n);
        assert_true(fabsf(now - limit) < 0.5f * fabsf(before - limit));
        before = now;
    }
    backend_close(be);
}

/* Against sums over the same weights, which limits.c describes. */
static void test_products_are_products(void **state)
{
    struct backend *be = backend_open("cpu", 1);
    void *memory = backend_alloc(be, LIMIT_MEMORY);
    for (int precision = 0; precision < PRECISIONS; precision++) {
        double sum = 0, size = 0;
        for (int o = 0; o < limit_product_outputs(precision); o++)
            for (int i = 0; i < LIMIT_INPUTS; i++) {
                double term = ((3 * o + i) % 8 - 3) * 0.25 * (i % 5) * 0.25;
                sum += term;
                size += fabs(term);
            }
        be->ops->limit_product(precision, memory, 0);
        for (int times = 1; times < 3; times++) {
            double got = be->ops->limit_product(precision, memory, times);
            assert_true(fabs(got - sum) <= (precision == PRECISION_INT8 ? 4e-3 * size : 0));
        }
    }
    backend_free(be, memory);
    backend_close(be);
}

static void test_states_are_moved(void **state)
{
    struct backend *be = backend_open("cpu", 1);
    void *memory = backend_alloc(be, LIMIT_MEMORY);
    double h[LIMIT_STATES] = {0};
    be->ops->limit_state(memory, 0);
    for (int times = 1; times < 4; times++) {
        double sum = 0;
        for (int k = 0; k < times; k++)
            for (int n = 0; n < LIMIT_STATES; n++)
                h[n] = h[n] * exp2(-(n + 1)) + 1;
        for (int n = 0; n < LIMIT_STATES; n++)
            sum += h[n] * LIMIT_CHANNELS;
        double got = be->ops->limit_state(memory, times);
        assert_true(fabs(got / sum - 1) < 1e-5);
    }
    backend_free(be, memory);
    backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_float_is_read),
        cmocka_unit_test(test_every_multiply_is_done),
        cmocka_unit_test(test_every_exponential_is_made),
        cmocka_unit_test(test_products_are_products),
        cmocka_unit_test(test_states_are_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
