/* The norm of the gradient and AdamW. */
#include "kernels/cpu/rounds.h"

#include <math.h>

enum {
    SQUARES_BLOCK = 1 << 14, /* entries of one partial sum */
    SQUARES_WAVE = 256,      /* partial sums at once */
    SQUARES_LANES = 16,
};

struct squares_job {
    double sums[SQUARES_WAVE];
    const float *x;
    int64_t n;
};

static void squares_round(void *arg, int64_t i, int thread)
{
    struct squares_job *job = arg;
    const float *x = job->x + i * SQUARES_BLOCK;
    int64_t n = min_of(SQUARES_BLOCK, job->n - i * SQUARES_BLOCK), j = 0;
    double lanes[SQUARES_LANES] = {0};
    for (; j + SQUARES_LANES <= n; j += SQUARES_LANES)
        for (int k = 0; k < SQUARES_LANES; k++)
            lanes[k] += (double)x[j + k] * x[j + k];
    for (int k = 0; j + k < n; k++)
        lanes[k] += (double)x[j + k] * x[j + k];
    double sum = 0;
    for (int k = 0; k < SQUARES_LANES; k++)
        sum += lanes[k];
    job->sums[i] = sum;
}

static void op_sum_squares(struct backend *be, double *sum, const float *x, int64_t n)
{
    const int64_t wave = (int64_t)SQUARES_WAVE * SQUARES_BLOCK;
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += wave) {
        struct squares_job job;
        job.x = x + begin;
        job.n = min_of(wave, n - begin);
        int64_t n_blocks = blocks_of(job.n, SQUARES_BLOCK);
        run_rounds(be, squares_round, &job, n_blocks, job.n);
        for (int64_t i = 0; i < n_blocks; i++)
            total += job.sums[i];
    }
    *sum = total;
}

/* In order: it is read once, and few entries are. */
static void op_sum_add(struct backend *be, double *sum, const float *x, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++)
        total += (double)x[i];
    *sum += total;
}

struct adamw_job {
    const struct adamw_args *a;
    float scale;                    /* of the gradient */
    float correction1, correction2; /* 1/(1 - beta1^step), 1/sqrt(1 - beta2^step) */
};

/* Round i is the i-th block of all ranges in a row. */
static void adamw_round(void *arg, int64_t i, int thread)
{
    const struct adamw_job *job = arg;
    const struct adamw_args *a = job->a;
    const struct weight_range *range = a->ranges;
    while (i >= blocks_of(range->size, ENTRY_BLOCK))
        i -= blocks_of(range++->size, ENTRY_BLOCK);
    int64_t first = range->offset + i * ENTRY_BLOCK;
    int64_t n = min_of(ENTRY_BLOCK, range->size - i * ENTRY_BLOCK);
    float *restrict w = a->w + first, *restrict m = a->m + first, *restrict v = a->v + first;
    const float *restrict g = a->g + first;
    float beta1 = a->beta1, beta2 = a->beta2, eps = a->eps, scale = job->scale;
    float keep = 1.0f - range->lr * range->decay, rate = range->lr * job->correction1;
    float correction2 = job->correction2;
    for (int64_t j = 0; j < n; j++) {
        float gj = g[j] * scale;
        m[j] = beta1 * m[j] + (1.0f - beta1) * gj;
        v[j] = beta2 * v[j] + (1.0f - beta2) * gj * gj;
        w[j] = w[j] * keep - rate * m[j] / (sqrtf(v[j]) * correction2 + eps);
    }
    if (!a->average)
        return;
    float *restrict average = a->average + first;
    float pull = 1.0f - a->average_decay;
    for (int64_t j = 0; j < n; j++)
        average[j] += pull * (w[j] - average[j]);
}

static void op_adamw(struct backend *be, const struct adamw_args *a)
{
    double norm = sqrt(*a->grad_norm_sq);
    if (!isfinite(norm) || (a->loss && !isfinite(*a->loss)))
        return;
    struct adamw_job job = {
        .a = a,
        .scale = a->clip > 0 && norm > a->clip ? (float)(a->clip / norm) : 1.0f,
        .correction1 = (float)(1 / (1 - pow(a->beta1, (double)a->step))),
        .correction2 = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->step))),
    };
    int64_t n_blocks = 0, n = 0;
    for (int i = 0; i < a->n_ranges; i++) {
        n_blocks += blocks_of(a->ranges[i].size, ENTRY_BLOCK);
        n += a->ranges[i].size;
    }
    run_rounds(be, adamw_round, &job, n_blocks, n);
}
