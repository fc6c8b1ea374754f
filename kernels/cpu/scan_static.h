/*
 * The recurrence of static mixers over some ticks, and back. Their coefficients do not change with
 * time, so a few states are taken through all ticks before the next: coefficients, state and the
 * sums of gradients stay in registers. What selective mixers do tick by tick (scan.h,
 * scan_reverse.h); formulas are there.
 */
#ifndef HISS_KERNELS_CPU_SCAN_STATIC_H
#define HISS_KERNELS_CPU_SCAN_STATIC_H

#include "kernels/cpu/scan.h"

enum {
    STATIC_ABREAST = 4,         /* real states taken together: as many as hide their own waiting */
    STATIC_ABREAST_COMPLEX = 2, /* the same of complex ones */
};

/* Coefficients of states n.. n+count: re, im of decay, input, output where complex. */
struct static_coef {
    vf a[4], b[4], c[4], ai[2], bi[2], ci[2];
};

V_INLINE struct static_coef static_load(const float *coef, bool is_complex, int n, int count)
{
    struct static_coef k;
    for (int j = 0; j < count; j++) {
        const float *row = coef + (n + j) * scan_coef_step(false, is_complex) * V_LANES;
        const int step = is_complex ? 2 * V_LANES : V_LANES;
        k.a[j] = vload(row);
        k.b[j] = vload(row + step);
        k.c[j] = vload(row + 2 * step);
        if (is_complex) {
            k.ai[j] = vload(row + V_LANES);
            k.bi[j] = vload(row + 3 * V_LANES);
            k.ci[j] = vload(row + 5 * V_LANES);
        }
    }
    return k;
}

/* --- forward ---------------------------------------------------------------------------------- */

/* s[t] += sum c h of `count` real states from n on. */
V_INLINE void static_states_real(bool keep, float *s, float *h, int64_t ld_h, const float *u,
                                 const float *coef, int n, int count, int n_time)
{
    const struct static_coef k = static_load(coef, false, n, count);
    vf state[STATIC_ABREAST];
    h += n * V_LANES;
    for (int j = 0; j < count; j++)
        state[j] = vload(h + j * V_LANES);
    for (int t = 0; t < n_time; t++) {
        const vf x = vload(u + t * V_LANES);
        vf y[STATIC_ABREAST] = {{0}};
        for (int j = 0; j < count; j++) {
            state[j] = k.a[j] * state[j] + k.b[j] * x;
            y[j] = k.c[j] * state[j];
            if (keep)
                vstore(h + (t + 1) * ld_h + j * V_LANES, state[j]);
        }
        vstore(s + t * V_LANES, vload(s + t * V_LANES) + ((y[0] + y[1]) + (y[2] + y[3])));
    }
    for (int j = 0; !keep && j < count; j++)
        vstore(h + j * V_LANES, state[j]);
}

/* s[t] += sum Re(c h). */
V_INLINE void static_states_complex(bool keep, float *s, float *h, int64_t ld_h, const float *u,
                                    const float *coef, int n, int count, int n_time)
{
    const struct static_coef k = static_load(coef, true, n, count);
    vf re[STATIC_ABREAST_COMPLEX], im[STATIC_ABREAST_COMPLEX];
    h += n * 2 * V_LANES;
    for (int j = 0; j < count; j++) {
        re[j] = vload(h + 2 * j * V_LANES);
        im[j] = vload(h + (2 * j + 1) * V_LANES);
    }
    for (int t = 0; t < n_time; t++) {
        const vf x = vload(u + t * V_LANES);
        vf y[STATIC_ABREAST_COMPLEX] = {{0}};
        for (int j = 0; j < count; j++) {
            vf hr = k.a[j] * re[j] + (k.b[j] * x - k.ai[j] * im[j]);
            vf hi = k.a[j] * im[j] + (k.ai[j] * re[j] + k.bi[j] * x);
            re[j] = hr;
            im[j] = hi;
            y[j] = k.c[j] * hr - k.ci[j] * hi;
            if (keep) {
                vstore(h + (t + 1) * ld_h + 2 * j * V_LANES, hr);
                vstore(h + (t + 1) * ld_h + (2 * j + 1) * V_LANES, hi);
            }
        }
        vstore(s + t * V_LANES, vload(s + t * V_LANES) + (y[0] + y[1]));
    }
    for (int j = 0; !keep && j < count; j++) {
        vstore(h + 2 * j * V_LANES, re[j]);
        vstore(h + (2 * j + 1) * V_LANES, im[j]);
    }
}

/* As scan_march, of a static mixer. */
V_INLINE void static_march(struct scan_kind k, bool keep, float *s, float *h, const float *u,
                           const float *coef, vf d, struct ahead ahead, int n_time)
{
    const int64_t ld_h = (int64_t)scan_state_rows(k.is_complex, k.n_state) * V_LANES;
    int n = 0;
    for (int t = 0; t < n_time; t++) {
        ahead_ask(ahead, t);
        vstore(s + t * V_LANES, vset(0.0f));
    }
    if (k.is_complex) {
        for (; n + STATIC_ABREAST_COMPLEX <= k.n_state; n += STATIC_ABREAST_COMPLEX)
            static_states_complex(keep, s, h, ld_h, u, coef, n, STATIC_ABREAST_COMPLEX, n_time);
        for (; n < k.n_state; n++)
            static_states_complex(keep, s, h, ld_h, u, coef, n, 1, n_time);
    } else {
        for (; n + STATIC_ABREAST <= k.n_state; n += STATIC_ABREAST)
            static_states_real(keep, s, h, ld_h, u, coef, n, STATIC_ABREAST, n_time);
        for (; n < k.n_state; n++)
            static_states_real(keep, s, h, ld_h, u, coef, n, 1, n_time);
    }
    const float gain = k.is_complex ? 2.0f : 1.0f;
    for (int t = 0; t < n_time; t++)
        vstore(s + t * V_LANES, gain * vload(s + t * V_LANES) + d * vload(u + t * V_LANES));
}

/* --- backward --------------------------------------------------------------------------------- */

V_INLINE void static_add(float *to, vf v)
{
    vstore(to, vload(to) + v);
}

/* Of `count` real states from n on: input[t] += Re(G conj(B)); g becomes the gradient of the state
   that entered; sums += dcoef. h: n_time + 1 states. */
V_INLINE void static_back_real(float *input, float *g, float *sums, const float *h, int64_t ld_h,
                               const float *u, const float *dy, const float *coef, int n, int count,
                               int n_time)
{
    const struct static_coef k = static_load(coef, false, n, count);
    vf carried[STATIC_ABREAST], da[STATIC_ABREAST] = {{0}}, db[STATIC_ABREAST] = {{0}},
                                dc[STATIC_ABREAST] = {{0}}, now[STATIC_ABREAST];
    h += n * V_LANES;
    for (int j = 0; j < count; j++) {
        carried[j] = vload(g + (n + j) * V_LANES);
        now[j] = vload(h + n_time * ld_h + j * V_LANES);
    }
    for (int t = n_time - 1; t >= 0; t--) {
        const vf q = vload(dy + t * V_LANES), x = vload(u + t * V_LANES);
        vf part[STATIC_ABREAST] = {{0}};
        for (int j = 0; j < count; j++) {
            const vf before = vload(h + t * ld_h + j * V_LANES);
            const vf gradient = carried[j] + q * k.c[j];
            part[j] = gradient * k.b[j];
            da[j] += gradient * before;
            db[j] += gradient * x;
            dc[j] += q * now[j];
            now[j] = before;
            carried[j] = gradient * k.a[j];
        }
        static_add(input + t * V_LANES, (part[0] + part[1]) + (part[2] + part[3]));
    }
    for (int j = 0; j < count; j++) {
        float *to = sums + (n + j) * scan_coef_step(false, false) * V_LANES;
        vstore(g + (n + j) * V_LANES, carried[j]);
        static_add(to, da[j]);
        static_add(to + V_LANES, db[j]);
        static_add(to + 2 * V_LANES, dc[j]);
    }
}

V_INLINE void static_back_complex(float *input, float *g, float *sums, const float *h, int64_t ld_h,
                                  const float *u, const float *dy, const float *coef, int n,
                                  int count, int n_time)
{
    const struct static_coef k = static_load(coef, true, n, count);
    vf cr[2], ci[2], dar[2] = {{0}}, dai[2] = {{0}}, dbr[2] = {{0}}, dbi[2] = {{0}};
    vf dcr[2] = {{0}}, dci[2] = {{0}}, nr[2], ni[2];
    h += n * 2 * V_LANES;
    for (int j = 0; j < count; j++) {
        cr[j] = vload(g + 2 * (n + j) * V_LANES);
        ci[j] = vload(g + (2 * (n + j) + 1) * V_LANES);
        nr[j] = vload(h + n_time * ld_h + 2 * j * V_LANES);
        ni[j] = vload(h + n_time * ld_h + (2 * j + 1) * V_LANES);
    }
    for (int t = n_time - 1; t >= 0; t--) {
        const vf q = 2.0f * vload(dy + t * V_LANES), x = vload(u + t * V_LANES);
        vf part[2] = {{0}};
        for (int j = 0; j < count; j++) {
            const vf hr = vload(h + t * ld_h + 2 * j * V_LANES);
            const vf hi = vload(h + t * ld_h + (2 * j + 1) * V_LANES);
            const vf gr = cr[j] + q * k.c[j], gi = ci[j] - q * k.ci[j];
            part[j] = gr * k.b[j] + gi * k.bi[j];
            dar[j] += gr * hr + gi * hi;
            dai[j] += gi * hr - gr * hi;
            dbr[j] += gr * x;
            dbi[j] += gi * x;
            dcr[j] += q * nr[j];
            dci[j] -= q * ni[j];
            nr[j] = hr;
            ni[j] = hi;
            cr[j] = k.a[j] * gr + k.ai[j] * gi;
            ci[j] = k.a[j] * gi - k.ai[j] * gr;
        }
        static_add(input + t * V_LANES, part[0] + part[1]);
    }
    for (int j = 0; j < count; j++) {
        float *to = sums + (n + j) * scan_coef_step(false, true) * V_LANES;
        const vf all[] = {dar[j], dai[j], dbr[j], dbi[j], dcr[j], dci[j]};
        vstore(g + 2 * (n + j) * V_LANES, cr[j]);
        vstore(g + (2 * (n + j) + 1) * V_LANES, ci[j]);
        for (int i = 0; i < 6; i++)
            static_add(to + i * V_LANES, all[i]);
    }
}

/* One tile back through n_time ticks. u becomes du; sums += dcoef, dD. */
V_INLINE void static_march_back(struct scan_kind k, float *g, float *sums, float *u,
                                const float *dy, const float *h, const float *coef, vf d,
                                struct ahead ahead, int n_time)
{
    _Alignas(32) float input[SCAN_TILE];
    const int64_t ld_h = (int64_t)scan_state_rows(k.is_complex, k.n_state) * V_LANES;
    int n = 0;
    for (int t = 0; t < n_time; t++) {
        ahead_ask(ahead, t);
        vstore(input + t * V_LANES, vset(0.0f));
    }
    if (k.is_complex) {
        for (; n + STATIC_ABREAST_COMPLEX <= k.n_state; n += STATIC_ABREAST_COMPLEX)
            static_back_complex(input, g, sums, h, ld_h, u, dy, coef, n, STATIC_ABREAST_COMPLEX,
                                n_time);
        for (; n < k.n_state; n++)
            static_back_complex(input, g, sums, h, ld_h, u, dy, coef, n, 1, n_time);
    } else {
        for (; n + STATIC_ABREAST <= k.n_state; n += STATIC_ABREAST)
            static_back_real(input, g, sums, h, ld_h, u, dy, coef, n, STATIC_ABREAST, n_time);
        for (; n < k.n_state; n++)
            static_back_real(input, g, sums, h, ld_h, u, dy, coef, n, 1, n_time);
    }
    vf dd = {0};
    for (int t = n_time - 1; t >= 0; t--) {
        const vf q = vload(dy + t * V_LANES);
        dd += q * vload(u + t * V_LANES);
        vstore(u + t * V_LANES, vload(input + t * V_LANES) + d * q);
    }
    static_add(sums + scan_coef_rows(false, k.is_complex, k.n_state) * V_LANES, dd);
}

#endif
