/*
 * The causal depthwise convolution in front of the scan, with SiLU after it.
 *
 * Long chunks go by groups of channels, as tiles of some ticks with the K-1 inputs before them. In
 * generation a chunk has fewer ticks than taps: then each tick shifts the state, channel by
 * channel.
 */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/tile.h"

enum {
    CONV_TAPS_MAX = 32,
    CONV_TICKS = 64, /* of a tile */
    CONV_TILES = CPU_CHANNEL_GROUP / V_LANES,
    CONV_TILE = (CONV_TICKS + CONV_TAPS_MAX) * V_LANES, /* floats of a tile */
};

struct conv_tiles {
    _Alignas(32) float x[CONV_TILES * CONV_TILE];
};

/* The taps of a tile's channels. */
static void conv_taps(vf taps[CONV_TAPS_MAX], const float *w, int n_taps, int e, int lanes)
{
    for (int k = 0; k < n_taps; k++) {
        float tap[V_LANES] = {0};
        for (int lane = 0; lane < lanes; lane++)
            tap[lane] = w[(int64_t)(e + lane) * n_taps + k];
        taps[k] = vload(tap);
    }
}

/* The inputs of one stream's ticks t0-(K-1) .. t0+n-1. */
static void conv_load(struct conv_tiles *tiles, const float *x, int64_t ld_x, const float *state,
                      int n_taps, int64_t t0, int n, int e0, int width)
{
    const int keep = n_taps - 1;
    const int before = t0 < keep ? keep - (int)t0 : 0; /* rows from the state */
    for (int r = 0; r < before; r++)
        for (int e = 0; e < width; e++)
            tiles->x[e / V_LANES * CONV_TILE + r * V_LANES + e % V_LANES] =
                state[(int64_t)(e0 + e) * keep + t0 + r];
    for (int r = 0; width % V_LANES && r < before; r++) /* idle lanes are 0 */
        for (int e = width; e % V_LANES; e++)
            tiles->x[e / V_LANES * CONV_TILE + r * V_LANES + e % V_LANES] = 0.0f;
    tiles_load(tiles->x + before * V_LANES, CONV_TILE, x + (t0 - keep + before) * ld_x + e0, ld_x,
               n + keep - before, width);
}

/* The sum c of the tick whose oldest input is the row x of a tile. */
V_INLINE vf conv_tick(const float *x, const vf *taps, vf bias, int n_taps)
{
    vf c = bias;
    for (int k = 0; k < n_taps; k++)
        c += taps[k] * vload(x + k * V_LANES);
    return c;
}

V_INLINE void conv_block(const struct conv_args *a, int b, int64_t begin, int64_t end, int e0,
                         int n_taps)
{
    struct conv_tiles x; /* u takes its place: a tick is the last to need its oldest input */
    const int width = (int)min_of(a->inner - e0, CPU_CHANNEL_GROUP);
    for (int64_t t0 = begin; t0 < end; t0 += CONV_TICKS) {
        const int n = (int)min_of(end - t0, CONV_TICKS);
        conv_load(&x, a->x + b * a->n_time * a->ld_x, a->ld_x, a->state + b * a->ld_state, n_taps,
                  t0, n, e0, width);
        const bool last = t0 + n == end;
        const int64_t next = b * a->n_time + (last ? begin : t0 + n);
        const int e1 = last ? e0 + CPU_CHANNEL_GROUP : e0;
        const struct ahead ahead[CONV_TILES] = {
            ahead_of(e1 < a->inner, a->x, next * a->ld_x + e1, a->ld_x),
            ahead_of(e1 < a->inner, a->u, next * a->inner + e1, a->inner),
        };
        for (int e = 0; e < width; e += V_LANES) {
            float *tile = x.x + e / V_LANES * CONV_TILE;
            const int lanes = tile_lanes(width, e);
            vf taps[CONV_TAPS_MAX], bias = vload_n(a->bias + e0 + e, lanes);
            conv_taps(taps, a->w, n_taps, e0 + e, lanes);
            for (int i = 0; i < n; i++) {
                ahead_ask(ahead[e / V_LANES], i);
                vf c = conv_tick(tile + i * V_LANES, taps, bias, n_taps);
                vstore(tile + i * V_LANES, vsilu(c));
            }
        }
        tiles_store(a->u + (b * a->n_time + t0) * a->inner + e0, a->inner, x.x, CONV_TILE, n,
                    width);
    }
}

static void conv_round(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct conv_args *a = arg;
    const int64_t blocks = blocks_of(a->n_time, CPU_ROW_BLOCK);
    const int b = (int)(i / blocks);
    const int64_t begin = i % blocks * CPU_ROW_BLOCK;
    const int64_t end = min_of(a->n_time, begin + CPU_ROW_BLOCK);
    for (int e0 = 0; e0 < a->inner; e0 += CPU_CHANNEL_GROUP)
        if (a->n_taps == 4)
            conv_block(a, b, begin, end, e0, 4);
        else
            conv_block(a, b, begin, end, e0, a->n_taps);
}

/* One tick of all channels; the state moves on by one input. */
V_INLINE void conv_step(const struct conv_args *a, float *u, const float *x, float *state,
                        int n_taps)
{
    const int keep = n_taps - 1;
    for (int e = 0; e < a->inner; e += V_LANES) {
        const int lanes = tile_lanes(a->inner, e);
        float c[V_LANES] = {0};
        for (int lane = 0; lane < lanes; lane++) {
            const float *w = a->w + (int64_t)(e + lane) * n_taps;
            float *old = state + (int64_t)(e + lane) * keep;
            float now = x[e + lane], sum = a->bias[e + lane];
            for (int k = 0; k < keep; k++)
                sum += w[k] * old[k];
            c[lane] = sum + w[keep] * now;
            for (int k = 0; k + 1 < keep; k++)
                old[k] = old[k + 1];
            if (keep > 0)
                old[keep - 1] = now;
        }
        vstore_n(u + e, vsilu(vload(c)), lanes);
    }
}

static void conv_steps_round(void *arg, int64_t b, int thread)
{
    (void)thread;
    const struct conv_args *a = arg;
    for (int64_t row = b * a->n_time; row < (b + 1) * a->n_time; row++) {
        float *u = a->u + row * a->inner, *state = a->state + b * a->ld_state;
        if (a->n_taps == 4)
            conv_step(a, u, a->x + row * a->ld_x, state, 4);
        else
            conv_step(a, u, a->x + row * a->ld_x, state, a->n_taps);
    }
}

static void op_conv_silu(struct backend *be, const struct conv_args *a)
{
    assert(a->n_taps <= CONV_TAPS_MAX);
    const int keep = a->n_taps - 1;
    const int64_t work = a->n_batch * a->n_time * a->inner * a->n_taps;
    if (a->n_time < a->n_taps) {
        run_rounds(be, conv_steps_round, (void *)a, a->n_batch, work);
        return;
    }
    run_rounds(be, conv_round, (void *)a, a->n_batch * blocks_of(a->n_time, CPU_ROW_BLOCK), work);
    for (int b = 0; b < a->n_batch; b++)
        for (int j = 0; j < keep; j++) {
            const float *row = a->x + ((b + 1) * a->n_time - keep + j) * a->ld_x;
            for (int e = 0; e < a->inner; e++)
                a->state[b * a->ld_state + (int64_t)e * keep + j] = row[e];
        }
}

/*
 * Backward. A round is one stream's group of channels over CPU_GRAD_BLOCK ticks, from the last to
 * the first: dx of a tick needs dc of the K-1 ticks after it. Each round has its own partial sum of
 * dw and dbias, added in order afterwards.
 */
struct conv_backward_job {
    const struct conv_backward_args *a;
    int64_t blocks, groups;
    float *sums; /* (B, blocks, tiles of E, K + 1) rows of a tile; dbias last */
};

static size_t conv_backward_workspace(const struct layer *layer, int n_batch, int64_t n_time,
                                      int n_threads)
{
    (void)n_threads;
    return (size_t)(n_batch * blocks_of(n_time, CPU_GRAD_BLOCK) * blocks_of(layer->inner, V_LANES) *
                    (layer->n_taps + 1) * V_LANES) *
           sizeof(float);
}

/* dc, the gradient of the sum c, of n ticks of a tile. */
V_INLINE void conv_dc(float *dc, const float *du, const float *x, const vf *taps, vf bias,
                      int n_taps, int n)
{
    for (int i = 0; i < n * V_LANES; i += V_LANES) {
        vf c = conv_tick(x + i, taps, bias, n_taps);
        vstore(dc + i, vload(du + i) * vsilu_slope(c, vsigmoid(c)));
    }
}

/* dx of n ticks, from dc of these and of the K-1 after; adds to the sums of dw and dbias. */
V_INLINE void conv_dx(float *dx, float *sums, const float *dc, const float *x, const vf *taps,
                      struct ahead ahead, int n_taps, int n)
{
    vf dw[CONV_TAPS_MAX] = {{0}}, dbias = {0};
    for (int t = 0; t < n; t++) {
        const int i = t * V_LANES;
        vf sum = {0}, now = vload(dc + i);
        ahead_ask(ahead, t);
#pragma GCC unroll 4
        for (int k = 0; k < n_taps; k++) {
            sum += taps[k] * vload(dc + i + (n_taps - 1 - k) * V_LANES);
            dw[k] += now * vload(x + i + k * V_LANES);
        }
        dbias += now;
        vstore(dx + i, sum);
    }
    for (int k = 0; k < n_taps; k++)
        vstore(sums + k * V_LANES, vload(sums + k * V_LANES) + dw[k]);
    vstore(sums + n_taps * V_LANES, vload(sums + n_taps * V_LANES) + dbias);
}

V_INLINE void conv_backward_block(const struct conv_backward_job *job, int b, int64_t block, int e0,
                                  int n_taps)
{
    const struct conv_backward_args *a = job->a;
    const int keep = n_taps - 1;
    const int width = (int)min_of(a->inner - e0, CPU_CHANNEL_GROUP);
    const int64_t begin = block * CPU_GRAD_BLOCK;
    const int64_t end = min_of(a->n_time, begin + CPU_GRAD_BLOCK);
    const int64_t size = (n_taps + 1) * V_LANES; /* of a tile's sums */
    const int64_t tile = (b * job->blocks + block) * blocks_of(a->inner, V_LANES) + e0 / V_LANES;
    float *sums = job->sums + tile * size;
    memset(sums, 0, (size_t)(blocks_of(width, V_LANES) * size) * sizeof(float));

    struct conv_tiles x, d, dc; /* d: du, then dx */
    /* from the ticks after the block, whose dx is another round's, to its first */
    for (int64_t t1 = min_of(a->n_time, end + keep), t0 = end; t1 > begin;) {
        const bool after = t0 == end;
        const int n = (int)(t1 - t0);
        conv_load(&x, a->x + b * a->n_time * a->ld_x, a->ld_x, a->state + b * a->ld_state, n_taps,
                  t0, n, e0, width);
        tiles_load(d.x, CONV_TILE, a->du + (b * a->n_time + t0) * a->inner + e0, a->inner, n,
                   width);
        const int64_t next = b * a->n_time + t0 - CONV_TICKS; /* the ticks before come next */
        const bool more = t0 - CONV_TICKS >= begin;
        const struct ahead ahead[CONV_TILES] = {
            ahead_of(more, a->x, next * a->ld_x + e0, a->ld_x),
            ahead_of(more, a->du, next * a->inner + e0, a->inner),
            ahead_of(more, a->dx, next * a->ld_dx + e0, a->ld_dx),
        };
        for (int e = 0; e < width; e += V_LANES) {
            const int at = e / V_LANES * CONV_TILE, lanes = tile_lanes(width, e);
            vf taps[CONV_TAPS_MAX], bias = vload_n(a->bias + e0 + e, lanes);
            conv_taps(taps, a->w, n_taps, e0 + e, lanes);
            if (after) /* there is nothing after the last tick */
                memset(dc.x + at, 0, (size_t)(keep * V_LANES) * sizeof(float));
            else
                memmove(dc.x + at + n * V_LANES, dc.x + at,
                        (size_t)(keep * V_LANES) * sizeof(float));
            conv_dc(dc.x + at, d.x + at, x.x + at, taps, bias, n_taps, n);
            if (!after)
                conv_dx(d.x + at, sums + e / V_LANES * size, dc.x + at, x.x + at, taps,
                        ahead[e / V_LANES], n_taps, n);
        }
        if (!after)
            tiles_store(a->dx + (b * a->n_time + t0) * a->ld_dx + e0, a->ld_dx, d.x, CONV_TILE, n,
                        width);
        t1 = t0;
        t0 = (t1 - 1) / CONV_TICKS * CONV_TICKS;
    }
}

static void conv_backward_round(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct conv_backward_job *job = arg;
    const int64_t block = i / job->groups % job->blocks;
    const int b = (int)(i / job->groups / job->blocks);
    const int e0 = (int)(i % job->groups) * CPU_CHANNEL_GROUP;
    if (job->a->n_taps == 4)
        conv_backward_block(job, b, block, e0, 4);
    else
        conv_backward_block(job, b, block, e0, job->a->n_taps);
}

/* Gradients of the inputs before the chunk, from dc of its first K-1 ticks, and of the state that
   left: slot j holds input T - (K-1) + j, which may itself be an input before the chunk. */
static void conv_backward_state(const struct conv_backward_args *a, int b, int e0)
{
    struct conv_tiles x, du, dc;
    const int keep = a->n_taps - 1, n = (int)min_of(a->n_time, keep);
    const int lanes = tile_lanes(a->inner, e0);
    vf taps[CONV_TAPS_MAX];
    conv_taps(taps, a->w, a->n_taps, e0, lanes);
    conv_load(&x, a->x + b * a->n_time * a->ld_x, a->ld_x, a->state + b * a->ld_state, a->n_taps, 0,
              n, e0, lanes);
    tiles_load(du.x, CONV_TILE, a->du + b * a->n_time * a->inner + e0, a->inner, n, lanes);
    conv_dc(dc.x, du.x, x.x, taps, vload_n(a->bias + e0, lanes), a->n_taps, n);
    for (int lane = 0; lane < lanes; lane++) {
        const int e = e0 + lane;
        float *dx = a->dx + b * a->n_time * a->ld_dx + e;
        float *dstate = a->dstate + b * a->ld_state + (int64_t)e * keep;
        for (int j = keep - n; j < keep; j++)
            dx[(a->n_time - keep + j) * a->ld_dx] += dstate[j];
        for (int j = keep - 1; j >= 0; j--) { /* from the newest: slot j reads slot j - T */
            float sum = j >= a->n_time ? dstate[j - a->n_time] : 0.0f;
            for (int t = 0; t <= j && t < n; t++)
                sum += a->w[(int64_t)e * a->n_taps + j - t] * dc.x[t * V_LANES + lane];
            dstate[j] = sum;
        }
    }
}

static void conv_add_sums(const struct conv_backward_job *job, int e, int lanes)
{
    const struct conv_backward_args *a = job->a;
    const int64_t tiles = blocks_of(a->inner, V_LANES), size = (a->n_taps + 1) * V_LANES;
    for (int k = 0; k <= a->n_taps; k++) {
        vf sum = {0};
        for (int64_t i = 0; i < a->n_batch * job->blocks; i++)
            sum += vload(job->sums + (i * tiles + e / V_LANES) * size + k * V_LANES);
        for (int lane = 0; lane < lanes; lane++) {
            if (k < a->n_taps)
                a->dw[(int64_t)(e + lane) * a->n_taps + k] += sum[lane];
            else
                a->dbias[e + lane] += sum[lane];
        }
    }
}

static void op_conv_silu_backward(struct backend *be, const struct conv_backward_args *a)
{
    assert(a->n_taps <= CONV_TAPS_MAX);
    struct conv_backward_job job = {
        .a = a,
        .blocks = blocks_of(a->n_time, CPU_GRAD_BLOCK),
        .groups = blocks_of(a->inner, CPU_CHANNEL_GROUP),
    };
    if (a->n_batch == 0 || a->n_time == 0)
        return;
    const int64_t sums =
        a->n_batch * job.blocks * blocks_of(a->inner, V_LANES) * (a->n_taps + 1) * V_LANES;
    job.sums = scratch_of(be, (size_t)sums * sizeof(float));
    pool_run(cpu_of(be)->pool, conv_backward_round, &job, a->n_batch * job.blocks * job.groups);
    for (int e = 0; e < a->inner; e += V_LANES) {
        for (int b = 0; b < a->n_batch; b++)
            conv_backward_state(a, b, e);
        conv_add_sums(&job, e, tile_lanes(a->inner, e));
    }
}
