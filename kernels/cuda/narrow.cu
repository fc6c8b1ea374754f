/*
 * Products with a matrix of few inputs, as the step widths' (dt_proj): all that they do is move
 * the rows of their outputs, for which cuBLAS's tiles are too large. A warp a row, a lane the same
 * C outputs of every row, with their weights in registers; in float, whatever the products' kind.
 */
#include "kernels/cuda/cuda.h"

enum {
    NARROW_VALUES = 16,     /* gradients of inputs that a warp sums over its lanes at once */
    NARROW_WARPS = 4,       /* of a block */
    NARROW_WEIGHTS = 32768, /* inputs of a forward's blocks: each warp reads all weights first */
    NARROW_PARTS = 768,     /* partial sums of dw, at most */
    NARROW_ROWS = 128,      /* rows of each, at least */
};

/* Output 4 i + j of a lane is 4 (lane + 32 i) + j of all. */
template <int C> CUDA_DEV void narrow_read(float (&v)[C], const float *row)
{
#pragma unroll
    for (int i = 0; i < C / 4; i++) {
        const float4 f = reinterpret_cast<const float4 *>(row)[threadIdx.x + i * WARP];
        v[4 * i] = f.x, v[4 * i + 1] = f.y, v[4 * i + 2] = f.z, v[4 * i + 3] = f.w;
    }
}

/* The R inputs of a row, the same for all lanes. */
template <int R> CUDA_DEV void narrow_inputs(float (&v)[R], const float *row)
{
#pragma unroll
    for (int i = 0; i < R / 4; i++) {
        const float4 f = reinterpret_cast<const float4 *>(row)[i];
        v[4 * i] = f.x, v[4 * i + 1] = f.y, v[4 * i + 2] = f.z, v[4 * i + 3] = f.w;
    }
}

template <int R, int C> CUDA_DEV void narrow_weights(float (&w)[C][R], const float *from)
{
#pragma unroll
    for (int c = 0; c < C; c++)
        narrow_inputs<R>(w[c], from + (4 * (threadIdx.x + c / 4 * WARP) + c % 4) * R);
}

template <int R, int C>
static __global__ void __launch_bounds__(WARP *NARROW_WARPS)
    narrow_kernel(struct linear_args a, int64_t n_rows)
{
    constexpr int ahead = NARROW_VALUES / R;
    float w[C][R];
    narrow_weights<R, C>(w, a.w);
    for (int64_t row = ((int64_t)blockIdx.x * NARROW_WARPS + threadIdx.y) * ahead; row < n_rows;
         row += (int64_t)gridDim.x * NARROW_WARPS * ahead) {
        float x[ahead][R] = {};
#pragma unroll
        for (int m = 0; m < ahead; m++)
            if (row + m < n_rows)
                narrow_inputs<R>(x[m], a.x + (row + m) * a.ld_x);
#pragma unroll
        for (int m = 0; m < ahead; m++)
#pragma unroll
            for (int i = 0; i < C / 4; i++) {
                float y[4] = {};
#pragma unroll
                for (int c = 0; c < 4; c++)
#pragma unroll
                    for (int r = 0; r < R; r++)
                        y[c] += w[4 * i + c][r] * x[m][r];
                if (row + m < n_rows)
                    reinterpret_cast<float4 *>(a.y + (row + m) * a.ld_y)[threadIdx.x + i * WARP] =
                        make_float4(y[0], y[1], y[2], y[3]);
            }
    }
}

/* Sums over the warp; lane l gets that of v[l / 2]. Half of the values go to the other half of the
   lanes, half of these to the other half of those, and so on. */
CUDA_DEV float narrow_sum(float (&v)[NARROW_VALUES])
{
#pragma unroll
    for (int step = 1; step < 5; step++) {
        const int lanes = WARP >> step, n = NARROW_VALUES >> step;
        const bool upper = threadIdx.x & (unsigned)lanes;
#pragma unroll
        for (int i = 0; i < n; i++) {
            const float low = v[i], high = v[i + n]; /* two names: no address is chosen */
            const float got = __shfl_xor_sync((unsigned)ALL_LANES, upper ? low : high, lanes);
            v[i] = (upper ? high : low) + got;
        }
    }
    return v[0] + __shfl_xor_sync((unsigned)ALL_LANES, v[0], 1);
}

/* dx of `rows` rows, and the block's partial sum of dw: of each warp, then over the warps. */
template <int R, int C>
static __global__ void __launch_bounds__(WARP *NARROW_WARPS)
    narrow_backward_kernel(struct linear_backward_args a, float *parts, int64_t n_rows,
                           int64_t rows)
{
    GPU_SMEM(float, sums); /* (warps, n_out, R) */
    constexpr int ahead = NARROW_VALUES / R, size = C * WARP * R;
    const int64_t begin = blockIdx.x * rows;
    const int64_t end = begin + rows < n_rows ? begin + rows : n_rows;
    const int lane = (int)threadIdx.x;
    float w[C][R], dw[C][R] = {};
    narrow_weights<R, C>(w, a.w);
    for (int64_t row = begin + (int)threadIdx.y * ahead; row < end; row += NARROW_WARPS * ahead) {
        float dy[ahead][C] = {}, x[ahead][R] = {}, dx[NARROW_VALUES] = {};
#pragma unroll
        for (int m = 0; m < ahead; m++)
            if (row + m < end) {
                narrow_read<C>(dy[m], a.dy + (row + m) * a.ld_dy);
                narrow_inputs<R>(x[m], a.x + (row + m) * a.ld_x);
            }
#pragma unroll
        for (int m = 0; m < ahead; m++)
#pragma unroll
            for (int c = 0; c < C; c++)
#pragma unroll
                for (int r = 0; r < R; r++) {
                    dx[m * R + r] += dy[m][c] * w[c][r];
                    dw[c][r] += dy[m][c] * x[m][r];
                }
        const float sum = narrow_sum(dx);
        const int64_t at = (row + lane / 2 / R) * a.ld_dx + lane / 2 % R;
        if (lane % 2 == 0 && row + lane / 2 / R < end)
            a.dx[at] = a.add_to_dx ? a.dx[at] + sum : sum;
    }
#pragma unroll
    for (int c = 0; c < C; c++)
#pragma unroll
        for (int r = 0; r < R; r++)
            sums[(int)threadIdx.y * size + (4 * (lane + c / 4 * WARP) + c % 4) * R + r] = dw[c][r];
    __syncthreads();
    for (int i = (int)threadIdx.y * WARP + lane; i < size; i += NARROW_WARPS * WARP) {
        float sum = 0.0f;
#pragma unroll
        for (int warp = 0; warp < NARROW_WARPS; warp++)
            sum += sums[warp * size + i];
        parts[(int64_t)blockIdx.x * size + i] = sum;
    }
}

/* --- the operations --------------------------------------------------------------------------- */

/* The sizes that there are kernels for. */
static bool narrow_fits(int n_in, int n_out)
{
    return (n_in == 4 && n_out == 128) || (n_in == 8 && n_out == 256);
}

static bool narrow_aligned(const void *p, int64_t ld)
{
    return ld % 4 == 0 && reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

/* False: it is not for us. */
static bool narrow_linear(struct cuda_backend *cuda, const struct linear_args *a, int64_t n_rows)
{
    if (!narrow_fits(a->n_in, a->n_out) || a->bias || a->add0 || a->add1 ||
        !narrow_aligned(a->x, a->ld_x) || !narrow_aligned(a->y, a->ld_y) ||
        !narrow_aligned(a->w, a->n_in))
        return false;
    const unsigned blocks =
        (unsigned)cuda_min(NARROW_WEIGHTS / (a->n_in * a->n_in),
                           cuda_blocks(n_rows, NARROW_WARPS * NARROW_VALUES / a->n_in));
    const dim3 block(WARP, NARROW_WARPS);
    if (a->n_in == 4)
        GPU_LAUNCH((narrow_kernel<4, 4>), blocks, block, 0, cuda->stream, *a, n_rows);
    else
        GPU_LAUNCH((narrow_kernel<8, 8>), blocks, block, 0, cuda->stream, *a, n_rows);
    cuda_launched(cuda, "linear of few inputs");
    return true;
}

/* For n_rows or any fewer. */
static size_t narrow_workspace(int64_t n_rows, int64_t n_in, int64_t n_out)
{
    if (!narrow_fits((int)n_in, (int)n_out))
        return 0;
    return (size_t)(cuda_min(NARROW_PARTS, cuda_blocks(n_rows, NARROW_ROWS)) * n_in * n_out) *
           sizeof(float);
}

/* dx and dw. False: they are not for us. */
static bool narrow_backward(struct cuda_backend *cuda, const struct linear_backward_args *a,
                            int64_t n_rows)
{
    if (!narrow_fits(a->n_in, a->n_out) || !a->dx || !a->dw || !narrow_aligned(a->dy, a->ld_dy) ||
        !narrow_aligned(a->x, a->ld_x) || !narrow_aligned(a->w, a->n_in))
        return false;
    const int64_t rows = cuda_max(NARROW_ROWS, cuda_blocks(n_rows, NARROW_PARTS));
    const int64_t n_parts = cuda_blocks(n_rows, rows), size = (int64_t)a->n_in * a->n_out;
    const size_t shared = (size_t)(NARROW_WARPS * size) * sizeof(float);
    const dim3 block(WARP, NARROW_WARPS);
    float *parts = cuda_scratch(cuda, narrow_workspace(n_rows, a->n_in, a->n_out));
    if (a->n_in == 4)
        GPU_LAUNCH((narrow_backward_kernel<4, 4>), (unsigned)n_parts, block, shared, cuda->stream,
                   *a, parts, n_rows, rows);
    else
        GPU_LAUNCH((narrow_backward_kernel<8, 8>), (unsigned)n_parts, block, shared, cuda->stream,
                   *a, parts, n_rows, rows);
    cuda_launched(cuda, "gradients of few inputs");
    partials_add(cuda, a->dw, parts, size, n_parts, size);
    return true;
}
