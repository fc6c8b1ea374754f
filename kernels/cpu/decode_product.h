/*
 * Products of the decode engine: a packed matrix (decode_matrix.h) times one activation vector, or
 * times those of several rows. An output is one sum over its inputs in order in every kernel: how
 * many rows are multiplied at once changes no bit.
 */
#ifndef HISS_KERNELS_CPU_DECODE_PRODUCT_H
#define HISS_KERNELS_CPU_DECODE_PRODUCT_H

#include "kernels/cpu/decode_matrix.h"

enum {
    PAIR_VECTORS = 4, /* up to so many, panels of two matrices are multiplied side by side */
    ROWS_AT_ONCE = 4,
    VECTORS_ABREAST = 4,
};

/* y (rows, n) += x, both with row distance ld; n is a multiple of V_LANES. */
static inline void rows_add(float *y, const float *x, int64_t ld, int rows, int n)
{
    for (int r = 0; r < rows; r++, y += ld, x += ld)
        for (int i = 0; i < n; i += V_LANES)
            vstore(y + i, vload(y + i) + vload(x + i));
}

V_INLINE vf weights_load(enum precision precision, const char *w)
{
    if (precision == PRECISION_FP16)
        return vload_half(w);
    vf v;
    memcpy(&v, w, sizeof v);
    return v;
}

V_INLINE vf dot_finish(const struct matrix *m, int o, vi sum, float scale)
{
    return vkeep(__builtin_convertvector(sum, vf) * (vload(m->scale + o) * scale));
}

V_INLINE vi dot_start(const struct matrix *m, int o)
{
    vi v;
    memcpy(&v, m->start + o, sizeof v);
    return v;
}

/* --- one row --------------------------------------------------------------------------------- */

/* A panel of n_vec vectors, outputs from o on, one row. n_vec is a constant. */
V_INLINE void panel_one(const enum precision precision, const int n_vec, const struct matrix *m,
                        const char *w, int o, float *y, const struct operand *x)
{
    if (precision == PRECISION_INT8) {
        const int8_t *q = x->q;
        vi sum[PANEL_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < n_vec; v++)
            sum[v] = dot_start(m, o + v * V_LANES);
        for (int i = 0; i < m->n_in; i += DOT_INPUTS, w += n_vec * vector_bytes(precision))
#pragma GCC unroll 8
            for (int v = 0; v < n_vec; v++)
                sum[v] = vdot(sum[v], w + v * vector_bytes(precision), q + i);
#pragma GCC unroll 8
        for (int v = 0; v < n_vec; v++)
            vstore(y + v * V_LANES, dot_finish(m, o + v * V_LANES, sum[v], x->scale[0]));
        return;
    }
    const float *xs = x->x;
    vf sum[PANEL_VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++)
        sum[v] = (vf){0};
    for (int i = 0; i < m->n_in; i++, w += n_vec * vector_bytes(precision)) {
        vf xi = vset(xs[i]);
#pragma GCC unroll 8
        for (int v = 0; v < n_vec; v++)
            sum[v] += weights_load(precision, w + v * vector_bytes(precision)) * xi;
    }
#pragma GCC unroll 8
    for (int v = 0; v < n_vec; v++)
        vstore(y + v * V_LANES, sum[v]);
}

/* Panels of two matrices with as many inputs, n_vec each: y = W0 x0 + W1 x1. Narrow ones side by
   side, as n_vec sums alone would wait for each other. n_vec is a constant. */
V_INLINE void panel_pair(const enum precision precision, const int n_vec, const struct matrix *m,
                         const char *w0, const char *w1, int o, float *y, const struct operand *x)
{
    vf sum[2][PAIR_VECTORS];
    if (precision == PRECISION_INT8) {
        vi dot[2][PAIR_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++) {
            dot[0][v] = dot_start(&m[0], o + v * V_LANES);
            dot[1][v] = dot_start(&m[1], o + v * V_LANES);
        }
        const int step = vector_bytes(precision);
        for (int i = 0; i < m->n_in; i += DOT_INPUTS, w0 += n_vec * step, w1 += n_vec * step)
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++) {
                dot[0][v] = vdot(dot[0][v], w0 + v * step, x[0].q + i);
                dot[1][v] = vdot(dot[1][v], w1 + v * step, x[1].q + i);
            }
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++) {
            sum[0][v] = dot_finish(&m[0], o + v * V_LANES, dot[0][v], x[0].scale[0]);
            sum[1][v] = dot_finish(&m[1], o + v * V_LANES, dot[1][v], x[1].scale[0]);
        }
    } else {
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            sum[0][v] = sum[1][v] = (vf){0};
        const int step = vector_bytes(precision);
        for (int i = 0; i < m->n_in; i++, w0 += n_vec * step, w1 += n_vec * step) {
            vf a = vset(x[0].x[i]), b = vset(x[1].x[i]);
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++) {
                sum[0][v] += weights_load(precision, w0 + v * step) * a;
                sum[1][v] += weights_load(precision, w1 + v * step) * b;
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vec; v++)
        vstore(y + v * V_LANES, sum[0][v] + sum[1][v]);
}

/* --- a few rows that share the reading of the weights ---------------------------------------- */

/* n_vec vectors of a panel, `step` bytes an input, of n_rows rows. n_vec and n_rows are constants.
 */
V_INLINE void panel_rows(const enum precision precision, const int n_vec, const int n_rows,
                         const struct matrix *m, const char *w, int64_t step, int o, float *y,
                         int64_t ld_y, const struct operand *x, int row)
{
    if (precision == PRECISION_INT8) {
        vi sum[ROWS_AT_ONCE][VECTORS_ABREAST];
#pragma GCC unroll 4
        for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++)
                sum[r][v] = dot_start(m, o + v * V_LANES);
        const int8_t *q = x->q + row * x->ld_q;
        for (int i = 0; i < m->n_in; i += DOT_INPUTS, w += step)
#pragma GCC unroll 4
            for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < n_vec; v++)
                    sum[r][v] =
                        vdot(sum[r][v], w + v * vector_bytes(precision), q + r * x->ld_q + i);
#pragma GCC unroll 4
        for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++)
                vstore(y + r * ld_y + v * V_LANES,
                       dot_finish(m, o + v * V_LANES, sum[r][v], x->scale[row + r]));
        return;
    }
    const float *xs = x->x + row * x->ld;
    vf sum[ROWS_AT_ONCE][VECTORS_ABREAST];
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            sum[r][v] = (vf){0};
    for (int i = 0; i < m->n_in; i++, w += step) {
        vf wv[VECTORS_ABREAST];
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            wv[v] = weights_load(precision, w + v * vector_bytes(precision));
#pragma GCC unroll 4
        for (int r = 0; r < n_rows; r++) {
            vf xi = vset(xs[r * x->ld + i]);
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++)
                sum[r][v] += wv[v] * xi;
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            vstore(y + r * ld_y + v * V_LANES, sum[r][v]);
}

/* A whole panel for n_rows rows, some vectors at a time: as many sums as registers hold. */
V_INLINE void panel_few(const enum precision precision, const int n_rows, const struct matrix *m,
                        const char *w, int n_vec, int o, float *y, int64_t ld_y,
                        const struct operand *x, int row)
{
    const int size = vector_bytes(precision), abreast = n_rows < 4 ? 4 : 2;
    const int64_t step = (int64_t)n_vec * size;
    int v = 0;
    for (; v + abreast <= n_vec; v += abreast)
        panel_rows(precision, abreast, n_rows, m, w + v * size, step, o + v * V_LANES,
                   y + v * V_LANES, ld_y, x, row);
    for (; v < n_vec; v++)
        panel_rows(precision, 1, n_rows, m, w + v * size, step, o + v * V_LANES, y + v * V_LANES,
                   ld_y, x, row);
}

/* --- matrices -------------------------------------------------------------------------------- */

V_INLINE void panel_apply(const enum precision precision, const struct matrix *m, const char *w,
                          int n_vec, int o, float *y, int64_t ld_y, const struct operand *x,
                          int rows)
{
    int row = 0;
    if (rows == 1) {
        switch (n_vec) {
        case 1:
            panel_one(precision, 1, m, w, o, y, x);
            return;
        case 2:
            panel_one(precision, 2, m, w, o, y, x);
            return;
        case 3:
            panel_one(precision, 3, m, w, o, y, x);
            return;
        case 4:
            panel_one(precision, 4, m, w, o, y, x);
            return;
        case 5:
            panel_one(precision, 5, m, w, o, y, x);
            return;
        case 6:
            panel_one(precision, 6, m, w, o, y, x);
            return;
        case 7:
            panel_one(precision, 7, m, w, o, y, x);
            return;
        default:
            panel_one(precision, 8, m, w, o, y, x);
            return;
        }
    }
    for (; row + ROWS_AT_ONCE <= rows; row += ROWS_AT_ONCE)
        panel_few(precision, ROWS_AT_ONCE, m, w, n_vec, o, y + row * ld_y, ld_y, x, row);
    switch (rows - row) {
    case 3:
        panel_few(precision, 3, m, w, n_vec, o, y + row * ld_y, ld_y, x, row);
        return;
    case 2:
        panel_few(precision, 2, m, w, n_vec, o, y + row * ld_y, ld_y, x, row);
        return;
    case 1:
        panel_few(precision, 1, m, w, n_vec, o, y + row * ld_y, ld_y, x, row);
        return;
    default:
        return;
    }
}

V_INLINE void matrix_panels(const enum precision precision, const struct matrix *m, float *y,
                            int64_t ld_y, const struct operand *x, int rows)
{
    const char *w = m->weights;
    const int64_t steps = precision == PRECISION_INT8 ? blocks_of(m->n_in, DOT_INPUTS) : m->n_in;
    for (int o = 0; o < m->n_out; o += PANEL_VECTORS * V_LANES) {
        int n_vec = (int)min_of(PANEL_VECTORS, (m->n_out - o) / V_LANES);
        panel_apply(precision, m, w, n_vec, o, y + o, ld_y, x, rows);
        w += steps * n_vec * vector_bytes(precision);
    }
}

/* y (rows, n_out) = W x. */
static void matrix_apply(const struct matrix *m, float *y, int64_t ld_y, const struct operand *x,
                         int rows)
{
    switch (m->precision) {
    case PRECISION_FP16:
        matrix_panels(PRECISION_FP16, m, y, ld_y, x, rows);
        return;
    case PRECISION_INT8:
        matrix_panels(PRECISION_INT8, m, y, ld_y, x, rows);
        return;
    default:
        matrix_panels(PRECISION_FP32, m, y, ld_y, x, rows);
        return;
    }
}

V_INLINE void matrix_pair_panels(const enum precision precision, const struct matrix *m, float *y,
                                 const struct operand *x, float *more)
{
    const char *w0 = m[0].weights, *w1 = m[1].weights;
    const int64_t steps = precision == PRECISION_INT8 ? blocks_of(m->n_in, DOT_INPUTS) : m->n_in;
    for (int o = 0; o < m->n_out; o += PANEL_VECTORS * V_LANES) {
        int n_vec = (int)min_of(PANEL_VECTORS, (m->n_out - o) / V_LANES);
        switch (n_vec) {
        case 1:
            panel_pair(precision, 1, m, w0, w1, o, y + o, x);
            break;
        case 2:
            panel_pair(precision, 2, m, w0, w1, o, y + o, x);
            break;
        case 3:
            panel_pair(precision, 3, m, w0, w1, o, y + o, x);
            break;
        case 4:
            panel_pair(precision, 4, m, w0, w1, o, y + o, x);
            break;
        default:
            panel_apply(precision, &m[0], w0, n_vec, o, y + o, 0, &x[0], 1);
            panel_apply(precision, &m[1], w1, n_vec, o, more, 0, &x[1], 1);
            for (int v = 0; v < n_vec * V_LANES; v += V_LANES)
                vstore(y + o + v, vload(y + o + v) + vload(more + v));
        }
        w0 += steps * n_vec * vector_bytes(precision);
        w1 += steps * n_vec * vector_bytes(precision);
    }
}

/* y (rows, n_out) = W0 x0 + W1 x1, for a matrix whose inputs are in two parts. more: (rows, ld_y)
   of scratch. */
static void matrix_apply_pair(const struct matrix m[2], float *y, int64_t ld_y,
                              const struct operand x[2], int rows, float *more)
{
    if (rows == 1 && m[0].n_in == m[1].n_in && m[0].precision == m[1].precision) {
        switch (m->precision) {
        case PRECISION_FP16:
            matrix_pair_panels(PRECISION_FP16, m, y, x, more);
            return;
        case PRECISION_INT8:
            matrix_pair_panels(PRECISION_INT8, m, y, x, more);
            return;
        default:
            matrix_pair_panels(PRECISION_FP32, m, y, x, more);
            return;
        }
    }
    matrix_apply(&m[0], y, ld_y, &x[0], rows);
    matrix_apply(&m[1], more, ld_y, &x[1], rows);
    rows_add(y, more, ld_y, rows, m->n_out);
}

#endif
