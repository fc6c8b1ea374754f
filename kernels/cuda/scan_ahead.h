/*
 * Staging of the backward of what scan_in_pairs says, a chunk ahead: as the stretches of a chunk
 * are done, from the last, the rows of the chunk before it are copied into their places, so that
 * they are there when the march comes to it.
 *
 * Half of the block's threads copy u and dt, the others dy and z, each the same four channels at
 * one tick of each stretch; what a thread has copied it turns into what the marches need.
 */
#ifndef HISS_KERNELS_CUDA_SCAN_AHEAD_H
#define HISS_KERNELS_CUDA_SCAN_AHEAD_H

#include "kernels/cuda/scan_reverse.h"

/* Whether all rows can be copied by 16 bytes, and stored by 8. */
static inline bool scan_ahead_fits(const struct scan_backward_args &b)
{
    const struct scan_args &a = b.forward;
    const uintptr_t at = (uintptr_t)a.u | (uintptr_t)a.z | (uintptr_t)a.dt_raw | (uintptr_t)a.bc |
                         (uintptr_t)b.dy | (uintptr_t)a.entering;
    const uintptr_t to = (uintptr_t)b.du | (uintptr_t)b.ddt_raw | (uintptr_t)b.dz;
    const int64_t step = a.inner | a.ld_z | a.ld_bc;
    return at % 16 == 0 && step % 4 == 0 && to % 8 == 0 && b.ld_dz % 2 == 0 &&
           a.n_state == PAIR_STATES;
}

/* A thread's part of some ticks. */
template <class K> struct scan_ahead {
    static constexpr int half = SCAN_THREADS / 2, width = K::channels / 4;
    static constexpr int ticks = half / width; /* copied at once */
    static_assert(SCAN_TICKS % ticks == 0 && ticks % K::sub == 0, "stretches");
    static_assert(ticks * K::bc / 4 <= SCAN_THREADS, "a quad a thread");
    bool gates;
    int quad; /* of a tile's rows */
    int tick, e;
};

template <class K> CUDA_DEV struct scan_ahead<K> scan_ahead_of(void) {
    struct scan_ahead<K> x;
    x.gates = (int)threadIdx.x >= x.half;
    x.quad = (int)threadIdx.x % x.half;
    x.tick = x.quad / x.width;
    x.e = (int)blockIdx.x * K::channels + x.quad % x.width * 4;
    return x;
}

/* Four entries to a place of four floats, whose first half is theirs if they are rounded; and as
   floats from there. */
CUDA_DEV void
scan_ahead_quad(float *to, const float *from, int64_t at, bool rounded)
{
    if (rounded)
        gpu_cp_async8(to, reinterpret_cast<const uint16_t *>(from) + at);
    else
        gpu_cp_async16(to, from + at);
}

CUDA_DEV float4 scan_ahead_floats(const float4 *at, bool rounded)
{
    if (!rounded)
        return *at;
    const uint2 v = *reinterpret_cast<const uint2 *>(at);
    return make_float4(rounded_low(v.x), rounded_high(v.x), rounded_low(v.y), rounded_high(v.y));
}

/* Begins to copy staged ticks t0 .. t0+ticks-1, of n, of the chunk whose first row is `row`. */
template <class K>
CUDA_DEV void scan_ahead_copy(float *smem, const struct scan_args &a, const float *dy, int64_t row,
                              int t0, int n)
{
    typedef scan_back_smem<K> M;
    const struct scan_ahead<K> x = scan_ahead_of<K>();
    const int64_t at = row + t0 + x.tick;
    float *to = smem + t0 * K::channels + 4 * x.quad;
    if (x.e < a.inner && t0 + x.tick < n) {
        if (!x.gates) {
            gpu_cp_async16(to + M::u, a.u + at * a.inner + x.e);
            gpu_cp_async16(to + M::dt, a.dt_raw + at * a.inner + x.e);
        } else {
            scan_ahead_quad(to + M::q, dy, at * a.inner + x.e, a.rounded);
            if (a.z)
                scan_ahead_quad(to + M::gate, a.z, at * a.ld_z + x.e, a.rounded);
        }
    }
    const int tick = (int)threadIdx.x / (K::bc / 4), which = (int)threadIdx.x % (K::bc / 4) * 4;
    if (tick < x.ticks && t0 + tick < n)
        gpu_cp_async16(smem + M::bc + (t0 + tick) * K::bc + which,
                       a.bc + (row + t0 + tick) * a.ld_bc + which);
}

/* Once the thread's copies are there: softplus and gates, in place. */
template <class K> CUDA_DEV void scan_ahead_turn(float *smem, const struct scan_args &a, int n)
{
    typedef scan_back_smem<K> M;
    const struct scan_ahead<K> x = scan_ahead_of<K>();
    if (x.e >= a.inner)
        return;
    if (!x.gates) {
        const float *bias = a.dt_bias + x.e;
        for (int t0 = 0; t0 + x.tick < n; t0 += x.ticks) { /* where there is no tick, dt stays 0 */
            float4 *at = reinterpret_cast<float4 *>(smem + M::dt + t0 * K::channels) + x.quad;
            float4 v = *at;
            v.x = scan_softplus(v.x + bias[0]);
            v.y = scan_softplus(v.y + bias[1]);
            v.z = scan_softplus(v.z + bias[2]);
            v.w = scan_softplus(v.w + bias[3]);
            *at = v;
        }
    } else if (a.z) {
        for (int t0 = 0; t0 < n; t0 += x.ticks) {
            float4 *at = reinterpret_cast<float4 *>(smem + M::q + t0 * K::channels) + x.quad;
            float4 *gate = reinterpret_cast<float4 *>(smem + M::gate + t0 * K::channels) + x.quad;
            float4 q = scan_ahead_floats(at, a.rounded), z = scan_ahead_floats(gate, a.rounded);
            scan_gate(&q.x, &z.x);
            scan_gate(&q.y, &z.y);
            scan_gate(&q.z, &z.z);
            scan_gate(&q.w, &z.w);
            *at = q;
            *gate = z;
        }
    }
}

/* The state that enters the next chunk, in the place of those kept for the stretch before the last,
   and from there: an own quad or two of each thread. */
template <class K> CUDA_DEV float *scan_ahead_place(float *smem)
{
    typedef scan_back_smem<K> M;
    return smem + M::kept + (M::stretches - 2) * K::own * SCAN_THREADS + 4 * (int)threadIdx.x;
}

template <class K>
CUDA_DEV void scan_ahead_state(float *smem, const float *entering, struct scan_lane lane,
                               const struct scan_args &a)
{
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r += 4)
            if (lane.e + w < a.inner)
                gpu_cp_async16(scan_ahead_place<K>(smem) + (w * K::states + r) * SCAN_THREADS,
                               entering + (int64_t)(lane.e + w) * a.n_state + lane.n0 + r);
}

template <class K>
CUDA_DEV void scan_ahead_read(float *smem, typename K::state &h, struct scan_lane lane,
                              const struct scan_args &a)
{
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r += 4) {
            const float4 v = *reinterpret_cast<const float4 *>(scan_ahead_place<K>(smem) +
                                                               (w * K::states + r) * SCAN_THREADS);
            const bool live = lane.e + w < a.inner;
            h[w][r][0] = live ? v.x : 0.0f;
            h[w][r + 1][0] = live ? v.y : 0.0f;
            h[w][r + 2][0] = live ? v.z : 0.0f;
            h[w][r + 3][0] = live ? v.w : 0.0f;
        }
}

/* After the stretch at t of a chunk has been found, and all later ones stored: copies of the chunk
   before it, whose first row is `row`, to what is free now. */
template <class K>
CUDA_DEV void scan_ahead_free(float *smem, const struct scan_args &a, const float *dy,
                              const float *entering, struct scan_lane lane, int64_t row, int t,
                              int last)
{
    constexpr int ticks = scan_ahead<K>::ticks;
    const int done = t + K::sub; /* from this tick on */
    if (t == last) {
        scan_ahead_state<K>(smem, entering, lane, a);
        /* rows that a ragged chunk did not have */
#pragma unroll 1
        for (int i = (done + ticks - 1) / ticks * ticks; i < SCAN_TICKS; i += ticks)
            scan_ahead_copy<K>(smem, a, dy, row, i, SCAN_TICKS);
    } else if (done % ticks == 0) {
        scan_ahead_copy<K>(smem, a, dy, row, done, SCAN_TICKS);
    }
    gpu_cp_async_commit();
}

#endif
