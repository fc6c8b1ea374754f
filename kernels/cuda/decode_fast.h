/*
 * The common mixer of the decode engine: selective, 16 real states, 4 taps, twice as wide inside,
 * of a width known to the compiler. What decode_work (decode_step.h) does, without a branch or an
 * address to be found out between one barrier and the next, and weights from a tape
 * (decode_tape.h).
 *
 * A layer's tape, for each warp: in_proj; for each tile of 16 inner channels a chunk of what its
 * convolution and x_proj need; for each tile one of dt_proj and A; out_proj. decode_runs.cu packs
 * it.
 */
#ifndef HISS_KERNELS_CUDA_DECODE_FAST_H
#define HISS_KERNELS_CUDA_DECODE_FAST_H

#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/decode_tape.h"

/* The numbers of one width. */
template <int H> struct decode_size {
    static constexpr int width = H;
    static constexpr int tiles = H < 128 ? 1 : H / 64; /* of inner channels, a warp */
    static constexpr int channels = tiles * DECODE_TILE;
    static constexpr int warps = 2 * H / channels;
    static constexpr int depth = H < 64 ? (int)DECODE_DEPTH_IN : H / DECODE_TILE;
    static constexpr int rank = H < 64 ? 4 : H / 16;            /* of dt, rounded up to 4 */
    static constexpr int sums = 48;                             /* rank + 32, rounded up to tiles */
    static constexpr int in = 2 * tiles * depth / DECODE_CHUNK; /* chunks */
    static constexpr int out = (H / DECODE_TILE * tiles + DECODE_CHUNK - 1) / DECODE_CHUNK;
    static constexpr int chunks = in + 2 * tiles + out;
    static constexpr int ring = H < 128 ? 5 : 4;    /* of its tape: chunks is a multiple */
    static constexpr int pair = tiles == 2 ? 2 : 1; /* tiles at once: registers */
    static constexpr bool early = tiles < 4;        /* conv inputs come a step ahead */
    static_assert(chunks % ring == 0 && ring <= DECODE_RING && tiles <= ring, "a ring's turns");
};

CUDA_DEV float4 decode_float4(uint4 v)
{
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                       __uint_as_float(v.w));
}

/* A lane's inputs of fragment k of rows of halves. */
CUDA_DEV void decode_column(uint32_t (&b)[2], const uint16_t *x, int k)
{
    const uint2 v = *reinterpret_cast<const uint2 *>(x + k * DECODE_TILE);
    b[0] = v.x;
    b[1] = v.y;
}

/* 1 / rms of the value at work, of row g. */
template <class Size> CUDA_DEV float decode_rms_fast(const struct decode_block &c)
{
    const float *x = c.x + c.g * c.a->shared.ld_x + 4 * c.i;
    float even = 0.0f, odd = 0.0f;
#pragma unroll
    for (int k = 0; k < Size::width; k += DECODE_TILE) {
        const float4 v = *reinterpret_cast<const float4 *>(x + k);
        even += v.x * v.x;
        odd += v.y * v.y;
        even += v.z * v.z;
        odd += v.w * v.w;
    }
    float sum = even + odd;
    sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, 1);
    sum += __shfl_xor_sync((unsigned)ALL_LANES, sum, 2);
    return rsqrtf(sum * (1.0f / Size::width) + c.a->eps);
}

/* in_proj of the warp's channels, two chunks at a time, into `raw`. Returns 1 / rms of row g. */
template <class Size>
CUDA_DEV float decode_in_fast(const struct decode_block &c, struct decode_tape &t)
{
    constexpr int depth = Size::depth, both = 2 * DECODE_CHUNK;
    constexpr int turns = depth > both ? depth / both : 1;                /* of a tile */
    constexpr int tiles = depth < both ? both / depth : 1;                /* of a turn */
    constexpr int each = both / tiles, chains = turns > 1 ? 2 : each / 2; /* of sums: no waiting */
    const uint16_t *x = c.half + c.g * c.a->shared.ld_half + c.i * 4;
    const struct decode_target target =
        decode_target_of(c, c.raw + c.warp * 2 * Size::channels, c.a->shared.ld_raw);
    float sum[tiles][chains][4], r = 0.0f;
#pragma unroll 1
    for (int turn = 0; turn < Size::in / 2; turn++) {
        const int first = turn % turns * each;
        if (turns == 1 || turn % turns == 0)
#pragma unroll
            for (int k = 0; k < tiles * chains * 4; k++)
                sum[k / (chains * 4)][k / 4 % chains][k % 4] = 0.0f;
        tape_wait<Size::ring - 2>();
        const uint4 *chunk[2] = {tape_chunk<Size>(t, 2 * turn) + c.lane,
                                 tape_chunk<Size>(t, 2 * turn + 1) + c.lane};
        uint32_t b[each][2];
#pragma unroll
        for (int k = 0; k < each; k++)
            decode_column(b[k], x, first + k);
#pragma unroll
        for (int j = 0; j < both; j++)
            decode_mma(sum[j / each][j % chains], chunk[j / DECODE_CHUNK][j % DECODE_CHUNK * WARP],
                       b[j % each]);
        if (turn == 0)
            r = decode_rms_fast<Size>(c);
        tape_refill<Size>(c, t, 2 * turn);
        tape_refill<Size>(c, t, 2 * turn + 1);
        if (turn % turns < turns - 1)
            continue;
#pragma unroll
        for (int k = 0; k < tiles; k++) {
#pragma unroll
            for (int j = 1; j < chains; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[k][0][e] += sum[k][j][e];
            decode_put(target, turn / turns * tiles + k, sum[k][0]);
        }
    }
    return r;
}

/* What a lane needs of its warp's channels: of channel lane % 16 of a tile, in its lower half, the
   conv inputs of row 0; of channel lane / 2 the bias of dt and D. */
template <class Size> struct decode_lane {
    float4 ring[Size::early ? Size::tiles : 1];
    float dt_bias[Size::tiles], d[Size::tiles];
};

template <class Size> CUDA_DEV int decode_ring_of(const struct decode_block &c, int state, int q)
{
    return state + ((c.warp * Size::tiles + q) * DECODE_TILE + c.lane % DECODE_TILE) * 4;
}

/* Conv inputs of row 0, for a step that is about to come. */
template <class Size>
CUDA_DEV void decode_ring_fetch(const struct decode_block &c, struct decode_lane<Size> &lane,
                                int ring_state)
{
    if (Size::early && c.lane < DECODE_TILE)
#pragma unroll
        for (int q = 0; q < Size::tiles; q++)
            lane.ring[q] = *reinterpret_cast<const float4 *>(
                decode_memory(c, 0) + decode_ring_of<Size>(c, ring_state, q));
}

/* Convolution and gate, as decode_conv_gate, and x_proj of the warp's channels. */
template <class Size>
CUDA_DEV void decode_conv_fast(const struct decode_block &c, struct decode_tape &t,
                               struct decode_lane<Size> &lane, int ring_state, float r)
{
    constexpr int tiles = Size::tiles, sums = Size::sums / DECODE_TILE;
    constexpr int pair = Size::pair, at_tape = Size::in;
    const bool is_x = c.lane < DECODE_TILE;
    float *raw = c.raw + 2 * c.warp * Size::channels + c.lane;
    uint16_t *own = c.own + decode_place(c.lane % DECODE_TILE);
    float sum[sums][4] = {};
    tape_wait<Size::ring - tiles>();
    __syncwarp();
#pragma unroll
    for (int first = 0; first < tiles; first += pair) {
        float4 taps[pair];
        float bias[pair];
#pragma unroll
        for (int q = 0; q < pair; q++) {
            const uint4 *chunk = tape_chunk<Size>(t, at_tape + first + q),
                        *biases = chunk + DECODE_TILE;
            const float4 of_dt = decode_float4(biases[c.lane / 2]);
            taps[q] = decode_float4(chunk[c.lane % DECODE_TILE]);
            bias[q] = decode_float4(biases[c.lane % DECODE_TILE]).x;
            lane.dt_bias[first + q] = of_dt.y;
            lane.d[first + q] = of_dt.z;
        }
#pragma unroll 1
        for (int row = 0; row < c.rows; row++) {
            const float scale = __shfl_sync((unsigned)ALL_LANES, r, 4 * row);
#pragma unroll
            for (int q = first; q < first + pair; q++) {
                float *at = raw + row * c.a->shared.ld_raw + q * 2 * DECODE_TILE;
                float4 *kept = reinterpret_cast<float4 *>(decode_memory(c, row) +
                                                          decode_ring_of<Size>(c, ring_state, q));
                const float now = *at * scale;
                float4 x = lane.ring[Size::early ? q : 0];
                if ((row > 0 || !Size::early) && is_x)
                    x = *kept;
                const float mixed = bias[q - first] + taps[q - first].x * x.x +
                                    taps[q - first].y * x.y + taps[q - first].z * x.z +
                                    taps[q - first].w * now;
                float v = is_x ? mixed : now;
                v *= cuda_sigmoid(v);
                *at = v;
                if (is_x) {
                    *kept = make_float4(x.y, x.z, now, 0.0f);
                    own[row * c.a->shared.ld_own + q * DECODE_TILE] = decode_half(v);
                }
            }
        }
    }
    __syncwarp();
#pragma unroll
    for (int q = 0; q < tiles; q++) {
        const uint4 *chunk = tape_chunk<Size>(t, at_tape + q) + c.lane;
        uint32_t b[2];
        decode_column(b, c.own + c.g * c.a->shared.ld_own + c.i * 4, q);
#pragma unroll
        for (int k = 0; k < sums; k++)
            decode_mma(sum[k], chunk[(k + 1) * WARP], b);
    }
    const struct decode_target target = decode_part(c, Size::sums);
#pragma unroll
    for (int k = 0; k < sums; k++)
        decode_put(target, k, sum[k]);
#pragma unroll
    for (int q = 0; q < tiles; q++)
        tape_refill<Size>(c, t, at_tape + q);
}

/* A row's states of a tile, this lane's. */
template <class Size>
CUDA_DEV float *decode_states_of(const struct decode_block &c, int state, int q, int row)
{
    return decode_memory(c, row) + state + (c.warp * Size::tiles + q) * DECODE_STATE_TILE +
           c.lane * DECODE_LANE_STATES;
}

/* dt before softplus: a lane has its channel's row of dt_proj, or from rank 8 on half of it. */
template <class Size>
CUDA_DEV float decode_dt_fast(const struct decode_block &c, const float4 (&weights)[2],
                              const float *sums, float bias)
{
    constexpr int rank = Size::rank;
    float v = 0.0f;
    if (rank > 4)
        sums += c.lane % 2 * (rank / 2);
#pragma unroll
    for (int k = 0; k < (rank > 8 ? 2 : 1); k++) {
        const float4 x = *reinterpret_cast<const float4 *>(sums + 4 * k);
        v += weights[k].x * x.x;
        v += weights[k].y * x.y;
        v += weights[k].z * x.z;
        v += weights[k].w * x.w;
    }
    if (rank > 4)
        v += __shfl_xor_sync((unsigned)ALL_LANES, v, 1);
    return v + bias;
}

/* y of the warp's channels, gated, into `own`. h: of row 0 and the first tiles. */
template <class Size>
CUDA_DEV void decode_recur_fast(const struct decode_block &c, struct decode_tape &t,
                                const struct decode_lane<Size> &lane, int state,
                                float (&h)[Size::pair][1][DECODE_LANE_STATES])
{
    constexpr int pair = Size::pair, sums_n = Size::sums, at_tape = Size::in + Size::tiles;
    const int side = c.lane % 2 * DECODE_LANE_STATES;
    const float *raw = c.raw + c.warp * Size::channels * 2 + c.lane / 2;
    uint16_t *own = c.own + decode_place(c.lane / 2);
#pragma unroll
    for (int first = 0; first < Size::tiles; first += pair) {
        float pole[pair][1][DECODE_LANE_STATES];
        float4 weights[pair][2];
        tape_wait<Size::ring - pair>();
#pragma unroll
        for (int q = 0; q < pair; q++) {
            const uint4 *chunk = tape_chunk<Size>(t, at_tape + first + q) + c.lane;
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const float4 a = decode_float4(chunk[(2 + k) * WARP]);
                weights[q][k] = decode_float4(chunk[k * WARP]);
                pole[q][0][4 * k] = a.x;
                pole[q][0][4 * k + 1] = a.y;
                pole[q][0][4 * k + 2] = a.z;
                pole[q][0][4 * k + 3] = a.w;
            }
        }
#pragma unroll
        for (int q = 0; q < pair; q++)
            tape_refill<Size>(c, t, at_tape + first + q);
#pragma unroll 1
        for (int row = 0; row < c.rows; row++) {
            const float *sums = c.sums + row * sums_n;
            const bool last = row + 1 == c.rows;
            float following[pair][DECODE_LANE_STATES] = {};
            if (!last || first + pair < Size::tiles)
#pragma unroll
                for (int q = 0; q < pair; q++)
                    decode_read(following[q],
                                decode_states_of<Size>(c, state, first + q + last * pair,
                                                       last ? 0 : row + 1));
#pragma unroll
            for (int q = 0; q < pair; q++) {
                const float *at = raw + row * c.a->shared.ld_raw + (first + q) * 2 * DECODE_TILE;
                const float u = at[0], gate = at[DECODE_TILE];
                const float dt = decode_softplus(
                    decode_dt_fast<Size>(c, weights[q], sums, lane.dt_bias[first + q]));
                float y = decode_states_here(decode_states_of<Size>(c, state, first + q, row), h[q],
                                             pole[q], sums + Size::rank + side, dt, dt * u);
                y += __shfl_xor_sync((unsigned)ALL_LANES, y, 1);
                y = (y + lane.d[first + q] * u) * gate;
                if (c.lane % 2 == 0)
                    own[row * c.a->shared.ld_own + (first + q) * DECODE_TILE] = decode_half(y);
#pragma unroll
                for (int n = 0; n < DECODE_LANE_STATES; n++)
                    h[q][0][n] = following[q][n];
            }
        }
    }
    __syncwarp();
}

/* out_proj's sums over the warp's channels. */
template <class Size>
CUDA_DEV void decode_out_fast(const struct decode_block &c, struct decode_tape &t)
{
    constexpr int depth = Size::tiles, outputs = Size::width / DECODE_TILE;
    constexpr int chunks = Size::out < 2 ? 1 : 2, tiles = chunks * DECODE_CHUNK / depth;
    const struct decode_target target = decode_part(c, Size::width);
    uint32_t b[depth][2];
#pragma unroll
    for (int k = 0; k < depth; k++)
        decode_column(b[k], c.own + c.g * c.a->shared.ld_own + c.i * 4, k);
#pragma unroll 1
    for (int first = 0; first < outputs; first += tiles) {
        const int at_tape = Size::chunks - Size::out + first / tiles * chunks;
        tape_wait<Size::ring - chunks>();
        const uint4 *chunk[2] = {tape_chunk<Size>(t, at_tape) + c.lane,
                                 tape_chunk<Size>(t, at_tape + 1) + c.lane};
        float sum[tiles][4] = {};
#pragma unroll
        for (int j = 0; j < tiles * depth; j++)
            if (j / depth < outputs)
                decode_mma(sum[j / depth], chunk[j / DECODE_CHUNK][j % DECODE_CHUNK * WARP],
                           b[j % depth]);
#pragma unroll
        for (int k = 0; k < chunks; k++)
            tape_refill<Size>(c, t, at_tape + k);
#pragma unroll
        for (int k = 0; k < tiles; k++)
            if (k < outputs)
                decode_put(target, first + k, sum[k]);
    }
}

/* The sum of all warps' parts, `ld` floats each, of entry e of (rows, N). */
template <class Size, int N>
CUDA_DEV float decode_total_fast(const struct decode_block &c, int e, int ld)
{
    const float *part = c.part + e / N * (N + 4) + e % N;
    float v[Size::warps], sum;
#pragma unroll
    for (int w = 0; w < Size::warps; w++)
        v[w] = part[w * ld];
    sum = v[0];
#pragma unroll
    for (int w = 1; w < Size::warps; w++)
        sum += v[w];
    return sum;
}

/* The mixers of a run, one after the other. `next`: the run that comes after it, or NULL. */
template <class Size>
CUDA_DEV void decode_run_fast(const struct decode_block &c, struct decode_tape &t,
                              const struct decode_step *s, const struct decode_step *next)
{
    constexpr int width = Size::width;
    const struct decode_shared &shared = c.a->shared;
    const bool here = c.warp < Size::warps;
    struct decode_lane<Size> lane = {
    };
    tape_begin<Size>(c, t, *s);
    if (here)
        decode_ring_fetch<Size>(c, lane, s->ring_state);
#pragma unroll 1
    for (const struct decode_step *const end = s + s->run; s < end; s++) {
        const int skip = s->skip, keep = s->keep, state = s->state;
        /* from the step, so that addresses are not found out long before and held in registers */
        const int ld_sums = c.rows * (s->n_sums + 4), ld_out = c.rows * (s->width + 4);
        float h[Size::pair][1][DECODE_LANE_STATES];
        tape_layer<Size>(c, t, s + 1 == end, next);
        if (here)
#pragma unroll
            for (int q = 0; q < Size::pair; q++)
                decode_read(h[q][0], decode_states_of<Size>(c, state, q, 0));
        __syncthreads();
        if (here) {
            const float r = decode_in_fast<Size>(c, t);
            __syncwarp();
            decode_conv_fast<Size>(c, t, lane, s->ring_state, r);
            if (s + 1 < end)
                decode_ring_fetch<Size>(c, lane, s[1].ring_state);
        }
        __syncthreads();
        for (int e = (int)threadIdx.x; e < c.rows * Size::sums; e += DECODE_BLOCK)
            c.sums[e] = decode_total_fast<Size, Size::sums>(c, e, ld_sums);
        __syncthreads();
        if (here) {
            decode_recur_fast<Size>(c, t, lane, state, h);
            decode_out_fast<Size>(c, t);
        } else {
#pragma unroll 1
            for (int k = 0; k < Size::chunks; k++) {
                tape_wait<Size::ring - 1>();
                tape_refill<Size>(c, t, k);
            }
        }
        __syncthreads();
#pragma unroll 1
        for (int e = (int)threadIdx.x; e < c.rows * width; e += DECODE_BLOCK) {
            const int row = e / width, i = e % width;
            float v = decode_total_fast<Size, width>(c, e, ld_out) + c.x[row * shared.ld_x + i];
            if (skip >= 0)
                v += c.keep[(skip * c.rows + row) * shared.ld_keep + i];
            c.x[row * shared.ld_x + i] = v;
            c.half[row * shared.ld_half + decode_place(i)] = decode_half(v);
            if (keep >= 0)
                c.keep[(keep * c.rows + row) * shared.ld_keep + i] = v;
        }
        t.layer = t.after;
    }
}

#endif
