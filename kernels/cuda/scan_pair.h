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
 * Exponentials take two thirds of the time that it takes: 16 a tick and channel, two passes, of 16
 * a clock and multiprocessor. So a few of them are made by multiply-adds instead: see pair_decay;
 * more of them were no faster.
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
/* Ticks of a stage that the forward has in one piece of code: sm_80 and its kin have no registers
   for more. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
enum { PAIR_AT_ONCE = 1 };
#else
enum { PAIR_AT_ONCE = PAIR_TICKS };
#endif
static_assert((int)PAIR_CHANNELS == 2 * (int)WARP && (int)PAIR_BC == (int)WARP,
              "what a warp copies");

typedef scan_kind<true, false, PAIR_STATES, 1, 2> pair_kind;

/* --- the ring --------------------------------------------------------------------------------- */

/* What a warp copies of Arrays tensors, dt first, then u or dy, then z, and of B and C: a stage of
   the ring is (arrays, ticks, channels), then (ticks, PAIR_BC). Stages follow each other in time,
   or the other way if Back. If Rounded, z and dy are, and lie so in the first halves of their rows.
   */
template <int Arrays, bool Back, bool Rounded> struct pair_feed {
    static constexpr int bc = Arrays * PAIR_TICKS * PAIR_CHANNELS;
    static constexpr int size = bc + PAIR_TICKS * PAIR_BC;
    /* whether tensor i is rounded, and the bytes of its entries */
    CUDA_DEV bool is_rounded(int i)
    {
        return Rounded && (i == 2 || (i == 1 && Back));
    }
    CUDA_DEV int bytes(int i)
    {
        return is_rounded(i) ? 2 : 4;
    }
    const char *at[Arrays]; /* the lane's quads of the next stage */
    const float *at_bc;
    int channels; /* of those that are there */
    bool quads;   /* 16 bytes at a time */
};

/* Where tensor i begins; dy: in the place of u, if any. */
CUDA_DEV const float *pair_tensor(int i, const struct scan_args &a, const float *dy)
{
    return i == 0 ? a.dt_raw : i == 2 ? a.z : dy ? dy : a.u;
}

CUDA_DEV int64_t pair_step(int i, const struct scan_args &a)
{
    return i == 2 ? a.ld_z : a.inner;
}

/* Quads of a row of channels, and of B and C, and the rows that a warp copies at once. */
enum {
    PAIR_QUADS = PAIR_CHANNELS / 4,
    PAIR_ROWS = WARP / PAIR_QUADS,
    PAIR_BC_QUADS = PAIR_BC / 4,
};
static_assert(PAIR_TICKS % PAIR_ROWS == 0 && PAIR_TICKS * PAIR_BC_QUADS == (int)WARP, "a stage");

/* To copy stages from the one whose first row is `row` on. The ring is cleared once: nothing is
   ever copied to places of channels and states beyond the last, which lanes work on as on any
   other. */
template <int Arrays, bool Back, bool Rounded>
CUDA_DEV void pair_open(float *ring, struct pair_feed<Arrays, Back, Rounded> &feed,
                        const struct scan_args &a, const float *dy, int64_t row)
{
    const int lane = (int)threadIdx.x, e = (int)blockIdx.x * PAIR_CHANNELS;
    uintptr_t odd = 0;
#pragma unroll
    for (int i = 0; i < Arrays; i++) {
        const float *from = pair_tensor(i, a, dy);
        const int64_t at = (row + lane / PAIR_QUADS) * pair_step(i, a) + e + lane % PAIR_QUADS * 4;
        odd |= (uintptr_t)from * (unsigned)(4 / feed.bytes(i));
        odd |= (uintptr_t)pair_step(i, a) * sizeof(float);
        feed.at[i] = reinterpret_cast<const char *>(from) + at * feed.bytes(i);
    }
    odd |= (uintptr_t)a.bc | (uintptr_t)a.ld_bc * sizeof(float);
    feed.quads = odd % 16 == 0 && a.n_state == PAIR_STATES;
    feed.at_bc = a.bc + (row + lane / PAIR_BC_QUADS) * a.ld_bc + lane % PAIR_BC_QUADS * 4;
    feed.channels = a.inner - e < PAIR_CHANNELS ? a.inner - e : PAIR_CHANNELS;
    for (int i = lane; i < PAIR_STAGES * feed.size; i += WARP)
        ring[i] = 0.0f;
    __syncwarp();
}

/* Begins to copy the next stage, whose first row is `row`, as many rows as there are of n left. */
template <int Arrays, bool Back, bool Rounded>
CUDA_DEV void pair_copy(float *stage, struct pair_feed<Arrays, Back, Rounded> &feed,
                        const struct scan_args &a, const float *dy, int64_t row, int n)
{
    const int lane = (int)threadIdx.x;
    constexpr int ahead = Back ? -PAIR_TICKS : PAIR_TICKS;
    if (feed.quads) {
        const int rows = lane % PAIR_QUADS * 4 < feed.channels ? n - lane / PAIR_QUADS : 0;
#pragma unroll
        for (int i = 0; i < Arrays; i++) {
            if (i == 2 && !a.z)
                continue;
            const int64_t step = pair_step(i, a) * feed.bytes(i);
            float *to = stage + i * PAIR_TICKS * PAIR_CHANNELS;
            to += feed.is_rounded(i) ? lane / PAIR_QUADS * PAIR_CHANNELS + lane % PAIR_QUADS * 2
                                     : 4 * lane;
#pragma unroll
            for (int t = 0; t < PAIR_TICKS; t += PAIR_ROWS)
                if (t < rows) {
                    if (feed.is_rounded(i))
                        gpu_cp_async8(to + t * PAIR_CHANNELS, feed.at[i] + t * step);
                    else
                        gpu_cp_async16(to + t * PAIR_CHANNELS, feed.at[i] + t * step);
                }
            feed.at[i] += ahead * step;
        }
        if (lane / PAIR_BC_QUADS < n)
            gpu_cp_async16(stage + feed.bc + 4 * lane, feed.at_bc);
        feed.at_bc += ahead * a.ld_bc;
    } else {
        const int state = lane % PAIR_STATES;
#pragma unroll 1
        for (int t = 0; t < PAIR_TICKS && t < n; t++) {
            for (int i = 0; i < Arrays; i++) {
                if (i == 2 && !a.z)
                    continue;
                const float *from = pair_tensor(i, a, dy);
                const int64_t at =
                    (row + t) * pair_step(i, a) + (int64_t)blockIdx.x * PAIR_CHANNELS;
                float *to = stage + (i * PAIR_TICKS + t) * PAIR_CHANNELS;
                for (int e = lane; e < feed.channels; e += WARP)
                    if (feed.is_rounded(i)) /* too few bytes for an asynchronous copy */
                        reinterpret_cast<uint16_t *>(to)[e] =
                            reinterpret_cast<const uint16_t *>(from)[at + e];
                    else
                        gpu_cp_async4(to + e, from + at + e);
            }
            if (state < a.n_state)
                gpu_cp_async4(stage + feed.bc + t * PAIR_BC + lane,
                              a.bc + (row + t) * a.ld_bc + lane / PAIR_STATES * a.n_state + state);
        }
    }
}

/* Shared memory of a block, in bytes. */
template <int Arrays> static constexpr size_t pair_room(void)
{
    return PAIR_STAGES * pair_feed<Arrays, false, false>::size * sizeof(float);
}

/* A lane's pair of array i at tick t of a stage. */
CUDA_DEV float2 pair_pick(const float *stage, int i, int t, bool rounded = false)
{
    const float *row = stage + (i * PAIR_TICKS + t) * PAIR_CHANNELS;
    if (rounded) {
        const uint32_t two = reinterpret_cast<const uint32_t *>(row)[threadIdx.x];
        return make_float2(rounded_low(two), rounded_high(two));
    }
    return reinterpret_cast<const float2 *>(row)[threadIdx.x];
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

/* What a lane's channels have of a tick before their states are looked at. */
struct pair_input {
    float dt[2], in[2];
    float direct[2]; /* D u; forward */
};

template <bool Back, bool Rounded>
CUDA_DEV struct pair_input pair_ends_input(const float *stage, int t, const float (&bias)[2],
                                           bool gated)
{
    const float2 raw = pair_pick(stage, 0, t);
    const float2 other = pair_pick(stage, 1, t, Back && Rounded);
    struct pair_input x = {
        {scan_softplus(raw.x + bias[0]), scan_softplus(raw.y + bias[1])}, {other.x, other.y}, {}};
    if (!Back) {
        x.in[0] *= x.dt[0];
        x.in[1] *= x.dt[1];
    } else if (gated) {
        const float2 z = pair_pick(stage, 2, t, Rounded);
        x.in[0] *= z.x * cuda_sigmoid(z.x);
        x.in[1] *= z.y * cuda_sigmoid(z.y);
    }
    return x;
}

CUDA_DEV struct pair_input pair_forward_input(const float *stage, int t, const float (&bias)[2],
                                              const float (&d)[2])
{
    const float2 raw = pair_pick(stage, 0, t), u = pair_pick(stage, 1, t);
    const float dt[2] = {scan_softplus(raw.x + bias[0]), scan_softplus(raw.y + bias[1])};
    return {{dt[0], dt[1]}, {dt[0] * u.x, dt[1] * u.y}, {d[0] * u.x, d[1] * u.y}};
}

/* A tick of the ends. bc: B, or C if Back. */
template <bool Back>
CUDA_DEV void pair_ends_tick(pair_kind::state &h, float (&sum)[2],
                             const struct scan_numbers<pair_kind> &k, const struct pair_input &x,
                             const float *bc)
{
#pragma unroll
    for (int r0 = 0; r0 < PAIR_STATES; r0 += 4) {
        const float4 v = *reinterpret_cast<const float4 *>(bc + r0);
        const float of[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int r = r0; r < r0 + 4; r++)
#pragma unroll
            for (int w = 0; w < 2; w++) {
                const float decay = pair_decay(r, x.dt[w], k.pole[w][r][0]);
                if (Back)
                    h[w][r][0] = (h[w][r][0] + x.in[w] * of[r - r0]) * decay;
                else
                    h[w][r][0] = h[w][r][0] * decay + x.in[w] * of[r - r0];
            }
    }
    sum[0] += x.dt[0];
    sum[1] += x.dt[1];
}

/* A tick of the forward, to the outputs of a lane's channels without the gate. */
CUDA_DEV void pair_tick(float (&out)[2], pair_kind::state &h,
                        const struct scan_numbers<pair_kind> &k, const struct pair_input &x,
                        const float *bc)
{
    out[0] = x.direct[0];
    out[1] = x.direct[1];
#pragma unroll
    for (int r0 = 0; r0 < PAIR_STATES; r0 += 4) {
        const float4 vb = *reinterpret_cast<const float4 *>(bc + r0);
        const float4 vc = *reinterpret_cast<const float4 *>(bc + PAIR_STATES + r0);
        const float of[4] = {vb.x, vb.y, vb.z, vb.w}, by[4] = {vc.x, vc.y, vc.z, vc.w};
#pragma unroll
        for (int r = r0; r < r0 + 4; r++)
#pragma unroll
            for (int w = 0; w < 2; w++) {
                const float decay = pair_decay(r, x.dt[w], k.pole[w][r][0]);
                h[w][r][0] = h[w][r][0] * decay + x.in[w] * of[r - r0];
                out[w] += h[w][r][0] * by[r - r0];
            }
    }
}

/* --- the kernels ------------------------------------------------------------------------------ */

/* What each segment leaves from zero, and the product of its decays; in the other direction if
   Back, what it sends to the one before it. The one whose end nobody asks for is left out: grid
   (groups, segments - 1, batch). */
template <bool Back, bool Rounded>
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
    struct pair_feed<arrays, Back, Rounded> feed;
    struct scan_numbers<pair_kind> k;
    pair_kind::state h = {};
    float bias[2], sum[2] = {0.0f, 0.0f};
    scan_coef_read(k, lane, a);
#pragma unroll
    for (int w = 0; w < 2; w++)
        bias[w] = lane.e + w < a.inner ? a.dt_bias[lane.e + w] : 0.0f;
    const int64_t n = end - begin;
    pair_open(ring, feed, a, dy, row + (Back ? (stages - 1) * PAIR_TICKS : 0));
    for (int s = 0; s < stages + PAIR_STAGES - 1; s++) {
        const int done = s - (PAIR_STAGES - 1); /* the stage worked on; s is asked for */
        gpu_cp_async_wait<PAIR_STAGES - 2>();
        __syncwarp();
        if (s < stages) {
            const int at = (Back ? stages - 1 - s : s) * PAIR_TICKS;
            pair_copy(ring + s % PAIR_STAGES * feed.size, feed, a, dy, row + at, (int)(n - at));
        }
        gpu_cp_async_commit();
        if (done < 0)
            continue;
        const float *stage = ring + done % PAIR_STAGES * feed.size;
        const float *bc = stage + feed.bc + (Back ? PAIR_STATES : 0);
        const int64_t left = n - (Back ? stages - 1 - done : done) * PAIR_TICKS;
        if (left >= PAIR_TICKS) { /* a tick's input is made beside the states of the one before */
            struct pair_input x =
                pair_ends_input<Back, Rounded>(stage, Back ? PAIR_TICKS - 1 : 0, bias, a.z);
#pragma unroll
            for (int i = 0; i < PAIR_TICKS; i++) {
                const int t = Back ? PAIR_TICKS - 1 - i : i;
                const struct pair_input now = x;
                if (i + 1 < PAIR_TICKS)
                    x = pair_ends_input<Back, Rounded>(stage, Back ? t - 1 : t + 1, bias, a.z);
                pair_ends_tick<Back>(h, sum, k, now, bc + t * PAIR_BC);
            }
        } else {
#pragma unroll 1
            for (int i = 0; i < left; i++) {
                const int t = Back ? (int)left - 1 - i : i;
                pair_ends_tick<Back>(h, sum, k, pair_ends_input<Back, Rounded>(stage, t, bias, a.z),
                                     bc + t * PAIR_BC);
            }
        }
    }
    scan_power<pair_kind>(k.a, k.pole, sum);
    const int64_t at = scan_segment_at(a, seg, b, segment);
    scan_write<pair_kind>(seg.ends + at, h, lane, a);
    scan_write<pair_kind>(seg.decays + at, k.a, lane, a);
}

/* Where a lane's outputs go, and how. */
struct pair_outlet {
    char *y; /* of the next tick */
    bool whole, one, two;
};

/* A tick's outputs with the gate, to their place. */
template <bool Rounded>
CUDA_DEV void pair_store(struct pair_outlet &to, float (&out)[2], const float *stage, int t,
                         const struct scan_args &a)
{
    if (a.z) {
        const float2 z = pair_pick(stage, 2, t, Rounded);
        out[0] *= z.x * cuda_sigmoid(z.x);
        out[1] *= z.y * cuda_sigmoid(z.y);
    }
    float *y = reinterpret_cast<float *>(to.y);
    if (to.whole && Rounded) {
        *reinterpret_cast<uint32_t *>(y) = gpu_bf16x2(out[0], out[1]);
    } else if (to.whole) {
        *reinterpret_cast<float2 *>(y) = make_float2(out[0], out[1]);
    } else {
        if (to.one)
            rounded_write(y, 0, Rounded, out[0]);
        if (to.two)
            rounded_write(y, 1, Rounded, out[1]);
    }
    to.y += a.inner * (Rounded ? 2 : 4);
}

/* The outputs of a segment, and the states that enter its chunks. The last one's warp leaves the
   state. Grid (groups, segments, batch). */
template <bool Rounded>
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
    struct pair_outlet to;
    constexpr int size = Rounded ? 2 : 4; /* of an entry of y */
    to.y = reinterpret_cast<char *>(a.y) + (row * a.inner + lane.e) * size;
    to.two = lane.e + 1 < a.inner;
    to.one = lane.e < a.inner;
    to.whole = to.two && (uintptr_t)a.y % (2 * size) == 0 && a.inner % 2 == 0;
    struct pair_feed<3, false, Rounded> feed;
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
    pair_open(ring, feed, a, NULL, row);
    for (int s = 0; s < stages + PAIR_STAGES - 1; s++) {
        const int done = s - (PAIR_STAGES - 1); /* the stage worked on; s is asked for */
        gpu_cp_async_wait<PAIR_STAGES - 2>();
        __syncwarp();
        if (s < stages)
            pair_copy(ring + s % PAIR_STAGES * feed.size, feed, a, NULL, row + s * PAIR_TICKS,
                      (int)(n - s * PAIR_TICKS));
        gpu_cp_async_commit();
        if (done < 0)
            continue;
        const int64_t t0 = begin + done * PAIR_TICKS, left = end - t0;
        if (a.entering && t0 % SCAN_TICKS == 0) {
            const int64_t chunk = b * chunks + t0 / SCAN_TICKS;
            scan_write<pair_kind>(a.entering + chunk * a.inner * a.n_state, h, lane, a);
        }
        const float *stage = ring + done % PAIR_STAGES * feed.size;
        float out[2];
        if (left >= PAIR_TICKS) { /* a tick's input is made beside the states of the one before */
            struct pair_input x = pair_forward_input(stage, 0, bias, d);
#pragma unroll PAIR_AT_ONCE
            for (int t = 0; t < PAIR_TICKS; t++) {
                const struct pair_input now = x;
                if (t + 1 < PAIR_TICKS)
                    x = pair_forward_input(stage, t + 1, bias, d);
                pair_tick(out, h, k, now, stage + feed.bc + t * PAIR_BC);
                pair_store<Rounded>(to, out, stage, t, a);
            }
        } else {
#pragma unroll 1
            for (int t = 0; t < left; t++) {
                pair_tick(out, h, k, pair_forward_input(stage, t, bias, d),
                          stage + feed.bc + t * PAIR_BC);
                pair_store<Rounded>(to, out, stage, t, a);
            }
        }
    }
    if (end == a.n_time)
        scan_write<pair_kind>(a.state + b * a.ld_state, h, lane, a);
}
#endif
