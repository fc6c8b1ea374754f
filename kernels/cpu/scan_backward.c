/*
 * The backward scan. Time is cut into segments, the last first; in a segment a round is one
 * stream's group of channels, which walks its chunks from the last: states and decays of the chunk
 * are made again from the entering state, then the gradients march back over them.
 *
 * dB and dC are sums over channels. The first group of channels writes them to dbc, every other to
 * a partial sum of its own, and a second loop adds these in order; segments keep the partial sums
 * short. Gradients of coefficients are summed a chunk, then a stream, then over streams.
 */
#include "kernels/cpu/scan_reverse.h"
#include "kernels/cpu/scan_static.h"

enum { SCAN_SEGMENT_ROWS = 8192 }; /* streams times ticks of a segment, about */

struct scan_backward_job {
    const struct scan_backward_args *a;
    int n_groups;
    int64_t segment; /* ticks */
    int64_t t0, t1;  /* the segment at work */
    float *threads;  /* scratch of each thread */
    int64_t thread_size;
    float *sums;    /* (B, tiles, coef rows + 2) tiles: dcoef, dD, ddt_bias of each stream */
    float *partial; /* (groups - 1, B, segment, 2 rows) */
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

/* A chunk of the `width` channels from e0 on; its dB and dC go where c says. */
V_INLINE void scan_backward_chunk(struct scan_kind k, const struct scan_backward_args *a,
                                  struct scan_chunk *c, struct scan_space s, float *sums, int b,
                                  int64_t t0, int e0, int width)
{
    const struct scan_args *f = &a->forward;
    const int n = c->n_time, rows = scan_state_rows(k.is_complex, k.n_state);
    const int coef_rows = scan_coef_rows(k.selective, k.is_complex, k.n_state);
    const int64_t row = b * f->n_time + t0, at = row * f->inner + e0;
    scan_load(&c->u, f->u + at, f->inner, n, width);
    scan_load(&c->dy, a->dy + at, f->inner, n, width);
    if (k.selective) {
        scan_load(&c->raw, f->dt_raw + at, f->inner, n, width);
        c->bc = f->bc + row * f->ld_bc;
        c->ld_bc = f->ld_bc;
    }
    if (f->z)
        scan_load(&c->z, f->z + row * f->ld_z + e0, f->ld_z, n, width);
    const bool more = t0 > 0; /* the chunk before this one comes next */
    const int64_t next = row - CPU_SCAN_CHUNK, at_next = next * f->inner + e0;
    const struct ahead ahead[SCAN_TILES] = {
        ahead_of(more, f->u, at_next, f->inner),
        ahead_of(more, f->dt_raw, at_next, f->inner),
        ahead_of(more, f->z, next * f->ld_z + e0, f->ld_z),
        ahead_of(more, a->dy, at_next, f->inner),
    };
    const struct ahead ahead_back[SCAN_TILES] = {
        ahead_of(more, a->du, at_next, f->inner),
        ahead_of(more, a->ddt_raw, at_next, f->inner),
        ahead_of(more, a->dz, next * a->ld_dz + e0, a->ld_dz),
    };
    const float *entering = f->entering + scan_entering_at(f, b, t0, e0);
    for (int e = 0, tile = 0; e < width; e += V_LANES, tile += SCAN_TILE) {
        const int lanes = tile_lanes(width, e);
        const float *coef = f->coef + (int64_t)(e0 + e) * coef_rows;
        const vf d = vload_n(f->d + e0 + e, lanes);
        if (k.selective) {
            vf bias = vload_n(f->dt_bias + e0 + e, lanes);
            for (int i = tile; i < tile + n * V_LANES; i += V_LANES) {
                vf slope;
                vstore(c->dt.x + i, vsoftplus_and_slope(vload(c->raw.x + i) + bias, &slope));
                vstore(c->raw.x + i, slope);
            }
        }
        tiles_load(s.h, 0, entering + e * rows, lanes, rows, lanes);
        float *tile_sums = sums + e / V_LANES * (coef_rows + 2) * V_LANES;
        if (k.selective)
            scan_march(k, true, c->y.x + tile, s.h, s.decay, c->u.x + tile, c->dt.x + tile, c->bc,
                       c->ld_bc, coef, d, ahead[e / V_LANES], n);
        else
            static_march(k, true, c->y.x + tile, s.h, c->u.x + tile, coef, d, ahead[e / V_LANES],
                         n);
        if (f->z)
            scan_gate_backward(c, tile);
        if (k.selective)
            scan_march_back(k, c, s, s.g + e * rows, tile_sums, tile, e > 0, coef, d,
                            ahead_back[e / V_LANES]);
        else
            static_march_back(k, s.g + e * rows, tile_sums, c->u.x + tile, c->dy.x + tile, s.h,
                              coef, d, ahead_back[e / V_LANES], n);
    }
    scan_store(a->du + at, f->inner, &c->u, n, width);
    if (k.selective)
        scan_store(a->ddt_raw + at, f->inner, &c->raw, n, width);
    if (f->z)
        scan_store(a->dz + row * a->ld_dz + e0, a->ld_dz, &c->z, n, width);
}

V_INLINE void scan_backward_group(struct scan_kind k, const struct scan_backward_job *job, int b,
                                  int group, int thread)
{
    const struct scan_backward_args *a = job->a;
    const struct scan_args *f = &a->forward;
    const int rows = scan_state_rows(k.is_complex, k.n_state);
    const int coef_rows = scan_coef_rows(k.selective, k.is_complex, k.n_state);
    const int e0 = group * CPU_CHANNEL_GROUP;
    const int width = (int)min_of(f->inner - e0, CPU_CHANNEL_GROUP);
    const int64_t sums_size = (int64_t)(coef_rows + 2) * V_LANES; /* a tile's */
    float *sums = job->sums + (b * blocks_of(f->inner, V_LANES) + e0 / V_LANES) * sums_size;
    float *dstate = a->dstate + b * f->ld_state + (int64_t)e0 * rows;

    struct scan_space s = {.h = job->threads + thread * job->thread_size};
    s.decay = s.h + (int64_t)(CPU_SCAN_CHUNK + 1) * rows * V_LANES;
    s.g = s.decay + (int64_t)CPU_SCAN_CHUNK * rows * V_LANES;
    s.sum = s.g + (int64_t)SCAN_TILES * rows * V_LANES;

    for (int e = 0; e < width; e += V_LANES)
        tile_gather(s.g + e * rows, dstate + e * rows, rows, tile_lanes(width, e));
    if (job->t1 == f->n_time)
        memset(sums, 0, (size_t)(blocks_of(width, V_LANES) * sums_size) * sizeof(float));
    struct scan_chunk c;
    c.bc = NULL;
    c.dbc = NULL;
    int64_t t0 = (job->t1 - 1) / CPU_SCAN_CHUNK * CPU_SCAN_CHUNK;
    for (; t0 >= job->t0; t0 -= CPU_SCAN_CHUNK) {
        c.n_time = (int)min_of(job->t1 - t0, CPU_SCAN_CHUNK);
        c.ld_bc = 0;
        if (k.selective && group == 0) {
            c.ld_dbc = a->ld_dbc;
            c.dbc = a->dbc + (b * f->n_time + t0) * c.ld_dbc;
        } else if (k.selective) {
            int64_t stream = (group - 1) * (int64_t)f->n_batch + b;
            c.ld_dbc = 2 * rows;
            c.dbc = job->partial + (stream * job->segment + t0 - job->t0) * c.ld_dbc;
        }
        scan_backward_chunk(k, a, &c, s, sums, b, t0, e0, width);
    }
    for (int e = 0; e < width; e += V_LANES)
        tile_scatter(dstate + e * rows, s.g + e * rows, rows, tile_lanes(width, e));
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
            const float *from =
                job->partial +
                (((group - 1) * (int64_t)f->n_batch + b) * job->segment + t - job->t0) * width;
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
                /* the tick's exponent is in units of ln 2 and half turns */
                float unit = !selective                  ? 1.0f
                             : f->complex_state && r % 2 ? SCAN_HALF_TURN
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
    const int64_t partial =
        selective ? (job.n_groups - 1) * f->n_batch * job.segment * 2 * rows : 0;
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
