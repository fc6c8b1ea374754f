/*
 * Matrix products with the weights: cuBLAS where there are many rows, a warp an entry of the result
 * where there is one tick, so that a stream's result does not depend on the others.
 */
#include "kernels/cuda/cuda.h"

/* A weight's gradient sums over rows, which are many, into a matrix, which is small: slices of rows
   are summed side by side, so that all of the GPU has work, and then added in order. */
enum { SLICE_ROWS = 2048, SLICES_MAX = 64 };

/* y = bias + add0 + add1, a warp a row. */
static __global__ void __launch_bounds__(WARP *ROW_WARPS)
    addends_kernel(struct linear_args a, int64_t n_rows)
{
    int64_t row = row_of_warp();
    if (row >= n_rows)
        return;
    for (int j = (int)threadIdx.x; j < a.n_out; j += WARP) {
        int64_t at = row * a.n_out + j;
        float v = a.bias ? a.bias[j] : 0.0f;
        if (a.add0)
            v += a.add0[at];
        if (a.add1)
            v += a.add1[at];
        a.y[row * a.ld_y + j] = v;
    }
}

/* One tick: a warp an output, of one stream after the other. */
static __global__ void __launch_bounds__(WARP *ROW_WARPS) matvec_kernel(struct linear_args a)
{
    int64_t j = row_of_warp();
    if (j >= a.n_out)
        return;
    const float *w = a.w + j * a.n_in;
    for (int64_t b = blockIdx.y; b < a.n_batch; b += gridDim.y) {
        const float *x = a.x + b * a.ld_x;
        float s = 0.0f;
        for (int k = (int)threadIdx.x; k < a.n_in; k += WARP)
            s += w[k] * x[k];
        s = warp_sum(s);
        if (threadIdx.x == 0) {
            int64_t at = b * a.n_out + j;
            if (a.bias)
                s += a.bias[j];
            if (a.add0)
                s += a.add0[at];
            if (a.add1)
                s += a.add1[at];
            a.y[b * a.ld_y + j] = s;
        }
    }
}

static void op_linear(struct backend *be, const struct linear_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    int64_t n_rows = a->n_batch * a->n_time;
    if (n_rows == 0)
        return;
    if (a->n_time == 1) {
        dim3 grid(row_grid(a->n_out), (unsigned)cuda_min(a->n_batch, 4096));
        GPU_LAUNCH(matvec_kernel, grid, row_block(), 0, cuda->stream, *a);
        cuda_launched(cuda, "linear, one tick");
        return;
    }
    /* y that is its own only addend already holds what is added */
    bool add = a->bias || a->add0 || a->add1;
    bool in_place = !a->bias && (a->add0 == a->y) != (a->add1 == a->y) && (!a->add0 || !a->add1);
    if (add && !(in_place && a->ld_y == a->n_out)) {
        GPU_LAUNCH(addends_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, *a, n_rows);
        cuda_launched(cuda, "linear's addends");
    }
    struct blas_product p = {};
    p.c = a->y, p.ld_c = a->ld_y;
    p.a = a->x, p.ld_a = a->ld_x;
    p.b = a->w, p.ld_b = a->n_in, p.b_transposed = true;
    p.m = n_rows, p.n = a->n_out, p.k = a->n_in;
    p.add = add;
    blas_run(cuda, &p, "linear");
}

static int64_t slice_rows(int64_t n_rows)
{
    return cuda_max(SLICE_ROWS, cuda_blocks(cuda_blocks(n_rows, SLICES_MAX), WARP) * WARP);
}

/* Enough for n_rows or any fewer, as all of these sizes. */
static size_t linear_backward_workspace(int64_t n_rows, int64_t n_in, int64_t n_out)
{
    int64_t slices = cuda_min(SLICES_MAX, cuda_blocks(n_rows, SLICE_ROWS)) * n_in * n_out;
    return (size_t)cuda_max(slices, columns_size(1, n_rows, n_out)) * sizeof(float);
}

/* dw += dy^T x. */
static void linear_dw(struct cuda_backend *cuda, const struct linear_backward_args *a,
                      int64_t n_rows)
{
    int64_t size = (int64_t)a->n_in * a->n_out, rows = slice_rows(n_rows);
    int64_t whole = n_rows / rows, rest = n_rows % rows;
    struct blas_product p = {};
    p.a = a->dy, p.ld_a = a->ld_dy, p.a_transposed = true, p.step_a = rows * a->ld_dy;
    p.b = a->x, p.ld_b = a->ld_x, p.step_b = rows * a->ld_x;
    p.c = a->dw, p.ld_c = a->n_in, p.step_c = size;
    p.m = a->n_out, p.n = a->n_in, p.k = n_rows;
    if (n_rows <= rows) {
        p.add = true;
        blas_run(cuda, &p, "linear's dw");
        return;
    }
    float *parts = cuda_scratch(cuda, linear_backward_workspace(n_rows, a->n_in, a->n_out));
    p.c = parts;
    p.k = rows;
    p.batch = whole;
    blas_run(cuda, &p, "linear's dw");
    if (rest) {
        p.a += whole * p.step_a;
        p.b += whole * p.step_b;
        p.c += whole * p.step_c;
        p.k = rest;
        p.batch = 0;
        blas_run(cuda, &p, "linear's dw");
    }
    partials_add(cuda, a->dw, parts, size, whole + (rest > 0), size);
}

static void op_linear_backward(struct backend *be, const struct linear_backward_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    int64_t n_rows = a->n_batch * a->n_time;
    if (n_rows == 0)
        return;
    if (a->dx) {
        struct blas_product p = {};
        p.c = a->dx, p.ld_c = a->ld_dx;
        p.a = a->dy, p.ld_a = a->ld_dy;
        p.b = a->w, p.ld_b = a->n_in;
        p.m = n_rows, p.n = a->n_in, p.k = a->n_out;
        p.add = a->add_to_dx;
        blas_run(cuda, &p, "linear's dx");
    }
    if (a->dw)
        linear_dw(cuda, a, n_rows);
    if (a->dbias) {
        struct columns sums = {};
        sums.parts = cuda_scratch(cuda, linear_backward_workspace(n_rows, a->n_in, a->n_out));
        sums.dy = a->dy, sums.ld_dy = a->ld_dy;
        sums.n_time = n_rows, sums.width = a->n_out;
        columns_run(cuda, &sums, 1);
        partials_add(cuda, a->dbias, sums.parts, a->n_out, columns_parts(n_rows), a->n_out);
    }
}
