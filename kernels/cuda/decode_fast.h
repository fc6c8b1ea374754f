/*
 * The common mixer of the decode engine: selective, 16 real states, 4 taps, twice as wide inside,
 * of a width known to the compiler. What decode_work (decode_step.h) does, without a branch or an
 * address to be found out between one barrier and the next.
 */
#ifndef HISS_KERNELS_CUDA_DECODE_FAST_H
#define HISS_KERNELS_CUDA_DECODE_FAST_H

#include "kernels/cuda/decode_step.h"

/* The numbers of one width. */
template <int H> struct decode_size {
    static constexpr int tiles = H < 128 ? 1 : H / 64; /* of inner channels, a warp */
    static constexpr int channels = tiles * DECODE_TILE;
    static constexpr int warps = 2 * H / channels;
    static constexpr int depth = H < 64 ? (int)DECODE_DEPTH_IN : H / DECODE_TILE;
    static constexpr int rank = H < 64 ? 4 : H / 16; /* of dt, rounded up to 4 */
    static constexpr int sums = 48;                  /* rank + 32, rounded up to tiles */
};

/* decode_multiply of Tiles tiles of Depth fragments. What is fetched is at `next`, which may be
   another kind of product: at most Tiles Depth fragments, that is. */
template <int N, int Depth, int Tiles, class Between>
CUDA_DEV void decode_multiply_fast(const struct decode_block &c, uint4 (&f)[N], const uint4 *at,
                                   const uint4 *next, const uint16_t *x, int ld,
                                   struct decode_target target, Between between)
{
    constexpr int total = Depth * Tiles, whole = total <= 12;
    constexpr int turn = whole ? Tiles : Depth >= N ? 1 : N / Depth; /* tiles */
    constexpr int held = Depth <= 4 ? Depth : 1;
    static_assert(Tiles % turn == 0 && (whole || turn * Depth % N == 0), "whole turns");
    uint32_t b[held][2];
    x += c.g * ld + c.i * 4;
    if constexpr (Depth <= 4)
#pragma unroll
        for (int k = 0; k < held; k++) {
            const uint2 v = *reinterpret_cast<const uint2 *>(x + k * 16);
            b[k][0] = v.x;
            b[k][1] = v.y;
        }
    if constexpr (!whole)
        between();
#pragma unroll 1
    for (int first = 0; first < Tiles; first += turn, at += turn * Depth * WARP) {
        const uint4 *after = first + turn < Tiles ? at + turn * Depth * WARP : next;
        float sum[turn][Depth > 2 ? 2 : 1][4] = {};
#pragma unroll
        for (int t = 0; t < turn; t++)
#pragma unroll
            for (int k = 0; k < Depth; k++) {
                const int j = t * Depth + k, ahead = j + N;
                if constexpr (Depth > 4) {
                    const uint2 v = *reinterpret_cast<const uint2 *>(x + k * 16);
                    b[0][0] = v.x;
                    b[0][1] = v.y;
                }
                decode_mma(sum[t][Depth > 2 ? k % 2 : 0], f[j % N], b[Depth <= 4 ? k : 0]);
                f[j % N] =
                    gpu_ld_stream(ahead < turn * Depth ? at + ahead * WARP : after + j % N * WARP);
            }
        if constexpr (whole)
            between();
#pragma unroll
        for (int t = 0; t < turn; t++) {
            if constexpr (Depth > 2)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    sum[t][0][r] += sum[t][1][r];
            decode_put(target, first + t, sum[t][0]);
        }
    }
}
/* decode_conv_gate. */
template <int H>
CUDA_DEV void decode_conv_gate_fast(const struct decode_block &c, const struct decode_step &s,
                                    const struct decode_ahead &w, float r)
{
    using size = decode_size<H>;
    const bool is_x = c.lane < DECODE_TILE;
    const int lane = c.lane % DECODE_TILE;
    const int ring_state = s.ring_state, conv = s.conv, conv_bias = s.conv_bias;
#pragma unroll 1
    for (int q = 0; q < size::tiles; q++) {
        const int local = q * DECODE_TILE + lane, channel = c.warp * size::channels + local;
        float *at = c.raw + 2 * c.warp * size::channels + q * 2 * DECODE_TILE + c.lane;
        float4 taps = w.taps, ring = w.ring;
        float bias = w.bias;
        if (q > 0 && is_x) {
            taps = *reinterpret_cast<const float4 *>(c.a->vectors + conv + channel * 4);
            bias = c.a->vectors[conv_bias + channel];
        }
#pragma unroll 1
        for (int row = 0; row < c.rows; row++, at += c.a->shared.ld_raw) {
            const float now = *at * __shfl_sync((unsigned)ALL_LANES, r, 4 * row);
            float4 *own =
                reinterpret_cast<float4 *>(decode_memory(c, row) + ring_state + channel * 4);
            if ((q > 0 || row > 0) && is_x)
                ring = *own;
            const float mixed =
                bias + taps.x * ring.x + taps.y * ring.y + taps.z * ring.z + taps.w * now;
            float v = is_x ? mixed : now;
            v *= cuda_sigmoid(v);
            *at = v;
            if (is_x) {
                *own = make_float4(ring.y, ring.z, now, 0.0f);
                c.own[row * c.a->shared.ld_own + decode_place(local)] = decode_half(v);
            }
        }
    }
}

template <int H>
CUDA_DEV void decode_recur_fast(const struct decode_block &c, const struct decode_step &s,
                                const struct decode_first &first)
{
    using size = decode_size<H>;
    const float *vectors = c.a->vectors;
    const int side = c.lane % 2 * DECODE_LANE_STATES, place = decode_place(c.lane / 2);
    float h[1][DECODE_LANE_STATES], pole[1][DECODE_LANE_STATES];
    float4 weights[size::rank / 4];
    float d = first.d, bias = first.dt_bias;
    const int state = s.state, coef = s.coef, of_dt = s.dt, of_d = s.d, of_bias = s.dt_bias;
    weights[0] = first.dt;
#pragma unroll
    for (int n = 0; n < DECODE_LANE_STATES; n++) {
        h[0][n] = first.h[n];
        pole[0][n] = first.pole[n];
    }
#pragma unroll 1
    for (int q = 0; q < size::tiles; q++) {
        const int tile = c.warp * size::tiles + q, channel = tile * DECODE_TILE + c.lane / 2;
        const int at = tile * DECODE_STATE_TILE + c.lane * DECODE_LANE_STATES;
        const float *raw = c.raw + tile * 2 * DECODE_TILE + c.lane / 2;
        if (q > 0) {
            decode_read(h[0], decode_memory(c, 0) + state + at);
            decode_read(pole[0], vectors + coef + at);
            d = vectors[of_d + channel];
            bias = vectors[of_bias + channel];
        }
#pragma unroll
        for (int k = 0; k < size::rank / 4; k++)
            if (q > 0 || k > 0)
                weights[k] = *reinterpret_cast<const float4 *>(vectors + of_dt +
                                                               channel * size::rank + 4 * k);
#pragma unroll 1
        for (int row = 0; row < c.rows; row++, raw += c.a->shared.ld_raw) {
            const float *sums = c.sums + row * size::sums;
            const float u = raw[0], gate = raw[DECODE_TILE];
            float following[DECODE_LANE_STATES] = {}, v = bias;
            if (row + 1 < c.rows)
                decode_read(following, decode_memory(c, row + 1) + state + at);
#pragma unroll
            for (int k = 0; k < size::rank / 4; k++) {
                const float4 x = *reinterpret_cast<const float4 *>(sums + 4 * k);
                v += weights[k].x * x.x;
                v += weights[k].y * x.y;
                v += weights[k].z * x.z;
                v += weights[k].w * x.w;
            }
            const float dt = decode_softplus(v);
            float y = decode_states_here(decode_memory(c, row) + state + at, h, pole,
                                         sums + size::rank + side, dt, dt * u);
            y += __shfl_xor_sync((unsigned)ALL_LANES, y, 1);
            y = (y + d * u) * gate;
            if (c.lane % 2 == 0)
                c.own[row * c.a->shared.ld_own + q * DECODE_TILE + place] = decode_half(y);
#pragma unroll
            for (int n = 0; n < DECODE_LANE_STATES; n++)
                h[0][n] = following[n];
        }
    }
    __syncwarp();
}

/* The sum of all warps' parts of entry e of (rows, N). */
template <int H, int N> CUDA_DEV float decode_total_fast(const struct decode_block &c, int e)
{
    const float *part = c.part + e / N * (N + 4) + e % N;
    const int ld = c.rows * (N + 4);
    float v[decode_size<H>::warps], sum;
#pragma unroll
    for (int w = 0; w < decode_size<H>::warps; w++)
        v[w] = part[w * ld];
    sum = v[0];
#pragma unroll
    for (int w = 1; w < decode_size<H>::warps; w++)
        sum += v[w];
    return sum;
}

template <int H>
CUDA_DEV void decode_work_fast(const struct decode_block &c, struct decode_ahead &w,
                               const struct decode_step &s, const struct decode_step &next)
{
    using size = decode_size<H>;
    const struct decode_shared &shared = c.a->shared;
    const bool here = c.warp < size::warps;
    const uint4 *next_in = decode_fragments(c, next.in), *next_mid = decode_fragments(c, next.mid);
    const uint4 *next_out = decode_fragments(c, next.out), *in = decode_fragments(c, s.in);
    const uint4 *mid = decode_fragments(c, s.mid), *out = decode_fragments(c, s.out);
    const bool alike = next.fast == s.fast;
    const int skip = s.skip, keep = s.keep;
    struct decode_first first = {};
    float r = 1.0f;
    decode_first_fetch(c, first, s);
    __syncthreads();
    if (here) {
        decode_multiply_fast<DECODE_AHEAD_IN, size::depth, 2 * size::tiles>(
            c, w.in, in, next_in, c.half, shared.ld_half,
            decode_target_of(c, c.raw + c.warp * 2 * size::channels, shared.ld_raw), [&] {
                const float *x = c.x + c.g * shared.ld_x + 2 * c.i;
                float sum = 0.0f;
#pragma unroll 4
                for (int k = 0; k < H; k += DECODE_TILE) {
                    const float2 p = *reinterpret_cast<const float2 *>(x + k);
                    const float2 q = *reinterpret_cast<const float2 *>(x + k + 8);
                    sum += p.x * p.x + p.y * p.y;
                    sum += q.x * q.x + q.y * q.y;
                }
                sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, 1);
                sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, 2);
                r = rsqrtf(sum * (1.0f / H) + c.a->eps);
            });
        __syncwarp();
        decode_conv_gate_fast<H>(c, s, w, r);
        __syncwarp();
        decode_multiply_fast<DECODE_AHEAD_MID, size::tiles, size::sums / DECODE_TILE>(
            c, w.mid, mid, next_mid, c.own, shared.ld_own, decode_part(c, size::sums), [] {});
    }
    decode_conv_fetch(c, w, next);
    __syncthreads();
    for (int e = (int)threadIdx.x; e < c.rows * size::sums; e += DECODE_BLOCK)
        c.sums[e] = decode_total_fast<H, size::sums>(c, e);
    __syncthreads();
    if (here) {
        decode_recur_fast<H>(c, s, first);
        decode_multiply_fast<DECODE_AHEAD_OUT, size::tiles, H / DECODE_TILE>(
            c, w.out, out, next_out, c.own, shared.ld_own, decode_part(c, H), [] {});
    }
    __syncthreads();
#pragma unroll 1
    for (int e = (int)threadIdx.x; e < c.rows * H; e += DECODE_BLOCK) {
        const int row = e / H, h = e % H;
        float v = decode_total_fast<H, H>(c, e) + c.x[row * shared.ld_x + h];
        if (skip >= 0)
            v += c.keep[(skip * c.rows + row) * shared.ld_keep + h];
        c.x[row * shared.ld_x + h] = v;
        c.half[row * shared.ld_half + decode_place(h)] = decode_half(v);
        if (keep >= 0)
            c.keep[(keep * c.rows + row) * shared.ld_keep + h] = v;
    }
    if (alike)
        return;
    decode_fetch<DECODE_AHEAD_IN>(w.in, next_in, decode_count(c, next.in));
    decode_fetch<DECODE_AHEAD_MID>(w.mid, next_mid, decode_count(c, next.mid));
    decode_fetch<DECODE_AHEAD_OUT>(w.out, next_out, decode_count(c, next.out));
}

#endif
