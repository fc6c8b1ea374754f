/*
 * RMSNorm and its gradient: a row by 16 lanes or 32, which take Wide entries at a time. In the
 * backward a block's lanes stay with their columns over many rows, so that the gradient of the
 * weights is summed on the way.
 */
#include "kernels/cuda/cuda.h"

enum {
    NORM_PARTS = 512,  /* partial sums of dw, at most */
    NORM_ROWS = 64,    /* rows of each, at least */
    NORM_SUMS = 12288, /* floats of them in a block's shared memory: what needs no asking */
};

/* Wide entries in a row, read and written at once. */
template <int Wide> struct norm_entries {
    float v[Wide];
};

template <int Wide> CUDA_DEV struct norm_entries<Wide> norm_read(const float *x) {
    struct norm_entries<Wide> e;
    if constexpr (Wide == 4) {
        const float4 v = *reinterpret_cast<const float4 *>(x);
        e.v[0] = v.x, e.v[1] = v.y, e.v[2] = v.z, e.v[3] = v.w;
    } else {
        e.v[0] = *x;
    }
    return e;
}

template <int Wide>
CUDA_DEV void norm_write(float *x, const struct norm_entries<Wide> &e)
{
    if constexpr (Wide == 4)
        *reinterpret_cast<float4 *>(x) = make_float4(e.v[0], e.v[1], e.v[2], e.v[3]);
    else
        *x = e.v[0];
}

/* The same to entry `at` of a tensor that may lie in bf16. */
template <int Wide>
CUDA_DEV void norm_write(float *x, int64_t at, bool rounded, const struct norm_entries<Wide> &e)
{
    if (!rounded) {
        norm_write<Wide>(x + at, e);
        return;
    }
    uint16_t *to = reinterpret_cast<uint16_t *>(x) + at;
    if constexpr (Wide == 4)
        *reinterpret_cast<uint2 *>(to) =
            make_uint2(gpu_bf16x2(e.v[0], e.v[1]), gpu_bf16x2(e.v[2], e.v[3]));
    else
        *to = (uint16_t)gpu_bf16x2(e.v[0], 0.0f);
}

/* Of the lanes of a row, known to all of them. */
template <int Lanes> CUDA_DEV float norm_sum(float v)
{
#pragma unroll
    for (int lanes = Lanes / 2; lanes > 0; lanes /= 2)
        v += __shfl_xor_sync((unsigned)ALL_LANES, v, lanes);
    return v;
}

/* Rows that a block takes at once, and which of them the thread has a part in. */
template <int Lanes> CUDA_DEV int norm_rows(void)
{
    return (int)blockDim.y * (WARP / Lanes);
}

template <int Lanes> CUDA_DEV int norm_row(void)
{
    return (int)threadIdx.y * (WARP / Lanes) + (int)threadIdx.x / Lanes;
}

template <int Wide, int Lanes>
static __global__ void __launch_bounds__(WARP *ROW_WARPS) norm_kernel(struct norm_args a)
{
    const int64_t row = (int64_t)blockIdx.x * norm_rows<Lanes>() + norm_row<Lanes>();
    const int first = (int)threadIdx.x % Lanes * Wide;
    const int width = row < a.n_rows ? a.width : 0; /* all lanes meet in the sum */
    const float *x = a.x + row * a.width;
    float s = 0.0f;
    for (int j = first; j < width; j += Lanes * Wide) {
        const struct norm_entries<Wide> e = norm_read<Wide>(x + j);
#pragma unroll
        for (int i = 0; i < Wide; i++)
            s += e.v[i] * e.v[i];
    }
    const float r = 1.0f / sqrtf(norm_sum<Lanes>(s) / (float)a.width + a.eps);
    for (int j = first; j < width; j += Lanes * Wide) {
        struct norm_entries<Wide> e = norm_read<Wide>(x + j);
        const struct norm_entries<Wide> w = norm_read<Wide>(a.w + j);
#pragma unroll
        for (int i = 0; i < Wide; i++)
            e.v[i] *= r * w.v[i];
        norm_write<Wide>(a.y, row * a.width + j, a.y_rounded, e);
    }
    if (a.r && width > 0 && first == 0)
        a.r[row] = r;
}

/* With x' = x r: dx = r (dy w - x' mean(dy w x')), and what is added to it. The block's row of
   parts: dw = sum dy x' over its rows, of each group of lanes and then over these, in order. */
template <int Wide, int Lanes>
static __global__ void __launch_bounds__(WARP *ROW_WARPS, 4)
    norm_backward_kernel(struct norm_backward_args a, float *parts, int64_t rows)
{
    GPU_SMEM(float, sums); /* (norm_rows, width) */
    const int first = (int)threadIdx.x % Lanes * Wide;
    const int64_t begin = blockIdx.x * rows;
    const int64_t end = begin + rows < a.n_rows ? begin + rows : a.n_rows;
    float *dw = sums + norm_row<Lanes>() * a.width;
    for (int j = first; j < a.width; j += Lanes * Wide)
        norm_write<Wide>(dw + j, {});
    for (int64_t some = begin; some < end; some += norm_rows<Lanes>()) {
        const int64_t row = some + norm_row<Lanes>();
        const int width = row < end ? a.width : 0; /* all lanes meet in the sum */
        const float *x = a.x + row * a.width, *dy = a.dy + row * a.width;
        const float r = row < end ? a.r[row] : 0.0f;
        float s = 0.0f;
#pragma unroll 2
        for (int j = first; j < width; j += Lanes * Wide) {
            const struct norm_entries<Wide> d = norm_read<Wide>(dy + j);
            const struct norm_entries<Wide> v = norm_read<Wide>(x + j);
            const struct norm_entries<Wide> w = norm_read<Wide>(a.w + j);
            struct norm_entries<Wide> sum = norm_read<Wide>(dw + j);
#pragma unroll
            for (int i = 0; i < Wide; i++) {
                s += d.v[i] * v.v[i] * w.v[i];
                sum.v[i] += d.v[i] * (v.v[i] * r);
            }
            norm_write<Wide>(dw + j, sum);
        }
        const float c = norm_sum<Lanes>(s) * r * r / (float)a.width;
#pragma unroll 2
        for (int j = first; j < width; j += Lanes * Wide) {
            const int64_t at = row * a.width + j;
            const struct norm_entries<Wide> v = norm_read<Wide>(x + j);
            const struct norm_entries<Wide> w = norm_read<Wide>(a.w + j);
            struct norm_entries<Wide> d = norm_read<Wide>(dy + j), add0 = {}, add1 = {
            };
            if (a.add0)
                add0 = norm_read<Wide>(a.add0 + at);
            if (a.add1)
                add1 = norm_read<Wide>(a.add1 + at);
#pragma unroll
            for (int i = 0; i < Wide; i++)
                d.v[i] = (d.v[i] * w.v[i] - v.v[i] * c) * r + add0.v[i] + add1.v[i];
            norm_write<Wide>(a.dx + at, d);
        }
    }
    __syncthreads();
    for (int j = (int)(threadIdx.y * WARP + threadIdx.x); j < a.width;
         j += (int)blockDim.y * WARP) {
        float sum = 0.0f;
        for (int i = 0; i < norm_rows<Lanes>(); i++)
            sum += sums[i * a.width + j];
        parts[(int64_t)blockIdx.x * a.width + j] = sum;
    }
}

/* --- the operations --------------------------------------------------------------------------- */

/* Whether rows of this width at all of these places, NULL for none, can be read in fours. */
static bool norm_in_fours(int width, const void *a, const void *b, const void *c, const void *d)
{
    const uintptr_t all = reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) |
                          reinterpret_cast<uintptr_t>(c) | reinterpret_cast<uintptr_t>(d);
    return width % 4 == 0 && all % 16 == 0;
}

static void op_rmsnorm(struct backend *be, const struct norm_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct norm_args a = *args;
    a.y_rounded = cuda_rounded(cuda, a.y_rounded);
    if (a.n_rows == 0)
        return;
    if (!norm_in_fours(a.width, a.y, a.x, a.w, NULL))
        GPU_LAUNCH((norm_kernel<1, 32>), row_grid(a.n_rows), row_block(), 0, cuda->stream, a);
    else if (a.width > 64)
        GPU_LAUNCH((norm_kernel<4, 32>), row_grid(a.n_rows), row_block(), 0, cuda->stream, a);
    else
        GPU_LAUNCH((norm_kernel<4, 16>), row_grid(cuda_blocks(a.n_rows, 2)), row_block(), 0,
                   cuda->stream, a);
    cuda_launched(cuda, "rmsnorm");
}

/* Rows of a partial sum of dw. */
static int64_t norm_part_rows(int64_t n_rows)
{
    return cuda_max(NORM_ROWS, cuda_blocks(n_rows, NORM_PARTS));
}

/* For n_rows or any fewer. */
static size_t norm_backward_workspace(int64_t n_rows, int width)
{
    return (size_t)(cuda_min(NORM_PARTS, cuda_blocks(n_rows, NORM_ROWS)) * width) * sizeof(float);
}

template <int Wide, int Lanes>
static void norm_backward_run(struct cuda_backend *cuda, const struct norm_backward_args *a)
{
    const int64_t rows = norm_part_rows(a->n_rows), n_parts = cuda_blocks(a->n_rows, rows);
    const int warp_sums = WARP / Lanes * a->width;
    const int warps = (int)cuda_min(ROW_WARPS, cuda_max(1, NORM_SUMS / warp_sums));
    float *parts = cuda_scratch(cuda, norm_backward_workspace(a->n_rows, a->width));
    GPU_LAUNCH((norm_backward_kernel<Wide, Lanes>), (unsigned)n_parts, dim3(WARP, (unsigned)warps),
               (size_t)(warps * warp_sums) * sizeof(float), cuda->stream, *a, parts, rows);
    cuda_launched(cuda, "rmsnorm's gradient");
    partials_add(cuda, a->dw, parts, a->width, n_parts, a->width);
}

static void op_rmsnorm_backward(struct backend *be, const struct norm_backward_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_rows == 0)
        return;
    if (a->width > NORM_SUMS)
        cuda_keep_error(cuda, cudaErrorInvalidValue, "rmsnorm's gradient: too wide");
    else if (!norm_in_fours(a->width, a->dx, a->x, a->dy, a->w) ||
             !norm_in_fours(a->width, a->add0, a->add1, NULL, NULL))
        norm_backward_run<1, 32>(cuda, a);
    else if (a->width > 64)
        norm_backward_run<4, 32>(cuda, a);
    else
        norm_backward_run<4, 16>(cuda, a);
}
