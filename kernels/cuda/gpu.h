/*
 * The only GPU header the kernels include: CUDA's names, and thin wrappers for what a build without
 * a GPU must be able to stand in for. Kernels use nothing else: no cub, thrust, cooperative groups,
 * inline assembly or static shared memory. Instructions that C++ has no name for are wrapped here,
 * and only here; PTX ISA 8.0 is the source of each.
 *
 * A header of the same name, earlier on the include path, may stand in for this one: it has every
 * name below.
 */
#ifndef HISS_KERNELS_CUDA_GPU_H
#define HISS_KERNELS_CUDA_GPU_H

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdint.h>

#define GPU_DEV static __device__ __forceinline__

/* Of a kernel's parameter that is a structure: read where it lies, by address too. */
#define GPU_PARAM const __grid_constant__

/* The launch's dynamic shared memory, as an array of T. */
#define GPU_SMEM(T, name)                                                                          \
    extern __shared__ __align__(128) unsigned char gpu_smem_raw[];                                 \
    T *name = reinterpret_cast<T *>(gpu_smem_raw)

/* --- launches: cudaGetLastError tells how they went ------------------------------------------ */

#define GPU_LAUNCH(kernel, grid, block, smem, stream, ...)                                         \
    (kernel)<<<(grid), (block), (smem), (stream)>>>(__VA_ARGS__)

/* All blocks run at the same time, so that gpu_grid_sync can be called. */
#define GPU_LAUNCH_COOP(kernel, grid, block, smem, stream, ...)                                    \
    gpu_launch(1, true, (grid), (block), (smem), (stream), (kernel), __VA_ARGS__)

/* Each `size` blocks in a row of the grid are a cluster; sm_90. */
#define GPU_LAUNCH_CLUSTER(kernel, grid, block, smem, stream, size, ...)                           \
    gpu_launch((size), false, (grid), (block), (smem), (stream), (kernel), __VA_ARGS__)

template <class... Parameters, class... Arguments>
static inline void gpu_launch(unsigned cluster, bool cooperative, dim3 grid, dim3 block,
                              size_t smem, cudaStream_t stream, void (*kernel)(Parameters...),
                              Arguments... arguments)
{
    cudaLaunchAttribute attributes[2] = {};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = smem;
    config.stream = stream;
    config.attrs = attributes;
    if (cluster > 1) {
        cudaLaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = cudaLaunchAttributeClusterDimension;
        a->val.clusterDim.x = cluster;
        a->val.clusterDim.y = a->val.clusterDim.z = 1;
    }
    if (cooperative) {
        cudaLaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = cudaLaunchAttributeCooperative;
        a->val.cooperative = 1;
    }
    cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

/* --- barriers -------------------------------------------------------------------------------- */

/* Barrier `id` (1 to 15; 0 is __syncthreads) of n threads, a multiple of 32: those that arrive and
   those that also wait. */
GPU_DEV void gpu_bar_sync(int id, int n)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n) : "memory");
}

/* Does not wait, yet what its thread read and wrote before has happened for all that take part,
   once the barrier is complete: PTX's pattern of producer and consumer. compute-sanitizer's
   racecheck has reported a hazard at such an arrival (pipeline_kernel in
   tests/cuda_on_cpu/test_gpu.cc, where each buffer has a barrier either way); it is none. */
GPU_DEV void gpu_bar_arrive(int id, int n)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(n) : "memory");
}

/* All threads of a GPU_LAUNCH_COOP. */
GPU_DEV void gpu_grid_sync(void)
{
    cooperative_groups::this_grid().sync();
}

/* --- words that blocks, and the host, share -------------------------------------------------- */

GPU_DEV unsigned gpu_ld_acquire(const unsigned *p)
{
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

GPU_DEV void gpu_st_release(unsigned *p, unsigned v)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

/* The same for words in memory that the host maps. */
GPU_DEV unsigned gpu_ld_acquire_sys(const unsigned *p)
{
    unsigned v;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

GPU_DEV void gpu_st_release_sys(unsigned *p, unsigned v)
{
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

/* In every loop that waits for such a word. */
GPU_DEV void gpu_backoff(void)
{
    __nanosleep(40);
}

/* --- approximate mathematics: 2 units in the last place, small numbers taken as 0 ------------ */

GPU_DEV float gpu_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

GPU_DEV float gpu_log2(float x)
{
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

GPU_DEV float gpu_rcp(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* --- numbers of half precision ---------------------------------------------------------------- */

/* Both rounded to nearest, `low` in the lower half. */
GPU_DEV uint32_t gpu_half2(float low, float high)
{
    uint32_t v;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
}

/* The same in bf16. */
GPU_DEV uint32_t gpu_bf16x2(float low, float high)
{
    uint32_t v;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* 16 bytes of memory that no launch at work writes, and that are not soon read again. Stays in its
   place among barriers, so that it can be asked for early. */
GPU_DEV uint4 gpu_ld_stream(const uint4 *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* Ticks of the multiprocessor's clock. */
GPU_DEV long long gpu_clock(void)
{
    return clock64();
}

/* --- asynchronous copies to shared memory ---------------------------------------------------- */

GPU_DEV unsigned gpu_smem_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes, both addresses aligned to 16. A thread's copies since its last commit are a group. */
GPU_DEV void gpu_cp_async16(void *to_shared, const void *from_global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(gpu_smem_address(to_shared)),
                 "l"(from_global)
                 : "memory");
}

/* The same of 8 bytes, aligned to 8. */
GPU_DEV void gpu_cp_async8(void *to_shared, const void *from_global)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(gpu_smem_address(to_shared)),
                 "l"(from_global)
                 : "memory");
}

/* The same of 4 bytes, aligned to 4. */
GPU_DEV void gpu_cp_async4(void *to_shared, const void *from_global)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(gpu_smem_address(to_shared)),
                 "l"(from_global)
                 : "memory");
}

GPU_DEV void gpu_cp_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most N of this thread's groups are on their way; other threads see the data after a
   barrier. */
template <int N> GPU_DEV void gpu_cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* --- matrix products of a warp --------------------------------------------------------------- */

/* d (16,8) += a (16,16) b (16,8), sums in float; all 32 lanes. A register of a and b holds two
   entries in a row of a, in a column of b, the first in the lower half. With g = lane / 4,
   i = lane % 4, those from
   a: (g, 2i), (g + 8, 2i), (g, 2i + 8), (g + 8, 2i + 8) on; b: (2i, g), (2i + 8, g) on;
   d: (g, 2i), (g, 2i + 1), (g + 8, 2i), (g + 8, 2i + 1). */
GPU_DEV void gpu_mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

GPU_DEV void gpu_mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* --- clusters: a file that uses these is compiled for sm_90 and later alone ------------------ */

/* The block's number in its cluster. */
GPU_DEV unsigned gpu_cluster_rank(void)
{
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* All threads of the cluster; what was written before arriving is seen after waiting. */
GPU_DEV void gpu_cluster_arrive(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

GPU_DEV void gpu_cluster_wait(void)
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

GPU_DEV unsigned gpu_smem_address_of_rank(const void *p, unsigned rank)
{
    unsigned address;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(address)
                 : "r"(gpu_smem_address(p)), "r"(rank));
    return address;
}

/* Where block `rank` of the cluster has what this block has at p, in shared memory. */
template <class T> GPU_DEV T *gpu_map_rank(T *p, unsigned rank)
{
    T *mapped;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(mapped) : "l"(p), "r"(rank));
    return mapped;
}

/* A barrier in shared memory that n arrivals, and all bytes that they said to expect, complete.
   gpu_mbar_fence_init after the last one, before the others of the cluster may use them. */
GPU_DEV void gpu_mbar_init(uint64_t *bar, unsigned n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(gpu_smem_address(bar)), "r"(n)
                 : "memory");
}

GPU_DEV void gpu_mbar_fence_init(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, and says how many bytes will come. */
GPU_DEV void gpu_mbar_arrive_expect(uint64_t *bar, unsigned bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(gpu_smem_address(bar)),
        "r"(bytes)
        : "memory");
}

/* Until the phase of this parity (0 first, then in turn) is complete. */
GPU_DEV void gpu_mbar_wait(uint64_t *bar, unsigned parity)
{
    unsigned done;
    do
        asm volatile("{.reg .pred p;"
                     "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;"
                     "selp.u32 %0, 1, 0, p;}"
                     : "=r"(done)
                     : "r"(gpu_smem_address(bar)), "r"(parity)
                     : "memory");
    while (!done);
}

/* *to = v in block `rank`'s shared memory, counted as 4 bytes on its *bar. */
GPU_DEV void gpu_st_async(float *to, float v, uint64_t *bar, unsigned rank)
{
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
            gpu_smem_address_of_rank(to, rank)),
        "r"(__float_as_uint(v)), "r"(gpu_smem_address_of_rank(bar, rank))
        : "memory");
}

#endif
