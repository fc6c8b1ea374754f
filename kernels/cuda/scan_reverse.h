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

/* The sums of x and y over a channel's lanes: x's in its lower half, y's in its upper. */
template <int L> CUDA_DEV float scan_sum_pair(float x, float y)
{
    const bool upper = threadIdx.x & (L / 2);
    float sum = (upper ? y : x) + __shfl_xor_sync((unsigned)ALL_LANES, upper ? x : y, L / 2);
#pragma unroll
    for (int lanes = L / 4; lanes > 0; lanes /= 2)
        sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, lanes);
    return sum;
}

static constexpr float SCAN_LN2 = 0.693147181f;
static constexpr float SCAN_QUARTER = 1.57079633f; /* radians */

/* A tick's own: its output's gradient, its dt, and what the state's input was multiplied by. */
struct scan_tick {
    float q, dt, in;
};

/* What a lane finds at a tick. */
struct scan_found {
    float input; /* Re(G conj(B)) */
    float pole;  /* Re(g conj(h_(t-1)) conj(A)) */
};

/* One tick back: g from the gradient of h_t without dy's share to that of h_(t-1). h: the state
   before the tick, now: after it. dcoef: sums over the ticks; dbc: Re dB, Im dB, Re dC, Im dC of
   the lane's states; selective. */
template <class K>
CUDA_DEV struct scan_found
scan_back(float (&g)[K::states][K::parts], float (&dcoef)[K::states][K::step], float *dbc,
          const struct scan_numbers<K> &k, struct scan_tick tick,
          const float (&h)[K::states][K::parts], const float (&now)[K::states][K::parts])
{
    const float q = K::parts * tick.q;
    struct scan_found found = {0.0f, 0.0f};
    float turn = 0.0f;
#pragma unroll
    for (int r = 0; r < K::states; r++) {
        /* the imaginary parts are 0, and go when compiled, if the state is real */
        const float ar = k.a[r][0], ai = K::is_complex ? k.a[r][K::parts - 1] : 0.0f;
        const float hr = h[r][0], hi = K::is_complex ? h[r][K::parts - 1] : 0.0f;
        float gr = g[r][0] + q * k.c[0][r], gi = 0.0f;
        found.input += gr * k.b[0][r];
        if constexpr (K::is_complex) {
            gi = g[r][1] - q * k.c[1][r];
            found.input += gi * k.b[1][r];
        }
        const float br = ar * gr + ai * gi, bi = ar * gi - ai * gr;
        const float values[2] = {gr * tick.in, gi * tick.in};
        const float outputs[2] = {q * now[r][0], K::is_complex ? -q * now[r][K::parts - 1] : 0.0f};
        if constexpr (K::selective) {
            const float wr = br * hr + bi * hi, wi = bi * hr - br * hi;
            found.pole += wr * k.pole[r][0];
            dcoef[r][0] += wr * tick.dt;
            if constexpr (K::is_complex) {
                turn += wi * k.pole[r][1];
                dcoef[r][1] += wi * tick.dt;
            }
#pragma unroll
            for (int p = 0; p < K::parts; p++) {
                dbc[p * K::states + r] = values[p];
                dbc[(K::parts + p) * K::states + r] = outputs[p];
            }
        } else {
            const float decays[2] = {gr * hr + gi * hi, gi * hr - gr * hi};
#pragma unroll
            for (int p = 0; p < K::parts; p++) {
                dcoef[r][p] += decays[p];
                dcoef[r][K::parts + p] += values[p];
                dcoef[r][2 * K::parts + p] += outputs[p];
            }
        }
        g[r][0] = br;
        if constexpr (K::is_complex)
            g[r][1] = bi;
    }
    found.pole = found.pole * SCAN_LN2 + turn * SCAN_QUARTER;
    return found;
}

/* --- a stretch of ticks ----------------------------------------------------------------------- */

/* Where a launch's sums go. */
struct scan_sums {
    float *dbc; /* (groups, B, T, width of a row of bc), ld_dbc between rows */
    int64_t ld_dbc;
    float *parameters; /* (B, segments) rows of dcoef (E, N, step), dd (E), ddt_bias (E) */
};

/* The shared memory of a block, in floats from its beginning. */
template <class K> struct scan_back_smem {
    static constexpr int u = 0, dt = u + K::tile, q = dt + K::tile, s = q + K::tile;
    static constexpr int input = s + K::tile, pole = input + K::tile, bc = pole + K::tile;
    static constexpr int dbc = bc + K::bc_size; /* (warps, sub) rows of bc */
    static constexpr int kept = dbc + (K::selective ? SCAN_WARPS * K::sub * K::bc : 0); /* states */
    static constexpr int size = kept + SCAN_TICKS / K::sub * K::states * K::parts * SCAN_THREADS;
    static_assert(size * sizeof(float) <= 163 * 1024, "shared memory of sm_80");
};

/* From the entering state h through n staged ticks, keeping it every K::sub; the sums of C h too if
   there is a gate. */
template <class K>
CUDA_DEV void scan_keep(float *smem, float (&h)[K::states][K::parts], struct scan_numbers<K> &k,
                        const struct scan_args &a, struct scan_lane lane, int64_t row, int n)
{
    typedef scan_back_smem<K> M;
    for (int t = 0; t < n; t++) {
        const int at = t * K::channels + lane.channel;
        if (t % K::sub == 0) {
            float *kept = smem + M::kept + t / K::sub * K::states * K::parts * SCAN_THREADS;
#pragma unroll
            for (int i = 0; i < K::states * K::parts; i++)
                kept[i * SCAN_THREADS + (int)threadIdx.x] = h[i / K::parts][i % K::parts];
        }
        const float *bc_row = scan_bc_row<K>(smem + M::bc, a, row, t);
        const float delta = K::selective ? smem[M::dt + at] : 1.0f;
        scan_fetch_b(k, bc_row, lane, a.n_state);
        scan_decay(k, delta);
        scan_advance(h, k, delta * smem[M::u + at]);
        if (a.z) {
            scan_fetch_c(k, bc_row, lane, a.n_state);
            const float s = scan_output<K>(h, k);
            if (lane.state == 0)
                smem[M::s + at] = s;
        }
    }
}

/* Back over ticks t0 .. t0+K::sub-1 of the n staged. */
template <class K>
CUDA_DEV void scan_stretch_back(float *smem, float (&g)[K::states][K::parts],
                                float (&dcoef)[K::states][K::step], struct scan_numbers<K> &k,
                                const struct scan_args &a, struct scan_lane lane, int64_t row,
                                int t0, int n)
{
    typedef scan_back_smem<K> M;
    float h[K::sub + 1][K::states][K::parts];
    float decay[K::selective ? K::sub : 1][K::states][K::parts];
    const float *kept = smem + M::kept + t0 / K::sub * K::states * K::parts * SCAN_THREADS;
#pragma unroll
    for (int i = 0; i < K::states * K::parts; i++)
        h[0][i / K::parts][i % K::parts] = kept[i * SCAN_THREADS + (int)threadIdx.x];
#pragma unroll
    for (int j = 0; j < K::sub; j++) {
#pragma unroll
        for (int i = 0; i < K::states * K::parts; i++)
            h[j + 1][i / K::parts][i % K::parts] = h[j][i / K::parts][i % K::parts];
        if (t0 + j < n) {
            const int at = (t0 + j) * K::channels + lane.channel;
            const float delta = K::selective ? smem[M::dt + at] : 1.0f;
            scan_fetch_b(k, scan_bc_row<K>(smem + M::bc, a, row, t0 + j), lane, a.n_state);
            scan_decay(k, delta);
            scan_advance(h[j + 1], k, delta * smem[M::u + at]);
            if constexpr (K::selective)
#pragma unroll
                for (int i = 0; i < K::states * K::parts; i++)
                    decay[j][i / K::parts][i % K::parts] = k.a[i / K::parts][i % K::parts];
        }
    }
#pragma unroll
    for (int j = K::sub - 1; j >= 0; j--)
        if (t0 + j < n) { /* of all threads alike */
            const int at = (t0 + j) * K::channels + lane.channel;
            const float *bc_row = scan_bc_row<K>(smem + M::bc, a, row, t0 + j);
            const float delta = K::selective ? smem[M::dt + at] : 1.0f;
            const struct scan_tick tick = {smem[M::q + at], delta, delta * smem[M::u + at]};
            float dbc[2 * K::parts * K::states];
            scan_fetch_b(k, bc_row, lane, a.n_state);
            scan_fetch_c(k, bc_row, lane, a.n_state);
            if constexpr (K::selective)
#pragma unroll
                for (int i = 0; i < K::states * K::parts; i++)
                    k.a[i / K::parts][i % K::parts] = decay[j][i / K::parts][i % K::parts];
            const struct scan_found found = scan_back<K>(g, dcoef, dbc, k, tick, h[j], h[j + 1]);
            const float sum = scan_sum_pair<K::lanes>(found.input, found.pole);
            if (lane.state % (K::lanes / 2) == 0)
                smem[(lane.state == 0 ? M::input : M::pole) + at] = sum;
            if constexpr (K::selective) {
                constexpr int share = 2 * K::parts * K::states * K::lanes / WARP;
                float *to = smem + M::dbc + ((int)threadIdx.x / WARP * K::sub + j) * K::bc;
                scan_sum_channels<2 * K::parts * K::states, WARP / 2, K::lanes>(dbc);
#pragma unroll
                for (int i = 0; i < share; i++) {
                    const int v = (int)threadIdx.x % WARP / K::lanes * share + i;
                    to[v / K::states * K::width + lane.n0 + v % K::states] = dbc[i];
                }
            }
        }
}

/* dB and dC of the block's channels at the same ticks: the sum over its warps. */
template <class K>
CUDA_DEV void scan_store_dbc(const float *smem, const struct scan_args &a,
                             const struct scan_sums &sums, int64_t row, int t0, int n)
{
    const float *dbc = smem + scan_back_smem<K>::dbc;
    float *to = sums.dbc + blockIdx.x * a.n_batch * a.n_time * sums.ld_dbc;
    for (int i = (int)threadIdx.x; i < K::sub * K::bc; i += SCAN_THREADS) {
        const int t = i / K::bc, which = i % K::bc / K::width, state = i % K::width;
        float sum = dbc[i];
#pragma unroll
        for (int w = 1; w < SCAN_WARPS; w++)
            sum += dbc[w * K::sub * K::bc + i];
        if (t0 + t < n && state < a.n_state)
            to[(row + t0 + t) * sums.ld_dbc + which * a.n_state + state] = sum;
    }
}

#endif
