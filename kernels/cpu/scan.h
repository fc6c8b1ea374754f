/*
 * What the scan and its backward share: the recurrence of eight channels over some ticks.
 *
 * One source serves selective and static mixers, real and complex state: `struct scan_kind` is a
 * constant wherever these functions are called, so the compiler makes each kind its own loop.
 *
 * State and coefficients are tiles (tile.h). A complex number takes two rows, re then im. Rows of
 * coef, a state n:
 *   selective   A log2(e)                       complex: Re A log2(e), Im A 2/pi (quarter turns)
 *   static      decay, input, output            complex: re, im of each
 */
#ifndef HISS_KERNELS_CPU_SCAN_H
#define HISS_KERNELS_CPU_SCAN_H

#include "kernels/cpu/rounds.h"
#include "kernels/cpu/tile.h"

enum {
    SCAN_ROWS_MAX = 512, /* rows of a state: N <= 512, complex <= 256 */
    SCAN_TILES = CPU_CHANNEL_GROUP / V_LANES,
    SCAN_TILE = CPU_SCAN_CHUNK * V_LANES, /* floats of a tile of activations */
};

struct scan_kind {
    bool selective, is_complex;
    int n_state;
};

V_INLINE int scan_state_rows(bool is_complex, int n_state)
{
    return is_complex ? 2 * n_state : n_state;
}

/* Rows of coef a state. */
V_INLINE int scan_coef_step(bool selective, bool is_complex)
{
    return (selective ? 1 : 3) * (is_complex ? 2 : 1);
}

V_INLINE int scan_coef_rows(bool selective, bool is_complex, int n_state)
{
    return scan_coef_step(selective, is_complex) * n_state;
}

/* Activations of a group of channels over a chunk, as tiles. */
struct scan_tiles {
    _Alignas(32) float x[SCAN_TILES * SCAN_TILE];
};

static inline void scan_load(struct scan_tiles *tiles, const float *src, int64_t ld, int n_time,
                             int width)
{
    tiles_load(tiles->x, SCAN_TILE, src, ld, n_time, width);
}

static inline void scan_store(float *dst, int64_t ld, const struct scan_tiles *tiles, int n_time,
                              int width)
{
    tiles_store(dst, ld, tiles->x, SCAN_TILE, n_time, width);
}

/* The place in `entering` of the states before tick t0, from channel e on: a tile after the other,
   without idle lanes. */
static inline int64_t scan_entering_at(const struct scan_args *a, int b, int64_t t0, int e)
{
    int64_t chunks = blocks_of(a->n_time, CPU_SCAN_CHUNK);
    int64_t rows = scan_state_rows(a->complex_state, a->n_state);
    return ((b * chunks + t0 / CPU_SCAN_CHUNK) * a->inner + e) * rows;
}

/* One state, one tick: h = a h + in; returns s + c h. */
V_INLINE vf scan_state_real(struct scan_kind k, bool keep, int n, float *to, const float *from,
                            float *decay, const float *coef, const float *bc, vf dt, vf in, vf s)
{
    vf a, x, c;
    if (k.selective) {
        a = vexp2_decay(dt * vload(coef + n * V_LANES));
        x = in * bc[n];
        c = vset(bc[k.n_state + n]);
        if (keep)
            vstore(decay + n * V_LANES, a);
    } else {
        const float *row = coef + n * 3 * V_LANES;
        a = vload(row);
        x = in * vload(row + V_LANES);
        c = vload(row + 2 * V_LANES);
    }
    vf h = a * vload(from + n * V_LANES) + x;
    vstore(to + n * V_LANES, h);
    return s + h * c;
}

V_INLINE vf scan_state_complex(struct scan_kind k, bool keep, int n, float *to, const float *from,
                               float *decay, const float *coef, const float *bc, vf dt, vf in, vf s)
{
    vf ar, ai, xr, xi, cr, ci;
    const int at = n * 2 * V_LANES;
    if (k.selective) {
        vf sine, cosine, size = vexp2_decay(dt * vload(coef + at));
        vsincos_quarter(dt * vload(coef + at + V_LANES), &sine, &cosine);
        ar = size * cosine;
        ai = size * sine;
        xr = in * bc[n];
        xi = in * bc[k.n_state + n];
        cr = vset(bc[2 * k.n_state + n]);
        ci = vset(bc[3 * k.n_state + n]);
        if (keep) {
            vstore(decay + at, ar);
            vstore(decay + at + V_LANES, ai);
        }
    } else {
        const float *row = coef + 3 * at;
        ar = vload(row);
        ai = vload(row + V_LANES);
        xr = in * vload(row + 2 * V_LANES);
        xi = in * vload(row + 3 * V_LANES);
        cr = vload(row + 4 * V_LANES);
        ci = vload(row + 5 * V_LANES);
    }
    vf gr = vload(from + at), gi = vload(from + at + V_LANES);
    vf hr = ar * gr - ai * gi + xr;
    vf hi = ar * gi + ai * gr + xi;
    vstore(to + at, hr);
    vstore(to + at + V_LANES, hi);
    return s + (hr * cr - hi * ci);
}

V_INLINE vf scan_state(struct scan_kind k, bool keep, int n, float *to, const float *from,
                       float *decay, const float *coef, const float *bc, vf dt, vf in, vf s)
{
    if (k.is_complex)
        return scan_state_complex(k, keep, n, to, from, decay, coef, bc, dt, in, s);
    return scan_state_real(k, keep, n, to, from, decay, coef, bc, dt, in, s);
}

/* n_time ticks of one tile: s = sum_n C_t h + D u for each. With `keep` h holds n_time + 1 states,
   the entering one first, and decay the n_time decays (selective only); else h is one state in
   place. */
V_INLINE void scan_march(struct scan_kind k, bool keep, float *s, float *h, float *decay,
                         const float *u, const float *dt, const float *bc, int64_t ld_bc,
                         const float *coef, vf d, int n_time)
{
    const int state = scan_state_rows(k.is_complex, k.n_state) * V_LANES;
    for (int t = 0; t < n_time; t++) {
        vf x = vload(u + t * V_LANES), delta = {0}, in = x;
        if (k.selective) {
            delta = vload(dt + t * V_LANES);
            in = delta * x;
        }
        float *to = keep ? h + state : h;
        vf s0 = {0}, s1 = {0}; /* two, or each sum would wait for the one before */
        int n = 0;
        for (; n + 2 <= k.n_state; n += 2) {
            s0 = scan_state(k, keep, n, to, h, decay, coef, bc, delta, in, s0);
            s1 = scan_state(k, keep, n + 1, to, h, decay, coef, bc, delta, in, s1);
        }
        if (n < k.n_state)
            s0 = scan_state(k, keep, n, to, h, decay, coef, bc, delta, in, s0);
        vf sum = k.is_complex ? 2.0f * (s0 + s1) : s0 + s1;
        vstore(s + t * V_LANES, sum + d * x);
        h = to;
        if (k.selective) {
            bc += ld_bc;
            if (keep)
                decay += state;
        }
    }
}

#endif
