/*
 * Matrix products with the weights: cuBLAS where there are many rows, a warp an entry of the result
 * where there is one tick, so that a stream's result does not depend on the others.
 */
#include "kernels/cuda/cuda.h"

/* A weight's gradient sums over rows, which are many, into a matrix, which is small: slices of rows
   are summed side by side, so that all of a GPU has work, and then added in order. There are as
   many slices as make so many tiles of results together: few of a large matrix, whose partial sums
   have to be written and read, many of a small one. */
enum { SLICE_ROWS = 512, SLICE_TILE = 128, SLICE_TILES = 264 };

/* --- factors ---------------------------------------------------------------------------------- */

/* A factor as cuBLAS reads it: where it lies, or rounded to bf16 into scratch memory, whose rows
   are then a multiple of 16 bytes: what is multiplied with a factor that is bf16. Weights too are
   rounded anew for each product: they are few beside the rows, and nobody has to say when they
   change. */
struct factor {
    const void *at;
    int64_t ld;
    bool bf16;
};

/* Rows of groups of four, the last of which may be shorter; `whole`: all of x is aligned and dense
   enough to be read in fours. */
static __global__ void __launch_bounds__(ENTRY_THREADS)
    round_kernel(uint2 *to, const float *x, int64_t n, int64_t ld, int width, int groups,
                 bool whole)
{
    for (int64_t i = first_entry(); i < n; i += entry_stride()) {
        int64_t row = i / groups;
        int j = 4 * (int)(i - row * groups);
        const float *from = x + row * ld + j;
        float4 v = {};
        if (whole) {
            v = *reinterpret_cast<const float4 *>(from);
        } else {
            v.x = j < width ? from[0] : 0.0f;
            v.y = j + 1 < width ? from[1] : 0.0f;
            v.z = j + 2 < width ? from[2] : 0.0f;
            v.w = j + 3 < width ? from[3] : 0.0f;
        }
        to[i] = make_uint2(gpu_bf16x2(v.x, v.y), gpu_bf16x2(v.z, v.w));
    }
}

/* Entries of a row in bf16. */
static int64_t rounded_ld(int64_t width)
{
    return cuda_blocks(width, 8) * 8;
}

/* Bytes of a factor in bf16; the next one behind it is aligned as cuBLAS likes it. */
static size_t rounded_size(int64_t n_rows, int64_t width)
{
    return (size_t)cuda_blocks(n_rows * rounded_ld(width) * 2, 256) * 256;
}

/* The matrix x (n_rows, width) as a factor, as it lies; or in bf16, and *scratch is where that may
   lie, and moves on. */
static struct factor factor_of(struct cuda_backend *cuda, const float *x, bool is_bf16,
                               int64_t n_rows, int width, int64_t ld, bool bf16, char **scratch)
{
    if (is_bf16 == bf16)
        return {x, ld, bf16};
    uint2 *to = reinterpret_cast<uint2 *>(*scratch);
    int groups = (int)(rounded_ld(width) / 4);
    bool whole = width % 8 == 0 && ld % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
    GPU_LAUNCH(round_kernel, entry_grid(n_rows * groups), ENTRY_THREADS, 0, cuda->stream, to, x,
               n_rows * groups, ld, width, groups, whole);
    cuda_launched(cuda, "rounding to bf16");
    *scratch += rounded_size(n_rows, width);
    return {to, rounded_ld(width), true};
}

/* The factor's rows from `row` on. */
static const void *factor_row(struct factor f, int64_t row)
{
    return static_cast<const char *>(f.at) + row * f.ld * (f.bf16 ? 2 : 4);
}

/* Scratch memory of the factors of a product and of its gradients: rows of x and of dy, and the
   weights. */
static size_t factors_workspace(const struct cuda_backend *cuda, int64_t n_rows, int64_t n_in,
                                int64_t n_out, bool backward)
{
    if (cuda->products != PRODUCTS_BF16)
        return 0;
    return rounded_size(n_rows, n_in) + rounded_size(n_out, n_in) +
           (backward ? rounded_size(n_rows, n_out) : 0);
}

/* --- forward ---------------------------------------------------------------------------------- */

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
        float s = 0.0f;
        for (int k = (int)threadIdx.x; k < a.n_in; k += WARP)
            s += w[k] * rounded_read(a.x, b * a.ld_x + k, a.x_rounded);
        s = warp_sum(s);
        if (threadIdx.x == 0) {
            int64_t at = b * a.n_out + j;
            if (a.bias)
                s += a.bias[j];
            if (a.add0)
                s += a.add0[at];
            if (a.add1)
                s += a.add1[at];
            rounded_write(a.y, b * a.ld_y + j, a.y_rounded, s);
        }
    }
}

/* Makes y what the product is to be added to: true, if there is anything. */
static bool linear_begin(struct cuda_backend *cuda, const struct linear_args *a, int64_t n_rows)
{
    const float *only = a->add0 ? a->add0 : a->add1; /* if nothing else is added */
    if (!a->bias && !only)
        return false;
    if (a->bias || (a->add0 && a->add1) || a->ld_y != a->n_out) {
        GPU_LAUNCH(addends_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, *a, n_rows);
        cuda_launched(cuda, "linear's addends");
    } else if (only != a->y) {
        cuda_keep_error(cuda,
                        cudaMemcpyAsync(a->y, only, (size_t)(n_rows * a->n_out) * sizeof(float),
                                        cudaMemcpyDeviceToDevice, cuda->stream),
                        "linear's addend");
    }
    return true;
}

static void op_linear(struct backend *be, const struct linear_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct linear_args a = *args;
    int64_t n_rows = a.n_batch * a.n_time;
    a.x_rounded = cuda_rounded(cuda, a.x_rounded);
    a.y_rounded = cuda_rounded(cuda, a.y_rounded);
    if (n_rows == 0)
        return;
    if (a.n_time == 1) {
        dim3 grid(row_grid(a.n_out), (unsigned)cuda_min(a.n_batch, 4096));
        GPU_LAUNCH(matvec_kernel, grid, row_block(), 0, cuda->stream, a);
        cuda_launched(cuda, "linear, one tick");
        return;
    }
    if (!a.x_rounded && narrow_linear(cuda, &a, n_rows))
        return;
    const bool add = linear_begin(cuda, &a, n_rows);
    const bool bf16 = a.x_rounded;
    char *scratch = reinterpret_cast<char *>(
        cuda_scratch(cuda, factors_workspace(cuda, n_rows, a.n_in, a.n_out, false)));
    struct factor x = factor_of(cuda, a.x, bf16, n_rows, a.n_in, a.ld_x, bf16, &scratch);
    struct factor w = factor_of(cuda, a.w, false, a.n_out, a.n_in, a.n_in, bf16, &scratch);
    struct blas_product p = {};
    p.bf16 = bf16;
    p.c = a.y, p.ld_c = a.ld_y, p.c_bf16 = a.y_rounded;
    p.a = x.at, p.ld_a = x.ld;
    p.b = w.at, p.ld_b = w.ld, p.b_transposed = true;
    p.m = n_rows, p.n = a.n_out, p.k = a.n_in;
    p.add = add;
    blas_run(cuda, &p, "linear");
}

/* --- backward --------------------------------------------------------------------------------- */

static int64_t slices_max(int64_t n_in, int64_t n_out)
{
    const int64_t tiles = cuda_blocks(n_in, SLICE_TILE) * cuda_blocks(n_out, SLICE_TILE);
    return cuda_max(1, SLICE_TILES / tiles);
}

static int64_t slice_rows(int64_t n_rows, int64_t n_in, int64_t n_out)
{
    const int64_t rows = cuda_blocks(n_rows, slices_max(n_in, n_out));
    return cuda_max(SLICE_ROWS, cuda_blocks(rows, WARP) * WARP);
}

/* Of the partial sums. Enough for n_rows or any fewer, as all of these sizes. */
static size_t linear_parts_workspace(int64_t n_rows, int64_t n_in, int64_t n_out)
{
    int64_t slices = cuda_min(slices_max(n_in, n_out), cuda_blocks(n_rows, SLICE_ROWS));
    int64_t floats = cuda_max(slices * n_in * n_out, columns_size(1, n_rows, n_out));
    int64_t bytes =
        cuda_max(floats * (int64_t)sizeof(float), (int64_t)narrow_workspace(n_rows, n_in, n_out));
    return (size_t)cuda_blocks(bytes, 256) * 256;
}

/* The partial sums, and behind them the factors. */
static size_t linear_backward_workspace(const struct cuda_backend *cuda, int64_t n_rows,
                                        int64_t n_in, int64_t n_out)
{
    return linear_parts_workspace(n_rows, n_in, n_out) +
           factors_workspace(cuda, n_rows, n_in, n_out, true);
}

/* dw += dy^T x. */
static void linear_dw(struct cuda_backend *cuda, const struct linear_backward_args *a,
                      int64_t n_rows, struct factor dy, struct factor x)
{
    int64_t size = (int64_t)a->n_in * a->n_out, rows = slice_rows(n_rows, a->n_in, a->n_out);
    int64_t whole = n_rows / rows, rest = n_rows % rows;
    struct blas_product p = {};
    p.bf16 = dy.bf16;
    p.a = dy.at, p.ld_a = dy.ld, p.a_transposed = true, p.step_a = rows * dy.ld;
    p.b = x.at, p.ld_b = x.ld, p.step_b = rows * x.ld;
    p.c = a->dw, p.ld_c = a->n_in, p.step_c = size;
    p.m = a->n_out, p.n = a->n_in, p.k = n_rows;
    if (n_rows <= rows) {
        p.add = true;
        blas_run(cuda, &p, "linear's dw");
        return;
    }
    float *parts = cuda_scratch(cuda, linear_parts_workspace(n_rows, a->n_in, a->n_out));
    p.c = parts;
    p.k = rows;
    p.batch = whole;
    blas_run(cuda, &p, "linear's dw");
    if (rest) {
        p.a = factor_row(dy, whole * rows);
        p.b = factor_row(x, whole * rows);
        p.c = parts + whole * p.step_c;
        p.k = rest;
        p.batch = 0;
        blas_run(cuda, &p, "linear's dw");
    }
    partials_add(cuda, a->dw, parts, size, whole + (rest > 0), size);
}

/* dx and dw. */
static void linear_products_backward(struct cuda_backend *cuda,
                                     const struct linear_backward_args *a, int64_t n_rows)
{
    const bool bf16 = a->x_rounded || a->dy_rounded;
    char *scratch = reinterpret_cast<char *>(
        cuda_scratch(cuda, linear_backward_workspace(cuda, n_rows, a->n_in, a->n_out)));
    scratch += linear_parts_workspace(n_rows, a->n_in, a->n_out);
    struct factor dy = {};
    if (a->dx || a->dw)
        dy = factor_of(cuda, a->dy, a->dy_rounded, n_rows, a->n_out, a->ld_dy, bf16, &scratch);
    if (a->dx) {
        struct factor w = factor_of(cuda, a->w, false, a->n_out, a->n_in, a->n_in, bf16, &scratch);
        struct blas_product p = {};
        p.bf16 = bf16;
        p.c = a->dx, p.ld_c = a->ld_dx, p.c_bf16 = a->dx_rounded;
        p.a = dy.at, p.ld_a = dy.ld;
        p.b = w.at, p.ld_b = w.ld;
        p.m = n_rows, p.n = a->n_in, p.k = a->n_out;
        p.add = a->add_to_dx;
        blas_run(cuda, &p, "linear's dx");
    }
    if (a->dw)
        linear_dw(cuda, a, n_rows, dy,
                  factor_of(cuda, a->x, a->x_rounded, n_rows, a->n_in, a->ld_x, bf16, &scratch));
}

static void op_linear_backward(struct backend *be, const struct linear_backward_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct linear_backward_args resolved = *args, *a = &resolved;
    int64_t n_rows = a->n_batch * a->n_time;
    a->x_rounded = cuda_rounded(cuda, a->x_rounded);
    a->dy_rounded = cuda_rounded(cuda, a->dy_rounded);
    a->dx_rounded = cuda_rounded(cuda, a->dx_rounded);
    if (n_rows == 0)
        return;
    if (a->x_rounded || a->dy_rounded || !narrow_backward(cuda, a, n_rows))
        linear_products_backward(cuda, a, n_rows);
    if (a->dbias) {
        struct columns sums = {};
        sums.parts = cuda_scratch(cuda, linear_parts_workspace(n_rows, a->n_in, a->n_out));
        sums.dy = a->dy, sums.ld_dy = a->ld_dy;
        sums.n_time = n_rows, sums.width = a->n_out;
        columns_run(cuda, &sums, 1);
        partials_add(cuda, a->dbias, sums.parts, a->n_out, columns_parts(n_rows), a->n_out);
    }
}
