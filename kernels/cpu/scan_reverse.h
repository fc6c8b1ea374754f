/*
 * The backward scan of eight channels of a selective mixer over one chunk, from its last tick to
 * its first; scan_static.h has that of static ones.
 *
 * With G the gradient of h_t and g = conj(a_t) G its share for h_(t-1), for a = exp(dt A):
 *   dC = dy conj(h_t), dB = G dt u, du = Re(G conj(B)) dt + D dy,
 *   ddt = Re(G conj(B)) u + Re(g conj(h_(t-1)) conj(A)), dA = sum_t dt g conj(h_(t-1));
 * complex state: 2 dy in place of dy, except in D's terms. Static mixers: dt = 1, and the gradient
 * of the decay is sum_t G conj(h_(t-1)).
 */
#ifndef HISS_KERNELS_CPU_SCAN_REVERSE_H
#define HISS_KERNELS_CPU_SCAN_REVERSE_H

#include "kernels/cpu/scan.h"

static const float SCAN_LN2 = 0.693147181f;
static const float SCAN_HALF_TURN = 3.14159265f; /* radians */

enum {
    SCAN_BACK = V_LANES,             /* real states taken together: a row of their sums */
    SCAN_BACK_COMPLEX = V_LANES / 2, /* complex ones: two half rows */
};

/* A thread's scratch, one allocation. */
struct scan_space {
    float *h, *decay; /* states and decays of a chunk */
    float *g;         /* carried gradient of the state, a tile each */
    float *sum;       /* dcoef of the chunk */
};

/* Sets or adds `count` sums of lanes to a row of dbc. */
V_INLINE void scan_add_row(float *row, const vf lanes[8], int count, bool add)
{
    vf sum = vsum_rows(lanes);
    if (count == V_LANES)
        vstore(row, add ? vload(row) + sum : sum);
    else
        vstore_n(row, add ? vload_n(row, count) + sum : sum, count);
}

/* The same of rows that take count <= 4 sums each: lanes 0.. to the one, lanes 4.. to the other. */
V_INLINE void scan_add_halves(float *first, float *second, const vf lanes[8], int count, bool add)
{
    float sums[8];
    vstore(sums, vsum_rows(lanes));
    for (int j = 0; j < count; j++) {
        first[j] = add ? first[j] + sums[j] : sums[j];
        second[j] = add ? second[j] + sums[SCAN_BACK_COMPLEX + j] : sums[SCAN_BACK_COMPLEX + j];
    }
}

V_INLINE void scan_accumulate(float *sum, vf v)
{
    vstore(sum, vload(sum) + v);
}

/* Sums over the states of one tick. */
struct scan_tick {
    vf input; /* Re(G conj(B)) */
    vf pole;  /* Re(g conj(h) conj(A)), in units of coef's rows */
    vf turn;  /* its imaginary part's share */
};

/* `count` states from n on, at one tick. h: the state before the tick, h_now: after. */
V_INLINE void scan_reverse_real(struct scan_kind k, struct scan_tick *tick, float *g, float *sum,
                                float *drow, bool add, const float *h, const float *h_now,
                                const float *decay, const float *coef, const float *bc, vf q, vf dt,
                                vf in, int n, int count)
{
    vf db[8] = {{0}}, dc[8] = {{0}};
#pragma GCC unroll 8
    for (int j = 0; j < count; j++) {
        const int at = (n + j) * V_LANES;
        vf now = vload(h_now + at), before = vload(h + at);
        vf gradient = vload(g + at);
        gradient += q * bc[k.n_state + n + j];
        dc[j] = q * now;
        db[j] = gradient * in;
        tick->input += gradient * bc[n + j];
        vf back = gradient * vload(decay + at);
        vf w = back * before;
        tick->pole += w * vload(coef + at);
        scan_accumulate(sum + at, w * dt);
        vstore(g + at, back);
    }
    scan_add_row(drow + n, db, count, add);
    scan_add_row(drow + k.n_state + n, dc, count, add);
}

/* As scan_reverse_real: a tick's sums have re in the first four rows of lanes, im in the others. */
V_INLINE void scan_reverse_complex(struct scan_kind k, struct scan_tick *tick, float *g, float *sum,
                                   float *drow, bool add, const float *h, const float *h_now,
                                   const float *decay, const float *coef, const float *bc, vf q,
                                   vf dt, vf in, int n, int count)
{
    vf db[8] = {{0}}, dc[8] = {{0}};
    const int n_state = k.n_state;
    q = 2.0f * q;
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) {
        const int at = (n + j) * 2 * V_LANES;
        vf nr = vload(h_now + at), ni = vload(h_now + at + V_LANES);
        vf hr = vload(h + at), hi = vload(h + at + V_LANES);
        vf gr = vload(g + at), gi = vload(g + at + V_LANES);
        gr += q * bc[2 * n_state + n + j];
        gi -= q * bc[3 * n_state + n + j];
        dc[j] = q * nr;
        dc[SCAN_BACK_COMPLEX + j] = -q * ni;
        db[j] = gr * in;
        db[SCAN_BACK_COMPLEX + j] = gi * in;
        tick->input += gr * bc[n + j] + gi * bc[n_state + n + j];
        vf ar = vload(decay + at), ai = vload(decay + at + V_LANES);
        vf br = ar * gr + ai * gi, bi = ar * gi - ai * gr;
        vstore(g + at, br);
        vstore(g + at + V_LANES, bi);
        vf wr = br * hr + bi * hi, wi = bi * hr - br * hi;
        tick->pole += wr * vload(coef + at);
        tick->turn += wi * vload(coef + at + V_LANES);
        scan_accumulate(sum + at, wr * dt);
        scan_accumulate(sum + at + V_LANES, wi * dt);
    }
    scan_add_halves(drow + n, drow + n_state + n, db, count, add);
    scan_add_halves(drow + 2 * n_state + n, drow + 3 * n_state + n, dc, count, add);
}

V_INLINE void scan_reverse(struct scan_kind k, struct scan_tick *tick, float *g, float *sum,
                           float *drow, bool add, const float *h, const float *h_now,
                           const float *decay, const float *coef, const float *bc, vf q, vf dt,
                           vf in, int n, int count)
{
    if (k.is_complex)
        scan_reverse_complex(k, tick, g, sum, drow, add, h, h_now, decay, coef, bc, q, dt, in, n,
                             count);
    else
        scan_reverse_real(k, tick, g, sum, drow, add, h, h_now, decay, coef, bc, q, dt, in, n,
                          count);
}

/* The activations of a group over a chunk; gradients take the place of what they belong to. */
struct scan_chunk {
    struct scan_tiles u, raw, dt, z, dy, y; /* raw: softplus' slope there, soon */
    const float *bc;                        /* rows of the chunk */
    float *dbc;                             /* where its rows' dB and dC go */
    int64_t ld_bc, ld_dbc;
    int n_time;
};

/* dy of one tile behind the gate to dy before it; y before the gate and z to dz. */
V_INLINE void scan_gate_backward(struct scan_chunk *c, int tile)
{
    for (int i = tile; i < tile + c->n_time * V_LANES; i += V_LANES) {
        vf x = vload(c->z.x + i), sigmoid = vsigmoid(x), dy = vload(c->dy.x + i);
        vstore(c->z.x + i, dy * vload(c->y.x + i) * vsilu_slope(x, sigmoid));
        vstore(c->dy.x + i, dy * x * sigmoid);
    }
}

/* One tile back through the chunk: s.h and s.decay are those of this tile; g: the gradient of its
   states; sums: dcoef, dD, ddt_bias. */
V_INLINE void scan_march_back(struct scan_kind k, struct scan_chunk *c, struct scan_space s,
                              float *g, float *sums, int tile, bool add, const float *coef, vf d,
                              struct ahead ahead)
{
    const int state = scan_state_rows(k.is_complex, k.n_state) * V_LANES;
    const int coef_rows = scan_coef_rows(k.selective, k.is_complex, k.n_state);
    const int abreast = k.is_complex ? SCAN_BACK_COMPLEX : SCAN_BACK;
    vf dd = {0}, dbias = {0};
    memset(s.sum, 0, (size_t)coef_rows * V_LANES * sizeof(float));
    for (int t = c->n_time - 1; t >= 0; t--) {
        ahead_ask(ahead, t);
        const int at = tile + t * V_LANES;
        const float *h = s.h + t * state, *decay = s.decay + t * state;
        const float *bc = c->bc + t * c->ld_bc;
        float *dbc = c->dbc + t * c->ld_dbc;
        vf x = vload(c->u.x + at), q = vload(c->dy.x + at);
        vf delta = vload(c->dt.x + at), in = delta * x;
        struct scan_tick tick = {{0}};
        int n = 0;
        for (; n + abreast <= k.n_state; n += abreast)
            scan_reverse(k, &tick, g, s.sum, dbc, add, h, h + state, decay, coef, bc, q, delta, in,
                         n, abreast);
        if (n < k.n_state)
            scan_reverse(k, &tick, g, s.sum, dbc, add, h, h + state, decay, coef, bc, q, delta, in,
                         n, k.n_state - n);
        dd += q * x;
        vf ddt = tick.input * x + tick.pole * SCAN_LN2 + tick.turn * SCAN_HALF_TURN;
        vf draw = ddt * vload(c->raw.x + at);
        vstore(c->raw.x + at, draw);
        vstore(c->u.x + at, tick.input * delta + d * q);
        dbias += draw;
    }
    for (int r = 0; r < coef_rows; r++)
        scan_accumulate(sums + r * V_LANES, vload(s.sum + r * V_LANES));
    scan_accumulate(sums + coef_rows * V_LANES, dd);
    scan_accumulate(sums + (coef_rows + 1) * V_LANES, dbias);
}

#endif
