/* The products of the decode engine: see decode.h. */
#ifndef HISS_KERNELS_CUDA_DECODE_PRODUCT_H
#define HISS_KERNELS_CUDA_DECODE_PRODUCT_H

#include "kernels/cuda/decode.h"

/* What a thread knows of its block. */
struct decode_block {
    const struct decode_launch *a;
    char *shared;
    float *x, *raw, *part, *sums, *keep, *logits, *noise;
    uint16_t *half, *own; /* own: this warp's */
    const struct decode_step *steps;
    const struct decode_order *order;
    int warp, lane, g, i; /* lane = 4 g + i */
    int rows, streams, first_stream;
};

/* The row of all that is row `row` of the group. */
CUDA_DEV int64_t decode_index(const struct decode_block &c, int row)
{
    const int stream = c.first_stream + (row < c.streams ? row : row - c.streams);
    return row < c.streams ? stream : c.a->n_streams + stream;
}

/* What it remembers. */
CUDA_DEV float *decode_memory(const struct decode_block &c, int row)
{
    return c.a->memory + decode_index(c, row) * c.a->row_size;
}

/* Where entry k of a row of inputs is: a lane's four entries of a fragment's columns are
   neighbours. */
CUDA_DEV int decode_place(int k)
{
    return (k & ~15) + ((k & 6) << 1) + ((k & 8) >> 2) + (k & 1);
}

/* To half precision; what is too large becomes the largest number. */
CUDA_DEV uint16_t decode_half(float v)
{
    const float most = 65504.0f;
    return (uint16_t)gpu_half2(fminf(fmaxf(v, -most), most), 0.0f);
}

/* A warp's fragments of a product, and how many they are. */
CUDA_DEV int decode_count(const struct decode_block &c, const struct decode_product &p)
{
    return c.warp < p.warps ? p.n : 0;
}

CUDA_DEV const uint4 *decode_fragments(const struct decode_block &c, const struct decode_product &p)
{
    return c.a->fragments + ((int64_t)p.first + (int64_t)c.warp * p.n) * WARP + c.lane;
}

template <int N> CUDA_DEV void decode_fetch(uint4 (&f)[N], const uint4 *from, int n)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < n)
            f[j] = gpu_ld_stream(from + j * WARP);
}

CUDA_DEV void decode_mma(float (&d)[4], uint4 f, const uint32_t (&b)[2])
{
    const uint32_t a[4] = {f.x, f.y, f.z, f.w};
    gpu_mma_f16(d, a, b);
}

/* Where a lane's entries of a tile's outputs go: rows 2i and 2i + 1 of (rows, ld) floats, outputs g
   and g + 8. */
struct decode_target {
    float *to;
    int ld, n; /* n: of the two rows, those that are */
};

CUDA_DEV struct decode_target decode_target_of(const struct decode_block &c, float *to, int ld)
{
    const struct decode_target target = {to + 2 * c.i * ld + c.g, ld, c.rows - 2 * c.i};
    return target;
}

CUDA_DEV void decode_put(const struct decode_target &target, int tile, const float (&sum)[4])
{
    float *to = target.to + tile * DECODE_TILE;
    if (target.n > 0) {
        to[0] = sum[0];
        to[8] = sum[2];
    }
    if (target.n > 1) {
        to[target.ld] = sum[1];
        to[target.ld + 8] = sum[3];
    }
}

/* Tiles of less than N fragments: several a turn. */
template <int N, int Depth, class Between>
CUDA_DEV void decode_product_few(const struct decode_block &c, uint4 (&f)[N],
                                 const struct decode_product &p, const uint4 *next, int n_next,
                                 const uint16_t *x, int ld, struct decode_target target,
                                 Between between)
{
    const uint4 *at = decode_fragments(c, p);
    const int n = p.n;
    uint32_t b[Depth][2];
#pragma unroll
    for (int k = 0; k < Depth; k++) {
        const uint2 v = *reinterpret_cast<const uint2 *>(x + c.g * ld + k * 16 + c.i * 4);
        b[k][0] = v.x;
        b[k][1] = v.y;
    }
#pragma unroll 1
    for (int first = 0; first < n; first += N) {
        float sum[N / Depth][4] = {};
        const int left = n - first;
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < left)
                decode_mma(sum[j / Depth], f[j], b[j % Depth]);
        decode_fetch<N>(f, left > N ? at + (first + N) * WARP : next, left > N ? left - N : n_next);
        if (first == 0)
            between();
#pragma unroll
        for (int t = 0; t < N / Depth; t++)
            if (t * Depth < left)
                decode_put(target, first / Depth + t, sum[t]);
    }
}

/* Tiles of N fragments or a multiple. Two sums a tile, of even and of odd fragments: half as many
   products wait for each other. */
template <int N>
CUDA_DEV void decode_product_many(const struct decode_block &c, uint4 (&f)[N],
                                  const struct decode_product &p, const uint4 *next, int n_next,
                                  const uint16_t *x, int ld, struct decode_target target)
{
    const uint4 *at = decode_fragments(c, p);
    const int n = p.n, depth = p.depth;
    int k = 0, tile = 0;
    float even[4] = {}, odd[4] = {};
    x += c.g * ld + c.i * 4;
#pragma unroll 1
    for (int first = N; first <= n; first += N) {
        const int left = first < n ? n - first : n_next;
        const uint4 *from = first < n ? at + first * WARP : next;
#pragma unroll
        for (int j = 0; j < N; j++) {
            const uint2 v = *reinterpret_cast<const uint2 *>(x + (k + j) * 16);
            const uint32_t b[2] = {v.x, v.y};
            decode_mma(j % 2 ? odd : even, f[j], b);
            if (j < left)
                f[j] = gpu_ld_stream(from + j * WARP);
        }
        k += N;
        if (k < depth)
            continue;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            even[r] += odd[r];
            odd[r] = 0.0f;
        }
        decode_put(target, tile++, even);
#pragma unroll
        for (int r = 0; r < 4; r++)
            even[r] = 0.0f;
        k = 0;
    }
}

/* A warp's tiles of outputs of weights times x (8, ld), rows of halves, to target. f holds the
   first fragments, and then those of `following`. between() is called once, on the way if it can
   be. Of few depths: what is not compiled cannot crowd out what runs. */
template <int N, bool Shallow, class Between>
CUDA_DEV void decode_multiply(const struct decode_block &c, uint4 (&f)[N],
                              const struct decode_product &p,
                              const struct decode_product &following, const uint16_t *x, int ld,
                              struct decode_target target, Between between)
{
    const uint4 *next = decode_fragments(c, following);
    const int n_next = decode_count(c, following), depth = p.depth;
    if (decode_count(c, p) == 0) {
        decode_fetch<N>(f, next, n_next);
        between();
        return;
    }
    if (depth >= N) {
        between();
        decode_product_many<N>(c, f, p, next, n_next, x, ld, target);
        return;
    }
    if constexpr (Shallow) {
        if (depth == 1)
            decode_product_few<N, 1>(c, f, p, next, n_next, x, ld, target, between);
        else if (depth == 2)
            decode_product_few<N, 2>(c, f, p, next, n_next, x, ld, target, between);
        else if constexpr (N > 4)
            decode_product_few<N, 4>(c, f, p, next, n_next, x, ld, target, between);
    } else {
        decode_product_few<N, DECODE_DEPTH_IN>(c, f, p, next, n_next, x, ld, target, between);
    }
}

#endif
