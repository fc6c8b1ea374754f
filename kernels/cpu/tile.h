/*
 * Tiles: n rows of eight channels, so that a channel is a lane. Activations are token-major (a row
 * a tick), states and weights channel-major (a row a channel): the functions here bring both to
 * tiles and back. The last channels of a width that is no multiple of eight travel in a tile whose
 * other lanes are 0.
 */
#ifndef HISS_KERNELS_CPU_TILE_H
#define HISS_KERNELS_CPU_TILE_H

#include "base/arena.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

/* Channels of the tile that begins at channel e. */
static inline int tile_lanes(int width, int e)
{
    return width - e < V_LANES ? width - e : V_LANES;
}

/* n_rows of `width` channels to tiles side by side, tile_size floats apart. A row is read once and
   in order: to read it tile by tile would cost a cache miss each time. */
static inline void tiles_load(float *tiles, int64_t tile_size, const float *src, int64_t ld,
                              int n_rows, int width)
{
    for (int r = 0; r < n_rows; r++, src += ld) {
        int e = 0;
        for (; e + V_LANES <= width; e += V_LANES)
            vstore(tiles + e / V_LANES * tile_size + r * V_LANES, vload(src + e));
        if (e < width)
            vstore(tiles + e / V_LANES * tile_size + r * V_LANES, vload_n(src + e, width - e));
    }
}

static inline void tiles_store(float *dst, int64_t ld, const float *tiles, int64_t tile_size,
                               int n_rows, int width)
{
    for (int r = 0; r < n_rows; r++, dst += ld) {
        int e = 0;
        for (; e + V_LANES <= width; e += V_LANES)
            vstore(dst + e, vload(tiles + e / V_LANES * tile_size + r * V_LANES));
        if (e < width)
            vstore_n(dst + e, vload(tiles + e / V_LANES * tile_size + r * V_LANES), width - e);
    }
}

/* Rows of a group of channels that will soon be read or written. No machine guesses rows that lie
   far apart, so they are asked for, one by one, while there is something else to do. */
struct ahead {
    const float *rows; /* NULL: none */
    int64_t ld;
};

/* The rows from x[at] on, if there are any and there is such a tensor. */
static inline struct ahead ahead_of(bool any, const float *x, int64_t at, int64_t ld)
{
    return (struct ahead){any && x ? x + at : NULL, ld};
}

V_INLINE void ahead_ask(struct ahead ahead, int row)
{
    const int line = ARENA_ALIGN / (int)sizeof(float);
    if (ahead.rows)
        for (int e = 0; e < CPU_CHANNEL_GROUP; e += line)
            __builtin_prefetch(ahead.rows + row * ahead.ld + e);
}

V_INLINE vf vpair_low(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
}

V_INLINE vf vpair_high(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}

V_INLINE vf vquad_low(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
}

V_INLINE vf vquad_high(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}

V_INLINE vf vhalf_low(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
}

V_INLINE vf vhalf_high(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

/* to[i * ld_to + j] = from[j * ld_from + i], 8 by 8. */
static inline void tile_transpose(float *to, int64_t ld_to, const float *from, int64_t ld_from)
{
    vf pair[8], quad[8];
    for (int i = 0; i < 8; i += 2) {
        vf a = vload(from + i * ld_from), b = vload(from + (i + 1) * ld_from);
        pair[i] = vpair_low(a, b);
        pair[i + 1] = vpair_high(a, b);
    }
    for (int i = 0; i < 8; i += 4) {
        quad[i] = vquad_low(pair[i], pair[i + 2]);
        quad[i + 1] = vquad_high(pair[i], pair[i + 2]);
        quad[i + 2] = vquad_low(pair[i + 1], pair[i + 3]);
        quad[i + 3] = vquad_high(pair[i + 1], pair[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        vstore(to + i * ld_to, vhalf_low(quad[i], quad[i + 4]));
        vstore(to + (i + 4) * ld_to, vhalf_high(quad[i], quad[i + 4]));
    }
}

/* A tile from rows of channels: tile[r][lane] = src[lane * n_rows + r]. */
static inline void tile_gather(float *tile, const float *src, int n_rows, int lanes)
{
    int r = 0;
    if (lanes == V_LANES)
        for (; r + 8 <= n_rows; r += 8)
            tile_transpose(tile + r * V_LANES, V_LANES, src + r, n_rows);
    for (; r < n_rows; r++)
        for (int lane = 0; lane < V_LANES; lane++)
            tile[r * V_LANES + lane] = lane < lanes ? src[lane * n_rows + r] : 0.0f;
}

static inline void tile_scatter(float *dst, const float *tile, int n_rows, int lanes)
{
    int r = 0;
    if (lanes == V_LANES)
        for (; r + 8 <= n_rows; r += 8)
            tile_transpose(dst + r, n_rows, tile + r * V_LANES, V_LANES);
    for (; r < n_rows; r++)
        for (int lane = 0; lane < lanes; lane++)
            dst[lane * n_rows + r] = tile[r * V_LANES + lane];
}

/* Lane i of the result is the sum of the lanes of row[i], added in a tree. */
V_INLINE vf vsum_rows(const vf row[8])
{
    vf s[4], q[2];
    for (int i = 0; i < 4; i++) {
        vf a = row[2 * i], b = row[2 * i + 1];
        s[i] = vpair_low(a, b) + vpair_high(a, b);
    }
    for (int i = 0; i < 2; i++)
        q[i] = vquad_low(s[2 * i], s[2 * i + 1]) + vquad_high(s[2 * i], s[2 * i + 1]);
    return vhalf_low(q[0], q[1]) + vhalf_high(q[0], q[1]);
}

#endif
