/* Sum of squares and AdamW against the definition in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

struct squares_test {
    const float *x;
    int64_t n;
};

/* out: the double, as two floats that add up to it to 48 bits. */
static void run_squares(struct backend *be, void *arg, float *out)
{
    const struct squares_test *t = arg;
    double *sum = check_doubles(1);
    be->ops->sum_squares(be, check_out(be, sum), check_in(be, t->x), t->n);
    check_ran(be);
    out[0] = (float)*sum;
    out[1] = (float)(*sum - out[0]);
}

static void test_sum_squares(void **state)
{
    static const int64_t sizes[] = {0, 1, 17, 700, 9000, 16384, 300001, 4500000};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 8; i++) {
            struct squares_test t = {check_random(sizes[i], (uint32_t)i, 3), sizes[i]};
            float *out = check_zeros(2);
            double want = 0;
            check_run(tables[k], run_squares, &t, out, 2, 1e-7);
            double sum = (double)out[0] + out[1];
            for (int64_t j = 0; j < t.n; j++)
                want += (double)t.x[j] * t.x[j];
            assert_true(fabs(sum - want) <= 1e-11 * want);
            check_free(state);
        }
}

enum { SIZE = 40000, STEPS = 4 };

/* Four of every sort, and many small ones with gaps between them. */
enum { N_RANGES = 150, SMALL_BEGIN = 30000, SMALL_SIZE = 37, SMALL_STEP = 40 };

static struct weight_range ranges[N_RANGES] = {
    {.offset = 16, .size = 5, .lr = 0.01f, .decay = 0.1f},
    {.offset = 32, .size = 0, .lr = 1, .decay = 1},
    {.offset = 32, .size = 8192, .lr = 0.002f, .decay = 0},
    {.offset = 9000, .size = 20001, .lr = 0.003f, .decay = 0.05f},
};

static void ranges_make(void)
{
    for (int i = 4; i < N_RANGES; i++)
        ranges[i] = (struct weight_range){.offset = SMALL_BEGIN + (i - 4) * SMALL_STEP,
                                          .size = SMALL_SIZE,
                                          .lr = 0.001f * (float)(i % 5 + 1),
                                          .decay = 0.01f * (float)(i % 3)};
}

struct adamw_test {
    float clip;
    bool average, broken;
    const float *start;
    const float *g[STEPS];
};

static double norm_sq_of(const struct adamw_test *t, int step)
{
    double sum = 0;
    for (int i = 0; i < SIZE; i++)
        sum += (double)t->g[step][i] * t->g[step][i];
    return sum;
}

/* out: weights, first and second moments, average. */
static void run_adamw(struct backend *be, void *arg, float *out)
{
    const struct adamw_test *t = arg;
    memcpy(out, t->start, SIZE * sizeof(float));
    memcpy(out + 3 * SIZE, t->start, SIZE * sizeof(float));
    for (int step = 0; step < STEPS; step++) {
        double *norm_sq = check_doubles(1);
        *norm_sq = t->broken ? (step & 1 ? NAN : INFINITY) : norm_sq_of(t, step);
        struct adamw_args a = {
            .w = check_out(be, out),
            .m = check_out(be, out + SIZE),
            .v = check_out(be, out + 2 * SIZE),
            .average = check_out(be, t->average ? out + 3 * SIZE : NULL),
            .g = check_in(be, t->g[step]),
            .grad_norm_sq = check_in(be, norm_sq),
            .clip = t->clip,
            .beta1 = 0.9f,
            .beta2 = 0.95f,
            .eps = 1e-8f,
            .step = step + 1,
            .average_decay = 0.9f,
            .ranges = ranges,
            .n_ranges = N_RANGES,
        };
        be->ops->adamw(be, &a);
        check_ran(be);
    }
}

static void naive(const struct adamw_test *t, double *w, double *m, double *v, double *average)
{
    for (int step = 0; step < STEPS && !t->broken; step++) {
        double norm = sqrt(norm_sq_of(t, step));
        double scale = t->clip > 0 && norm > t->clip ? t->clip / norm : 1;
        double c1 = 1 - pow(0.9f, step + 1), c2 = 1 - pow(0.95f, step + 1);
        for (int r = 0; r < N_RANGES; r++)
            for (int64_t j = ranges[r].offset; j < ranges[r].offset + ranges[r].size; j++) {
                double g = t->g[step][j] * scale;
                m[j] = 0.9f * m[j] + (1 - (double)0.9f) * g;
                v[j] = 0.95f * v[j] + (1 - (double)0.95f) * g * g;
                w[j] -= (double)ranges[r].lr * ranges[r].decay * w[j];
                w[j] -= ranges[r].lr * (m[j] / c1) / (sqrt(v[j] / c2) + 1e-8f);
                if (t->average)
                    average[j] += (1 - (double)0.9f) * (w[j] - average[j]);
            }
    }
}

static void test_adamw(void **state)
{
    static const struct adamw_test cases[] = {
        {.clip = 0, .average = true},
        {.clip = 1, .average = true},
        {.clip = 1e6f, .average = false},
        {.clip = 1, .average = true, .broken = true},
    };
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    ranges_make();
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 4; i++) {
            struct adamw_test t = cases[i];
            t.start = check_random(SIZE, 1, 0.5);
            for (uint32_t step = 0; step < STEPS; step++)
                t.g[step] = check_random(SIZE, 10 + step, 2);
            float *out = check_zeros(4 * SIZE);
            double *w = check_to_double(t.start, SIZE), *m = check_doubles(SIZE);
            double *v = check_doubles(SIZE), *average = check_to_double(t.start, SIZE);
            check_run(tables[k], run_adamw, &t, out, 4 * SIZE, 1e-6);
            naive(&t, w, m, v, average);
            check_near("w", out, w, SIZE, 1e-6);
            check_near("m", out + SIZE, m, SIZE, 1e-6);
            check_near("v", out + 2 * SIZE, v, SIZE, 1e-6);
            check_near("average", out + 3 * SIZE, average, SIZE, 1e-6);
            for (int j = 0; j < 16; j++) /* between the ranges nothing changes */
                assert_true(out[j] == t.start[j]);
            check_free(state);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sum_squares, check_free),
        cmocka_unit_test_teardown(test_adamw, check_free),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
