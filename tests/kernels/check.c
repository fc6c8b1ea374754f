#include "tests/kernels/check.h"

#include "base/error.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 8, BLOCKS_MAX = 4096, SCRATCH = 64 << 20 };

struct block {
    void *host;
    size_t bytes;
    void *there; /* a device's copy while a run lasts; else NULL */
    bool written;
};

static struct block blocks[BLOCKS_MAX];
static int n_blocks;
static struct backend *backends[THREADS_MAX], *device;

static void close_backends(void)
{
    for (int i = 0; i < THREADS_MAX; i++)
        backend_close(backends[i]);
    backend_close(device);
}

static struct backend *keep_open(struct backend *be)
{
    static bool registered;
    if (!registered)
        atexit(close_backends);
    registered = true;
    if (!be || !backend_reserve(be, SCRATCH))
        fail_msg("%s", error_text());
    return be;
}

int check_tables(const struct ops *tables[CPU_TABLES_MAX])
{
    if (device_asked()) {
        if (!device)
            device = keep_open(device_open(1));
        tables[0] = device->ops;
        return 1;
    }
    int n = cpu_tables(tables);
    if (n == 0)
        fail_msg("%s", error_text());
    return n;
}

struct backend *check_backend(const struct ops *ops, int n_threads)
{
    assert_in_range(n_threads, 1, THREADS_MAX);
    if (device && ops == device->ops)
        return device;
    struct backend **be = &backends[n_threads - 1];
    if (!*be)
        *be = keep_open(backend_open("cpu", n_threads));
    (*be)->ops = ops;
    return *be;
}

/* A byte more, so that no block begins where another ends, as under the thread sanitizer: block_of
   takes a place at a block's end, where nothing is, for that block's. */
static void *keep(size_t bytes)
{
    assert_true(n_blocks < BLOCKS_MAX);
    void *host = calloc(bytes + 1, 1);
    assert_non_null(host);
    blocks[n_blocks++] = (struct block){.host = host, .bytes = bytes};
    return host;
}

float *check_zeros(int64_t n)
{
    return keep((size_t)n * sizeof(float));
}

uint8_t *check_bytes(int64_t n)
{
    return keep((size_t)n);
}

double *check_doubles(int64_t n)
{
    return keep((size_t)n * sizeof(double));
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
    while (n_blocks > 0) {
        struct block *block = &blocks[--n_blocks];
        if (block->there) /* the run failed */
            backend_free(device, block->there);
        free(block->host);
    }
    return 0;
}

static struct block *block_of(const void *x)
{
    uintptr_t at = (uintptr_t)x;
    for (int i = n_blocks - 1; i >= 0; i--) {
        uintptr_t host = (uintptr_t)blocks[i].host;
        if (at >= host && at <= host + blocks[i].bytes)
            return &blocks[i];
    }
    fail_msg("memory that is no test's");
    return NULL;
}

void *check_out(struct backend *be, void *x)
{
    if (be != device || !x)
        return x;
    struct block *block = block_of(x);
    void *there = (char *)(uintptr_t)check_in(be, x);
    block->written = true;
    return there;
}

const void *check_in(struct backend *be, const void *x)
{
    if (be != device || !x)
        return x;
    struct block *block = block_of(x);
    if (!block->there) {
        block->there = backend_alloc(be, block->bytes);
        if (!block->there)
            fail_msg("%s", error_text());
        block->written = false;
        backend_upload(be, block->there, block->host, block->bytes);
    }
    return (const char *)block->there + ((const char *)x - (const char *)block->host);
}

/* Brings a block back; false if it should not have changed and has. */
static bool bring_back(struct block *block)
{
    void *back = block->written ? block->host : malloc(block->bytes + 1);
    assert_non_null(back);
    backend_download(device, back, block->there, block->bytes);
    backend_free(device, block->there);
    block->there = NULL;
    bool same = memcmp(back, block->host, block->bytes) == 0;
    if (back != block->host)
        free(back);
    return same;
}

void check_ran(struct backend *be)
{
    if (!backend_sync(be))
        fail_msg("%s", error_text());
    if (be != device)
        return;
    int changed = 0;
    for (int i = 0; i < n_blocks; i++)
        if (blocks[i].there && !bring_back(&blocks[i]))
            changed++;
    if (!backend_sync(be))
        fail_msg("%s", error_text());
    if (changed)
        fail_msg("an operation has written to what it only reads");
}

/* A run after the first: what it fills. */
static float *run_again(struct backend *be, void (*run)(struct backend *be, void *arg, float *out),
                        void *arg, int64_t n)
{
    float *out = check_zeros(n);
    run(be, arg, out);
    return out;
}

static void run_on_threads(const struct ops *ops,
                           void (*run)(struct backend *be, void *arg, float *out), void *arg,
                           float *out, int64_t n)
{
    static const int counts[] = {2, 3, 8};
    run(check_backend(ops, 1), arg, out);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        check_same("other threads", out, run_again(check_backend(ops, counts[i]), run, arg, n), n);
}

/* The best table of the CPU. */
static struct backend *cpu_backend(void)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n = cpu_tables(tables);
    if (n == 0)
        fail_msg("%s", error_text());
    return check_backend(tables[n - 1], 2);
}

static void run_on_device(void (*run)(struct backend *be, void *arg, float *out), void *arg,
                          float *out, int64_t n, double tolerance)
{
    device_set_order(0);
    run(device, arg, out);
    for (int order = 1; order < device_orders(); order++) {
        device_set_order(order);
        check_same("another order", out, run_again(device, run, arg, n), n);
    }
    device_set_order(0);
    float *cpu = run_again(cpu_backend(), run, arg, n);
    check_near("against the CPU", out, check_to_double(cpu, n), n, tolerance);
}

void check_run(const struct ops *ops, void (*run)(struct backend *be, void *arg, float *out),
               void *arg, float *out, int64_t n, double tolerance)
{
    memset(out, 0, (size_t)n * sizeof(float));
    if (device && ops == device->ops)
        run_on_device(run, arg, out, n, tolerance);
    else
        run_on_threads(ops, run, arg, out, n);
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
