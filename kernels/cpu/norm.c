/* RMSNorm and its gradient. */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

#include <math.h>

enum { NORM_GRAD_ROWS = 512 }; /* rows in one partial sum of dw */

static void norm_round(void *arg, int64_t i, int thread)
{
    const struct norm_args *job = arg;
    int width = job->width, whole = width / V_LANES * V_LANES, rest = width - whole;
    int64_t end = min_of(job->n_rows, (i + 1) * CPU_ROW_BLOCK);
    for (int64_t row = i * CPU_ROW_BLOCK; row < end; row++) {
        const float *x = job->x + row * width, *w = job->w;
        float *y = job->y + row * width;
        vf s = {0};
        for (int j = 0; j < whole; j += V_LANES)
            s += vload(x + j) * vload(x + j);
        if (rest) {
            vf last = vload_n(x + whole, rest);
            s += last * last;
        }
        float r = 1.0f / sqrtf(vsum(s) / (float)width + job->eps);
        for (int j = 0; j < whole; j += V_LANES)
            vstore(y + j, vload(x + j) * r * vload(w + j));
        if (rest)
            vstore_n(y + whole, vload_n(x + whole, rest) * r * vload_n(w + whole, rest), rest);
        if (job->r)
            job->r[row] = r;
    }
}

static void op_rmsnorm(struct backend *be, const struct norm_args *a)
{
    struct norm_args job = *a;
    run_rounds(be, norm_round, &job, blocks_of(a->n_rows, CPU_ROW_BLOCK), a->n_rows * a->width);
}

struct norm_backward_job {
    struct norm_backward_args a;
    float *parts; /* (PARTIALS_MAX, stride) of dw */
    int64_t stride;
    int64_t first; /* block of round 0 */
};

static int64_t norm_part_stride(int width)
{
    return (width + 15) / 16 * 16;
}

static size_t norm_backward_workspace(int64_t n_rows, int width)
{
    int64_t n_parts = min_of(PARTIALS_MAX, blocks_of(n_rows, NORM_GRAD_ROWS));
    return (size_t)(n_parts * norm_part_stride(width)) * sizeof(float);
}

/* The n (V_LANES or fewer) entries of d, with what is to be added to them, to dx + at. */
static void norm_store(const struct norm_backward_args *a, int64_t at, vf d, int n)
{
    if (n == V_LANES) {
        d += a->add0 ? vload(a->add0 + at) : (vf){0};
        d += a->add1 ? vload(a->add1 + at) : (vf){0};
        vstore(a->dx + at, d);
    } else {
        d += a->add0 ? vload_n(a->add0 + at, n) : (vf){0};
        d += a->add1 ? vload_n(a->add1 + at, n) : (vf){0};
        vstore_n(a->dx + at, d, n);
    }
}

/* With x' = x r: dx = r (dy w - x' mean(dy w x')), dw = sum dy x'. */
static void norm_backward_round(void *arg, int64_t i, int thread)
{
    const struct norm_backward_job *job = arg;
    const struct norm_backward_args *a = &job->a;
    const float *w = a->w;
    int width = a->width, whole = width / V_LANES * V_LANES, rest = width - whole;
    float *dw = job->parts + i * job->stride;
    memset(dw, 0, (size_t)width * sizeof(float));
    int64_t begin = (job->first + i) * NORM_GRAD_ROWS;
    int64_t end = min_of(a->n_rows, begin + NORM_GRAD_ROWS);
    for (int64_t row = begin; row < end; row++) {
        const float *x = a->x + row * width, *dy = a->dy + row * width;
        float r = a->r[row];
        vf s = {0};
        for (int j = 0; j < whole; j += V_LANES) {
            vf dyx = vload(dy + j) * vload(x + j);
            s += dyx * vload(w + j);
            vstore(dw + j, vload(dw + j) + dyx * r);
        }
        if (rest) {
            vf dyx = vload_n(dy + whole, rest) * vload_n(x + whole, rest);
            s += dyx * vload_n(w + whole, rest);
            vstore_n(dw + whole, vload_n(dw + whole, rest) + dyx * r, rest);
        }
        float c = vsum(s) * r * r / (float)width;
        for (int j = 0; j < whole; j += V_LANES)
            norm_store(a, row * width + j, (vload(dy + j) * vload(w + j) - vload(x + j) * c) * r,
                       V_LANES);
        if (rest) {
            vf d =
                vload_n(dy + whole, rest) * vload_n(w + whole, rest) - vload_n(x + whole, rest) * c;
            norm_store(a, row * width + whole, d * r, rest);
        }
    }
}

static void op_rmsnorm_backward(struct backend *be, const struct norm_backward_args *a)
{
    struct norm_backward_job job = {
        .a = *a,
        .parts = scratch_of(be, norm_backward_workspace(a->n_rows, a->width)),
        .stride = norm_part_stride(a->width),
    };
    int64_t n_blocks = blocks_of(a->n_rows, NORM_GRAD_ROWS);
    for (; job.first < n_blocks; job.first += PARTIALS_MAX) {
        int n = (int)min_of(PARTIALS_MAX, n_blocks - job.first);
        run_rounds(be, norm_backward_round, &job, n, (int64_t)n * NORM_GRAD_ROWS * a->width);
        partials_add(be, a->dw, job.parts, job.stride, n, a->width);
    }
}
