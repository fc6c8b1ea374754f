/*
 * Stands in for kernels/cuda/gpu.h, which says what each name means: this folder comes before the
 * project's root on the include path of what runs kernels without a GPU.
 */
#ifndef SHIM_GPU_H
#define SHIM_GPU_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdint.h>
#include <string.h>
#include <time.h>

#define GPU_DEV static inline
#define GPU_PARAM const

#define GPU_SMEM(T, name) T *name = reinterpret_cast<T *>(shim_self->block->shared)

/* --- launches -------------------------------------------------------------------------------- */

#define SHIM_LAUNCH(kernel, grid, block, smem, stream, cluster, cooperative, ...)                  \
    shim_launch_of({(grid), (block), (smem), (stream), (cluster), (cooperative), #kernel},         \
                   (kernel))(__VA_ARGS__)

#define GPU_LAUNCH(kernel, grid, block, smem, stream, ...)                                         \
    SHIM_LAUNCH(kernel, grid, block, smem, stream, 1, false, __VA_ARGS__)
#define GPU_LAUNCH_COOP(kernel, grid, block, smem, stream, ...)                                    \
    SHIM_LAUNCH(kernel, grid, block, smem, stream, 1, true, __VA_ARGS__)
#define GPU_LAUNCH_CLUSTER(kernel, grid, block, smem, stream, size, ...)                           \
    SHIM_LAUNCH(kernel, grid, block, smem, stream, size, false, __VA_ARGS__)

/* --- barriers -------------------------------------------------------------------------------- */

extern "C" {
void shim_grid_sync(const struct shim_site *site);
void shim_cluster_arrive(const struct shim_site *site);
void shim_cluster_wait(const struct shim_site *site);
void *shim_map_rank(const void *p, unsigned rank, const struct shim_site *site);
void shim_cp_async(void *to, const void *from, size_t n, const struct shim_site *site);
void shim_cp_async_commit(void);
void shim_cp_async_wait(int groups);
void shim_mbar_init(uint64_t *bar, unsigned n, const struct shim_site *site);
void shim_mbar_arrive(uint64_t *bar, unsigned bytes, const struct shim_site *site);
void shim_mbar_wait(uint64_t *bar, unsigned parity, const struct shim_site *site);
void shim_st_async(float *to, float v, uint64_t *bar, unsigned rank, const struct shim_site *site);
void shim_mma(float d[4], const uint32_t a[4], const uint32_t b[2], bool bf16,
              const struct shim_site *site);
}

#define gpu_bar_sync(id, n) shim_bar((id), (n), true, SHIM_SITE)
#define gpu_bar_arrive(id, n) shim_bar((id), (n), false, SHIM_SITE)
#define gpu_grid_sync() shim_grid_sync(SHIM_SITE)

/* --- words that blocks, and the host, share -------------------------------------------------- */

GPU_DEV unsigned gpu_ld_acquire(const unsigned *p)
{
    shim_maybe_yield();
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

GPU_DEV void gpu_st_release(unsigned *p, unsigned v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
    shim_progress();
    shim_maybe_yield();
}

GPU_DEV unsigned gpu_ld_acquire_sys(const unsigned *p)
{
    return gpu_ld_acquire(p);
}

GPU_DEV void gpu_st_release_sys(unsigned *p, unsigned v)
{
    gpu_st_release(p, v);
}

#define gpu_backoff() shim_yield(SHIM_SITE)

/* --- approximate mathematics ------------------------------------------------------------------ */

GPU_DEV float gpu_exp2(float x)
{
    return exp2f(x);
}

GPU_DEV float gpu_log2(float x)
{
    return log2f(x);
}

GPU_DEV float gpu_rcp(float x)
{
    return 1.0f / x;
}

/* --- numbers of half precision ---------------------------------------------------------------- */

GPU_DEV uint32_t gpu_half2(float low, float high)
{
    const __half2 v = __floats2half2_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

GPU_DEV uint32_t gpu_bf16x2(float low, float high)
{
    const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* --- reading ---------------------------------------------------------------------------------- */

GPU_DEV uint4 gpu_ld_stream(const uint4 *p)
{
    return *p;
}

/* Of the only clock there is: nanoseconds. */
GPU_DEV long long gpu_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* --- asynchronous copies to shared memory ---------------------------------------------------- */

#define gpu_cp_async16(to, from) shim_cp_async((to), (from), 16, SHIM_SITE)
#define gpu_cp_async8(to, from) shim_cp_async((to), (from), 8, SHIM_SITE)
#define gpu_cp_async4(to, from) shim_cp_async((to), (from), 4, SHIM_SITE)

GPU_DEV void gpu_cp_async_commit(void)
{
    shim_cp_async_commit();
}

template <int N> GPU_DEV void gpu_cp_async_wait(void)
{
    shim_cp_async_wait(N);
}

/* --- matrix products of a warp --------------------------------------------------------------- */

#define gpu_mma_f16(d, a, b) shim_mma((d), (a), (b), false, SHIM_SITE)
#define gpu_mma_bf16(d, a, b) shim_mma((d), (a), (b), true, SHIM_SITE)

/* --- clusters -------------------------------------------------------------------------------- */

GPU_DEV unsigned gpu_cluster_rank(void)
{
    return shim_self->block->rank;
}

#define gpu_cluster_arrive() shim_cluster_arrive(SHIM_SITE)
#define gpu_cluster_wait() shim_cluster_wait(SHIM_SITE)
#define gpu_map_rank(p, rank) shim_map_rank_of((p), (rank), SHIM_SITE)

template <class T> GPU_DEV T *shim_map_rank_of(T *p, unsigned rank, const struct shim_site *site)
{
    return static_cast<T *>(shim_map_rank(p, rank, site));
}

#define gpu_mbar_init(bar, n) shim_mbar_init((bar), (n), SHIM_SITE)
#define gpu_mbar_arrive_expect(bar, bytes) shim_mbar_arrive((bar), (bytes), SHIM_SITE)
#define gpu_mbar_wait(bar, parity) shim_mbar_wait((bar), (parity), SHIM_SITE)
#define gpu_st_async(to, v, bar, rank) shim_st_async((to), (v), (bar), (rank), SHIM_SITE)

GPU_DEV void gpu_mbar_fence_init(void)
{
    shim_fence();
}

#endif
