/*
 * The scan of selective mixers with real states, PAIR_STATES at most: those that are trained most.
 *
 * A lane has all states of two channels next to each other, a warp PAIR_CHANNELS channels of one
 * segment, and a block is one warp, which waits for no other. What a lane reads of B and C is the
 * same for all lanes, no sum goes over lanes, and 32 recurrences of each are under way at once.
 * Activations come through a ring in shared memory, a stage ahead.
 *
 * A tick and channel: 8 bytes of u and dt to the ends, 12 of the forward's u, dt and z, 4 of y, and
 * 2 of the states kept for the backward; 4 operations a state to the ends, 5 in the forward. Shared
 * memory: PAIR_STAGES stages of PAIR_TICKS ticks of (64 arrays + 32) floats, 7 KiB at most.
 *
 * Exponentials are what bounds it: 16 a tick and channel, two passes, of 16 a clock and
 * multiprocessor. So a few of them are made by multiply-adds instead: see pair_decay.
 */
#ifndef HISS_KERNELS_CUDA_SCAN_PAIR_H
#define HISS_KERNELS_CUDA_SCAN_PAIR_H

#include "kernels/cuda/scan_carry.h"
#include "kernels/cuda/scan_stage.h"

enum {
    PAIR_TICKS = 4, /* of a stage */
    PAIR_STAGES = 2,
    PAIR_BC = 2 * PAIR_STATES, /* floats of a tick's B and C */
    PAIR_POLYNOMIALS = 2,      /* states whose decays are polynomials */
    PAIR_OCCUPANCY = 16,       /* blocks of a multiprocessor: 128 registers a thread */
};
static_assert((int)PAIR_CHANNELS == 2 * (int)WARP && (int)PAIR_BC == (int)WARP,
              "what a warp copies");

typedef scan_kind<true, false, PAIR_STATES, 1, 2> pair_kind;

/* --- the ring --------------------------------------------------------------------------------- */

/* What a warp copies of Arrays tensors, and of B and C: a stage of the ring is (arrays, ticks,
   channels), then (ticks, PAIR_BC). */
template <int Arrays> struct pair_feed {
    static constexpr int bc = Arrays * PAIR_TICKS * PAIR_CHANNELS;
    static constexpr int size = bc + PAIR_TICKS * PAIR_BC;
    const float *from[Arrays]; /* at the warp's first channel of row 0; NULL: none */
    int64_t step[Arrays];      /* floats between rows */
    const float *from_bc;
    int64_t step_bc;
    int n_state, channels; /* of those that are there */
    bool quads;            /* 16 bytes at a time */
};

/* The ring is cleared once: nothing is ever copied to places of channels and states beyond the
   last, which lanes work on as on any other. */
template <int Arrays>
CUDA_DEV void pair_open(float *ring, struct pair_feed<Arrays> &feed, const struct scan_args &a)
{
    const int lane = (int)threadIdx.x, e = (int)blockIdx.x * PAIR_CHANNELS;
    uintptr_t odd = 0;
#pragma unroll
    for (int i = 0; i < Arrays; i++) {
        odd |= (uintptr_t)feed.from[i] | (uintptr_t)feed.step[i] * sizeof(float);
        feed.from[i] += feed.from[i] ? e : 0;
    }
    odd |=
        (uintptr_t)a.bc | (uintptr_t)a.ld_bc * sizeof(float) | (uintptr_t)a.inner * sizeof(float);
    feed.quads = odd % 16 == 0 && a.n_state == PAIR_STATES;
    feed.from_bc = a.bc;
    feed.step_bc = a.ld_bc;
    feed.n_state = a.n_state;
    feed.channels = a.inner - e < PAIR_CHANNELS ? a.inner - e : PAIR_CHANNELS;
    for (int i = lane; i < PAIR_STAGES * pair_feed<Arrays>::size; i += WARP)
        ring[i] = 0.0f;
    __syncwarp();
}

/* Begins to copy rows from `row` on to a stage, as many as there are of the n left. */
template <int Arrays>
CUDA_DEV void pair_copy(float *stage, const struct pair_feed<Arrays> &feed, int64_t row, int n)
{
    const int lane = (int)threadIdx.x;
    constexpr int width = PAIR_CHANNELS / 4, ticks = WARP / width; /* quads; copied at once */
    constexpr int width_bc = PAIR_BC / 4, ticks_bc = WARP / width_bc;
    if (feed.quads) {
        const int channel = lane % width * 4, which = lane % width_bc * 4;
#pragma unroll
        for (int i = 0; i < Arrays; i++) {
            const float *from = feed.from[i] + (row + lane / width) * feed.step[i] + channel;
#pragma unroll
            for (int t = 0; t < PAIR_TICKS; t += ticks)
                if (feed.from[i] && channel < feed.channels && t + lane / width < n)
                    gpu_cp_async16(stage + (i * PAIR_TICKS + t) * PAIR_CHANNELS + 4 * lane,
                                   from + t * feed.step[i]);
        }
#pragma unroll
        for (int t = 0; t < PAIR_TICKS; t += ticks_bc)
            if (t + lane / width_bc < n)
                gpu_cp_async16(stage + pair_feed<Arrays>::bc + t * PAIR_BC + 4 * lane,
                               feed.from_bc + (row + t + lane / width_bc) * feed.step_bc + which);
    } else {
        const int state = lane % PAIR_STATES;
        for (int t = 0; t < PAIR_TICKS && t < n; t++) {
            for (int i = 0; i < Arrays; i++)
                for (int e = lane; feed.from[i] && e < feed.channels; e += WARP)
                    gpu_cp_async4(stage + (i * PAIR_TICKS + t) * PAIR_CHANNELS + e,
                                  feed.from[i] + (row + t) * feed.step[i] + e);
            if (state < feed.n_state)
                gpu_cp_async4(stage + pair_feed<Arrays>::bc + t * PAIR_BC + lane,
                              feed.from_bc + (row + t) * feed.step_bc +
                                  lane / PAIR_STATES * feed.n_state + state);
        }
    }
}

/* Shared memory of a block, in bytes. */
template <int Arrays> static constexpr size_t pair_room(void)
{
    return PAIR_STAGES * pair_feed<Arrays>::size * sizeof(float);
}

/* A lane's pair of array i at tick t of a stage. */
CUDA_DEV float2 pair_pick(const float *stage, int i, int t)
{
    return *reinterpret_cast<const float2 *>(stage + (i * PAIR_TICKS + t) * PAIR_CHANNELS +
                                             2 * (int)threadIdx.x);
}

/* --- a tick ----------------------------------------------------------------------------------- */

CUDA_DEV struct scan_lane pair_lane_of(void)
{
    struct scan_lane lane;
    lane.state = lane.n0 = 0;
    lane.channel = 2 * (int)threadIdx.x;
    lane.e = (int)blockIdx.x * PAIR_CHANNELS + lane.channel;
    return lane;
}

/* 2^x for x <= 0, to 2e-7 of itself, by multiply-adds: of the nearest whole number, which adding
   and taking away a large one leaves, and of what is over, a minimax polynomial. */
CUDA_DEV float pair_exp2(float x)
{
    const float large = 12582912.0f, y = fmaxf(x, -126.0f), whole = y + large;
    const float f = y - (whole - large);
    float s = f * 1.326475411e-03f + 9.671497998e-03f;
    s = s * f + 5.550733464e-02f;
    s = s * f + 2.402224240e-01f;
    s = s * f + 6.931469780e-01f;
    s = s * f + 1.0f;
    return __uint_as_float(__float_as_uint(s) + (__float_as_uint(whole) << 23));
}

/* State r's decay exp(dt A). PAIR_POLYNOMIALS of the states, evenly spread, are spared the slow
   instruction. */
CUDA_DEV float pair_decay(int r, float dt, float pole)
{
    if (r * PAIR_POLYNOMIALS / PAIR_STATES != (r + 1) * PAIR_POLYNOMIALS / PAIR_STATES)
        return pair_exp2(dt * pole);
    return gpu_exp2(dt * pole);
}

/* --- the kernels ------------------------------------------------------------------------------ */

/* What each segment leaves from zero, and the product of its decays; in the other direction if
   Back, what it sends to the one before it. The one whose end nobody asks for is left out: grid
   (groups, segments - 1, batch). */
template <bool Back>
static __global__ void __launch_bounds__(WARP, PAIR_OCCUPANCY)
    scan_pair_ends_kernel(struct scan_args a, struct scan_segments seg, const float *dy)
{
    GPU_SMEM(float, ring);
    constexpr int arrays = Back ? 3 : 2;
    const struct scan_lane lane = pair_lane_of();
    const int64_t segment = blockIdx.y + (Back ? 1 : 0), b = blockIdx.z;
    const int64_t begin = segment * seg.ticks;
    const int64_t end = begin + seg.ticks < a.n_time ? begin + seg.ticks : a.n_time;
    const int stages = (int)((end - begin + PAIR_TICKS - 1) / PAIR_TICKS);
    const int64_t row = b * a.n_time + begin;
    struct pair_feed<arrays> feed;
    feed.from[0] = a.dt_raw;
    feed.from[1] = Back ? dy : a.u;
    feed.step[0] = feed.step[1] = a.inner;
    if constexpr (Back) {
        feed.from[2] = a.z;
        feed.step[2] = a.ld_z;
    }
    struct scan_numbers<pair_kind> k;
    pair_kind::state h = {};
    float bias[2], sum[2] = {0.0f, 0.0f};
    scan_coef_read(k, lane, a);
#pragma unroll
    for (int w = 0; w < 2; w++)
        bias[w] = lane.e + w < a.inner ? a.dt_bias[lane.e + w] : 0.0f;
    pair_open(ring, feed, a);
    const int64_t n = end - begin;
    for (int s = 0; s < stages + PAIR_STAGES - 1; s++) {
        const int done = s - (PAIR_STAGES - 1); /* the stage worked on; s is asked for */
        gpu_cp_async_wait<PAIR_STAGES - 2>();
        __syncwarp();
        if (s < stages) {
            const int at = (Back ? stages - 1 - s : s) * PAIR_TICKS;
            pair_copy(ring + s % PAIR_STAGES * feed.size, feed, row + at, (int)(n - at));
        }
        gpu_cp_async_commit();
        if (done < 0)
            continue;
        const float *stage = ring + done % PAIR_STAGES * feed.size;
        const int64_t left = n - (Back ? stages - 1 - done : done) * PAIR_TICKS;
        const int ticks = left < PAIR_TICKS ? (int)left : PAIR_TICKS;
#pragma unroll 1
        for (int i = 0; i < ticks; i++) {
            const int t = Back ? ticks - 1 - i : i;
            const float2 raw = pair_pick(stage, 0, t), other = pair_pick(stage, 1, t);
            const float dt[2] = {scan_softplus(raw.x + bias[0]), scan_softplus(raw.y + bias[1])};
            float in[2] = {other.x, other.y};
            if constexpr (Back) {
                if (a.z) {
                    const float2 z = pair_pick(stage, 2, t);
                    in[0] *= z.x * cuda_sigmoid(z.x);
                    in[1] *= z.y * cuda_sigmoid(z.y);
                }
            } else {
                in[0] *= dt[0];
                in[1] *= dt[1];
            }
            const float *bc = stage + feed.bc + t * PAIR_BC + (Back ? PAIR_STATES : 0);
#pragma unroll
            for (int r0 = 0; r0 < PAIR_STATES; r0 += 4) {
                const float4 v = *reinterpret_cast<const float4 *>(bc + r0);
                const float of[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
                for (int r = r0; r < r0 + 4; r++)
#pragma unroll
                    for (int w = 0; w < 2; w++) {
                        const float decay = pair_decay(r, dt[w], k.pole[w][r][0]);
                        if (Back)
                            h[w][r][0] = (h[w][r][0] + in[w] * of[r - r0]) * decay;
                        else
                            h[w][r][0] = h[w][r][0] * decay + in[w] * of[r - r0];
                    }
            }
            sum[0] += dt[0];
            sum[1] += dt[1];
        }
    }
    scan_power<pair_kind>(k.a, k.pole, sum);
    const int64_t at = scan_segment_at(a, seg, b, segment);
    scan_write<pair_kind>(seg.ends + at, h, lane, a);
    scan_write<pair_kind>(seg.decays + at, k.a, lane, a);
}

/* The outputs of a segment, and the states that enter its chunks. The last one's warp leaves the
   state. Grid (groups, segments, batch). */
static __global__ void __launch_bounds__(WARP, PAIR_OCCUPANCY)
    scan_pair_kernel(struct scan_args a, struct scan_segments seg)
{
    GPU_SMEM(float, ring);
    const struct scan_lane lane = pair_lane_of();
    const int64_t b = blockIdx.z, begin = blockIdx.y * seg.ticks;
    const int64_t end = begin + seg.ticks < a.n_time ? begin + seg.ticks : a.n_time;
    const int64_t chunks = (a.n_time + SCAN_TICKS - 1) / SCAN_TICKS, n = end - begin;
    const int stages = (int)((n + PAIR_TICKS - 1) / PAIR_TICKS);
    const int64_t row = b * a.n_time + begin;
    const bool two = lane.e + 1 < a.inner, one = lane.e < a.inner;
    const bool whole = two && (uintptr_t)a.y % 8 == 0 && a.inner % 2 == 0;
    struct pair_feed<3> feed;
    feed.from[0] = a.dt_raw;
    feed.from[1] = a.u;
    feed.from[2] = a.z;
    feed.step[0] = feed.step[1] = a.inner;
    feed.step[2] = a.ld_z;
    struct scan_numbers<pair_kind> k;
    pair_kind::state h;
    float bias[2], d[2];
    scan_coef_read(k, lane, a);
#pragma unroll
    for (int w = 0; w < 2; w++) {
        bias[w] = lane.e + w < a.inner ? a.dt_bias[lane.e + w] : 0.0f;
        d[w] = lane.e + w < a.inner ? a.d[lane.e + w] : 0.0f;
    }
    scan_read<pair_kind>(
        h, seg.n > 1 ? seg.ends + scan_segment_at(a, seg, b, blockIdx.y) : a.state + b * a.ld_state,
        lane, a);
    pair_open(ring, feed, a);
    for (int s = 0; s < stages + PAIR_STAGES - 1; s++) {
        const int done = s - (PAIR_STAGES - 1); /* the stage worked on; s is asked for */
        gpu_cp_async_wait<PAIR_STAGES - 2>();
        __syncwarp();
        if (s < stages)
            pair_copy(ring + s % PAIR_STAGES * feed.size, feed, row + s * PAIR_TICKS,
                      (int)(n - s * PAIR_TICKS));
        gpu_cp_async_commit();
        if (done < 0)
            continue;
        const int64_t t0 = begin + done * PAIR_TICKS;
        if (a.entering && t0 % SCAN_TICKS == 0) {
            const int64_t chunk = b * chunks + t0 / SCAN_TICKS;
            scan_write<pair_kind>(a.entering + chunk * a.inner * a.n_state, h, lane, a);
        }
        const float *stage = ring + done % PAIR_STAGES * feed.size;
        const int ticks = end - t0 < PAIR_TICKS ? (int)(end - t0) : PAIR_TICKS;
        float *y = a.y + (b * a.n_time + t0) * a.inner + lane.e;
#pragma unroll 1
        for (int t = 0; t < ticks; t++) {
            const float2 raw = pair_pick(stage, 0, t), u = pair_pick(stage, 1, t);
            const float dt[2] = {scan_softplus(raw.x + bias[0]), scan_softplus(raw.y + bias[1])};
            const float in[2] = {dt[0] * u.x, dt[1] * u.y};
            float out[2] = {d[0] * u.x, d[1] * u.y};
            const float *bc = stage + feed.bc + t * PAIR_BC;
#pragma unroll
            for (int r0 = 0; r0 < PAIR_STATES; r0 += 4) {
                const float4 vb = *reinterpret_cast<const float4 *>(bc + r0);
                const float4 vc = *reinterpret_cast<const float4 *>(bc + PAIR_STATES + r0);
                const float of[4] = {vb.x, vb.y, vb.z, vb.w}, by[4] = {vc.x, vc.y, vc.z, vc.w};
#pragma unroll
                for (int r = r0; r < r0 + 4; r++)
#pragma unroll
                    for (int w = 0; w < 2; w++) {
                        const float decay = pair_decay(r, dt[w], k.pole[w][r][0]);
                        h[w][r][0] = h[w][r][0] * decay + in[w] * of[r - r0];
                        out[w] += h[w][r][0] * by[r - r0];
                    }
            }
            if (a.z) {
                const float2 z = pair_pick(stage, 2, t);
                out[0] *= z.x * cuda_sigmoid(z.x);
                out[1] *= z.y * cuda_sigmoid(z.y);
            }
            if (whole)
                *reinterpret_cast<float2 *>(y) = make_float2(out[0], out[1]);
            else if (one)
                y[0] = out[0];
            if (!whole && two)
                y[1] = out[1];
            y += a.inner;
        }
    }
    if (end == a.n_time)
        scan_write<pair_kind>(a.state + b * a.ld_state, h, lane, a);
}
#endif
