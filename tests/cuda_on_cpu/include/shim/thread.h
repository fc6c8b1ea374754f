/*
 * A kernel's thread as its code sees it: who it is, and what it does together with others. A macro
 * adds the place in the source to every call, for reports.
 */
#ifndef SHIM_THREAD_H
#define SHIM_THREAD_H

#include "shim/types.h"

#include <string.h>

/* One object an expansion: two barriers on one line differ. */
struct shim_site {
    const char *file;
    int line;
};

#define SHIM_SITE                                                                                  \
    (__extension__({                                                                               \
        static const struct shim_site shim_site_ = {__FILE__, __LINE__};                           \
        &shim_site_;                                                                               \
    }))

struct shim_block {
    struct uint3 index;
    struct dim3 threads, grid;
    char *shared; /* dynamic shared memory */
    size_t shared_size;
    unsigned rank; /* in the cluster */
};

struct shim_thread {
    struct uint3 index;
    unsigned lane, warp;
    struct shim_block *block;
};

/* The thread that runs; NULL outside kernels. */
extern __thread struct shim_thread *shim_self __attribute__((tls_model("initial-exec")));

#define threadIdx (shim_self->index)
#define blockIdx (shim_self->block->index)
#define blockDim (shim_self->block->threads)
#define gridDim (shim_self->block->grid)
static constexpr int warpSize = 32;

enum shim_warp_op {
    SHIM_SHUFFLE,
    SHIM_BALLOT,
    SHIM_SYNC,
    SHIM_ADD,
    SHIM_MIN,
    SHIM_MAX,
    SHIM_MIN_SIGNED,
    SHIM_MAX_SIGNED,
    SHIM_GATHER,
};

enum { SHIM_BLOCK = -1 }; /* as a barrier's count: all threads of the block */

extern "C" {
/* Barrier `id` of n threads; `wait` or only arrive. */
void shim_bar(int id, int n, bool wait, const struct shim_site *site);
/* __syncthreads with the number of threads whose predicate is true. */
int shim_bar_count(bool predicate, const struct shim_site *site);
int shim_block_threads(void);

/* A collective of the lanes of `mask`; source: SHIM_SHUFFLE's lane. */
uint64_t shim_warp(unsigned mask, enum shim_warp_op op, unsigned source, uint64_t value,
                   const struct shim_site *site);
/* One lane runs `f` on what all 32 give and want. */
void shim_warp_gather(const void *in, void *out, void (*f)(const void *const *in, void *const *out),
                      const struct shim_site *site);

/* Lets others run: in loops that wait. */
void shim_yield(const struct shim_site *site);
/* The same now and then, where the order is random: before and after what others can see. */
void shim_maybe_yield(void);
/* A word that others may wait for was written. */
void shim_progress(void);

/* Ends the process with a message and the thread that it is about. */
[[noreturn]] void shim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
}

#define __syncthreads() shim_bar(0, SHIM_BLOCK, true, SHIM_SITE)
#define __syncthreads_count(predicate) shim_bar_count(!!(predicate), SHIM_SITE)
#define __syncthreads_or(predicate) (shim_bar_count(!!(predicate), SHIM_SITE) > 0)
#define __syncthreads_and(predicate)                                                               \
    (shim_bar_count(!!(predicate), SHIM_SITE) == shim_block_threads())

struct shim_syncwarp {
    const struct shim_site *site;
    void operator()(unsigned mask = ~0u) const
    {
        shim_warp(mask, SHIM_SYNC, 0, 0, site);
    }
};

#define __syncwarp                                                                                 \
    shim_syncwarp                                                                                  \
    {                                                                                              \
        SHIM_SITE                                                                                  \
    }
#define __ballot_sync(mask, predicate)                                                             \
    ((unsigned)shim_warp((mask), SHIM_BALLOT, 0, !!(predicate), SHIM_SITE))
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (__ballot_sync(mask, predicate) == (unsigned)(mask))

/* Which lane a shuffle reads, and the shuffle itself. */
enum shim_shuffle { SHIM_INDEX, SHIM_UP, SHIM_DOWN, SHIM_XOR };

static inline unsigned shim_shuffle_source(enum shim_shuffle how, int by, int width)
{
    const unsigned lane = shim_self->lane, w = (unsigned)width, first = lane & ~(w - 1);
    unsigned source = 0;
    switch (how) {
    case SHIM_INDEX:
        return first | ((unsigned)by & (w - 1));
    case SHIM_UP:
        return lane - first < (unsigned)by ? lane : lane - (unsigned)by;
    case SHIM_DOWN:
        return lane - first + (unsigned)by >= w ? lane : lane + (unsigned)by;
    case SHIM_XOR:
        source = lane ^ (unsigned)by;
        return (source & ~(w - 1)) > first ? lane : source;
    }
    return lane;
}

template <class T>
static inline T shim_shuffle(const struct shim_site *site, enum shim_shuffle how, unsigned mask,
                             T value, int by, int width = warpSize)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof value);
    word = shim_warp(mask, SHIM_SHUFFLE, shim_shuffle_source(how, by, width), word, site);
    memcpy(&value, &word, sizeof value);
    return value;
}

#define __shfl_sync(...) shim_shuffle(SHIM_SITE, SHIM_INDEX, __VA_ARGS__)
#define __shfl_up_sync(...) shim_shuffle(SHIM_SITE, SHIM_UP, __VA_ARGS__)
#define __shfl_down_sync(...) shim_shuffle(SHIM_SITE, SHIM_DOWN, __VA_ARGS__)
#define __shfl_xor_sync(...) shim_shuffle(SHIM_SITE, SHIM_XOR, __VA_ARGS__)

static inline unsigned shim_reduce(unsigned mask, unsigned v, enum shim_warp_op op,
                                   enum shim_warp_op, const struct shim_site *site)
{
    return (unsigned)shim_warp(mask, op, 0, v, site);
}

static inline int shim_reduce(unsigned mask, int v, enum shim_warp_op, enum shim_warp_op op,
                              const struct shim_site *site)
{
    return (int)shim_warp(mask, op, 0, (unsigned)v, site);
}

#define __reduce_add_sync(mask, v) shim_reduce((mask), (v), SHIM_ADD, SHIM_ADD, SHIM_SITE)
#define __reduce_min_sync(mask, v) shim_reduce((mask), (v), SHIM_MIN, SHIM_MIN_SIGNED, SHIM_SITE)
#define __reduce_max_sync(mask, v) shim_reduce((mask), (v), SHIM_MAX, SHIM_MAX_SIGNED, SHIM_SITE)

#define __nanosleep(ns) shim_yield(SHIM_SITE)

static inline void __trap(void)
{
    shim_fail("__trap()");
}

#endif
