/*
 * How the operations share work among threads: rounds of fixed size, and partial sums of fixed
 * ranges added in order. Neither depends on the number of threads. Included by body.c's files.
 */
#ifndef HISS_KERNELS_CPU_ROUNDS_H
#define HISS_KERNELS_CPU_ROUNDS_H

#include "base/arena.h"
#include "kernels/cpu/cpu.h"

#include <assert.h>

enum {
    SMALL_WORK = 1 << 15,  /* entries below which waking another thread costs more than it saves */
    ENTRY_BLOCK = 1 << 13, /* entries of an elementwise round */
    PARTIALS_MAX = 64,     /* partial sums in memory at once */
    PARTIALS_SLICE = 1 << 11 /* entries of a round that adds them */
};

static inline int64_t blocks_of(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* fn(arg, i, thread) for i in [0, n): on this thread if the work (entries, multiply-adds) is small.
 */
static inline void run_rounds(struct backend *be, void (*fn)(void *, int64_t, int), void *arg,
                              int64_t n, int64_t work)
{
    if (work >= SMALL_WORK) {
        pool_run(cpu_of(be)->pool, fn, arg, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        fn(arg, i, 0);
}

struct partials {
    float *sum;
    const float *parts; /* (n_parts, stride) */
    int64_t stride, size;
    int n_parts;
};

static void partials_round(void *arg, int64_t i, int thread)
{
    const struct partials *p = arg;
    int64_t end = min_of(p->size, (i + 1) * PARTIALS_SLICE);
    for (int k = 0; k < p->n_parts; k++) {
        const float *part = p->parts + k * p->stride;
        for (int64_t j = i * PARTIALS_SLICE; j < end; j++)
            p->sum[j] += part[j];
    }
}

/* sum[j] += parts[0][j], then parts[1][j], and so on; j < size. */
static inline void partials_add(struct backend *be, float *sum, const float *parts, int64_t stride,
                                int n_parts, int64_t size)
{
    struct partials p = {sum, parts, stride, size, n_parts};
    run_rounds(be, partials_round, &p, blocks_of(size, PARTIALS_SLICE), size * n_parts);
}

/* The operation's scratch memory, which the caller has reserved. */
static inline float *scratch_of(struct backend *be, size_t bytes)
{
    assert(cpu_of(be)->scratch_size >= bytes);
    return (float *)(void *)cpu_of(be)->scratch;
}

#endif
