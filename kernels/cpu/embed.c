/* Rows of tables, by code or by label, and their gradients. */
#include "kernels/cpu/rounds.h"

#include <string.h>

/* A gradient is summed by slices of columns: each slice sees the rows in order, and no two threads
   meet in a row of the table. */
enum { TABLE_SLICE = 16 };

struct table_job {
    float *out;
    const float *in, *table;
    const uint8_t *codes;
    const int32_t *labels;
    int64_t n_rows; /* of a stream, where there are labels */
    int n_batch, width;
};

static void embed_round(void *arg, int64_t i, int thread)
{
    const struct table_job *job = arg;
    size_t bytes = (size_t)job->width * sizeof(float);
    int64_t end = min_of(job->n_rows, (i + 1) * CPU_ROW_BLOCK);
    for (int64_t m = i * CPU_ROW_BLOCK; m < end; m++)
        memcpy(job->out + m * job->width, job->table + (int64_t)job->codes[m] * job->width, bytes);
}

static void op_embed(struct backend *be, float *y, const float *w, const uint8_t *codes,
                     int64_t n_rows, int width)
{
    struct table_job job = {.out = y, .table = w, .codes = codes, .n_rows = n_rows, .width = width};
    run_rounds(be, embed_round, &job, blocks_of(n_rows, CPU_ROW_BLOCK), n_rows * width);
}

/* Sums of CPU_GRAD_BLOCK rows first, so that a code heard a million times loses no more digits
   than a rare one. */
static void embed_backward_round(void *arg, int64_t i, int thread)
{
    const struct table_job *job = arg;
    int64_t column = i * TABLE_SLICE;
    int n = (int)min_of(TABLE_SLICE, job->width - column);
    float sums[PLAN_CODES][TABLE_SLICE];
    for (int64_t begin = 0; begin < job->n_rows; begin += CPU_GRAD_BLOCK) {
        int64_t end = min_of(job->n_rows, begin + CPU_GRAD_BLOCK);
        memset(sums, 0, sizeof sums);
        for (int64_t m = begin; m < end; m++) {
            const float *dy = job->in + m * job->width + column;
            float *sum = sums[job->codes[m]];
            if (n == TABLE_SLICE) {
                for (int j = 0; j < TABLE_SLICE; j++)
                    sum[j] += dy[j];
            } else {
                for (int j = 0; j < n; j++)
                    sum[j] += dy[j];
            }
        }
        for (int c = 0; c < PLAN_CODES; c++)
            for (int j = 0; j < n; j++)
                job->out[(int64_t)c * job->width + column + j] += sums[c][j];
    }
}

static void op_embed_backward(struct backend *be, float *dw, const float *dy, const uint8_t *codes,
                              int64_t n_rows, int width)
{
    struct table_job job = {.out = dw, .in = dy, .codes = codes, .n_rows = n_rows, .width = width};
    run_rounds(be, embed_backward_round, &job, blocks_of(width, TABLE_SLICE), n_rows * width);
}

static void op_codes_slice(struct backend *be, uint8_t *to, const uint8_t *from,
                           const struct codes_range *range)
{
    const int64_t first = range->begin < 0 ? 0 : range->begin, gap = first - range->begin;
    for (int64_t i = 0; i < range->n_rows; i++, to += range->length) {
        memset(to, range->before, (size_t)gap);
        memcpy(to + gap, from + i * range->clip + first, (size_t)(range->length - gap));
    }
}

static void label_add_round(void *arg, int64_t i, int thread)
{
    const struct table_job *job = arg;
    int64_t n_blocks = blocks_of(job->n_rows, CPU_ROW_BLOCK);
    int64_t b = i / n_blocks, width = job->width, t = i % n_blocks * CPU_ROW_BLOCK;
    int64_t n = min_of(CPU_ROW_BLOCK, job->n_rows - t);
    float *y = job->out + (b * job->n_rows + t) * width;
    const float *x = job->in + (b * job->n_rows + t) * width;
    if (job->labels[b] < 0) {
        if (y != x)
            memcpy(y, x, (size_t)(n * width) * sizeof(float));
        return;
    }
    const float *row = job->table + job->labels[b] * width;
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < width; j++)
            y[r * width + j] = x[r * width + j] + row[j];
}

static void op_label_add(struct backend *be, float *y, const float *x, const float *table,
                         const int32_t *labels, int n_batch, int64_t n_time, int width)
{
    struct table_job job = {.out = y,
                            .in = x,
                            .table = table,
                            .labels = labels,
                            .n_rows = n_time,
                            .n_batch = n_batch,
                            .width = width};
    run_rounds(be, label_add_round, &job, n_batch * blocks_of(n_time, CPU_ROW_BLOCK),
               n_batch * n_time * width);
}

static void label_add_backward_round(void *arg, int64_t i, int thread)
{
    const struct table_job *job = arg;
    int64_t column = i * TABLE_SLICE;
    int n = (int)min_of(TABLE_SLICE, job->width - column);
    for (int b = 0; b < job->n_batch; b++) {
        if (job->labels[b] < 0)
            continue;
        float *dtable = job->out + (int64_t)job->labels[b] * job->width + column;
        for (int64_t begin = 0; begin < job->n_rows; begin += CPU_ROW_BLOCK) {
            int64_t end = min_of(job->n_rows, begin + CPU_ROW_BLOCK);
            float sum[TABLE_SLICE] = {0};
            for (int64_t t = begin; t < end; t++) {
                const float *dy = job->in + (b * job->n_rows + t) * job->width + column;
                for (int j = 0; j < n; j++)
                    sum[j] += dy[j];
            }
            for (int j = 0; j < n; j++)
                dtable[j] += sum[j];
        }
    }
}

static void op_label_add_backward(struct backend *be, float *dtable, const float *dy,
                                  const int32_t *labels, int n_batch, int64_t n_time, int width)
{
    struct table_job job = {.out = dtable,
                            .in = dy,
                            .labels = labels,
                            .n_rows = n_time,
                            .n_batch = n_batch,
                            .width = width};
    run_rounds(be, label_add_backward_round, &job, blocks_of(width, TABLE_SLICE),
               n_batch * n_time * width);
}
