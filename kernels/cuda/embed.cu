/* Rows of tables, by code or by label, and their gradients. */
#include "kernels/cuda/cuda.h"

/* A code's gradient sums over the rows that have it. The rows are cut into parts; a block walks a
   part in order, a thread a column, with the sums of all codes in shared memory. */
enum {
    EMBED_PARTS_MAX = 128,
    EMBED_AHEAD = 8, /* rows read before the first of them is added */
};

static __global__ void __launch_bounds__(WARP *ROW_WARPS)
    embed_kernel(float *y, const float *w, const uint8_t *codes, int64_t n_rows, int width)
{
    int64_t row = row_of_warp();
    if (row >= n_rows)
        return;
    const float *from = w + (int64_t)codes[row] * width;
    for (int j = (int)threadIdx.x; j < width; j += WARP)
        y[row * width + j] = from[j];
}

static void op_embed(struct backend *be, float *y, const float *w, const uint8_t *codes,
                     int64_t n_rows, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (n_rows == 0)
        return;
    GPU_LAUNCH(embed_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, y, w, codes, n_rows,
               width);
    cuda_launched(cuda, "embed");
}

/* parts (parts, V, width) = the sums of each part of `rows` rows. One warp: the threads never meet
   in a column, so nothing waits. */
static __global__ void __launch_bounds__(WARP)
    embed_parts_kernel(float *parts, const float *dy, const uint8_t *codes, int64_t n_rows,
                       int64_t rows, int width)
{
    GPU_SMEM(float, sums);
    int lane = (int)threadIdx.x, j = (int)blockIdx.y * WARP + lane;
    int64_t row = blockIdx.x * rows, end = row + rows < n_rows ? row + rows : n_rows;
    bool live = j < width;
    for (int c = 0; c < PLAN_CODES; c++)
        sums[c * WARP + lane] = 0.0f;
    for (; row + EMBED_AHEAD <= end; row += EMBED_AHEAD) {
        float v[EMBED_AHEAD];
        int code[EMBED_AHEAD];
#pragma unroll
        for (int i = 0; i < EMBED_AHEAD; i++) {
            v[i] = live ? dy[(row + i) * width + j] : 0.0f;
            code[i] = codes[row + i];
        }
#pragma unroll
        for (int i = 0; i < EMBED_AHEAD; i++)
            sums[code[i] * WARP + lane] += v[i];
    }
    for (; row < end; row++)
        sums[codes[row] * WARP + lane] += live ? dy[row * width + j] : 0.0f;
    float *part = parts + (int64_t)blockIdx.x * PLAN_CODES * width;
    for (int c = 0; c < PLAN_CODES && live; c++)
        part[(int64_t)c * width + j] = sums[c * WARP + lane];
}

static int64_t embed_rows(int64_t n_rows)
{
    return cuda_max(CUDA_GRAD_ROWS,
                    cuda_blocks(cuda_blocks(n_rows, EMBED_PARTS_MAX), EMBED_AHEAD) * EMBED_AHEAD);
}

static size_t embed_backward_workspace(int64_t n_rows, int width)
{
    int64_t n_parts = cuda_min(EMBED_PARTS_MAX, cuda_blocks(n_rows, CUDA_GRAD_ROWS));
    return (size_t)(n_parts * PLAN_CODES * width) * sizeof(float);
}

static void op_embed_backward(struct backend *be, float *dw, const float *dy, const uint8_t *codes,
                              int64_t n_rows, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (n_rows == 0)
        return;
    float *parts = cuda_scratch(cuda, embed_backward_workspace(n_rows, width));
    int64_t rows = embed_rows(n_rows), n_parts = cuda_blocks(n_rows, rows);
    int64_t size = (int64_t)PLAN_CODES * width;
    dim3 grid((unsigned)n_parts, (unsigned)cuda_blocks(width, WARP));
    GPU_LAUNCH(embed_parts_kernel, grid, WARP, PLAN_CODES * WARP * sizeof(float), cuda->stream,
               parts, dy, codes, n_rows, rows, width);
    cuda_launched(cuda, "embed's gradient");
    partials_add(cuda, dw, parts, size, n_parts, size);
}

static __global__ void __launch_bounds__(ENTRY_THREADS)
    codes_slice_kernel(uint8_t *to, const uint8_t *from, struct codes_range range)
{
    for (int64_t i = first_entry(); i < range.n_rows * range.length; i += entry_stride()) {
        int64_t row = i / range.length, at = range.begin + i % range.length;
        to[i] = at < 0 ? range.before : from[row * range.clip + at];
    }
}

static void op_codes_slice(struct backend *be, uint8_t *to, const uint8_t *from,
                           const struct codes_range *range)
{
    struct cuda_backend *cuda = cuda_of(be);
    int64_t n = range->n_rows * range->length;
    if (n == 0)
        return;
    GPU_LAUNCH(codes_slice_kernel, entry_grid(n), ENTRY_THREADS, 0, cuda->stream, to, from, *range);
    cuda_launched(cuda, "codes_slice");
}

/* A warp a row; row m is of stream m / n_time. */
static __global__ void __launch_bounds__(WARP *ROW_WARPS)
    label_add_kernel(float *y, const float *x, const float *table, const int32_t *labels,
                     int64_t n_rows, int64_t n_time, int width)
{
    int64_t row = row_of_warp();
    if (row >= n_rows)
        return;
    int64_t label = labels[row / n_time];
    for (int j = (int)threadIdx.x; j < width; j += WARP) {
        float v = x[row * width + j];
        if (label >= 0)
            v += table[label * width + j];
        y[row * width + j] = v;
    }
}

static void op_label_add(struct backend *be, float *y, const float *x, const float *table,
                         const int32_t *labels, int n_batch, int64_t n_time, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    int64_t n_rows = n_batch * n_time;
    if (n_rows == 0)
        return;
    GPU_LAUNCH(label_add_kernel, row_grid(n_rows), row_block(), 0, cuda->stream, y, x, table,
               labels, n_rows, n_time, width);
    cuda_launched(cuda, "label_add");
}

/* A thread a column: the streams in order, of each the parts in order. */
static __global__ void __launch_bounds__(WARP)
    label_sums_kernel(float *dtable, const float *parts, const int32_t *labels, int n_batch,
                      int64_t n_parts, int width)
{
    int j = (int)(blockIdx.x * WARP + threadIdx.x);
    if (j >= width)
        return;
    for (int64_t b = 0; b < n_batch; b++) {
        int64_t label = labels[b];
        if (label < 0)
            continue;
        float s = 0.0f;
#pragma unroll 8
        for (int64_t k = 0; k < n_parts; k++)
            s += parts[(b * n_parts + k) * width + j];
        dtable[label * width + j] += s;
    }
}

static size_t label_add_backward_workspace(int64_t n_batch, int64_t n_time, int width)
{
    return (size_t)columns_size(n_batch, n_time, width) * sizeof(float);
}

static void op_label_add_backward(struct backend *be, float *dtable, const float *dy,
                                  const int32_t *labels, int n_batch, int64_t n_time, int width)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct columns sums = {};
    if (n_batch * n_time == 0)
        return;
    sums.parts = cuda_scratch(cuda, label_add_backward_workspace(n_batch, n_time, width));
    sums.dy = dy, sums.ld_dy = width;
    sums.n_time = n_time, sums.width = width;
    columns_run(cuda, &sums, n_batch);
    GPU_LAUNCH(label_sums_kernel, (unsigned)cuda_blocks(width, WARP), WARP, 0, cuda->stream, dtable,
               sums.parts, labels, n_batch, columns_parts(n_time), width);
    cuda_launched(cuda, "label_add's gradient");
}
