/* GELU, GLU and addition, an entry a thread. */
#include "kernels/cuda/cuda.h"

#define SQRT_HALF 0.707106781f
#define INV_SQRT_2PI 0.398942280f

static __global__ void __launch_bounds__(ENTRY_THREADS)
    gelu_kernel(float *y, const float *x, int64_t n)
{
    for (int64_t i = first_entry(); i < n; i += entry_stride()) {
        float half = 0.5f * x[i];
        y[i] = half + half * erff(x[i] * SQRT_HALF);
    }
}

static void op_gelu(struct backend *be, float *y, const float *x, int64_t n)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (n == 0)
        return;
    GPU_LAUNCH(gelu_kernel, entry_grid(n), ENTRY_THREADS, 0, cuda->stream, y, x, n);
    cuda_launched(cuda, "gelu");
}

static __global__ void __launch_bounds__(ENTRY_THREADS)
    gelu_backward_kernel(float *dx, const float *dy, const float *x, int64_t n)
{
    for (int64_t i = first_entry(); i < n; i += entry_stride()) {
        float v = x[i];
        float slope = 0.5f + 0.5f * erff(v * SQRT_HALF) + v * INV_SQRT_2PI * expf(-0.5f * v * v);
        dx[i] = dy[i] * slope;
    }
}

static void op_gelu_backward(struct backend *be, float *dx, const float *dy, const float *x,
                             int64_t n)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (n == 0)
        return;
    GPU_LAUNCH(gelu_backward_kernel, entry_grid(n), ENTRY_THREADS, 0, cuda->stream, dx, dy, x, n);
    cuda_launched(cuda, "gelu's gradient");
}

static __global__ void __launch_bounds__(ENTRY_THREADS)
    add_kernel(float *y, const float *x, int64_t n)
{
    for (int64_t i = first_entry(); i < n; i += entry_stride())
        y[i] += x[i];
}

static void op_add(struct backend *be, float *y, const float *x, int64_t n)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (n == 0)
        return;
    GPU_LAUNCH(add_kernel, entry_grid(n), ENTRY_THREADS, 0, cuda->stream, y, x, n);
    cuda_launched(cuda, "add");
}

struct glu_args {
    float *y; /* backward: dx */
    const float *x, *dy, *add0, *add1;
    int64_t n_rows;
    int width;
};

CUDA_DEV float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static __global__ void __launch_bounds__(WARP *ROW_WARPS) glu_kernel(struct glu_args a)
{
    int64_t row = row_of_warp();
    if (row >= a.n_rows)
        return;
    const float *x = a.x + row * 2 * a.width;
    for (int j = (int)threadIdx.x; j < a.width; j += WARP) {
        int64_t at = row * a.width + j;
        float y = x[j] * sigmoid(x[a.width + j]);
        if (a.add0)
            y += a.add0[at];
        if (a.add1)
            y += a.add1[at];
        a.y[at] = y;
    }
}

static void op_glu(struct backend *be, float *y, const float *x, const float *add0,
                   const float *add1, int64_t n_rows, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct glu_args a = {y, x, NULL, add0, add1, n_rows, width};
    if (n_rows == 0)
        return;
    GPU_LAUNCH(glu_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, a);
    cuda_launched(cuda, "glu");
}

static __global__ void __launch_bounds__(WARP *ROW_WARPS) glu_backward_kernel(struct glu_args a)
{
    int64_t row = row_of_warp();
    if (row >= a.n_rows)
        return;
    const float *x = a.x + row * 2 * a.width;
    float *dx = a.y + row * 2 * a.width;
    for (int j = (int)threadIdx.x; j < a.width; j += WARP) {
        float dy = a.dy[row * a.width + j], v = x[j], s = sigmoid(x[a.width + j]);
        dx[j] = dy * s;
        dx[a.width + j] = dy * v * s * (1.0f - s);
    }
}

static void op_glu_backward(struct backend *be, float *dx, const float *dy, const float *x,
                            int64_t n_rows, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct glu_args a = {dx, x, dy, NULL, NULL, n_rows, width};
    if (n_rows == 0)
        return;
    GPU_LAUNCH(glu_backward_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, a);
    cuda_launched(cuda, "glu's gradient");
}
