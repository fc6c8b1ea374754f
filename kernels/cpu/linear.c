/*
 * Matrix products with the weights. Many rows: blocks of a fixed number of rows, each the product
 * with packed weights on one thread (product.c). One tick: a matrix-vector product for each stream.
 */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

enum {
    LINEAR_GRAD_ROWS = 4 * CPU_ROW_BLOCK, /* rows in one partial sum of dw */
    MATVEC_ROWS = 64,                     /* rows of w in a round of the matrix-vector product */
};

/* The addends of entries j .. j+n-1 of a row, n <= 8. */
V_INLINE vf linear_addends(const struct linear_args *a, vf v, int64_t row, int64_t j, int n)
{
    int64_t at = row * a->n_out + j;
    if (n == V_LANES) {
        if (a->bias)
            v += vload(a->bias + j);
        if (a->add0)
            v += vload(a->add0 + at);
        if (a->add1)
            v += vload(a->add1 + at);
        return v;
    }
    if (a->bias)
        v += vload_n(a->bias + j, n);
    if (a->add0)
        v += vload_n(a->add0 + at, n);
    if (a->add1)
        v += vload_n(a->add1 + at, n);
    return v;
}

struct linear_job {
    struct linear_args a;
    const float *panels; /* w^T, packed */
};

/* Blocks are cut inside each stream, so that a stream's result does not depend on B. */
static void linear_round(void *arg, int64_t i, int thread)
{
    const struct linear_job *job = arg;
    const struct linear_args *a = &job->a;
    int64_t n_blocks = blocks_of(a->n_time, CPU_ROW_BLOCK);
    int64_t t0 = i % n_blocks * CPU_ROW_BLOCK;
    int64_t row0 = i / n_blocks * a->n_time + t0;
    int64_t n_rows = min_of(CPU_ROW_BLOCK, a->n_time - t0);
    float *y = a->y + row0 * a->ld_y;
    bool add = a->bias || a->add0 || a->add1;
    for (int64_t r = 0; add && r < n_rows; r++) {
        float *yr = y + r * a->ld_y;
        int j = 0;
        for (; j + V_LANES <= a->n_out; j += V_LANES)
            vstore(yr + j, linear_addends(a, (vf){0}, row0 + r, j, V_LANES));
        int n = a->n_out - j;
        if (n > 0)
            vstore_n(yr + j, linear_addends(a, (vf){0}, row0 + r, j, n), n);
    }
    struct product_rows x = {a->x + row0 * a->ld_x, a->ld_x, 1};
    product(y, a->ld_y, add, &x, job->panels, n_rows, a->n_in, a->n_out);
}

/* The last n_in mod 8 floats of a row; the other lanes are 0. */
V_INLINE vf load_tail(const float *p, int n)
{
#if defined(__AVX2__)
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    __m256i mask = _mm256_loadu_si256((const __m256i *)(const void *)(ones + V_LANES - n));
    return (vf)_mm256_maskload_ps(p, mask);
#else
    return vload_n(p, n);
#endif
}

/* Lane i is the sum of the lanes of v[i]. */
V_INLINE vf sums_of(const vf v[V_LANES])
{
#if defined(__AVX2__)
    __m256 s01 = _mm256_hadd_ps((__m256)v[0], (__m256)v[1]);
    __m256 s23 = _mm256_hadd_ps((__m256)v[2], (__m256)v[3]);
    __m256 s45 = _mm256_hadd_ps((__m256)v[4], (__m256)v[5]);
    __m256 s67 = _mm256_hadd_ps((__m256)v[6], (__m256)v[7]);
    __m256 s0123 = _mm256_hadd_ps(s01, s23), s4567 = _mm256_hadd_ps(s45, s67);
    return (vf)_mm256_add_ps(_mm256_permute2f128_ps(s0123, s4567, 0x20),
                             _mm256_permute2f128_ps(s0123, s4567, 0x31));
#else
    vf s;
    for (int i = 0; i < V_LANES; i++)
        s[i] = vsum(v[i]);
    return s;
#endif
}

/* Eight rows of w times x. At the end of w fewer than eight are left: the last is taken again. */
V_INLINE vf matvec8(const float *w, int64_t rows_left, const float *x, int n_in)
{
    const float *p[V_LANES];
    vf s[V_LANES];
    for (int i = 0; i < V_LANES; i++) {
        p[i] = w + min_of(i, rows_left - 1) * n_in;
        s[i] = (vf){0};
    }
    int k = 0;
    for (; k + V_LANES <= n_in; k += V_LANES) {
        vf xk = vload(x + k);
        for (int i = 0; i < V_LANES; i++)
            s[i] += vload(p[i] + k) * xk;
    }
    if (k < n_in) {
        vf xk = load_tail(x + k, n_in - k);
        for (int i = 0; i < V_LANES; i++)
            s[i] += load_tail(p[i] + k, n_in - k) * xk;
    }
    return sums_of(s);
}

static void matvec_round(void *arg, int64_t i, int thread)
{
    const struct linear_args *a = arg;
    int end = (int)min_of(a->n_out, (i + 1) * MATVEC_ROWS);
    for (int j = (int)i * MATVEC_ROWS; j < end; j += V_LANES) {
        const float *w = a->w + (int64_t)j * a->n_in;
        int left = a->n_out - j;
        for (int b = 0; b < a->n_batch; b++) {
            vf s = matvec8(w, left, a->x + b * a->ld_x, a->n_in);
            float *y = a->y + b * a->ld_y + j;
            if (left >= V_LANES)
                vstore(y, linear_addends(a, s, b, j, V_LANES));
            else
                vstore_n(y, linear_addends(a, s, b, j, left), left);
        }
    }
}

static size_t linear_workspace(int64_t n_in, int64_t n_out)
{
    return (size_t)panels_size(n_in, n_out) * sizeof(float);
}

static void op_linear(struct backend *be, const struct linear_args *a)
{
    struct linear_job job = {.a = *a};
    int64_t per_row = (int64_t)a->n_in * a->n_out;
    if (a->n_time == 1) {
        /* a multiply-add is an eighth of an entry's work */
        run_rounds(be, matvec_round, &job.a, blocks_of(a->n_out, MATVEC_ROWS),
                   a->n_batch * per_row / 8);
        return;
    }
    if (a->n_batch * a->n_time == 0)
        return;
    float *panels = scratch_of(be, linear_workspace(a->n_in, a->n_out));
    pack_panels(panels, a->w, 1, a->n_in, a->n_in, a->n_out);
    job.panels = panels;
    run_rounds(be, linear_round, &job, a->n_batch * blocks_of(a->n_time, CPU_ROW_BLOCK),
               a->n_batch * a->n_time * per_row / 8);
}

struct linear_backward_job {
    struct linear_backward_args a;
    int64_t n_rows, grad_rows;
    int64_t first;                 /* block of round 0 */
    float *panels;                 /* w, packed, for dx */
    float *packed;                 /* (threads, packed_stride): blocks of dy and x, for dw */
    float *parts;                  /* (PARTIALS_MAX, stride): dw, then dbias */
    int64_t packed_stride, stride; /* floats */
};

/* Rows in a partial sum: fewer when there are few, so that there is something to share. */
static int64_t linear_grad_rows(int64_t n_rows)
{
    return n_rows >= 8 * LINEAR_GRAD_ROWS ? LINEAR_GRAD_ROWS : CPU_ROW_BLOCK;
}

/* Cuts the scratch memory; returns its bytes. `scratch` may be NULL: only the size is wanted. */
static size_t linear_backward_cut(struct linear_backward_job *job, float *scratch, int64_t n_rows,
                                  int64_t n_in, int64_t n_out, int n_threads)
{
    int64_t line = ARENA_ALIGN / (int64_t)sizeof(float);
    job->grad_rows = linear_grad_rows(n_rows);
    job->packed_stride =
        blocks_of(product_transposed_size(CPU_ROW_BLOCK, n_out, n_in), line) * line;
    job->stride = blocks_of(n_in * n_out + n_out, line) * line;
    int64_t n_parts = min_of(PARTIALS_MAX, blocks_of(n_rows, job->grad_rows));
    int64_t packed_at = blocks_of(panels_size(n_out, n_in), line) * line;
    int64_t parts_at = packed_at + n_threads * job->packed_stride;
    if (scratch) {
        job->panels = scratch;
        job->packed = scratch + packed_at;
        job->parts = scratch + parts_at;
    }
    return (size_t)(parts_at + n_parts * job->stride) * sizeof(float);
}

/* Enough for n_rows or any fewer: fewer rows can mean more partial sums, of fewer rows each. */
static size_t linear_backward_workspace(int64_t n_rows, int64_t n_in, int64_t n_out, int n_threads)
{
    struct linear_backward_job unused;
    int64_t finest = min_of(n_rows, 8 * LINEAR_GRAD_ROWS - 1);
    size_t all = linear_backward_cut(&unused, NULL, n_rows, n_in, n_out, n_threads);
    size_t fewer = linear_backward_cut(&unused, NULL, finest, n_in, n_out, n_threads);
    return all > fewer ? all : fewer;
}

/* A block of rows, in pieces that stay in cache between the three sums. */
static void linear_backward_round(void *arg, int64_t i, int thread)
{
    const struct linear_backward_job *job = arg;
    const struct linear_backward_args *a = &job->a;
    int64_t begin = (job->first + i) * job->grad_rows;
    int64_t end = min_of(job->n_rows, begin + job->grad_rows);
    float *dw = job->parts + i * job->stride;
    float *dbias = dw + (int64_t)a->n_in * a->n_out;
    if (a->dbias)
        memset(dbias, 0, (size_t)a->n_out * sizeof(float));
    for (int64_t row = begin; row < end; row += CPU_ROW_BLOCK) {
        int64_t n = min_of(CPU_ROW_BLOCK, end - row);
        const float *dy = a->dy + row * a->ld_dy;
        struct product_rows dy_rows = {dy, a->ld_dy, 1};
        if (a->dx)
            product(a->dx + row * a->ld_dx, a->ld_dx, a->add_to_dx, &dy_rows, job->panels, n,
                    a->n_out, a->n_in);
        if (a->dw)
            product_transposed(dw, row > begin, dy, a->ld_dy, a->x + row * a->ld_x, a->ld_x, n,
                               a->n_out, a->n_in, job->packed + thread * job->packed_stride);
        for (int64_t r = 0; a->dbias && r < n; r++)
            for (int j = 0; j < a->n_out; j++)
                dbias[j] += dy[r * a->ld_dy + j];
    }
}

static void op_linear_backward(struct backend *be, const struct linear_backward_args *a)
{
    int64_t n_rows = a->n_batch * a->n_time;
    int64_t matrix = (int64_t)a->n_in * a->n_out;
    int n_threads = pool_n_threads(cpu_of(be)->pool);
    struct linear_backward_job job = {.a = *a, .n_rows = n_rows};
    if (n_rows == 0)
        return;
    float *scratch =
        scratch_of(be, linear_backward_cut(&job, NULL, n_rows, a->n_in, a->n_out, n_threads));
    linear_backward_cut(&job, scratch, n_rows, a->n_in, a->n_out, n_threads);
    if (a->dx)
        pack_panels(job.panels, a->w, a->n_in, 1, a->n_out, a->n_in);
    int64_t n_blocks = blocks_of(n_rows, job.grad_rows);
    for (; job.first < n_blocks; job.first += PARTIALS_MAX) {
        int n = (int)min_of(PARTIALS_MAX, n_blocks - job.first);
        run_rounds(be, linear_backward_round, &job, n, n * job.grad_rows * matrix / 8);
        if (a->dw)
            partials_add(be, a->dw, job.parts, job.stride, n, matrix);
        if (a->dbias)
            partials_add(be, a->dbias, job.parts + matrix, job.stride, n, a->n_out);
    }
}
