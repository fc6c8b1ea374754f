/*
 * The backward scan over one chunk: see scan_backward.cu for the whole.
 *
 * With G the gradient of h_t and g = conj(a_t) G its share for h_(t-1), for a = exp(dt A):
 *   dC = dy conj(h_t), dB = G dt u, du = Re(G conj(B)) dt + D dy,
 *   ddt = Re(G conj(B)) u + Re(g conj(h_(t-1)) conj(A)), dA = sum_t dt g conj(h_(t-1));
 * complex state: 2 dy in place of dy, except in D's terms. Static mixers: dt = 1, and the gradient
 * of the decay is sum_t G conj(h_(t-1)).
 */
#ifndef HISS_KERNELS_CUDA_SCAN_REVERSE_H
#define HISS_KERNELS_CUDA_SCAN_REVERSE_H

#include "kernels/cuda/scan_stage.h"

/* --- one tick back ---------------------------------------------------------------------------- */

/* V values of each lane summed over the warp's channels, the lanes O, O/2, ... L apart: each lane
   is left with its share, from number lane/L times the share on. */
template <int V, int O, int L> CUDA_DEV void scan_sum_channels(float *v)
{
    if constexpr (O >= L) {
        const bool upper = threadIdx.x & O;
#pragma unroll
        for (int i = 0; i < V / 2; i++) {
            const float mine = upper ? v[i + V / 2] : v[i];
            const float other = upper ? v[i] : v[i + V / 2];
            v[i] = mine + __shfl_xor_sync((unsigned)ALL_LANES, other, O);
        }
        scan_sum_channels<V / 2, O / 2, L>(v);
    }
}

static constexpr float SCAN_LN2 = 0.693147181f;
static constexpr float SCAN_QUARTER = 1.57079633f; /* radians */

/* A tick's own, of a lane's channels: its output's gradient, its dt, its input. */
template <class K> struct scan_tick {
    float q[K::many], dt[K::many], u[K::many];
};

/* What a lane finds at a tick: input Re(G conj(B)), then pole Re(g conj(h_(t-1)) conj(A)). */
template <class K> struct scan_found {
    float v[2 * K::many];
};

/* One tick back: g from the gradient of h_t without dy's share to that of h_(t-1). h: the state
   before the tick, now: after it. dcoef: sums over the ticks; dbc: Re dB, Im dB, Re dC, Im dC of
   the lane's states, summed over its channels; selective. */
template <class K>
CUDA_DEV struct scan_found<K> scan_back(typename K::state &g, typename K::sums &dcoef, float *dbc,
                                        const struct scan_numbers<K> &k,
                                        const struct scan_tick<K> &tick, const typename K::state &h,
                                        const typename K::state &now) {
    struct scan_found<K> found = {
    };
#pragma unroll
    for (int w = 0; w < K::many; w++) {
        constexpr int last = K::parts - 1;
        const int shared = K::selective ? 0 : w;
        const float q = K::parts * tick.q[w], in = tick.dt[w] * tick.u[w];
        float pole = 0.0f, turn = 0.0f;
#pragma unroll
        for (int r = 0; r < K::states; r++) {
            /* of a real state no imaginary part is worked out: times 0 is not nothing to IEEE */
            const float ar = k.a[w][r][0], ai = K::is_complex ? k.a[w][r][last] : 0.0f;
            const float hr = h[w][r][0], hi = K::is_complex ? h[w][r][last] : 0.0f;
            const float gr = g[w][r][0] + q * k.c[shared][0][r];
            float gi = 0.0f, br = ar * gr, bi = 0.0f;
            found.v[w] += gr * k.b[shared][0][r];
            if constexpr (K::is_complex) {
                gi = g[w][r][1] - q * k.c[shared][1][r];
                found.v[w] += gi * k.b[shared][1][r];
                br += ai * gi;
                bi = ar * gi - ai * gr;
            }
            const float values[2] = {gr, gi};
            const float outputs[2] = {now[w][r][0], K::is_complex ? -now[w][r][last] : 0.0f};
            if constexpr (K::selective) {
                float wr = br * hr;
                if constexpr (K::is_complex)
                    wr += bi * hi;
                pole += wr * k.pole[w][r][0];
                dcoef[w][r][0] += wr * tick.dt[w];
                if constexpr (K::is_complex) {
                    const float wi = bi * hr - br * hi;
                    turn += wi * k.pole[w][r][1];
                    dcoef[w][r][1] += wi * tick.dt[w];
                }
#pragma unroll
                for (int p = 0; p < K::parts; p++) {
                    float *db = dbc + p * K::states + r, *dc = db + K::parts * K::states;
                    *db = (w ? *db : 0.0f) + values[p] * in;
                    *dc = (w ? *dc : 0.0f) + outputs[p] * q;
                }
            } else {
                const float decays[2] = {gr * hr + gi * hi, gi * hr - gr * hi};
#pragma unroll
                for (int p = 0; p < K::parts; p++) {
                    dcoef[w][r][p] += decays[p];
                    dcoef[w][r][K::parts + p] += values[p] * in;
                    dcoef[w][r][2 * K::parts + p] += outputs[p] * q;
                }
            }
            g[w][r][0] = br;
            if constexpr (K::is_complex)
                g[w][r][1] = bi;
        }
        found.v[K::many + w] = pole * SCAN_LN2 + turn * SCAN_QUARTER;
    }
    return found;
}

/* --- a stretch of ticks ----------------------------------------------------------------------- */

/* Where a launch's sums go. */
struct scan_sums {
    float *dbc; /* (groups, B, T, width of a row of bc), ld_dbc between rows */
    int64_t ld_dbc;
    float *parameters; /* (B, segments) rows of dcoef (E, N, step), dd (E), ddt_bias (E) */
};

/* The shared memory of a block, in floats from its beginning. What the lanes find is kept of two
   stretches, so that one is found while the other is stored, if there is room. */
template <class K> struct scan_back_smem {
    static constexpr int stretches = SCAN_TICKS / K::sub;
    static constexpr int found_size = K::sub * K::channels;
    static constexpr int dbc_size = K::selective ? SCAN_WARPS * K::sub * K::bc : 0;
    static constexpr int u = 0, q = u + K::tile, gate = q + K::tile, dt = gate + K::tile;
    static constexpr int bc = dt + (K::selective ? K::tile : 0);
    static constexpr int found = bc + K::bc_size; /* of a stretch: input, pole, then dbc */
    static constexpr int input = 0, pole = input + found_size;
    static constexpr int dbc = pole + (K::selective ? found_size : 0); /* (warps, sub) rows of bc */
    static constexpr bool two = K::lanes == 4;
    static constexpr int d = found + (two ? 2 : 1) * (dbc + dbc_size);
    static constexpr int kept = d + K::channels; /* states, of all stretches but the last */
    /* a thread's sums over ticks, where registers are shorter than this memory */
    static constexpr bool holds_sums = K::many == 2;
    static constexpr int sums = kept + (stretches - 1) * K::own * SCAN_THREADS;
    static constexpr int size = sums + (holds_sums ? 2 * K::many * SCAN_THREADS : 0);
    static_assert(size * sizeof(float) <= 163 * 1024, "shared memory of sm_80");
};

/* Where what is found of the stretch at t has its place. */
template <class K> CUDA_DEV float *scan_found_at(float *smem, int t)
{
    typedef scan_back_smem<K> M;
    return smem + M::found + (M::two && t / K::sub % 2 ? M::dbc + M::dbc_size : 0);
}

/* From the entering state h through n staged ticks, keeping it every K::sub, to the last stretch,
   whose state is left in h. */
template <class K>
CUDA_DEV void scan_keep(float *smem, typename K::state &h, struct scan_numbers<K> &k,
                        const struct scan_args &a, struct scan_lane lane, int64_t row, int n)
{
    typedef scan_back_smem<K> M;
    for (int t0 = 0; t0 + K::sub < n; t0 += K::sub) {
        float *kept = smem + M::kept + t0 / K::sub * K::own * SCAN_THREADS;
#pragma unroll
        for (int i = 0; i < K::own; i++)
            kept[i * SCAN_THREADS + (int)threadIdx.x] = scan_float<K>(h, i);
#pragma unroll
        for (int t = t0; t < t0 + K::sub; t++) {
            const int at = t * K::channels + lane.channel;
            float delta[K::many], u[K::many];
            scan_pick_dt<K>(delta, smem + M::dt, at);
            scan_pick<K>(u, smem + M::u, at);
            scan_fetch_b(k, scan_bc_row<K>(smem + M::bc, a, row, t), lane, a.n_state);
            scan_decay(k, delta);
            scan_advance(h, k, delta, u);
        }
    }
}

/* The gate's gradient: its tile's entries of a tick times the output without gate. */
template <class K>
CUDA_DEV void scan_gate_output(float *smem, int at, const typename K::state &h,
                               const struct scan_numbers<K> &k, struct scan_lane lane)
{
    typedef scan_back_smem<K> M;
    const float s = scan_output_of<K>(h, k);
    if (lane.state % (K::lanes / K::many) == 0) {
        const int w = lane.state / (K::lanes / K::many);
        smem[M::gate + at + w] *= s + smem[M::d + lane.channel + w] * smem[M::u + at + w];
    }
}

/* Back over ticks t0 .. t0+K::sub-1 of the n staged. `before`: the state before them; it is left
   with that before the stretch that comes next. Whole: ticks after the last are staged as zeros,
   at which nothing changes, so that no tick waits for a branch. */
template <class K, bool Whole>
CUDA_DEV void scan_stretch_back(float *smem, typename K::state &before, typename K::state &g,
                                typename K::sums &dcoef, struct scan_numbers<K> &k,
                                const struct scan_args &a, struct scan_lane lane, int64_t row,
                                int t0, int n)
{
    typedef scan_back_smem<K> M;
    typename K::state h[K::sub + 1], decay[K::selective ? K::sub : 1];
    float *found = scan_found_at<K>(smem, t0);
    scan_copy<K>(h[0], before);
#pragma unroll
    for (int j = 0; j < K::sub; j++) {
        scan_copy<K>(h[j + 1], h[j]);
        if (Whole || t0 + j < n) {
            const int at = (t0 + j) * K::channels + lane.channel;
            float delta[K::many], u[K::many];
            scan_pick_dt<K>(delta, smem + M::dt, at);
            scan_pick<K>(u, smem + M::u, at);
            scan_fetch_b(k, scan_bc_row<K>(smem + M::bc, a, row, t0 + j), lane, a.n_state);
            scan_decay(k, delta);
            scan_advance(h[j + 1], k, delta, u);
            if constexpr (K::selective)
                scan_copy<K>(decay[j], k.a);
        }
    }
#pragma unroll
    for (int j = K::sub - 1; j >= 0; j--)
        if (Whole || t0 + j < n) { /* of all threads alike */
            const int at = (t0 + j) * K::channels + lane.channel;
            const int found_at = j * K::channels + lane.channel;
            const float *bc_row = scan_bc_row<K>(smem + M::bc, a, row, t0 + j);
            struct scan_tick<K> tick;
            float dbc[2 * K::parts * K::states];
            scan_pick<K>(tick.q, smem + M::q, at);
            scan_pick<K>(tick.u, smem + M::u, at);
            scan_pick_dt<K>(tick.dt, smem + M::dt, at);
            scan_fetch_b(k, bc_row, lane, a.n_state);
            scan_fetch_c(k, bc_row, lane, a.n_state);
            if constexpr (K::selective)
                scan_copy<K>(k.a, decay[j]);
            struct scan_found<K> sums = scan_back<K>(g, dcoef, dbc, k, tick, h[j], h[j + 1]);
            scan_sum_lanes<2 * K::many, K::lanes / 2>(sums.v);
            constexpr int holders = K::lanes / (2 * K::many);
            if (lane.state % holders == 0) {
                const int which = lane.state / holders;
                if (K::selective || which < K::many)
                    found[(which < K::many ? M::input + which : M::pole + which - K::many) +
                          found_at] = sums.v[0];
            }
            if (Whole || a.z) /* without a gate nobody looks at it */
                scan_gate_output<K>(smem, at, h[j + 1], k, lane);
            if constexpr (K::selective) {
                constexpr int share = 2 * K::parts * K::states * K::lanes / WARP;
                float *to = found + M::dbc + ((int)threadIdx.x / WARP * K::sub + j) * K::bc;
                scan_sum_channels<2 * K::parts * K::states, WARP / 2, K::lanes>(dbc);
#pragma unroll
                for (int i = 0; i < share; i++) {
                    const int v = (int)threadIdx.x % WARP / K::lanes * share + i;
                    to[v / K::states * K::width + lane.n0 + v % K::states] = dbc[i];
                }
            }
        }
    if (t0 > 0) {
        const float *kept = smem + M::kept + (t0 / K::sub - 1) * K::own * SCAN_THREADS;
#pragma unroll
        for (int i = 0; i < K::own; i++)
            scan_float<K>(before, i) = kept[i * SCAN_THREADS + (int)threadIdx.x];
    }
}

/* dB and dC of the block's channels at the same ticks, the sum over its warps, to rows of `to`. */
template <class K>
CUDA_DEV void scan_store_dbc(float *to, int64_t ld, const float *found, const struct scan_args &a,
                             int64_t row, int t0, int n)
{
    const float *dbc = found + scan_back_smem<K>::dbc;
    constexpr int share = K::sub * K::bc / SCAN_THREADS;
    static_assert(share * SCAN_THREADS == K::sub * K::bc, "as many a thread");
#pragma unroll 4
    for (int j = 0; j < share; j++) {
        const unsigned i = threadIdx.x + (unsigned)j * SCAN_THREADS, state = i % K::width;
        const int t = (int)(i / K::bc), which = (int)(i % K::bc / K::width);
        float sum = dbc[i];
#pragma unroll
        for (int w = 1; w < SCAN_WARPS; w++)
            sum += dbc[w * K::sub * K::bc + i];
        if (t0 + t < n && (int)state < a.n_state)
            to[(row + t0 + t) * ld + which * a.n_state + (int)state] = sum;
    }
}

#endif
