/* RMSNorm and its gradient: a warp a row. */
#include "kernels/cuda/cuda.h"

struct norm_args {
    float *y, *r_out; /* backward: y is dx */
    const float *x, *w, *dy, *r;
    float eps;
    int64_t n_rows;
    int width;
};

static __global__ void __launch_bounds__(WARP *ROW_WARPS) norm_kernel(struct norm_args a)
{
    int64_t row = row_of_warp();
    if (row >= a.n_rows)
        return;
    const float *x = a.x + row * a.width;
    float *y = a.y + row * a.width;
    float s = 0.0f;
    for (int j = (int)threadIdx.x; j < a.width; j += WARP)
        s += x[j] * x[j];
    float r = 1.0f / sqrtf(warp_sum(s) / (float)a.width + a.eps);
    for (int j = (int)threadIdx.x; j < a.width; j += WARP)
        y[j] = x[j] * r * a.w[j];
    if (a.r_out && threadIdx.x == 0)
        a.r_out[row] = r;
}

static void op_rmsnorm(struct backend *be, float *y, float *r, const float *x, const float *w,
                       float eps, int64_t n_rows, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct norm_args a = {};
    if (n_rows == 0)
        return;
    a.y = y, a.r_out = r, a.x = x, a.w = w;
    a.eps = eps, a.n_rows = n_rows, a.width = width;
    GPU_LAUNCH(norm_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, a);
    cuda_launched(cuda, "rmsnorm");
}

/* With x' = x r: dx += r (dy w - x' mean(dy w x')). */
static __global__ void __launch_bounds__(WARP *ROW_WARPS) norm_backward_kernel(struct norm_args a)
{
    int64_t row = row_of_warp();
    if (row >= a.n_rows)
        return;
    const float *x = a.x + row * a.width, *dy = a.dy + row * a.width;
    float *dx = a.y + row * a.width;
    float r = a.r[row], s = 0.0f;
    for (int j = (int)threadIdx.x; j < a.width; j += WARP)
        s += dy[j] * x[j] * a.w[j];
    float c = warp_sum(s) * r * r / (float)a.width;
    for (int j = (int)threadIdx.x; j < a.width; j += WARP)
        dx[j] += (dy[j] * a.w[j] - x[j] * c) * r;
}

static size_t norm_backward_workspace(int64_t n_rows, int width)
{
    return (size_t)columns_size(1, n_rows, width) * sizeof(float);
}

static void op_rmsnorm_backward(struct backend *be, float *dx, float *dw, const float *dy,
                                const float *x, const float *r, const float *w, int64_t n_rows,
                                int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct norm_args a = {};
    struct columns sums = {};
    if (n_rows == 0)
        return;
    a.y = dx, a.x = x, a.w = w, a.dy = dy, a.r = r;
    a.n_rows = n_rows, a.width = width;
    GPU_LAUNCH(norm_backward_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, a);
    cuda_launched(cuda, "rmsnorm's dx");
    /* dw += sum dy x': rows apart from the above, for there the warps go along the rows */
    sums.parts = cuda_scratch(cuda, norm_backward_workspace(n_rows, width));
    sums.dy = dy, sums.ld_dy = width, sums.x = x, sums.r = r;
    sums.n_time = n_rows, sums.width = width;
    columns_run(cuda, &sums, 1);
    partials_add(cuda, dw, sums.parts, width, columns_parts(n_rows), width);
}
