#include "app/keep.h"
#include "app/measure.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* Few takes: those nearest the median of recordings. */
static void test_few(void **state)
{
    const double bits[5] = {3.0, 1.0, 2.1, 1.8, 2.2};
    int64_t order[5];
    keep_order(order, bits, 5, 2.0);
    const int64_t expected[5] = {2, 3, 4, 0, 1};
    assert_memory_equal(order, expected, sizeof(order));
}

static void test_few_without_statistics(void **state)
{
    const double bits[4] = {9, 1, 2, 2.5}; /* median 2.25 */
    int64_t order[4];
    keep_order(order, bits, 4, NAN);
    const int64_t expected[4] = {2, 3, 1, 0};
    assert_memory_equal(order, expected, sizeof(order));
}

/* Many: of 40, the two likeliest come last, the 16 least likely before them, the rest by rank. */
static void test_many(void **state)
{
    double bits[40];
    int64_t order[40];
    for (int i = 0; i < 40; i++)
        bits[i] = (double)((i * 7) % 40);
    keep_order(order, bits, 40, 5);
    for (int i = 0; i < 38; i++)
        assert_true(bits[order[i]] == i + 2);
    assert_true(bits[order[38]] == 0 && bits[order[39]] == 1);
}

static void test_ties_go_to_the_lower_number(void **state)
{
    const double bits[3] = {2, 2, 2};
    int64_t order[3];
    keep_order(order, bits, 3, 2);
    assert_true(order[0] == 0 && order[1] == 1 && order[2] == 2);
}

static void test_quantiles(void **state)
{
    double x[5] = {4, 0, 3, 1, 2}, out[MEASURE_QUANTILES];
    measure_quantiles(out, x, 5);
    const double expected[MEASURE_QUANTILES] = {0, 0.2, 1, 2, 3, 3.8, 4};
    for (int i = 0; i < MEASURE_QUANTILES; i++)
        assert_true(fabs(out[i] - expected[i]) < 1e-12);
    double one[1] = {7};
    measure_quantiles(out, one, 1);
    assert_true(out[0] == 7 && out[6] == 7);
}

static void test_level_and_flatness(void **state)
{
    enum { N = 8192 };
    static float tone[N], noise[N], silence[N];
    for (int i = 0; i < N; i++) {
        tone[i] = (float)sin(0.3 * i);
        noise[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    }
    assert_true(fabs(measure_level_db(tone, N) + 3.01) < 0.05);
    assert_true(measure_level_db(silence, N) == -120 && measure_level_db(tone, 0) == -120);
    assert_true(measure_flatness(noise, N) > 0.8);
    assert_true(measure_flatness(tone, N) < 0.01);
    assert_true(measure_flatness(noise, 100) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few),       cmocka_unit_test(test_few_without_statistics),
        cmocka_unit_test(test_many),      cmocka_unit_test(test_ties_go_to_the_lower_number),
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_level_and_flatness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
