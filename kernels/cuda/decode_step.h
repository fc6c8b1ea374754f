/* The steps of the decode engine: what one tick of one layer does to a group's rows. */
#ifndef HISS_KERNELS_CUDA_DECODE_STEP_H
#define HISS_KERNELS_CUDA_DECODE_STEP_H

#include "kernels/cuda/decode_scan.h"

/* --- what steps share ------------------------------------------------------------------------- */

/* Row of entry e of (rows, width) entries. */
CUDA_DEV int decode_row(int e, int unit)
{
    return (int)((unsigned)e * (unsigned)unit >> 24);
}

/* v is the step's value at (row, h). Entries are always the same thread's. */
CUDA_DEV void decode_settle(const struct decode_block &c, const struct decode_step &s, int row,
                            int h, float v)
{
    const struct decode_shared &shared = c.a->shared;
    c.x[row * shared.ld_x + h] = v;
    c.half[row * shared.ld_half + decode_place(h)] = decode_half(v);
    if (s.keep >= 0)
        c.keep[(s.keep * c.rows + row) * shared.ld_keep + h] = v;
}

CUDA_DEV float decode_skip(const struct decode_block &c, const struct decode_step &s, int row,
                           int h, float v)
{
    return s.skip < 0 ? v : v + c.keep[(s.skip * c.rows + row) * c.a->shared.ld_keep + h];
}

/* 1 / rms of the value at work, of row g. */
CUDA_DEV float decode_rms(const struct decode_block &c, const struct decode_step &s)
{
    const float *x = c.x + c.g * c.a->shared.ld_x + 2 * c.i;
    float sum = 0.0f;
#pragma unroll 4
    for (int k = 0; k < s.width_in; k += DECODE_TILE) {
        const float2 p = *reinterpret_cast<const float2 *>(x + k);
        const float2 q = *reinterpret_cast<const float2 *>(x + k + 8);
        sum += p.x * p.x + p.y * p.y;
        sum += q.x * q.x + q.y * q.y;
    }
    sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, 1);
    sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, 2);
    return rsqrtf(sum / (float)s.true_width + c.a->eps);
}

/* Where a product over a warp's own channels goes. */
CUDA_DEV struct decode_target decode_part(const struct decode_block &c, int n_out)
{
    return decode_target_of(c, c.part + c.warp * c.rows * (n_out + 4), n_out + 4);
}

/* The sum over the warps, in their order. */
CUDA_DEV float decode_total(const struct decode_block &c, int warps, int row, int h, int n_out)
{
    const float *part = c.part + row * (n_out + 4) + h;
    float sum = part[0];
#pragma unroll
    for (int w = 1; w < DECODE_WARPS; w++)
        if (w < warps)
            sum += part[w * c.rows * (n_out + 4)];
    return sum;
}

/* --- steps with products ---------------------------------------------------------------------- */

/* s4d: the value at work, normed, as u. r: 1 / rms of row g. */
CUDA_DEV void decode_norm(const struct decode_block &c, const struct decode_step &s, float r)
{
#pragma unroll 1
    for (int row = 0; row < c.rows; row++) {
        const float scale = __shfl_sync((unsigned)ALL_LANES, r, 4 * row);
#pragma unroll 1
        for (int local = c.lane; local < s.channels; local += WARP) {
            const int h = c.warp * s.channels + local;
            c.raw[row * c.a->shared.ld_raw + decode_channel(c, s, local)] =
                h < s.width ? c.x[row * c.a->shared.ld_x + h] * scale * c.a->vectors[s.norm + h]
                            : 0.0f;
        }
    }
}

/* What the first product of other steps is for: gelu and the second product's input (ff), the value
   at work (down), a frame (up), logits. */
CUDA_DEV void decode_whole(const struct decode_block &c, const struct decode_step &s, float r,
                           unsigned tick)
{
    const struct decode_shared &shared = c.a->shared;
    const int n = s.in.tiles * DECODE_TILE;
#pragma unroll 1
    for (int row = 0; row < c.rows; row++) {
        const float scale = __shfl_sync((unsigned)ALL_LANES, r, 4 * row);
        float *frame = decode_memory(c, row) + s.state +
                       (s.kind == DECODE_UP ? tick % (unsigned)s.n_frames * (unsigned)s.frame : 0);
#pragma unroll 1
        for (int local = c.lane; local < n; local += WARP) {
            const int o = c.warp * n + local;
            if (o >= s.n_out)
                break;
            const float v = c.raw[row * shared.ld_raw + o] * scale + c.a->vectors[s.in_bias + o];
            if (s.kind == DECODE_FF)
                c.own[row * shared.ld_own + decode_place(local)] = decode_half(decode_gelu(v));
            else if (s.kind == DECODE_DOWN)
                c.x[row * shared.ld_x + o] = v;
            else if (s.kind == DECODE_UP)
                frame[o] = v;
            else
                c.logits[row * PLAN_CODES + o] = v;
        }
    }
}

/* Frame `tick`, which is there, as a product's input. */
CUDA_DEV void decode_frame(const struct decode_block &c, const struct decode_step &s, unsigned tick)
{
#pragma unroll 1
    for (int row = 0; row < c.rows; row++) {
        const float *frame =
            decode_memory(c, row) + s.state + tick % (unsigned)s.n_frames * (unsigned)s.frame;
#pragma unroll 1
        for (int e = (int)threadIdx.x; e < s.frame; e += DECODE_BLOCK)
            c.half[row * c.a->shared.ld_half + decode_place(e)] = decode_half(frame[e]);
    }
}

/* x_proj's sums over all channels. */
CUDA_DEV void decode_sums(const struct decode_block &c, const struct decode_step &s)
{
#pragma unroll 1
    for (int e = (int)threadIdx.x; e < c.rows * s.n_sums; e += DECODE_BLOCK) {
        const int row = decode_row(e, s.sums_unit), j = e - row * s.n_sums;
        c.sums[e] = decode_total(c, s.warps, row, j, s.n_sums);
    }
}

/* The value of a step: of a block (sum over warps [+ bias] [times gate]) + value read + skip. */
CUDA_DEV void decode_value(const struct decode_block &c, const struct decode_step &s)
{
    const int n_out = s.kind == DECODE_S4D ? 2 * s.width : s.width;
#pragma unroll 1
    for (int e = (int)threadIdx.x; e < c.rows * s.width; e += DECODE_BLOCK) {
        const int row = decode_row(e, s.unit), h = e - row * s.width;
        float v = c.x[row * c.a->shared.ld_x + h];
        if (s.kind != DECODE_DOWN) {
            float sum = decode_total(c, s.warps, row, h, n_out);
            if (s.kind != DECODE_MIXER)
                sum += c.a->vectors[s.out_bias + h];
            if (s.kind == DECODE_S4D)
                sum *= cuda_sigmoid(decode_total(c, s.warps, row, s.width + h, n_out) +
                                    c.a->vectors[s.out_bias + s.width + h]);
            v = decode_skip(c, s, row, h, sum + v);
        }
        decode_settle(c, s, row, h, v);
    }
}

/* One path for all of them: what the code cache holds is what counts. `in`: the first weights, and
   then those of `next`. */
CUDA_DEV void decode_work(const struct decode_block &c, uint4 (&in)[DECODE_AHEAD_IN],
                          const struct decode_step &s, const struct decode_step &next,
                          unsigned tick)
{
    const struct decode_shared &shared = c.a->shared;
    const struct decode_product none = {};
    struct decode_conv_first conv = {};
    struct decode_first first = {};
    uint4 mid[DECODE_AHEAD_MID], out[DECODE_AHEAD_OUT];
    float r = 1.0f;
    decode_fetch<DECODE_AHEAD_MID>(mid, decode_fragments(c, s.mid), decode_count(c, s.mid));
    decode_fetch<DECODE_AHEAD_OUT>(out, decode_fragments(c, s.out), decode_count(c, s.out));
    decode_conv_fetch(c, conv, s);
    if (s.kind == DECODE_MIXER)
        decode_first_fetch(c, first, s);
    __syncthreads();
    if (s.kind == DECODE_DOWN) {
        decode_frame(c, s, tick);
        __syncthreads();
    }
    decode_multiply<DECODE_AHEAD_IN, false>(
        c, in, s.in, next.in, c.half, shared.ld_half,
        decode_target_of(c, c.raw + c.warp * s.in.tiles * DECODE_TILE, shared.ld_raw), [&] {
            if (s.kind != DECODE_DOWN && s.kind != DECODE_UP)
                r = decode_rms(c, s);
        });
    __syncwarp();
    if (s.kind == DECODE_MIXER) {
        if (c.warp < s.warps)
            decode_conv_gate(c, s, conv, r);
    } else if (s.kind == DECODE_S4D) {
        if (c.warp < s.warps)
            decode_norm(c, s, r);
    } else {
        decode_whole(c, s, r, tick);
    }
    __syncwarp();
    decode_multiply<DECODE_AHEAD_MID, true>(c, mid, s.mid, none, c.own, shared.ld_own,
                                            decode_part(c, s.n_sums), [] {});
    if (s.selective) {
        __syncthreads();
        decode_sums(c, s);
        __syncthreads();
    }
    if (c.warp < s.warps && s.kind != DECODE_FF)
        decode_recur_any(c, s, first);
    decode_multiply<DECODE_AHEAD_OUT, true>(
        c, out, s.out, none, c.own, shared.ld_own,
        decode_part(c, s.kind == DECODE_S4D ? 2 * s.width : s.width), [] {});
    __syncthreads();
    if (s.kind != DECODE_UP && s.kind != DECODE_HEAD)
        decode_value(c, s);
}

/* --- steps without products ------------------------------------------------------------------- */

/* The value at work becomes another one, entry by entry. */
CUDA_DEV void decode_entries(const struct decode_block &c, const struct decode_step &s,
                             const int *inputs, const int *labels, unsigned tick)
{
    const unsigned pool = s.pool > 0 ? (unsigned)s.pool : 1, late = (unsigned)s.up_shift;
    const unsigned of_frame = tick / pool, at = tick % pool * (unsigned)s.width;
    const unsigned slot =
        s.kind == DECODE_GATHER ? of_frame : of_frame + (unsigned)s.n_frames - late;
    const int64_t frame =
        s.state + (s.n_frames > 0 ? slot % (unsigned)s.n_frames * (unsigned)s.frame + at : 0);
#pragma unroll 1
    for (int e = (int)threadIdx.x; e < c.rows * s.width; e += DECODE_BLOCK) {
        const int row = decode_row(e, s.unit), h = e - row * s.width;
        const float *table = c.a->vectors + s.table + h;
        float *x = c.x + row * c.a->shared.ld_x + h;
        switch (s.kind) {
        case DECODE_EMBED:
            decode_settle(c, s, row, h, table[inputs[row] * s.width]);
            break;
        case DECODE_LABEL:
            decode_settle(c, s, row, h, labels[row] < 0 ? *x : *x + table[labels[row] * s.width]);
            break;
        case DECODE_GATHER:
            decode_memory(c, row)[frame + h] = *x;
            break;
        default:
            decode_settle(c, s, row, h,
                          decode_skip(c, s, row, h, decode_memory(c, row)[frame + h]));
        }
    }
}

#endif
