/* The elementwise parts of the decode engine's mixers: convolution, recurrence, gate. */
#ifndef HISS_KERNELS_CUDA_DECODE_SCAN_H
#define HISS_KERNELS_CUDA_DECODE_SCAN_H

#include "kernels/cuda/decode_product.h"

static constexpr float DECODE_LN2 = 0.693147181f;

CUDA_DEV float decode_gelu(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.707106781f));
}

/* Small ones by a series: 1 + e^x would round them. */
CUDA_DEV float decode_softplus(float x)
{
    const float y = gpu_exp2(CUDA_LOG2E * x);
    const float series = y * (1.0f - y * (0.5f - y * (0.333333333f - y * 0.25f)));
    const float whole = DECODE_LN2 * gpu_log2(1.0f + y);
    return x > 20.0f ? x : y < 0.03f ? series : whole;
}

/* Where a warp's inner channel is among the outputs of the first product: x, then at 16 more z. */
CUDA_DEV int decode_channel(const struct decode_block &c, const struct decode_step &s, int local)
{
    return 2 * (c.warp * s.channels + local) - local % DECODE_TILE;
}

/* --- convolution ------------------------------------------------------------------------------ */

/* Of a mixer's first tile the conv inputs of row 0, taps and bias; a lane below 16 has a channel.
 */
struct decode_conv_first {
    float4 ring, taps;
    float bias;
};

CUDA_DEV void decode_conv_fetch(const struct decode_block &c, struct decode_conv_first &w,
                                const struct decode_step &s)
{
    if (s.kind != DECODE_MIXER || s.n_taps != 4 || c.warp >= s.warps || c.lane >= DECODE_TILE)
        return;
    const int channel = c.warp * s.channels + c.lane;
    w.ring = *reinterpret_cast<const float4 *>(decode_memory(c, 0) + s.ring_state + channel * 4);
    w.taps = *reinterpret_cast<const float4 *>(c.a->vectors + s.conv + channel * 4);
    w.bias = c.a->vectors[s.conv_bias + channel];
}

/* The convolution of a channel, whose inputs move on. */
CUDA_DEV float decode_conv(const float *taps, float bias, int n_taps, float *ring, float now)
{
    float v = bias;
#pragma unroll 1
    for (int k = 0; k + 2 < n_taps; k++) {
        const float x = ring[k];
        ring[k] = ring[k + 1];
        v += taps[k] * x;
    }
    v += taps[n_taps - 2] * ring[n_taps - 2];
    ring[n_taps - 2] = now;
    return v + taps[n_taps - 1] * now;
}

/* u and the gate in the place of in_proj's x and z, of a warp's channels; u for x_proj too. A lane
   below 16 has an x, one above a z. r: 1 / rms of row g. */
CUDA_DEV void decode_conv_gate(const struct decode_block &c, const struct decode_step &s,
                               const struct decode_conv_first &w, float r)
{
    const bool is_x = c.lane < DECODE_TILE;
    const float *vectors = c.a->vectors;
    float4 taps = w.taps;
    float bias = w.bias;
#pragma unroll 1
    for (int local = c.lane % DECODE_TILE; local < s.channels; local += DECODE_TILE) {
        const int channel = c.warp * s.channels + local;
        float *at = c.raw + decode_channel(c, s, local) + (is_x ? 0 : DECODE_TILE);
        if (is_x && (s.n_taps != 4 || local >= DECODE_TILE)) {
            bias = vectors[s.conv_bias + channel];
            if (s.n_taps == 4)
                taps = *reinterpret_cast<const float4 *>(vectors + s.conv + channel * 4);
        }
#pragma unroll 1
        for (int row = 0; row < c.rows; row++, at += c.a->shared.ld_raw) {
            const float scale = __shfl_sync((unsigned)ALL_LANES, r, 4 * row);
            float *own = decode_memory(c, row) + s.ring_state + channel * s.ring;
            const float now = *at * scale;
            float v = now;
            if (is_x && s.n_taps == 4) {
                float4 ring = w.ring;
                if (row > 0 || local >= DECODE_TILE)
                    ring = *reinterpret_cast<const float4 *>(own);
                v = bias + taps.x * ring.x + taps.y * ring.y + taps.z * ring.z + taps.w * now;
                *reinterpret_cast<float4 *>(own) = make_float4(ring.y, ring.z, now, 0.0f);
            } else if (is_x) {
                v = decode_conv(vectors + s.conv + channel * s.n_taps, bias, s.n_taps, own, now);
            }
            v *= cuda_sigmoid(v);
            *at = v;
            if (is_x)
                c.own[row * c.a->shared.ld_own + decode_place(local)] = decode_half(v);
        }
    }
}

/* --- recurrence ------------------------------------------------------------------------------- */

/* Four or eight floats. */
template <int N> CUDA_DEV void decode_read(float (&to)[N], const float *from)
{
#pragma unroll
    for (int n = 0; n < N; n += 4) {
        const float4 v = *reinterpret_cast<const float4 *>(from + n);
        to[n] = v.x;
        to[n + 1] = v.y;
        to[n + 2] = v.z;
        to[n + 3] = v.w;
    }
}

template <int N> CUDA_DEV void decode_write(float *to, const float (&from)[N])
{
#pragma unroll
    for (int n = 0; n < N; n += 4)
        *reinterpret_cast<float4 *>(to + n) =
            make_float4(from[n], from[n + 1], from[n + 2], from[n + 3]);
}

/* Floats of an array over 16 states of 16 channels, and this lane's eight in it. */
enum { DECODE_STATE_TILE = DECODE_TILE * DECODE_STATES };

/* dt of a channel: its row of dt_proj, of which the first four are here, times the first sums. */
CUDA_DEV float decode_dt(float4 w, const float *weights, const float *sums, int n, float bias)
{
    float v = bias;
#pragma unroll 1
    for (int r = 0; r < n; r += 4) {
        const float4 x = *reinterpret_cast<const float4 *>(sums + r);
        v += w.x * x.x;
        v += w.y * x.y;
        v += w.z * x.z;
        v += w.w * x.w;
        if (r + 4 < n)
            w = *reinterpret_cast<const float4 *>(weights + r + 4);
    }
    return decode_softplus(v);
}

/* Some states: h = a h + b in, and their share of sum_n C h. `b` and `out` are the states' own;
   pole is A (selective) or the decay. */
template <bool Selective, int Parts, int N>
CUDA_DEV float decode_advance(float (&h)[Parts][N], const float (&pole)[Parts][N],
                              const float (&b)[Parts][N], const float (&out)[Parts][N], float dt,
                              float in)
{
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < N; n++) {
        float re = Selective ? gpu_exp2(dt * pole[0][n]) : pole[0][n];
        if constexpr (Parts == 2) {
            float im = pole[1][n];
            if constexpr (Selective) {
                float sine, cosine;
                scan_sincos_quarter(dt * im, &sine, &cosine);
                im = re * sine;
                re = re * cosine;
            }
            const float x = re * h[0][n] - im * h[1][n] + in * b[0][n];
            h[1][n] = re * h[1][n] + im * h[0][n] + in * b[1][n];
            h[0][n] = x;
            sum += out[0][n] * x - out[1][n] * h[1][n];
        } else {
            h[0][n] = re * h[0][n] + in * b[0][n];
            sum += out[0][n] * h[0][n];
        }
    }
    return Parts == 2 ? 2.0f * sum : sum;
}

/* What a lane has ready when the recurrence begins: of its first channel, block and row. */
struct decode_first {
    float h[DECODE_LANE_STATES], pole[DECODE_LANE_STATES];
    float4 dt;
    float d, dt_bias;
};

CUDA_DEV void decode_first_fetch(const struct decode_block &c, struct decode_first &first,
                                 const struct decode_step &s)
{
    const int at =
        c.warp * (s.channels / DECODE_TILE) * DECODE_STATE_TILE + c.lane * DECODE_LANE_STATES;
    const int channel = c.warp * s.channels + c.lane / 2;
    if (c.warp >= s.warps || !s.selective || s.is_complex || s.blocks > 1)
        return;
    first.dt = *reinterpret_cast<const float4 *>(c.a->vectors + s.dt + channel * s.dt_rank);
    first.d = c.a->vectors[s.d + channel];
    first.dt_bias = c.a->vectors[s.dt_bias + channel];
    decode_read(first.h, decode_memory(c, 0) + s.state + at);
    decode_read(first.pole, c.a->vectors + s.coef + at);
}

/* A channel's states in one row: sum_n C h. `memory` and `coef` are those of the lane's first ones;
   `sums` what x_proj found. What is complex is done four states at a time: registers. */
template <bool Selective, bool Complex>
CUDA_DEV float decode_states(const struct decode_block &c, const struct decode_step &s,
                             float *memory, const float *coef, const float *sums, float dt,
                             float in)
{
    constexpr int parts = Complex ? 2 : 1, coefs = Selective ? parts : 3 * parts;
    constexpr int size = Complex ? 4 : 8;
    const int b_size = s.blocks * DECODE_STATES;
    float y = 0.0f;
#pragma unroll 1
    for (int k = 0; k < s.blocks; k++)
#pragma unroll 1
        for (int n = 0; n < DECODE_LANE_STATES; n += size) {
            const float *bc =
                sums + s.dt_rank + k * DECODE_STATES + c.lane % 2 * DECODE_LANE_STATES + n;
            float pole[parts][size], b[parts][size], out[parts][size], h[parts][size];
#pragma unroll
            for (int p = 0; p < parts; p++) {
                const float *own = coef + (k * coefs + p) * DECODE_STATE_TILE + n;
                decode_read(h[p], memory + (k * parts + p) * DECODE_STATE_TILE + n);
                decode_read(pole[p], own);
                decode_read(b[p], Selective ? bc + p * b_size : own + parts * DECODE_STATE_TILE);
                decode_read(out[p], Selective ? bc + (parts + p) * b_size
                                              : own + 2 * parts * DECODE_STATE_TILE);
            }
            y += decode_advance<Selective>(h, pole, b, out, dt, in);
#pragma unroll
            for (int p = 0; p < parts; p++)
                decode_write(memory + (k * parts + p) * DECODE_STATE_TILE + n, h[p]);
        }
    return y;
}

/* The same for 16 real states, of which h and A are here; they stay. */
CUDA_DEV float decode_states_here(float *memory, float (&h)[1][DECODE_LANE_STATES],
                                  const float (&pole)[1][DECODE_LANE_STATES], const float *bc,
                                  float dt, float in)
{
    float b[1][DECODE_LANE_STATES], out[1][DECODE_LANE_STATES];
    decode_read(b[0], bc);
    decode_read(out[0], bc + DECODE_STATES);
    const float y = decode_advance<true>(h, pole, b, out, dt, in);
    decode_write(memory, h[0]);
    return y;
}

/* y of a channel in a row, gated, into `own`; y: this lane's share. All lanes of a warp. */
CUDA_DEV void decode_gate(const struct decode_block &c, const struct decode_step &s, int row,
                          int local, float y, float d, float u)
{
    y += __shfl_xor_sync((unsigned)ALL_LANES, y, 1);
    y += d * u;
    y = s.kind == DECODE_S4D
            ? decode_gelu(y)
            : y * c.raw[row * c.a->shared.ld_raw + decode_channel(c, s, local) + DECODE_TILE];
    if (c.lane % 2 == 0)
        c.own[row * c.a->shared.ld_own + decode_place(local)] = decode_half(y);
}

/* y of a warp's channels, gated, into `own`. A lane has half of the states of a channel. */
template <bool Selective, bool Complex>
CUDA_DEV void decode_recur(const struct decode_block &c, const struct decode_step &s)
{
    constexpr int parts = Complex ? 2 : 1, coefs = Selective ? parts : 3 * parts;
    const float *vectors = c.a->vectors;
#pragma unroll 1
    for (int local = c.lane / 2; local < s.channels; local += DECODE_TILE) {
        const int channel = c.warp * s.channels + local;
        const int at = channel / DECODE_TILE * s.blocks * DECODE_STATE_TILE, lane = c.lane * 8;
        const float d = vectors[s.d + channel];
        const float bias = Selective ? vectors[s.dt_bias + channel] : 0.0f;
        const float *dt_row = vectors + s.dt + channel * s.dt_rank;
#pragma unroll 1
        for (int row = 0; row < c.rows; row++) {
            const float *sums = c.sums + row * s.n_sums;
            const float u = c.raw[row * c.a->shared.ld_raw + decode_channel(c, s, local)];
            const float dt = Selective ? decode_dt(*reinterpret_cast<const float4 *>(dt_row),
                                                   dt_row, sums, s.dt_rank, bias)
                                       : 1.0f;
            const float y = decode_states<Selective, Complex>(
                c, s, decode_memory(c, row) + s.state + at * parts + lane,
                vectors + s.coef + at * coefs + lane, sums, dt, dt * u);
            decode_gate(c, s, row, local, y, d, u);
        }
    }
    __syncwarp();
}

/* The same for 16 real states and a selective mixer, the common case: the next row's states come
   while this one's are at work. */
CUDA_DEV void decode_recur_common(const struct decode_block &c, const struct decode_step &s,
                                  const struct decode_first &first)
{
    const float *vectors = c.a->vectors;
    const int side = c.lane % 2 * DECODE_LANE_STATES;
    float h[1][DECODE_LANE_STATES], pole[1][DECODE_LANE_STATES];
    float4 weights = first.dt;
    float d = first.d, bias = first.dt_bias;
#pragma unroll
    for (int n = 0; n < DECODE_LANE_STATES; n++) {
        h[0][n] = first.h[n];
        pole[0][n] = first.pole[n];
    }
#pragma unroll 1
    for (int local = c.lane / 2; local < s.channels; local += DECODE_TILE) {
        const int channel = c.warp * s.channels + local;
        const int at = s.state + channel / DECODE_TILE * DECODE_STATE_TILE + c.lane * 8;
        const float *dt_row = vectors + s.dt + channel * s.dt_rank;
        if (local >= DECODE_TILE) {
            decode_read(h[0], decode_memory(c, 0) + at);
            decode_read(pole[0], vectors + s.coef - s.state + at);
            weights = *reinterpret_cast<const float4 *>(dt_row);
            d = vectors[s.d + channel];
            bias = vectors[s.dt_bias + channel];
        }
#pragma unroll 1
        for (int row = 0; row < c.rows; row++) {
            const float *sums = c.sums + row * s.n_sums;
            const float u = c.raw[row * c.a->shared.ld_raw + decode_channel(c, s, local)];
            float following[DECODE_LANE_STATES] = {};
            if (row + 1 < c.rows)
                decode_read(following, decode_memory(c, row + 1) + at);
            const float dt = decode_dt(weights, dt_row, sums, s.dt_rank, bias);
            const float y = decode_states_here(decode_memory(c, row) + at, h, pole,
                                               sums + s.dt_rank + side, dt, dt * u);
            decode_gate(c, s, row, local, y, d, u);
#pragma unroll
            for (int n = 0; n < DECODE_LANE_STATES; n++)
                h[0][n] = following[n];
        }
    }
    __syncwarp();
}

CUDA_DEV void decode_recur_any(const struct decode_block &c, const struct decode_step &s,
                               const struct decode_first &first)
{
    if (s.selective && !s.is_complex && s.blocks == 1)
        decode_recur_common(c, s, first);
    else if (s.selective && s.is_complex)
        decode_recur<true, true>(c, s);
    else if (s.selective)
        decode_recur<true, false>(c, s);
    else if (s.is_complex)
        decode_recur<false, true>(c, s);
    else
        decode_recur<false, false>(c, s);
}

#endif
