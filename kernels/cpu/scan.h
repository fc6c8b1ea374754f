/*
 * What the scan and its backward share: the recurrence of eight channels over some ticks.
 *
 * One source serves selective and static mixers, real and complex state: `struct scan_kind` is a
 * constant wherever these functions are called, so the compiler makes each kind its own loop.
 *
 * State and coefficients are tiles (tile.h). A complex number takes two rows, re then im. Rows of
 * coef, a state n:
 *   selective   A log2(e)                       complex: Re A log2(e), Im A / pi (half turns)
 *   static      decay, input, output            complex: re, im of each
 */
#ifndef HISS_KERNELS_CPU_SCAN_H
#define HISS_KERNELS_CPU_SCAN_H

#include "kernels/cpu/rounds.h"
#include "kernels/cpu/tile.h"

enum {
    SCAN_ROWS_MAX = 512, /* rows of a state: N <= 512, complex <= 256 */
    SCAN_ABREAST = 4,    /* states computed together */
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

/* `count` states from n on, one tick: h = a h + in; s[j] += c h. Every step is done for all of them
   before the next: one exponential alone would wait for itself. */
V_INLINE void scan_states_real(struct scan_kind k, bool keep, int n, int count, float *to,
                               const float *from, float *decay, const float *coef, const float *bc,
                               vf dt, vf in, vf s[SCAN_ABREAST])
{
    vf a[SCAN_ABREAST];
    const int at = n * V_LANES;
    if (k.selective) {
        for (int j = 0; j < count; j++)
            a[j] = dt * vload(coef + at + j * V_LANES);
        vexp2_decays(a, count);
    }
    for (int j = 0; j < count; j++) {
        const float *row = coef + (n + j) * 3 * V_LANES;
        vf x = k.selective ? in * bc[n + j] : in * vload(row + V_LANES);
        vf c = k.selective ? vset(bc[k.n_state + n + j]) : vload(row + 2 * V_LANES);
        if (!k.selective)
            a[j] = vload(row);
        else if (keep)
            vstore(decay + at + j * V_LANES, a[j]);
        vf h = a[j] * vload(from + at + j * V_LANES) + x;
        vstore(to + at + j * V_LANES, h);
        s[j] += h * c;
    }
}

V_INLINE void scan_states_complex(struct scan_kind k, bool keep, int n, int count, float *to,
                                  const float *from, float *decay, const float *coef,
                                  const float *bc, vf dt, vf in, vf s[SCAN_ABREAST])
{
    vf ar[SCAN_ABREAST], ai[SCAN_ABREAST], size[SCAN_ABREAST];
    const int at = n * 2 * V_LANES;
    if (k.selective) {
        for (int j = 0; j < count; j++)
            size[j] = dt * vload(coef + at + 2 * j * V_LANES);
        vexp2_decays(size, count);
        for (int j = 0; j < count; j++)
            vturn(size[j], dt * vload(coef + at + (2 * j + 1) * V_LANES), &ar[j], &ai[j]);
    }
    for (int j = 0; j < count; j++) {
        const int i = at + 2 * j * V_LANES, m = n + j;
        const float *row = coef + 3 * i;
        vf xr, xi, cr, ci;
        if (k.selective) {
            xr = in * bc[m];
            xi = in * bc[k.n_state + m];
            cr = vset(bc[2 * k.n_state + m]);
            ci = vset(bc[3 * k.n_state + m]);
            if (keep) {
                vstore(decay + i, ar[j]);
                vstore(decay + i + V_LANES, ai[j]);
            }
        } else {
            ar[j] = vload(row);
            ai[j] = vload(row + V_LANES);
            xr = in * vload(row + 2 * V_LANES);
            xi = in * vload(row + 3 * V_LANES);
            cr = vload(row + 4 * V_LANES);
            ci = vload(row + 5 * V_LANES);
        }
        vf gr = vload(from + i), gi = vload(from + i + V_LANES);
        vf hr = ar[j] * gr - ai[j] * gi + xr;
        vf hi = ar[j] * gi + ai[j] * gr + xi;
        vstore(to + i, hr);
        vstore(to + i + V_LANES, hi);
        s[j] += hr * cr - hi * ci;
    }
}

V_INLINE void scan_states(struct scan_kind k, bool keep, int n, int count, float *to,
                          const float *from, float *decay, const float *coef, const float *bc,
                          vf dt, vf in, vf s[SCAN_ABREAST])
{
    if (k.is_complex)
        scan_states_complex(k, keep, n, count, to, from, decay, coef, bc, dt, in, s);
    else
        scan_states_real(k, keep, n, count, to, from, decay, coef, bc, dt, in, s);
}

/* n_time ticks of one tile: s = sum_n C_t h + D u for each. With `keep` h holds n_time + 1 states,
   the entering one first, and decay the n_time decays (selective only); else h is one state in
   place. */
V_INLINE void scan_march(struct scan_kind k, bool keep, float *s, float *h, float *decay,
                         const float *u, const float *dt, const float *bc, int64_t ld_bc,
                         const float *coef, vf d, struct ahead ahead, int n_time)
{
    const int state = scan_state_rows(k.is_complex, k.n_state) * V_LANES;
    for (int t = 0; t < n_time; t++) {
        ahead_ask(ahead, t);
        vf x = vload(u + t * V_LANES), delta = {0}, in = x;
        if (k.selective) {
            delta = vload(dt + t * V_LANES);
            in = delta * x;
        }
        float *to = keep ? h + state : h;
        vf sums[SCAN_ABREAST] = {{0}};
        int n = 0;
        for (; n + SCAN_ABREAST <= k.n_state; n += SCAN_ABREAST)
            scan_states(k, keep, n, SCAN_ABREAST, to, h, decay, coef, bc, delta, in, sums);
        for (; n < k.n_state; n++)
            scan_states(k, keep, n, 1, to, h, decay, coef, bc, delta, in, sums);
        vf sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        sum = k.is_complex ? 2.0f * sum : sum;
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
