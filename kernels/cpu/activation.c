/* GELU, GLU and addition. Entries at the end of a row or an array go through the same arithmetic as
   the others, so no result depends on where in a batch it stands. */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

/* erf x within 2 ulp: an odd polynomial near 0, 1 - exp(polynomial) further out; both fitted by
   N. Juffa (public domain). */
V_INLINE vf verf(vf x)
{
    vu sign = (vu)x & 0x80000000u;
    vf t = (vf)((vu)x ^ sign), s = x * x;
    vf p = s * -5.96761703e-4f + 4.99119423e-3f;
    p = p * s - 2.67681349e-2f;
    p = p * s + 1.12819925e-1f;
    p = p * s - 3.76125336e-1f;
    p = p * s + 1.28379166e-1f;
    vf near = p * x + x;
    vf q = t * -1.72853470e-5f + 3.83197126e-4f;
    vf u = t * -3.88396438e-3f + 2.42546219e-2f;
    q = q * s + u;
    q = q * t - 1.06777877e-1f;
    q = q * t - 6.34846687e-1f;
    q = q * t - 1.28717512e-1f;
    q = q * t - t;
    vf far = (vf)((vu)(1.0f - vexp(q)) | sign);
    return vselect(t > 4.0f, (vf)((vu)vset(1.0f) | sign), vselect(t > 0.927734375f, far, near));
}

#define SQRT_HALF 0.707106781f
#define INV_SQRT_2PI 0.398942280f

V_INLINE vf vgelu(vf x)
{
    vf half = 0.5f * x;
    return half + half * verf(x * SQRT_HALF);
}

V_INLINE vf vgelu_slope(vf x)
{
    return 0.5f + 0.5f * verf(x * SQRT_HALF) + x * INV_SQRT_2PI * vexp(-0.5f * x * x);
}

struct entries_job {
    float *y;
    const float *x, *dy;
    int64_t n;
};

static void gelu_round(void *arg, int64_t i, int thread)
{
    const struct entries_job *job = arg;
    int64_t end = min_of(job->n, (i + 1) * ENTRY_BLOCK), j = i * ENTRY_BLOCK;
    for (; j + V_LANES <= end; j += V_LANES)
        vstore(job->y + j, vgelu(vload(job->x + j)));
    if (j < end)
        vstore_n(job->y + j, vgelu(vload_n(job->x + j, (int)(end - j))), (int)(end - j));
}

static void op_gelu(struct backend *be, float *y, const float *x, int64_t n)
{
    struct entries_job job = {y, x, NULL, n};
    run_rounds(be, gelu_round, &job, blocks_of(n, ENTRY_BLOCK), n);
}

static void gelu_backward_round(void *arg, int64_t i, int thread)
{
    const struct entries_job *job = arg;
    int64_t end = min_of(job->n, (i + 1) * ENTRY_BLOCK), j = i * ENTRY_BLOCK;
    for (; j + V_LANES <= end; j += V_LANES)
        vstore(job->y + j, vload(job->dy + j) * vgelu_slope(vload(job->x + j)));
    if (j < end) {
        int n = (int)(end - j);
        vstore_n(job->y + j, vload_n(job->dy + j, n) * vgelu_slope(vload_n(job->x + j, n)), n);
    }
}

static void op_gelu_backward(struct backend *be, float *dx, const float *dy, const float *x,
                             int64_t n)
{
    struct entries_job job = {dx, x, dy, n};
    run_rounds(be, gelu_backward_round, &job, blocks_of(n, ENTRY_BLOCK), n);
}

static void add_round(void *arg, int64_t i, int thread)
{
    const struct entries_job *job = arg;
    int64_t end = min_of(job->n, (i + 1) * ENTRY_BLOCK);
    for (int64_t j = i * ENTRY_BLOCK; j < end; j++)
        job->y[j] += job->x[j];
}

static void op_add(struct backend *be, float *y, const float *x, int64_t n)
{
    struct entries_job job = {y, x, NULL, n};
    run_rounds(be, add_round, &job, blocks_of(n, ENTRY_BLOCK), n);
}

struct glu_job {
    float *y; /* forward: y; backward: dx */
    const float *x, *dy, *add0, *add1;
    int64_t n_rows;
    int width;
};

/* Entries j .. j+n-1 of a row; n is 8 but at its end. */
V_INLINE void glu_piece(const struct glu_job *job, int64_t row, int j, int n)
{
    const float *a = job->x + row * 2 * job->width + j, *g = a + job->width;
    int64_t at = row * job->width + j;
    vf y = vload_n(a, n) * vsigmoid(vload_n(g, n));
    if (job->add0)
        y += vload_n(job->add0 + at, n);
    if (job->add1)
        y += vload_n(job->add1 + at, n);
    vstore_n(job->y + at, y, n);
}

static void glu_round(void *arg, int64_t i, int thread)
{
    const struct glu_job *job = arg;
    int64_t end = min_of(job->n_rows, (i + 1) * CPU_ROW_BLOCK);
    for (int64_t row = i * CPU_ROW_BLOCK; row < end; row++) {
        int j = 0;
        for (; j + V_LANES <= job->width; j += V_LANES)
            glu_piece(job, row, j, V_LANES);
        if (j < job->width)
            glu_piece(job, row, j, job->width - j);
    }
}

static void op_glu(struct backend *be, float *y, const float *x, const float *add0,
                   const float *add1, int64_t n_rows, int width)
{
    struct glu_job job = {y, x, NULL, add0, add1, n_rows, width};
    run_rounds(be, glu_round, &job, blocks_of(n_rows, CPU_ROW_BLOCK), n_rows * width);
}

V_INLINE void glu_backward_piece(const struct glu_job *job, int64_t row, int j, int n)
{
    int64_t at = row * 2 * job->width + j;
    vf dy = vload_n(job->dy + row * job->width + j, n);
    vf a = vload_n(job->x + at, n), s = vsigmoid(vload_n(job->x + at + job->width, n));
    vstore_n(job->y + at, dy * s, n);
    vstore_n(job->y + at + job->width, dy * a * s * (1.0f - s), n);
}

static void glu_backward_round(void *arg, int64_t i, int thread)
{
    const struct glu_job *job = arg;
    int64_t end = min_of(job->n_rows, (i + 1) * CPU_ROW_BLOCK);
    for (int64_t row = i * CPU_ROW_BLOCK; row < end; row++) {
        int j = 0;
        for (; j + V_LANES <= job->width; j += V_LANES)
            glu_backward_piece(job, row, j, V_LANES);
        if (j < job->width)
            glu_backward_piece(job, row, j, job->width - j);
    }
}

static void op_glu_backward(struct backend *be, float *dx, const float *dy, const float *x,
                            int64_t n_rows, int width)
{
    struct glu_job job = {dx, x, dy, NULL, NULL, n_rows, width};
    run_rounds(be, glu_backward_round, &job, blocks_of(n_rows, CPU_ROW_BLOCK), n_rows * width);
}
