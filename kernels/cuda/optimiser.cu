/* The norm of the gradient and AdamW. */
#include "kernels/cuda/cuda.h"

#include <math.h>

enum {
    SQUARES_THREADS = 256,
    SQUARES_BLOCK = 1 << 13, /* entries of a partial sum, at least */
    SQUARES_PARTS_MAX = 1024,
    ADAMW_RANGES = 64, /* ranges of one launch: they travel with the kernel's arguments */
    ADAMW_BLOCKS_MAX = 512,
};

/* --- sums, of squares or plain -------------------------------------------------------------------
 */

/* The block's sum, by halves, in thread 0. */
CUDA_DEV double squares_block_sum(double v, double *sums)
{
    sums[threadIdx.x] = v;
    __syncthreads();
    for (int n = SQUARES_THREADS / 2; n > 0; n /= 2) {
        if ((int)threadIdx.x < n)
            sums[threadIdx.x] += sums[threadIdx.x + n];
        __syncthreads();
    }
    return sums[0];
}

template <bool Squared>
static __global__ void __launch_bounds__(SQUARES_THREADS)
    squares_kernel(double *parts, const float *x, int64_t n, int64_t block)
{
    GPU_SMEM(double, sums);
    int64_t begin = blockIdx.x * block, end = begin + block < n ? begin + block : n;
    double v = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += SQUARES_THREADS)
        v += Squared ? (double)x[i] * x[i] : (double)x[i];
    v = squares_block_sum(v, sums);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = v;
}

static __global__ void __launch_bounds__(SQUARES_THREADS)
    squares_sum_kernel(double *sum, const double *parts, int n_parts, bool add)
{
    GPU_SMEM(double, sums);
    double v = 0;
    for (int i = (int)threadIdx.x; i < n_parts; i += SQUARES_THREADS)
        v += parts[i];
    v = squares_block_sum(v, sums);
    if (threadIdx.x == 0)
        *sum = add ? *sum + v : v;
}

/* However many entries there are: so every backend has that much scratch memory. */
static size_t squares_workspace(void)
{
    return SQUARES_PARTS_MAX * sizeof(double);
}

template <bool Squared>
static void squares_run(struct cuda_backend *cuda, double *sum, const float *x, int64_t n, bool add)
{
    size_t shared = SQUARES_THREADS * sizeof(double);
    int64_t block = cuda_max(SQUARES_BLOCK, cuda_blocks(n, SQUARES_PARTS_MAX));
    int64_t n_parts = cuda_blocks(n, block);
    double *parts = reinterpret_cast<double *>(cuda_scratch(cuda, squares_workspace()));
    if (n_parts > 0) {
        GPU_LAUNCH((squares_kernel<Squared>), (unsigned)n_parts, SQUARES_THREADS, shared,
                   cuda->stream, parts, x, n, block);
        cuda_launched(cuda, "a sum");
    }
    GPU_LAUNCH(squares_sum_kernel, 1, SQUARES_THREADS, shared, cuda->stream, sum, parts,
               (int)n_parts, add);
    cuda_launched(cuda, "a sum's end");
}

static void op_sum_squares(struct backend *be, double *sum, const float *x, int64_t n)
{
    squares_run<true>(cuda_of(be), sum, x, n, false);
}

static void op_sum_add(struct backend *be, double *sum, const float *x, int64_t n)
{
    squares_run<false>(cuda_of(be), sum, x, n, true);
}

/* --- AdamW ------------------------------------------------------------------------------------ */

struct adamw_piece {
    struct adamw_args a;            /* its ranges, in host memory, are not looked at */
    float correction1, correction2; /* 1/(1 - beta1^step), 1/sqrt(1 - beta2^step) */
    struct weight_range ranges[ADAMW_RANGES];
};

/* Row y of the grid is a range. */
static __global__ void __launch_bounds__(ENTRY_THREADS) adamw_kernel(const struct adamw_piece p)
{
    const struct adamw_args *a = &p.a;
    double norm = sqrt(*a->grad_norm_sq);
    if (!(norm < (double)INFINITY)) /* NaN too */
        return;
    if (a->loss && !(fabs(*a->loss) < (double)INFINITY))
        return;
    const struct weight_range range = p.ranges[blockIdx.y];
    float scale = a->clip > 0 && norm > a->clip ? (float)(a->clip / norm) : 1.0f;
    float keep = 1.0f - range.lr * range.decay, rate = range.lr * p.correction1;
    float pull = 1.0f - a->average_decay;
    for (int64_t i = first_entry(); i < range.size; i += entry_stride()) {
        int64_t at = range.offset + i;
        float g = a->g[at] * scale;
        float m = a->beta1 * a->m[at] + (1.0f - a->beta1) * g;
        float v = a->beta2 * a->v[at] + (1.0f - a->beta2) * g * g;
        float w = a->w[at] * keep - rate * m / (sqrtf(v) * p.correction2 + a->eps);
        a->m[at] = m;
        a->v[at] = v;
        a->w[at] = w;
        if (a->average)
            a->average[at] += pull * (w - a->average[at]);
    }
}

static void op_adamw(struct backend *be, const struct adamw_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct adamw_piece p = {};
    p.a = *a;
    p.a.ranges = NULL;
    p.correction1 = (float)(1 / (1 - pow(a->beta1, (double)a->step)));
    p.correction2 = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->step)));
    for (int first = 0; first < a->n_ranges; first += ADAMW_RANGES) {
        int n = (int)cuda_min(ADAMW_RANGES, a->n_ranges - first);
        int64_t largest = 0;
        for (int i = 0; i < n; i++) {
            p.ranges[i] = a->ranges[first + i];
            largest = cuda_max(largest, p.ranges[i].size);
        }
        if (largest == 0)
            continue;
        dim3 grid((unsigned)cuda_min(cuda_blocks(largest, ENTRY_THREADS), ADAMW_BLOCKS_MAX),
                  (unsigned)n);
        GPU_LAUNCH(adamw_kernel, grid, ENTRY_THREADS, 0, cuda->stream, p);
        cuda_launched(cuda, "adamw");
    }
}
