/*
 * What the operations share: sums over a warp, sums over columns in two stages, and how rows and
 * entries are shared out. Every sum has an order that the sizes alone fix; there are no atomics.
 */
#include "kernels/cuda/cuda.h"

#define CUDA_DEV static __device__ __forceinline__

enum {
    WARP = 32,
    ALL_LANES = -1,          /* as a mask: all 32 */
    ROW_WARPS = 8,           /* warps of a block that takes a row a warp */
    PARTIALS_WARPS_MAX = 32, /* of a block that adds many partial sums */
    ENTRY_THREADS = 256,     /* threads of a block of single entries */
    ENTRY_BLOCKS = 1 << 14,
};

static inline int64_t cuda_blocks(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

static inline int64_t cuda_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t cuda_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Blocks for n entries; each thread strides over the grid. */
static inline unsigned entry_grid(int64_t n)
{
    return (unsigned)cuda_min(cuda_blocks(n, ENTRY_THREADS), ENTRY_BLOCKS);
}

/* Blocks of (WARP, ROW_WARPS) threads for n rows, a warp a row. */
static inline unsigned row_grid(int64_t n_rows)
{
    return (unsigned)cuda_blocks(n_rows, ROW_WARPS);
}

static inline dim3 row_block(void)
{
    return dim3(WARP, ROW_WARPS);
}

/* Of two entries in bf16, the first in the lower half. */
CUDA_DEV float rounded_low(uint32_t two)
{
    return __uint_as_float(two << 16);
}

CUDA_DEV float rounded_high(uint32_t two)
{
    return __uint_as_float(two & 0xffff0000u);
}

/* Entry `at` of a tensor that is bf16 if it is rounded. */
CUDA_DEV float rounded_read(const float *x, int64_t at, bool rounded)
{
    if (rounded)
        return rounded_low(reinterpret_cast<const uint16_t *>(x)[at]);
    return x[at];
}

CUDA_DEV void rounded_write(float *x, int64_t at, bool rounded, float v)
{
    if (rounded)
        reinterpret_cast<uint16_t *>(x)[at] = (uint16_t)gpu_bf16x2(v, 0.0f);
    else
        x[at] = v;
}

CUDA_DEV int64_t first_entry(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

CUDA_DEV int64_t entry_stride(void)
{
    return (int64_t)gridDim.x * blockDim.x;
}

CUDA_DEV int64_t row_of_warp(void)
{
    return (int64_t)blockIdx.x * ROW_WARPS + threadIdx.y;
}

/* Of all 32 lanes, known to all of them. */
CUDA_DEV float warp_sum(float v)
{
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2)
        v += __shfl_xor_sync((unsigned)ALL_LANES, v, lanes);
    return v;
}

CUDA_DEV float warp_max(float v)
{
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2)
        v = fmaxf(v, __shfl_xor_sync((unsigned)ALL_LANES, v, lanes));
    return v;
}

/* --- partial sums ---------------------------------------------------------------------------- */

/* Where the sums of the parts' columns go: to sums in a row, each from the column where the one
   before it ends; NULL: not wanted. */
enum { PARTIALS_SUMS = 3 };
struct partials {
    float *sum[PARTIALS_SUMS];
    int64_t end[PARTIALS_SUMS];
};

/* sum[j] += all parts[k][j]. Each of the block's warps adds a run of parts, in order; then the
   warps' sums are added, in order. */
static __global__ void __launch_bounds__(WARP *PARTIALS_WARPS_MAX)
    partials_kernel(struct partials to, const float *parts, int64_t stride, int n_parts,
                    int64_t size)
{
    GPU_SMEM(float, sums);
    const int n_warps = (int)blockDim.y;
    int64_t j = (int64_t)blockIdx.x * WARP + threadIdx.x;
    int run = (n_parts + n_warps - 1) / n_warps, begin = (int)threadIdx.y * run;
    int end = begin + run < n_parts ? begin + run : n_parts;
    float s = 0.0f;
    if (j < size) {
#pragma unroll 8
        for (int k = begin; k < end; k++)
            s += parts[k * stride + j];
    }
    sums[threadIdx.y * WARP + threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y == 0 && j < size) {
        for (int i = 1; i < n_warps; i++)
            s += sums[i * WARP + threadIdx.x];
        int64_t begin = 0;
#pragma unroll
        for (int i = 0; i < PARTIALS_SUMS; i++) {
            if (j >= begin && j < to.end[i] && to.sum[i])
                to.sum[i][j - begin] += s;
            begin = to.end[i];
        }
    }
}

static void partials_add_to(struct cuda_backend *cuda, const struct partials *to,
                            const float *parts, int64_t stride, int64_t n_parts)
{
    const int64_t size = to->end[PARTIALS_SUMS - 1];
    const dim3 block(WARP, n_parts > 64 ? PARTIALS_WARPS_MAX : ROW_WARPS);
    GPU_LAUNCH(partials_kernel, (unsigned)cuda_blocks(size, WARP), block,
               WARP * block.y * sizeof(float), cuda->stream, *to, parts, stride, (int)n_parts,
               size);
    cuda_launched(cuda, "partials_add");
}

/* To one sum. */
static void partials_add(struct cuda_backend *cuda, float *sum, const float *parts, int64_t stride,
                         int64_t n_parts, int64_t size)
{
    const struct partials to = {{sum, NULL, NULL}, {size, size, size}};
    partials_add_to(cuda, &to, parts, stride, n_parts);
}

/* --- sums over columns ------------------------------------------------------------------------ */

/* The first stage of sums over rows. The rows are B streams of n_time rows. */
struct columns {
    float *parts;    /* (B, parts a stream, width) */
    const float *dy; /* (B*n_time, width), ld_dy */
    int64_t ld_dy, n_time;
    int width;
};

static inline int64_t columns_parts(int64_t n_time)
{
    return cuda_blocks(n_time, CUDA_GRAD_ROWS);
}

/* Floats of columns.parts. */
static inline int64_t columns_size(int64_t n_batch, int64_t n_time, int64_t width)
{
    return n_batch * columns_parts(n_time) * width;
}

/* A block sums CUDA_GRAD_ROWS rows of 32 columns: warp i rows i, i + 8, ..., then the warps in
   order. */
static __global__ void __launch_bounds__(WARP *ROW_WARPS) columns_kernel(struct columns a)
{
    GPU_SMEM(float, sums);
    int64_t n_parts = (a.n_time + CUDA_GRAD_ROWS - 1) / CUDA_GRAD_ROWS;
    int64_t b = blockIdx.x / n_parts, begin = blockIdx.x % n_parts * CUDA_GRAD_ROWS;
    int64_t end = begin + CUDA_GRAD_ROWS < a.n_time ? begin + CUDA_GRAD_ROWS : a.n_time;
    int j = (int)(blockIdx.y * WARP + threadIdx.x);
    float s = 0.0f;
    if (j < a.width) {
#pragma unroll 8
        for (int64_t t = begin + threadIdx.y; t < end; t += ROW_WARPS)
            s += a.dy[(b * a.n_time + t) * a.ld_dy + j];
    }
    sums[threadIdx.y * WARP + threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y == 0 && j < a.width) {
        for (int i = 1; i < ROW_WARPS; i++)
            s += sums[i * WARP + threadIdx.x];
        a.parts[(int64_t)blockIdx.x * a.width + j] = s;
    }
}

static void columns_run(struct cuda_backend *cuda, const struct columns *a, int64_t n_batch)
{
    dim3 grid((unsigned)(n_batch * columns_parts(a->n_time)),
              (unsigned)cuda_blocks(a->width, WARP));
    GPU_LAUNCH(columns_kernel, grid, row_block(), WARP * ROW_WARPS * sizeof(float), cuda->stream,
               *a);
    cuda_launched(cuda, "sums over columns");
}
