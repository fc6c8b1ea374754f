#include "tests/kernels/check.h"

#include "base/error.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 8, BLOCKS_MAX = 4096, SCRATCH = 64 << 20 };

static void *blocks[BLOCKS_MAX];
static int n_blocks;
static struct backend *backends[THREADS_MAX];

int check_tables(const struct ops *tables[CPU_TABLES_MAX])
{
    int n = cpu_tables(tables);
    if (n == 0)
        fail_msg("%s", error_text());
    return n;
}

static void close_backends(void)
{
    for (int i = 0; i < THREADS_MAX; i++)
        backend_close(backends[i]);
}

struct backend *check_backend(const struct ops *ops, int n_threads)
{
    assert_in_range(n_threads, 1, THREADS_MAX);
    struct backend **be = &backends[n_threads - 1];
    if (!*be) {
        static bool registered;
        if (!registered)
            atexit(close_backends);
        registered = true;
        *be = backend_open("cpu", n_threads);
        if (!*be || !backend_reserve(*be, SCRATCH))
            fail_msg("%s", error_text());
    }
    (*be)->ops = ops;
    return *be;
}

static void *keep(void *block)
{
    assert_non_null(block);
    assert_true(n_blocks < BLOCKS_MAX);
    return blocks[n_blocks++] = block;
}

float *check_zeros(int64_t n)
{
    return keep(calloc(n ? (size_t)n : 1, sizeof(float)));
}

double *check_doubles(int64_t n)
{
    return keep(calloc(n ? (size_t)n : 1, sizeof(double)));
}

float *check_random(int64_t n, uint32_t seed, double scale)
{
    float *x = check_zeros(n);
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), 0, 0}, key[2] = {seed, 0}, r[4];
        philox4x32(counter, key, r);
        for (int64_t j = i; j < n && j < i + 4; j++) {
            /* four bytes make a bell good enough */
            uint32_t w = r[j - i];
            double sum = (w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24);
            x[j] = (float)(scale * (sum - 510) / 147.8);
        }
    }
    return x;
}

float *check_copy(const float *x, int64_t n)
{
    float *y = check_zeros(n);
    memcpy(y, x, (size_t)n * sizeof(float));
    return y;
}

double *check_to_double(const float *x, int64_t n)
{
    double *y = check_doubles(n);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

int check_free(void **state)
{
    while (n_blocks > 0)
        free(blocks[--n_blocks]);
    return 0;
}

void check_threads(const struct ops *ops, void (*run)(struct backend *be, void *arg, float *out),
                   void *arg, float *out, int64_t n)
{
    static const int counts[] = {2, 3, 8};
    memset(out, 0, (size_t)n * sizeof(float));
    run(check_backend(ops, 1), arg, out);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        float *other = calloc(n ? (size_t)n : 1, sizeof(float));
        assert_non_null(other);
        run(check_backend(ops, counts[i]), arg, other);
        check_same("other threads", out, other, n);
        free(other);
    }
}

void check_near(const char *what, const float *got, const double *want, int64_t n, double tolerance)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * largest))
            fail_msg("%s: entry %lld of %lld is %.9g, should be %.9g (largest %.3g)", what,
                     (long long)i, (long long)n, (double)got[i], want[i], largest);
}

void check_same(const char *what, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("%s: entry %lld of %lld: %.9g and %.9g", what, (long long)i, (long long)n,
                     (double)a[i], (double)b[i]);
}

void check_gradient(const char *what, double (*loss)(void *arg), void *arg, double *x,
                    const float *dx, int64_t n, double tolerance)
{
    const double step = 1e-4;
    for (uint32_t seed = 0; seed < 2; seed++) {
        float *v = check_random(n, 1000 + seed, 1);
        double *kept = check_doubles(n);
        memcpy(kept, x, (size_t)n * sizeof *x);
        double sum = 0, square = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += (double)dx[i] * v[i];
            square += (double)dx[i] * dx[i];
            x[i] = kept[i] + step * v[i];
        }
        double up = loss(arg);
        for (int64_t i = 0; i < n; i++)
            x[i] = kept[i] - step * v[i];
        double slope = (up - loss(arg)) / (2 * step);
        memcpy(x, kept, (size_t)n * sizeof *x);
        if (!(fabs(slope - sum) <= tolerance * (sqrt(square) + 0.01)))
            fail_msg("%s: slope %.9g, gradient says %.9g (its length %.3g)", what, slope, sum,
                     sqrt(square));
    }
}
