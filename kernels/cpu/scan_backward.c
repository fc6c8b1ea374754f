/*
 * The backward scan. Time is cut into segments, the last first; in a segment a round is one stream's
 * group of channels, which walks its chunks from the last: states and decays of the chunk are made
 * again from the entering state, then the gradients march back over them.
 *
 * dB and dC are sums over channels. The first group of channels writes them to dbc, every other to
 * a partial sum of its own, and a second loop adds these in order; segments keep the partial sums
 * short. Gradients of coefficients are summed a chunk, then a stream, then over streams.
 *
 * With G the gradient of h_t and g = conj(a_t) G its share for h_(t-1), for a = exp(dt A):
 *   dC = dy conj(h_t), dB = G dt u, du = Re(G conj(B)) dt + D dy,
 *   ddt = Re(G conj(B)) u + Re(g conj(h_(t-1)) conj(A)), dA = sum_t dt g conj(h_(t-1));
 * complex state: 2 dy in place of dy, except in D's terms.
 */
#include "kernels/cpu/scan.h"

enum { SCAN_SEGMENT_ROWS = 8192 }; /* streams times ticks of a segment, about */

static const float SCAN_LN2 = 0.693147181f;
static const float SCAN_QUARTER = 1.57079633f; /* radians */

struct scan_backward_job {
    const struct scan_backward_args *a;
    int n_groups;
    int64_t segment;  /* ticks */
    int64_t t0, t1;   /* the segment at work */
    float *threads;   /* scratch of each thread */
    int64_t thread_size;
    float *sums;      /* (B, tiles, coef rows + 2) tiles: dcoef, dD, ddt_bias of each stream */
    float *partial;   /* (groups - 1, B, segment, 2 rows) */
};

/* A thread's scratch, one allocation. */
struct scan_space {
    float *h, *decay; /* states and decays of a chunk */
    float *g;         /* carried gradient of the state, a tile each */
    float *sum;       /* dcoef of the chunk */
};

static int64_t scan_segment(int n_batch, int64_t n_time)
{
    int64_t chunks = SCAN_SEGMENT_ROWS / CPU_SCAN_CHUNK / n_batch;
    return min_of(n_time, (chunks > 0 ? chunks : 1) * CPU_SCAN_CHUNK);
}

/* Streams times ticks of a segment at most; a smaller batch never has more. */
static int64_t scan_segment_rows(int n_batch, int64_t n_time)
{
    int64_t rows = n_batch * (int64_t)CPU_SCAN_CHUNK;
    return min_of(n_batch * n_time, rows > SCAN_SEGMENT_ROWS ? rows : SCAN_SEGMENT_ROWS);
}

static int64_t scan_thread_floats(int rows, int coef_rows)
{
    return ((int64_t)rows * (2 * CPU_SCAN_CHUNK + 1 + SCAN_TILES) + coef_rows) * V_LANES;
}

static int64_t scan_sums_floats(int n_batch, int inner, int coef_rows)
{
    return n_batch * blocks_of(inner, V_LANES) * (coef_rows + 2) * V_LANES;
}

static size_t scan_backward_workspace(const struct layer *layer, int n_batch, int64_t n_time,
                                      int n_threads)
{
    const bool selective = layer->mixer == MIXER_SELECTIVE;
    const int rows = scan_state_rows(layer->complex_state, layer->n_state);
    const int coef_rows = scan_coef_rows(selective, layer->complex_state, layer->n_state);
    int64_t floats = n_threads * scan_thread_floats(rows, coef_rows) +
                     scan_sums_floats(n_batch, layer->inner, coef_rows);
    if (selective)
        floats += (blocks_of(layer->inner, CPU_CHANNEL_GROUP) - 1) *
                  scan_segment_rows(n_batch, n_time) * 2 * rows;
    return n_time > 0 ? (size_t)floats * sizeof(float) : 0;
}

/* Sets or adds `count` sums of lanes to a row of dbc. */
V_INLINE void scan_add_row(float *row, const vf lanes[8], int count, bool add)
{
    vf sum = vsum_rows(lanes);
    if (count == V_LANES)
        vstore(row, add ? vload(row) + sum : sum);
    else
        vstore_n(row, add ? vload_n(row, count) + sum : sum, count);
}

V_INLINE void scan_accumulate(float *sum, vf v)
{
    vstore(sum, vload(sum) + v);
}

/* Sums over the states of one tick. */
struct scan_tick {
    vf input; /* Re(G conj(B)) */
    vf pole;  /* Re(g conj(h) conj(A)), in units of coef's rows */
    vf turn;  /* its imaginary part's share */
};

/* `count` states from n on, at one tick. h: the state before the tick, h_now: after. */
V_INLINE void scan_reverse_real(struct scan_kind k, struct scan_tick *tick, float *g, float *sum,
                                float *drow, bool add, const float *h, const float *h_now,
                                const float *decay, const float *coef, const float *bc, vf q,
                                vf dt, vf in, int n, int count)
{
    vf db[8] = {{0}}, dc[8] = {{0}};
#pragma GCC unroll 8
    for (int j = 0; j < count; j++) {
        const int at = (n + j) * V_LANES;
        const float *row = coef + scan_coef_step(k.selective, false) * at;
        float *sums = sum + scan_coef_step(k.selective, false) * at;
        vf now = vload(h_now + at), before = vload(h + at);
        vf gradient = vload(g + at);
        if (k.selective) {
            gradient += q * bc[k.n_state + n + j];
            dc[j] = q * now;
            db[j] = gradient * in;
            tick->input += gradient * bc[n + j];
            vf back = gradient * vload(decay + at);
            vf w = back * before;
            tick->pole += w * vload(row);
            scan_accumulate(sums, w * dt);
            vstore(g + at, back);
        } else {
            gradient += q * vload(row + 2 * V_LANES);
            tick->input += gradient * vload(row + V_LANES);
            scan_accumulate(sums, gradient * before);
            scan_accumulate(sums + V_LANES, gradient * in);
            scan_accumulate(sums + 2 * V_LANES, q * now);
            vstore(g + at, gradient * vload(row));
        }
    }
    if (k.selective) {
        scan_add_row(drow + n, db, count, add);
        scan_add_row(drow + k.n_state + n, dc, count, add);
    }
}

V_INLINE void scan_reverse_complex(struct scan_kind k, struct scan_tick *tick, float *g,
                                   float *sum, float *drow, bool add, const float *h,
                                   const float *h_now, const float *decay, const float *coef,
                                   const float *bc, vf q, vf dt, vf in, int n, int count)
{
    vf dbr[8] = {{0}}, dbi[8] = {{0}}, dcr[8] = {{0}}, dci[8] = {{0}};
    const int n_state = k.n_state;
    q = 2.0f * q;
    for (int j = 0; j < count; j++) {
        const int at = (n + j) * 2 * V_LANES;
        const float *row = coef + scan_coef_step(k.selective, false) * at;
        float *sums = sum + scan_coef_step(k.selective, false) * at;
        vf nr = vload(h_now + at), ni = vload(h_now + at + V_LANES);
        vf hr = vload(h + at), hi = vload(h + at + V_LANES);
        vf gr = vload(g + at), gi = vload(g + at + V_LANES);
        vf ar, ai;
        if (k.selective) {
            gr += q * bc[2 * n_state + n + j];
            gi -= q * bc[3 * n_state + n + j];
            dcr[j] = q * nr;
            dci[j] = -q * ni;
            dbr[j] = gr * in;
            dbi[j] = gi * in;
            tick->input += gr * bc[n + j] + gi * bc[n_state + n + j];
            ar = vload(decay + at);
            ai = vload(decay + at + V_LANES);
        } else {
            gr += q * vload(row + 4 * V_LANES);
            gi -= q * vload(row + 5 * V_LANES);
            tick->input += gr * vload(row + 2 * V_LANES) + gi * vload(row + 3 * V_LANES);
            scan_accumulate(sums, gr * hr + gi * hi);
            scan_accumulate(sums + V_LANES, gi * hr - gr * hi);
            scan_accumulate(sums + 2 * V_LANES, gr * in);
            scan_accumulate(sums + 3 * V_LANES, gi * in);
            scan_accumulate(sums + 4 * V_LANES, q * nr);
            scan_accumulate(sums + 5 * V_LANES, -q * ni);
            ar = vload(row);
            ai = vload(row + V_LANES);
        }
        vf br = ar * gr + ai * gi, bi = ar * gi - ai * gr;
        vstore(g + at, br);
        vstore(g + at + V_LANES, bi);
        if (k.selective) {
            vf wr = br * hr + bi * hi, wi = bi * hr - br * hi;
            tick->pole += wr * vload(row);
            tick->turn += wi * vload(row + V_LANES);
            scan_accumulate(sums, wr * dt);
            scan_accumulate(sums + V_LANES, wi * dt);
        }
    }
    if (k.selective) {
        scan_add_row(drow + n, dbr, count, add);
        scan_add_row(drow + n_state + n, dbi, count, add);
        scan_add_row(drow + 2 * n_state + n, dcr, count, add);
        scan_add_row(drow + 3 * n_state + n, dci, count, add);
    }
}

V_INLINE void scan_reverse(struct scan_kind k, struct scan_tick *tick, float *g, float *sum,
                           float *drow, bool add, const float *h, const float *h_now,
                           const float *decay, const float *coef, const float *bc, vf q, vf dt,
                           vf in, int n, int count)
{
    if (k.is_complex)
        scan_reverse_complex(k, tick, g, sum, drow, add, h, h_now, decay, coef, bc, q, dt, in, n,
                             count);
    else
        scan_reverse_real(k, tick, g, sum, drow, add, h, h_now, decay, coef, bc, q, dt, in, n,
                          count);
}

/* One tile of one chunk. drow: where its ticks' dB and dC go (row distance ld_drow). */
V_INLINE void scan_backward_tile(struct scan_kind k, const struct scan_backward_args *a,
                                 struct scan_space s, float *sums, float *g, float *drow,
                                 int64_t ld_drow, bool add, int b, int64_t t0, int n_time, int e)
{
    enum { SIZE = CPU_SCAN_CHUNK * V_LANES };
    _Alignas(32) float u[SIZE], raw[SIZE], dt[SIZE], y[SIZE], dy[SIZE], z[SIZE];
    const struct scan_args *f = &a->forward;
    const int lanes = tile_lanes(f->inner, e);
    const int state = scan_state_rows(k.is_complex, k.n_state) * V_LANES;
    const int coef_rows = scan_coef_rows(k.selective, k.is_complex, k.n_state);
    const int64_t row = b * f->n_time + t0, at = row * f->inner + e;
    const float *coef = f->coef + (int64_t)e * coef_rows;
    const float *bc = k.selective ? f->bc + row * f->ld_bc : NULL;
    const vf d = vload_n(f->d + e, lanes);

    tile_load(u, f->u + at, f->inner, n_time, lanes);
    tile_load(dy, a->dy + at, f->inner, n_time, lanes);
    if (k.selective) {
        vf bias = vload_n(f->dt_bias + e, lanes);
        tile_load(raw, f->dt_raw + at, f->inner, n_time, lanes);
        for (int i = 0; i < n_time * V_LANES; i += V_LANES) {
            vf r = vload(raw + i) + bias;
            vstore(raw + i, r);
            vstore(dt + i, vsoftplus(r));
        }
    }
    tile_load(s.h, f->entering + scan_entering_at(f, b, t0 / CPU_SCAN_CHUNK, e), lanes,
              state / V_LANES, lanes);
    scan_march(k, true, y, s.h, s.decay, u, dt, bc, f->ld_bc, coef, d, n_time);
    if (f->z) {
        tile_load(z, f->z + row * f->ld_z + e, f->ld_z, n_time, lanes);
        for (int i = 0; i < n_time * V_LANES; i += V_LANES) {
            vf x = vload(z + i), sigmoid = vsigmoid(x), out = vload(dy + i);
            vstore(z + i, out * vload(y + i) * vsilu_slope(x, sigmoid));
            vstore(dy + i, out * x * sigmoid);
        }
        tile_store(a->dz + row * a->ld_dz + e, a->ld_dz, z, n_time, lanes);
    }

    vf dd = {0}, dbias = {0};
    memset(s.sum, 0, (size_t)coef_rows * V_LANES * sizeof(float));
    for (int t = n_time - 1; t >= 0; t--) {
        const float *h = s.h + t * state, *decay = k.selective ? s.decay + t * state : NULL;
        const float *bc_row = k.selective ? bc + t * f->ld_bc : NULL;
        float *out = k.selective ? drow + t * ld_drow : NULL;
        vf x = vload(u + t * V_LANES), q = vload(dy + t * V_LANES), delta = {0}, in = x;
        if (k.selective) {
            delta = vload(dt + t * V_LANES);
            in = delta * x;
        }
        struct scan_tick tick = {{0}};
        int n = 0;
        for (; n + V_LANES <= k.n_state; n += V_LANES)
            scan_reverse(k, &tick, g, s.sum, out, add, h, h + state, decay, coef, bc_row, q,
                         delta, in, n, V_LANES);
        if (n < k.n_state)
            scan_reverse(k, &tick, g, s.sum, out, add, h, h + state, decay, coef, bc_row, q,
                         delta, in, n, k.n_state - n);
        dd += q * x;
        if (k.selective) {
            vf ddt = tick.input * x + tick.pole * SCAN_LN2 + tick.turn * SCAN_QUARTER;
            vf draw = ddt * vsoftplus_slope(vload(raw + t * V_LANES));
            vstore(raw + t * V_LANES, draw);
            vstore(u + t * V_LANES, tick.input * delta + d * q);
            dbias += draw;
        } else {
            vstore(u + t * V_LANES, tick.input + d * q);
        }
    }
    tile_store(a->du + at, f->inner, u, n_time, lanes);
    if (k.selective)
        tile_store(a->ddt_raw + at, f->inner, raw, n_time, lanes);
    for (int r = 0; r < coef_rows; r++)
        scan_accumulate(sums + r * V_LANES, vload(s.sum + r * V_LANES));
    scan_accumulate(sums + coef_rows * V_LANES, dd);
    scan_accumulate(sums + (coef_rows + 1) * V_LANES, dbias);
}

V_INLINE void scan_backward_group(struct scan_kind k, const struct scan_backward_job *job, int b,
                                  int group, int thread)
{
    const struct scan_backward_args *a = job->a;
    const struct scan_args *f = &a->forward;
    const int rows = scan_state_rows(k.is_complex, k.n_state);
    const int coef_rows = scan_coef_rows(k.selective, k.is_complex, k.n_state);
    const int e0 = group * CPU_CHANNEL_GROUP;
    const int e1 = (int)min_of(f->inner, e0 + CPU_CHANNEL_GROUP);
    const int64_t sums_size = (int64_t)(coef_rows + 2) * V_LANES;
    float *sums = job->sums + b * blocks_of(f->inner, V_LANES) * sums_size;
    float *dstate = a->dstate + b * f->ld_state;

    struct scan_space s = {.h = job->threads + thread * job->thread_size};
    s.decay = s.h + (int64_t)(CPU_SCAN_CHUNK + 1) * rows * V_LANES;
    s.g = s.decay + (int64_t)CPU_SCAN_CHUNK * rows * V_LANES;
    s.sum = s.g + (int64_t)SCAN_TILES * rows * V_LANES;

    for (int e = e0; e < e1; e += V_LANES) {
        tile_gather(s.g + (e - e0) * rows, dstate + (int64_t)e * rows, rows, tile_lanes(e1, e));
        if (job->t1 == f->n_time)
            memset(sums + e / V_LANES * sums_size, 0, (size_t)sums_size * sizeof(float));
    }
    int64_t t0 = (job->t1 - 1) / CPU_SCAN_CHUNK * CPU_SCAN_CHUNK;
    for (; t0 >= job->t0; t0 -= CPU_SCAN_CHUNK) {
        int n = (int)min_of(job->t1 - t0, CPU_SCAN_CHUNK);
        float *drow = NULL;
        int64_t ld_drow = 0;
        if (k.selective && group == 0) {
            ld_drow = a->ld_dbc;
            drow = a->dbc + (b * f->n_time + t0) * ld_drow;
        } else if (k.selective) {
            ld_drow = 2 * rows;
            drow = job->partial + (((group - 1) * (int64_t)f->n_batch + b) * job->segment + t0 -
                                   job->t0) * ld_drow;
        }
        for (int e = e0; e < e1; e += V_LANES)
            scan_backward_tile(k, a, s, sums + e / V_LANES * sums_size, s.g + (e - e0) * rows,
                               drow, ld_drow, e > e0, b, t0, n, e);
    }
    for (int e = e0; e < e1; e += V_LANES)
        tile_scatter(dstate + (int64_t)e * rows, s.g + (e - e0) * rows, rows, tile_lanes(e1, e));
}

static void scan_backward_round(void *arg, int64_t i, int thread)
{
    const struct scan_backward_job *job = arg;
    const struct scan_args *f = &job->a->forward;
    const int b = (int)(i / job->n_groups), group = (int)(i % job->n_groups), n = f->n_state;
    if (f->mixer == MIXER_SELECTIVE) {
        if (f->complex_state)
            scan_backward_group((struct scan_kind){true, true, n}, job, b, group, thread);
        else if (n == 16)
            scan_backward_group((struct scan_kind){true, false, 16}, job, b, group, thread);
        else
            scan_backward_group((struct scan_kind){true, false, n}, job, b, group, thread);
    } else {
        if (f->complex_state)
            scan_backward_group((struct scan_kind){false, true, n}, job, b, group, thread);
        else
            scan_backward_group((struct scan_kind){false, false, n}, job, b, group, thread);
    }
}

/* Adds the other groups' partial sums to a stream's dbc. */
static void scan_reduce_round(void *arg, int64_t b, int thread)
{
    (void)thread;
    const struct scan_backward_job *job = arg;
    const struct scan_args *f = &job->a->forward;
    const int width = 2 * scan_state_rows(f->complex_state, f->n_state);
    for (int64_t t = job->t0; t < job->t1; t++) {
        float *to = job->a->dbc + (b * f->n_time + t) * job->a->ld_dbc;
        for (int group = 1; group < job->n_groups; group++) {
            const float *from = job->partial + (((group - 1) * (int64_t)f->n_batch + b) *
                                                job->segment + t - job->t0) * width;
            for (int i = 0; i < width; i++)
                to[i] += from[i];
        }
    }
}

/* Adds what the streams found to the parameters' gradients, in the order of the streams. */
static void scan_add_sums(const struct scan_backward_job *job, int coef_rows)
{
    const struct scan_backward_args *a = job->a;
    const struct scan_args *f = &a->forward;
    const bool selective = f->mixer == MIXER_SELECTIVE;
    const int64_t size = (int64_t)(coef_rows + 2) * V_LANES;
    for (int e = 0; e < f->inner; e += V_LANES) {
        const int lanes = tile_lanes(f->inner, e);
        const int64_t stream = blocks_of(f->inner, V_LANES) * size;
        const float *sums = job->sums + e / V_LANES * size;
        for (int r = 0; r < coef_rows + 2; r++) {
            vf sum = {0};
            for (int b = 0; b < f->n_batch; b++)
                sum += vload(sums + b * stream + r * V_LANES);
            if (r < coef_rows) {
                /* the tick's exponent is in units of ln 2 and quarter turns */
                float unit = !selective ? 1.0f
                             : f->complex_state && r % 2 ? SCAN_QUARTER
                                                         : SCAN_LN2;
                scan_accumulate(a->dcoef + (int64_t)e * coef_rows + r * V_LANES, sum * unit);
            } else {
                float *to = r == coef_rows ? a->dd : a->ddt_bias;
                if (to)
                    vstore_n(to + e, vload_n(to + e, lanes) + sum, lanes);
            }
        }
    }
}

static void op_scan_backward(struct backend *be, const struct scan_backward_args *a)
{
    const struct scan_args *f = &a->forward;
    const bool selective = f->mixer == MIXER_SELECTIVE;
    const int rows = scan_state_rows(f->complex_state, f->n_state);
    const int coef_rows = scan_coef_rows(selective, f->complex_state, f->n_state);
    if (f->n_batch == 0 || f->n_time == 0)
        return;
    struct pool *pool = cpu_of(be)->pool;
    struct scan_backward_job job = {
        .a = a,
        .n_groups = (int)blocks_of(f->inner, CPU_CHANNEL_GROUP),
        .segment = scan_segment(f->n_batch, f->n_time),
        .thread_size = scan_thread_floats(rows, coef_rows),
    };
    const int64_t threads = pool_n_threads(pool) * job.thread_size;
    const int64_t sums = scan_sums_floats(f->n_batch, f->inner, coef_rows);
    const int64_t partial = selective ? (job.n_groups - 1) * f->n_batch * job.segment * 2 * rows : 0;
    job.threads = scratch_of(be, (size_t)(threads + sums + partial) * sizeof(float));
    job.sums = job.threads + threads;
    job.partial = job.sums + sums;
    job.t0 = (f->n_time - 1) / job.segment * job.segment;
    job.t1 = f->n_time;
    for (; job.t0 >= 0; job.t1 = job.t0, job.t0 -= job.segment) {
        pool_run(pool, scan_backward_round, &job, (int64_t)f->n_batch * job.n_groups);
        if (selective && job.n_groups > 1)
            pool_run(pool, scan_reduce_round, &job, f->n_batch);
    }
    scan_add_sums(&job, coef_rows);
}
