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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_float_is_read),
        cmocka_unit_test(test_every_multiply_is_done),
        cmocka_unit_test(test_every_exponential_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
