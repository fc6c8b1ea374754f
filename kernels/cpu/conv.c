/*
 * The causal depthwise convolution in front of the scan, with SiLU after it.
 *
 * The first K-1 ticks need inputs of before the chunk and go channel by channel; this is all there
 * is to do in generation. The others are tiles of eight channels.
 */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/tile.h"

enum {
    CONV_TAPS_MAX = 32,
    CONV_TILE = 64, /* ticks of a tile in the backward */
};

/* Input of channel e at tick t >= -(K-1) of a stream. */
static inline float conv_input(const float *x, int64_t ld_x, const float *state, int n_taps,
                               int64_t t, int e)
{
    return t >= 0 ? x[t * ld_x + e] : state[(int64_t)e * (n_taps - 1) + t + n_taps - 1];
}

/* One tick of eight channels (or `lanes`), any of whose inputs may come from the state. */
static inline vf conv_first_ticks(const float *x, int64_t ld_x, const float *state, const float *w,
                                  const float *bias, int n_taps, int64_t t, int e, int lanes)
{
    float c[V_LANES] = {0};
    for (int lane = 0; lane < lanes; lane++) {
        float sum = bias[e + lane];
        for (int k = 0; k < n_taps; k++)
            sum += w[(int64_t)(e + lane) * n_taps + k] *
                   conv_input(x, ld_x, state, n_taps, t - n_taps + 1 + k, e + lane);
        c[lane] = sum;
    }
    return vload(c);
}

/* The taps of a tile's channels; lane by lane, tap after tap. */
static void conv_taps(vf taps[CONV_TAPS_MAX], const float *w, int n_taps, int e, int lanes)
{
    for (int k = 0; k < n_taps; k++) {
        float tap[V_LANES] = {0};
        for (int lane = 0; lane < lanes; lane++)
            tap[lane] = w[(int64_t)(e + lane) * n_taps + k];
        taps[k] = vload(tap);
    }
}

/* One tick t >= K-1. */
V_INLINE vf conv_tick(const float *x, int64_t ld_x, const vf *taps, vf bias, int n_taps, int64_t t,
                      int e, int lanes)
{
    const float *row = x + (t - n_taps + 1) * ld_x + e;
    vf c = bias;
    for (int k = 0; k < n_taps; k++, row += ld_x)
        c += taps[k] * (lanes == V_LANES ? vload(row) : vload_n(row, lanes));
    return c;
}

V_INLINE void conv_tile(const struct conv_args *a, int b, int64_t t0, int64_t t1, int e, int lanes,
                        int n_taps)
{
    const float *x = a->x + b * a->n_time * a->ld_x;
    const float *state = a->state + b * a->ld_state;
    float *u = a->u + b * a->n_time * a->inner + e;
    int64_t t = t0;
    for (; t < t1 && t < n_taps - 1; t++) {
        vf c = conv_first_ticks(x, a->ld_x, state, a->w, a->bias, n_taps, t, e, lanes);
        vstore_n(u + t * a->inner, vsilu(c), lanes);
    }
    if (t == t1)
        return;
    vf taps[CONV_TAPS_MAX], bias = vload_n(a->bias + e, lanes);
    conv_taps(taps, a->w, n_taps, e, lanes);
    for (; t < t1; t++) {
        vf out = vsilu(conv_tick(x, a->ld_x, taps, bias, n_taps, t, e, lanes));
        if (lanes == V_LANES)
            vstore(u + t * a->inner, out);
        else
            vstore_n(u + t * a->inner, out, lanes);
    }
}

static void conv_round(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct conv_args *a = arg;
    const int64_t blocks = blocks_of(a->n_time, CPU_ROW_BLOCK);
    const int b = (int)(i / blocks);
    const int64_t t0 = i % blocks * CPU_ROW_BLOCK;
    const int64_t t1 = min_of(a->n_time, t0 + CPU_ROW_BLOCK);
    for (int e = 0; e < a->inner; e += V_LANES) {
        int lanes = tile_lanes(a->inner, e);
        if (lanes == V_LANES && a->n_taps == 4)
            conv_tile(a, b, t0, t1, e, V_LANES, 4);
        else
            conv_tile(a, b, t0, t1, e, lanes, a->n_taps);
    }
}

/* The last K-1 inputs of a stream. */
static void conv_keep(const struct conv_args *a, int b)
{
    const int keep = a->n_taps - 1;
    const float *x = a->x + b * a->n_time * a->ld_x;
    float *state = a->state + b * a->ld_state;
    for (int e = 0; e < a->inner; e++) /* in place: a slot is read before it is written */
        for (int j = 0; j < keep; j++)
            state[(int64_t)e * keep + j] =
                conv_input(x, a->ld_x, state, a->n_taps, a->n_time - keep + j, e);
}

static void op_conv_silu(struct backend *be, const struct conv_args *a)
{
    assert(a->n_taps <= CONV_TAPS_MAX);
    const int64_t rounds = a->n_batch * blocks_of(a->n_time, CPU_ROW_BLOCK);
    run_rounds(be, conv_round, (void *)a, rounds, a->n_batch * a->n_time * a->inner * a->n_taps);
    for (int b = 0; a->n_time > 0 && b < a->n_batch; b++)
        conv_keep(a, b);
}

/*
 * Backward. A round is one stream's group of channels over CPU_GRAD_BLOCK ticks, from the last to
 * the first: dx of a tick needs dc of the K-1 ticks after it. Each round has its own partial sum of
 * dw and dbias, added in order afterwards.
 */
struct conv_backward_job {
    const struct conv_backward_args *a;
    int64_t blocks, groups;
    float *sums; /* (B, blocks, E rounded up / 8, K + 1) tiles; dbias last */
};

static size_t conv_backward_workspace(const struct layer *layer, int n_batch, int64_t n_time,
                                      int n_threads)
{
    (void)n_threads;
    int64_t blocks = blocks_of(n_time, CPU_GRAD_BLOCK);
    int64_t tiles = blocks_of(layer->inner, V_LANES);
    return (size_t)(n_batch * blocks * tiles * (layer->n_taps + 1) * V_LANES) * sizeof(float);
}

struct conv_channels {
    const float *x, *du, *state; /* of the stream */
    vf taps[CONV_TAPS_MAX];
    vf bias;
    int e;
};

static struct conv_channels conv_channels_of(const struct conv_backward_args *a, int b, int e,
                                             int lanes)
{
    struct conv_channels ch = {
        .x = a->x + b * a->n_time * a->ld_x,
        .du = a->du + b * a->n_time * a->inner,
        .state = a->state + b * a->ld_state,
        .bias = vload_n(a->bias + e, lanes),
        .e = e,
    };
    conv_taps(ch.taps, a->w, a->n_taps, e, lanes);
    return ch;
}

/* Gradient of the sum c at tick t. */
V_INLINE vf conv_dc(const struct conv_backward_args *a, const struct conv_channels *ch, int64_t t,
                    int lanes, int n_taps)
{
    vf c;
    if (t < n_taps - 1)
        c = conv_first_ticks(ch->x, a->ld_x, ch->state, a->w, a->bias, n_taps, t, ch->e, lanes);
    else
        c = conv_tick(ch->x, a->ld_x, ch->taps, ch->bias, n_taps, t, ch->e, lanes);
    vf du = vload_n(ch->du + t * a->inner + ch->e, lanes);
    return du * vsilu_slope(c, vsigmoid(c));
}

/* The ticks [t0, t1) of a tile, given dc of the K-1 ticks from t1 on in dc[t1 - t0 ..]; leaves
   those of the first K-1 ticks from t0 on in dc. */
V_INLINE void conv_backward_tile(const struct conv_backward_args *a, const struct conv_channels *ch,
                                 vf *dc, float *sums, int b, int64_t t0, int64_t t1, int lanes,
                                 int n_taps)
{
    const int n = (int)(t1 - t0), e = ch->e;
    for (int i = 0; i < n; i++)
        dc[i] = conv_dc(a, ch, t0 + i, lanes, n_taps);
    float *dx = a->dx + (b * a->n_time + t0) * a->ld_dx + e;
    vf dw[CONV_TAPS_MAX] = {{0}}, dbias = {0};
    for (int i = 0; i < n; i++) {
        vf sum = {0};
        for (int k = 0; k < n_taps; k++)
            sum += ch->taps[k] * dc[i + n_taps - 1 - k];
        vstore_n(dx + i * a->ld_dx, sum, lanes);
        dbias += dc[i];
        if (t0 + i < n_taps - 1) {
            for (int k = 0; k < n_taps; k++) {
                float x[V_LANES] = {0};
                for (int lane = 0; lane < lanes; lane++)
                    x[lane] = conv_input(ch->x, a->ld_x, ch->state, n_taps,
                                         t0 + i - n_taps + 1 + k, e + lane);
                dw[k] += dc[i] * vload(x);
            }
        } else {
            const float *row = ch->x + (t0 + i - n_taps + 1) * a->ld_x + e;
            for (int k = 0; k < n_taps; k++)
                dw[k] += dc[i] * vload_n(row + k * a->ld_x, lanes);
        }
    }
    for (int k = 0; k < n_taps; k++)
        vstore(sums + k * V_LANES, vload(sums + k * V_LANES) + dw[k]);
    vstore(sums + n_taps * V_LANES, vload(sums + n_taps * V_LANES) + dbias);
}

V_INLINE void conv_backward_channels(const struct conv_backward_job *job, int b, int64_t block,
                                     int e, int lanes, int n_taps)
{
    const struct conv_backward_args *a = job->a;
    const int64_t begin = block * CPU_GRAD_BLOCK;
    const int64_t end = min_of(a->n_time, begin + CPU_GRAD_BLOCK);
    const int64_t tiles = blocks_of(a->inner, V_LANES);
    const int64_t at = (b * job->blocks + block) * tiles + e / V_LANES;
    float *sums = job->sums + at * (n_taps + 1) * V_LANES;
    struct conv_channels ch = conv_channels_of(a, b, e, lanes);
    memset(sums, 0, (size_t)(n_taps + 1) * V_LANES * sizeof(float));
    vf dc[CONV_TILE + CONV_TAPS_MAX] = {{0}};
    for (int i = 0; i < n_taps - 1 && end + i < a->n_time; i++)
        dc[i] = conv_dc(a, &ch, end + i, lanes, n_taps);
    for (int64_t t1 = end; t1 > begin;) {
        int64_t t0 = (t1 - 1) / CONV_TILE * CONV_TILE; /* blocks are whole tiles */
        memmove(dc + (t1 - t0), dc, (size_t)(n_taps - 1) * sizeof dc[0]);
        conv_backward_tile(a, &ch, dc, sums, b, t0, t1, lanes, n_taps);
        t1 = t0;
    }
}

static void conv_backward_round(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct conv_backward_job *job = arg;
    const struct conv_backward_args *a = job->a;
    const int64_t block = i / job->groups % job->blocks;
    const int b = (int)(i / job->groups / job->blocks);
    const int e0 = (int)(i % job->groups) * CPU_CHANNEL_GROUP;
    const int e1 = (int)min_of(a->inner, e0 + CPU_CHANNEL_GROUP);
    for (int e = e0; e < e1; e += V_LANES) {
        int lanes = tile_lanes(e1, e);
        if (lanes == V_LANES && a->n_taps == 4)
            conv_backward_channels(job, b, block, e, V_LANES, 4);
        else
            conv_backward_channels(job, b, block, e, lanes, a->n_taps);
    }
}

/* Gradients of the inputs before the chunk, from dc of its first K-1 ticks, and of the state that
   left: slot j holds input T - (K-1) + j, which may itself be an input before the chunk. */
static void conv_backward_state(const struct conv_backward_args *a, int b, int e, int lanes)
{
    const int keep = a->n_taps - 1;
    const int n = a->n_time < keep ? (int)a->n_time : keep;
    float *dx = a->dx + b * a->n_time * a->ld_dx;
    struct conv_channels ch = conv_channels_of(a, b, e, lanes);
    vf dc[CONV_TAPS_MAX];
    for (int t = 0; t < n; t++)
        dc[t] = conv_dc(a, &ch, t, lanes, a->n_taps);
    for (int lane = 0; lane < lanes; lane++) {
        const float *w = a->w + (int64_t)(e + lane) * a->n_taps;
        float *dstate = a->dstate + b * a->ld_state + (int64_t)(e + lane) * keep;
        for (int j = keep - n; j < keep; j++)
            dx[(a->n_time - keep + j) * a->ld_dx + e + lane] += dstate[j];
        for (int j = keep - 1; j >= 0; j--) { /* from the newest: slot j reads slot j - T */
            float sum = j >= a->n_time ? dstate[j - a->n_time] : 0.0f;
            for (int t = 0; t <= j && t < n; t++)
                sum += w[j - t] * dc[t][lane];
            dstate[j] = sum;
        }
    }
}

static void conv_add_sums(const struct conv_backward_job *job, int e, int lanes)
{
    const struct conv_backward_args *a = job->a;
    const int64_t tiles = blocks_of(a->inner, V_LANES);
    const int64_t size = (a->n_taps + 1) * V_LANES;
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
    const int64_t sums = a->n_batch * job.blocks * blocks_of(a->inner, V_LANES) *
                         (a->n_taps + 1) * V_LANES;
    job.sums = scratch_of(be, (size_t)sums * sizeof(float));
    pool_run(cpu_of(be)->pool, conv_backward_round, &job, a->n_batch * job.blocks * job.groups);
    for (int e = 0; e < a->inner; e += V_LANES) {
        int lanes = tile_lanes(a->inner, e);
        for (int b = 0; b < a->n_batch; b++)
            conv_backward_state(a, b, e, lanes);
        conv_add_sums(&job, e, lanes);
    }
}
