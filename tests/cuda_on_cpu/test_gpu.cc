/*
 * Each wrapper of kernels/cuda/gpu.h, and what else kernels use, against plain loops. Names nothing
 * of the shim: compiled by nvcc (-x cu, sm_90) it is a test of the same things on a GPU.
 */
#include "kernels/cuda/gpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

static int n_failed;
static float *out;      /* MOST, of the device, NaN before every test */
static unsigned *words; /* MOST, of the device, zero */
static float got[MOST];

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t error_ = (call);                                                               \
        if (error_ != cudaSuccess) {                                                               \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void fetch(int n)
{
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(got, out, (size_t)n * sizeof(float), cudaMemcpyDeviceToHost));
}

/* |got[i] - want| <= tolerance. */
static void expect(const char *what, int i, double want, double tolerance)
{
    static const char *told;
    if (fabs(got[i] - want) <= tolerance)
        return;
    if (told != what)
        printf("%s: entry %d is %.9g, should be %.9g\n", what, i, (double)got[i], want);
    told = what;
    n_failed++;
}

/* --- who a thread is ---------------------------------------------------------------------------
 */

static __global__ void index_kernel(float *to)
{
    const unsigned in_block = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned size = blockDim.x * blockDim.y * blockDim.z;
    to[block * size + in_block] = (float)(block * 1000 + in_block);
}

static void test_index(void)
{
    GPU_LAUNCH(index_kernel, dim3(3, 2, 2), dim3(8, 4, 3), 0, 0, out);
    fetch(12 * 96);
    for (int i = 0; i < 12 * 96; i++)
        expect("index", i, i / 96 * 1000 + i % 96, 0);
}

/* --- barriers ----------------------------------------------------------------------------------
 */

static __global__ void count_kernel(float *to)
{
    const int t = (int)threadIdx.x;
    to[3 * t] = (float)__syncthreads_count(t % 3 == 0);
    to[3 * t + 1] = (float)(__syncthreads_or(t == 77) != 0);
    to[3 * t + 2] = (float)(__syncthreads_and(t != 77) != 0);
}

/* Half of the warps make, half take: two barriers for each of two buffers. */
static __global__ void pipeline_kernel(float *to, int turns)
{
    GPU_SMEM(float, s);
    const int half = (int)blockDim.x / 2, t = (int)threadIdx.x % half;
    const bool makes = (int)threadIdx.x < half;
    float sum = 0;
    for (int i = 0; i < turns; i++) {
        const int buffer = i % 2, full = 1 + buffer, empty = 3 + buffer;
        if (makes) {
            if (i >= 2)
                gpu_bar_sync(empty, 2 * half);
            s[buffer * half + t] = (float)(i * half + t);
            gpu_bar_arrive(full, 2 * half);
        } else {
            gpu_bar_sync(full, 2 * half);
            sum += s[buffer * half + (t + 5) % half];
            if (i + 2 < turns)
                gpu_bar_arrive(empty, 2 * half);
        }
    }
    if (!makes)
        to[t] = sum;
}

/* Turns of a sum over the grid, each from what all blocks left. */
static __global__ void grid_kernel(float *to, int turns)
{
    const int n = (int)(gridDim.x * blockDim.x), i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float *from = to, *next = to + n;
    from[i] = (float)i;
    for (int turn = 0; turn < turns; turn++) {
        gpu_grid_sync();
        next[i] = from[(i + 1) % n] + 1;
        float *other = from;
        from = next;
        next = other;
    }
}

static void test_barriers(void)
{
    enum { HALF = 64, TURNS = 9, GRID = 3 * 64 };
    GPU_LAUNCH(count_kernel, 1, 96, 0, 0, out);
    fetch(3 * 96);
    for (int t = 0; t < 96; t++) {
        expect("__syncthreads_count", 3 * t, 32, 0);
        expect("__syncthreads_or", 3 * t + 1, 1, 0);
        expect("__syncthreads_and", 3 * t + 2, 0, 0);
    }
    GPU_LAUNCH(pipeline_kernel, 1, 2 * HALF, 2 * HALF * sizeof(float), 0, out, TURNS);
    fetch(HALF);
    for (int t = 0; t < HALF; t++)
        expect("named barriers", t, TURNS * ((t + 5) % HALF) + HALF * TURNS * (TURNS - 1) / 2, 0);
    GPU_LAUNCH_COOP(grid_kernel, 3, 64, 0, 0, out, TURNS);
    fetch(2 * GRID);
    for (int i = 0; i < GRID; i++)
        expect("gpu_grid_sync", GRID + i, (i + TURNS) % GRID + TURNS, 0);
}

/* --- warps ---------------------------------------------------------------------------------------
 */

enum { WARP_RESULTS = 12 };

static __global__ void warp_kernel(float *to)
{
    const unsigned all = 0xffffffffu;
    const int t = (int)threadIdx.x;
    float *r = to + t * WARP_RESULTS;
    r[0] = __shfl_sync(all, (float)t, 5);
    r[1] = __shfl_sync(all, (float)t, t + 3, 8);
    r[2] = __shfl_up_sync(all, (float)t, 2, 16);
    r[3] = __shfl_down_sync(all, (float)t, 3);
    r[4] = __shfl_xor_sync(all, (float)t, 9);
    r[5] = (float)(__ballot_sync(all, t % 5 == 0) & 0xffffff);
    r[6] = (float)(__any_sync(all, t == 31) + 2 * __all_sync(all, t < 31));
    r[7] = (float)__reduce_add_sync(all, (unsigned)t);
    r[8] = (float)__reduce_min_sync(all, t - 20);
    r[9] = (float)__reduce_max_sync(all, (unsigned)t ^ 7u);
    /* half a warp by itself, then all again */
    r[10] = -1;
    if (t < 16)
        r[10] = __shfl_xor_sync(0xffffu, (float)t, 1);
    __syncwarp();
    r[11] = (float)__shfl_xor_sync(all, (double)t + 0.5, 16);
}

static void test_warps(void)
{
    GPU_LAUNCH(warp_kernel, 1, 32, 0, 0, out);
    fetch(32 * WARP_RESULTS);
    unsigned fives = 0;
    for (int t = 0; t < 32; t += 5)
        fives |= 1u << t;
    for (int t = 0; t < 32; t++) {
        const double want[WARP_RESULTS] = {5,
                                           (double)(t / 8 * 8 + (t + 3) % 8),
                                           (double)(t % 16 < 2 ? t : t - 2),
                                           (double)(t + 3 > 31 ? t : t + 3),
                                           (double)(t ^ 9),
                                           (double)(fives & 0xffffff),
                                           1,
                                           31 * 16,
                                           -20,
                                           31,
                                           (double)(t < 16 ? (t ^ 1) : -1),
                                           (t ^ 16) + 0.5};
        for (int i = 0; i < WARP_RESULTS; i++)
            expect("warp", t * WARP_RESULTS + i, want[i], 0);
    }
}

/* --- words that are shared ----------------------------------------------------------------------
 */

static __global__ void atomic_kernel(unsigned *w, float *f)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(&w[0], 1u);
    atomicMax(&w[1], i);
    atomicMin((int *)&w[2], -(int)i);
    atomicOr(&w[3], 1u << i % 32);
    atomicAdd(&f[0], 0.5f);
    unsigned old = 0, seen;
    while ((seen = atomicCAS(&w[4], old, old + 2)) != old)
        old = seen;
    if (atomicExch(&w[5], 1u) == 0)
        atomicAdd(&w[6], 1u);
}

/* Each block takes what the block before left, and adds its own; blocks are numbered as they come.
 */
static __global__ void chain_kernel(unsigned *w, float *to)
{
    GPU_SMEM(unsigned, s);
    if (threadIdx.x == 0)
        s[0] = atomicAdd(&w[0], 1u);
    __syncthreads();
    const unsigned block = s[0];
    if (threadIdx.x == 0) {
        float before = 0;
        if (block > 0) {
            while (gpu_ld_acquire(&w[block]) == 0)
                gpu_backoff();
            before = to[block - 1];
        }
        to[block] = before + (float)block;
        gpu_st_release(&w[block + 1], 1);
    }
}

/* Echoes what the host puts in the ring, times two. */
static __global__ void ring_kernel(unsigned *head, unsigned *tail, volatile float *ring, int turns)
{
    for (int i = 0; i < turns; i++) {
        if (threadIdx.x == 0)
            while (gpu_ld_acquire_sys(head) <= (unsigned)i)
                gpu_backoff();
        __syncthreads();
        if (threadIdx.x < 4)
            ring[threadIdx.x] = ring[threadIdx.x] * 2;
        __syncthreads();
        if (threadIdx.x == 0)
            gpu_st_release_sys(tail, (unsigned)i + 1);
    }
}

static void test_ring(void)
{
    enum { TURNS = 20 };
    unsigned *flags, *flags_device;
    float *ring, *ring_device;
    CHECK(cudaHostAlloc(&flags, 256, cudaHostAllocMapped));
    CHECK(cudaHostAlloc(&ring, 4 * sizeof(float), cudaHostAllocMapped));
    CHECK(cudaHostGetDevicePointer(&flags_device, flags, 0));
    CHECK(cudaHostGetDevicePointer(&ring_device, ring, 0));
    flags[0] = flags[32] = 0;
    GPU_LAUNCH(ring_kernel, 1, 32, 0, 0, flags_device, flags_device + 32, ring_device, TURNS);
    CHECK(cudaGetLastError());
    for (unsigned i = 0; i < TURNS; i++) {
        for (int j = 0; j < 4; j++)
            ring[j] = (float)(i + (unsigned)j);
        __atomic_store_n(&flags[0], i + 1, __ATOMIC_RELEASE);
        while (__atomic_load_n(&flags[32], __ATOMIC_ACQUIRE) <= i)
            ;
        for (int j = 0; j < 4; j++) {
            got[j] = ring[j];
            expect("ring", j, 2.0 * (i + (unsigned)j), 0);
        }
    }
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaFreeHost(flags));
    CHECK(cudaFreeHost(ring));
}

static void test_words(void)
{
    unsigned w[8];
    enum { THREADS = 5 * 96, BLOCKS = 7 };
    CHECK(cudaMemset(out, 0, sizeof(float)));
    GPU_LAUNCH(atomic_kernel, 5, 96, 0, 0, words, out);
    fetch(1);
    CHECK(cudaMemcpy(w, words, sizeof w, cudaMemcpyDeviceToHost));
    expect("atomicAdd, float", 0, THREADS / 2, 0);
    const unsigned want[7] = {THREADS, THREADS - 1, (unsigned)-(THREADS - 1), ~0u, 2 * THREADS, 1,
                              1};
    for (int i = 0; i < 7; i++) {
        got[i] = w[i] == want[i];
        expect("atomics", i, 1, 0);
    }
    CHECK(cudaMemset(words, 0, MOST * sizeof(unsigned)));
    GPU_LAUNCH(chain_kernel, BLOCKS, 32, sizeof(unsigned), 0, words, out);
    fetch(BLOCKS);
    for (int i = 0; i < BLOCKS; i++)
        expect("acquire and release", i, i * (i + 1) / 2, 0);
    test_ring();
}

/* --- numbers
 * -------------------------------------------------------------------------------------- */

static __global__ void number_kernel(float *to)
{
    const int i = (int)threadIdx.x;
    const float x = (float)(i - 128) / 8;
    to[4 * i] = gpu_exp2(x);
    to[4 * i + 1] = gpu_log2(fabsf(x) + 0.01f);
    to[4 * i + 2] = gpu_rcp(x + 0.3f);
    to[4 * i + 3] = (float)(__popc((unsigned)i) + 100 * __ffs(i) + 10000 * __clz(i));
}

static __global__ void half_kernel(float *to)
{
    const unsigned bits = blockIdx.x * blockDim.x + threadIdx.x;
    to[bits] = __half2float(__ushort_as_half((unsigned short)bits));
}

/* Which half is nearest to the middle between half `bits` and the next, and close beside it. */
static __global__ void round_kernel(float *to)
{
    const unsigned bits = blockIdx.x * blockDim.x + threadIdx.x;
    const float a = __half2float(__ushort_as_half((unsigned short)bits));
    const float b = __half2float(__ushort_as_half((unsigned short)(bits + 1)));
    const float middle = 0.5f * a + 0.5f * b;
    const unsigned below = __half_as_ushort(__float2half(middle * (1 - 1e-6f)));
    const unsigned at = __half_as_ushort(__float2half(middle));
    const unsigned above = __half_as_ushort(__float2half(middle * (1 + 1e-6f)));
    to[bits] = (float)((below - bits) + 10 * (at - bits) + 100 * (above - bits));
}

static __global__ void bf16_kernel(float *to)
{
    const unsigned bits = blockIdx.x * blockDim.x + threadIdx.x;
    const float a = __bfloat162float(__ushort_as_bfloat16((unsigned short)bits));
    const float b = __bfloat162float(__ushort_as_bfloat16((unsigned short)(bits + 1)));
    const float middle = a + 0.5f * (b - a);
    const unsigned at = __bfloat16_as_ushort(__float2bfloat16(middle));
    const bool whole = __bfloat16_as_ushort(__float2bfloat16(a)) == bits;
    to[bits] = (float)(10 * whole + (at - bits));
}

/* Halves as their definition has them. */
static double half_value(int bits)
{
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    return exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
}

/* Numbers halfway between two of bf16, and of half precision, and just beyond. */
static __global__ void pair_kernel(float *to)
{
    const int i = (int)threadIdx.x;
    const uint32_t bf16 = gpu_bf16x2((float)(256 + i), -(float)(256 + i) - 0.25f);
    const uint32_t half = gpu_half2((float)(2048 + i), -(float)(2048 + i) - 0.25f);
    to[4 * i] = __uint_as_float(bf16 << 16);
    to[4 * i + 1] = __uint_as_float(bf16 & 0xffff0000u);
    to[4 * i + 2] = __half2float(__ushort_as_half((unsigned short)half));
    to[4 * i + 3] = __half2float(__ushort_as_half((unsigned short)(half >> 16)));
}

static void test_numbers(void)
{
    enum { FINITE = 0x7c00 };
    GPU_LAUNCH(number_kernel, 1, 256, 0, 0, out);
    fetch(4 * 256);
    for (int i = 0; i < 256; i++) {
        const double x = (i - 128) / 8.0, e = exp2(x), r = 1 / (x + 0.3f);
        expect("gpu_exp2", 4 * i, e, 4e-7 * e);
        expect("gpu_log2", 4 * i + 1, log2(fabs(x) + 0.01f), 2e-6);
        expect("gpu_rcp", 4 * i + 2, r, 4e-7 * fabs(r));
        int bits = 0, first = 0, zeros = 32;
        for (int b = 31; b >= 0; b--)
            if (i >> b & 1) {
                zeros = zeros == 32 ? 31 - b : zeros;
                bits++;
                first = b + 1;
            }
        expect("bits", 4 * i + 3, bits + 100 * first + 10000 * zeros, 0);
    }
    GPU_LAUNCH(half_kernel, FINITE / 256, 256, 0, 0, out);
    fetch(FINITE);
    for (int i = 0; i < FINITE; i++)
        expect("half to float", i, half_value(i), 0);
    /* but the first, whose neighbourhood is below what float's product keeps apart, and the last */
    GPU_LAUNCH(round_kernel, FINITE / 256, 256, 0, 0, out);
    fetch(FINITE);
    for (int i = 0; i + 1 < FINITE; i++)
        expect("float to half", i, 100 + 10 * (i % 2), 0);
    GPU_LAUNCH(bf16_kernel, 0x7f00 / 256, 256, 0, 0, out);
    fetch(0x7f00);
    for (int i = 0x100; i < 0x7f00; i++) /* normal numbers */
        expect("bfloat16", i, 10 + i % 2, 0);
    GPU_LAUNCH(pair_kernel, 1, 256, 0, 0, out);
    fetch(4 * 256);
    for (int i = 0; i < 256; i++) { /* to the nearest even number, of those two apart */
        expect("gpu_bf16x2, low", 4 * i, 2 * rint((256 + i) / 2.0), 0);
        expect("gpu_bf16x2, high", 4 * i + 1, -2 * rint((256.25 + i) / 2), 0);
        expect("gpu_half2, low", 4 * i + 2, 2 * rint((2048 + i) / 2.0), 0);
        expect("gpu_half2, high", 4 * i + 3, -2 * rint((2048.25 + i) / 2), 0);
    }
}

/* --- asynchronous copies, matrix products
 * ---------------------------------------------------------- */

/* Sums of 16-byte pieces, two on their way while one is used. Small: they come as 4 bytes each. */
static __global__ void stream_kernel(float *to, const float *from, int turns, bool small)
{
    GPU_SMEM(float, s);
    const int t = (int)threadIdx.x, size = 4 * (int)blockDim.x;
    float sum = 0;
    for (int i = 0; i < turns + 2; i++) {
        if (i < turns && !small)
            gpu_cp_async16(s + i % 3 * size + 4 * t, from + i * size + 4 * t);
        for (int j = 0; i < turns && small && j < 4; j++)
            gpu_cp_async4(s + i % 3 * size + 4 * t + j, from + i * size + 4 * t + j);
        gpu_cp_async_commit();
        if (i < 2)
            continue;
        gpu_cp_async_wait<2>();
        __syncthreads();
        for (int j = 0; j < 4; j++)
            sum += s[(i - 2) % 3 * size + (4 * t + 4 + j) % size];
        __syncthreads();
    }
    gpu_cp_async_wait<0>();
    to[t] = sum;
}

static __device__ __host__ int entry_a(int row, int k)
{
    return (row * 7 + k * 5) % 11 - 5;
}

static __device__ __host__ int entry_b(int k, int column)
{
    return (k * 3 + column * 13) % 9 - 4;
}

template <bool Bf16> GPU_DEV uint32_t pair(int first, int second)
{
    if (Bf16)
        return __bfloat16_as_ushort(__float2bfloat16((float)first)) |
               (uint32_t)__bfloat16_as_ushort(__float2bfloat16((float)second)) << 16;
    return __half_as_ushort(__float2half((float)first)) |
           (uint32_t)__half_as_ushort(__float2half((float)second)) << 16;
}

template <bool Bf16> static __global__ void mma_kernel(float *to)
{
    const int g = (int)threadIdx.x / 4, i = (int)threadIdx.x % 4;
    uint32_t a[4], b[2];
    float d[4] = {1, 2, 3, 4};
    for (int r = 0; r < 4; r++) {
        const int row = g + r % 2 * 8, k = 2 * i + r / 2 * 8;
        a[r] = pair<Bf16>(entry_a(row, k), entry_a(row, k + 1));
    }
    for (int r = 0; r < 2; r++)
        b[r] = pair<Bf16>(entry_b(2 * i + 8 * r, g), entry_b(2 * i + 8 * r + 1, g));
    if (Bf16)
        gpu_mma_bf16(d, a, b);
    else
        gpu_mma_f16(d, a, b);
    for (int r = 0; r < 4; r++)
        to[(g + r / 2 * 8) * 8 + 2 * i + r % 2] = d[r];
}

static void test_copies(void)
{
    enum { THREADS = 64, TURNS = 7, SIZE = 4 * THREADS };
    static float from[TURNS * SIZE];
    for (int i = 0; i < TURNS * SIZE; i++)
        from[i] = (float)(i % 1009);
    CHECK(cudaMemcpy(out + 1024, from, sizeof from, cudaMemcpyHostToDevice));
    for (int small = 0; small < 2; small++) {
        GPU_LAUNCH(stream_kernel, 1, THREADS, 3 * SIZE * sizeof(float), 0, out, out + 1024, TURNS,
                   small);
        fetch(THREADS);
        for (int t = 0; t < THREADS; t++) {
            double sum = 0;
            for (int i = 0; i < TURNS; i++)
                for (int j = 0; j < 4; j++)
                    sum += from[i * SIZE + (4 * t + 4 + j) % SIZE];
            expect(small ? "gpu_cp_async4" : "gpu_cp_async16", t, sum, 0);
        }
    }
}

static void test_mma(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        if (bf16)
            GPU_LAUNCH(mma_kernel<true>, 1, 32, 0, 0, out);
        else
            GPU_LAUNCH(mma_kernel<false>, 1, 32, 0, 0, out);
        fetch(16 * 8);
        for (int i = 0; i < 16 * 8; i++) {
            const int row = i / 8, column = i % 8;
            int sum = 1 + column % 2 + row / 8 * 2;
            for (int k = 0; k < 16; k++)
                sum += entry_a(row, k) * entry_b(k, column);
            expect(bf16 ? "gpu_mma_bf16" : "gpu_mma_f16", i, sum, 0);
        }
    }
}

/* --- clusters
 * ------------------------------------------------------------------------------------- */

enum { CLUSTER = 4, CLUSTER_THREADS = 64 };

static __global__ void map_kernel(float *to)
{
    GPU_SMEM(float, s);
    const int t = (int)threadIdx.x, rank = (int)gpu_cluster_rank();
    s[t] = (float)(100 * rank + t);
    gpu_cluster_arrive();
    gpu_cluster_wait();
    float sum = 0;
    for (unsigned r = 0; r < CLUSTER; r++)
        sum += gpu_map_rank(s, r)[(t + 1) % CLUSTER_THREADS];
    to[blockIdx.x * CLUSTER_THREADS + t] = sum + (float)rank;
    gpu_cluster_arrive();
    gpu_cluster_wait();
}

/* Every thread sends to its counterparts; two buffers, their barriers' phases in turn. */
static __global__ void exchange_kernel(float *to, int turns)
{
    GPU_SMEM(float, s);
    float *in = s; /* (2, CLUSTER, CLUSTER_THREADS) */
    uint64_t *bar = reinterpret_cast<uint64_t *>(in + 2 * CLUSTER * CLUSTER_THREADS);
    const int t = (int)threadIdx.x;
    const unsigned rank = gpu_cluster_rank();
    float v = (float)(rank + 1);
    if (t == 0) {
        gpu_mbar_init(&bar[0], 1);
        gpu_mbar_init(&bar[1], 1);
        gpu_mbar_fence_init();
    }
    gpu_cluster_arrive();
    gpu_cluster_wait();
    for (int i = 0; i < turns; i++) {
        const int buffer = i % 2;
        float *mine = in + buffer * CLUSTER * CLUSTER_THREADS;
        if (t == 0)
            gpu_mbar_arrive_expect(&bar[buffer], CLUSTER * CLUSTER_THREADS * sizeof(float));
        for (unsigned r = 0; r < CLUSTER; r++)
            gpu_st_async(mine + rank * CLUSTER_THREADS + (unsigned)t, v, &bar[buffer], r);
        gpu_mbar_wait(&bar[buffer], i / 2 % 2);
        v = (float)t;
        for (int r = 0; r < CLUSTER; r++)
            v += mine[r * CLUSTER_THREADS + t] * (float)(r + 1) / 16;
        __syncthreads();
    }
    to[blockIdx.x * CLUSTER_THREADS + t] = v;
    gpu_cluster_arrive();
    gpu_cluster_wait();
}

static void test_clusters(void)
{
    enum { BLOCKS = 2 * CLUSTER, TURNS = 7 };
    const size_t room = 2 * CLUSTER * CLUSTER_THREADS * sizeof(float) + 2 * sizeof(uint64_t);
    GPU_LAUNCH_CLUSTER(map_kernel, BLOCKS, CLUSTER_THREADS, CLUSTER_THREADS * sizeof(float), 0,
                       CLUSTER, out);
    fetch(BLOCKS * CLUSTER_THREADS);
    for (int i = 0; i < BLOCKS * CLUSTER_THREADS; i++) {
        const int rank = i / CLUSTER_THREADS % CLUSTER;
        expect("gpu_map_rank", i, 600 + CLUSTER * ((i + 1) % CLUSTER_THREADS) + rank, 0);
    }
    GPU_LAUNCH_CLUSTER(exchange_kernel, BLOCKS, CLUSTER_THREADS, room, 0, CLUSTER, out, TURNS);
    fetch(BLOCKS * CLUSTER_THREADS);
    for (int t = 0; t < CLUSTER_THREADS; t++) {
        double v[CLUSTER] = {1, 2, 3, 4};
        for (int i = 0; i < TURNS; i++) {
            double next = t;
            for (int r = 0; r < CLUSTER; r++)
                next += v[r] * (r + 1) / 16;
            for (int r = 0; r < CLUSTER; r++)
                v[r] = next;
        }
        for (int block = 0; block < BLOCKS; block++)
            expect("gpu_st_async", block * CLUSTER_THREADS + t, v[0], 1e-4 * (1 + v[0]));
    }
}

/* --- all
 * --------------------------------------------------------------------------------------------- */

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"index", test_index}, {"barriers", test_barriers}, {"warps", test_warps},
        {"words", test_words}, {"numbers", test_numbers},   {"copies", test_copies},
        {"mma", test_mma},     {"clusters", test_clusters},
    };
    int n_bad = 0, n = sizeof tests / sizeof *tests;
    CHECK(cudaMalloc(&out, MOST * sizeof(float)));
    CHECK(cudaMalloc(&words, MOST * sizeof(unsigned)));
    for (int i = 0; i < n; i++) {
        n_failed = 0;
        CHECK(cudaMemset(out, 0xff, MOST * sizeof(float)));
        CHECK(cudaMemset(words, 0, MOST * sizeof(unsigned)));
        tests[i].run();
        printf("%s: %s\n", tests[i].name, n_failed ? "FAILED" : "ok");
        n_bad += n_failed > 0;
    }
    CHECK(cudaFree(out));
    CHECK(cudaFree(words));
    printf("%d passed, %d failed\n", n - n_bad, n_bad);
    return n_bad > 0;
}
