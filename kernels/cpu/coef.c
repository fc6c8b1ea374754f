/*
 * Coefficients of the scan, in the layout of scan.h: computed in double, once a change of weights.
 * Real mixers are complex ones whose imaginary parts are 0.
 */
#include "kernels/cpu/scan.h"

#include <complex.h>
#include <math.h>

static const double COEF_LOG2E = 1.4426950408889634;
static const double COEF_HALVES = 0.31830988618379067; /* half turns a radian */

static int64_t op_coef_size(const struct layer *layer)
{
    if (layer->kind != LAYER_MIXER)
        return 0;
    int rows =
        scan_coef_rows(layer->mixer == MIXER_SELECTIVE, layer->complex_state, layer->n_state);
    return blocks_of(layer->inner, V_LANES) * V_LANES * rows;
}

/* Row `row` of channel e. */
static int64_t coef_at(const struct coef_args *a, int e, int n, int row)
{
    const int step = scan_coef_step(a->mixer == MIXER_SELECTIVE, a->complex_state);
    const int64_t tile = e / V_LANES;
    return ((tile * a->n_state + n) * step + row) * V_LANES + e % V_LANES;
}

/* CMPLX, which older clang does not have. */
static double complex coef_complex(double re, double im)
{
    return re + im * I;
}

static double complex coef_read(const struct coef_args *a, const float *x, int64_t i)
{
    return a->complex_state ? coef_complex(x[2 * i], x[2 * i + 1]) : coef_complex(x[i], 0.0);
}

static void coef_add(const struct coef_args *a, float *x, int64_t i, double complex value)
{
    if (a->complex_state) {
        x[2 * i] += (float)creal(value);
        x[2 * i + 1] += (float)cimag(value);
    } else {
        x[i] += (float)creal(value);
    }
}

/* The numbers of `which` (0 decay, 1 input, 2 output) of a static mixer. */
static void coef_put(const struct coef_args *a, int e, int n, int which, double complex value)
{
    if (a->complex_state) {
        a->coef[coef_at(a, e, n, 2 * which)] = (float)creal(value);
        a->coef[coef_at(a, e, n, 2 * which + 1)] = (float)cimag(value);
    } else {
        a->coef[coef_at(a, e, n, which)] = (float)creal(value);
    }
}

static double complex coef_gradient(const struct coef_args *a, int e, int n, int which)
{
    if (a->complex_state)
        return coef_complex(a->dcoef[coef_at(a, e, n, 2 * which)],
                            a->dcoef[coef_at(a, e, n, 2 * which + 1)]);
    return a->dcoef[coef_at(a, e, n, which)];
}

static double complex coef_pole(const struct coef_args *a, int64_t i)
{
    return coef_complex(-exp(a->a_log[i]), a->complex_state ? a->a_imag[i] : 0.0);
}

static double coef_dt(const struct coef_args *a, int e)
{
    double x = a->dt[e];
    if (a->mixer == MIXER_S4D)
        return exp(x);
    return x > 20.0 ? x : log1p(exp(x));
}

static double coef_dt_slope(const struct coef_args *a, int e)
{
    double x = a->dt[e];
    if (a->mixer == MIXER_S4D)
        return exp(x);
    return x > 20.0 ? 1.0 : 1.0 / (1.0 + exp(-x));
}

/* e^w - 1 without the loss of digits near 0. */
static double complex coef_expm1(double complex w)
{
    double x = creal(w), y = cimag(w), half = sin(0.5 * y);
    return coef_complex(expm1(x) * cos(y) - 2.0 * half * half, exp(x) * sin(y));
}

static void op_coef(struct backend *be, const struct coef_args *a)
{
    (void)be;
    const int rows = scan_coef_rows(a->mixer == MIXER_SELECTIVE, a->complex_state, a->n_state);
    memset(a->coef, 0, (size_t)(blocks_of(a->inner, V_LANES) * V_LANES * rows) * sizeof(float));
    for (int e = 0; e < a->inner; e++) {
        for (int n = 0; n < a->n_state; n++) {
            int64_t i = (int64_t)e * a->n_state + n;
            double complex pole = coef_pole(a, i);
            if (a->mixer == MIXER_SELECTIVE) {
                a->coef[coef_at(a, e, n, 0)] = (float)(creal(pole) * COEF_LOG2E);
                if (a->complex_state)
                    a->coef[coef_at(a, e, n, 1)] = (float)(cimag(pole) * COEF_HALVES);
                continue;
            }
            double dt = coef_dt(a, e);
            double complex hold = a->mixer == MIXER_S4D ? coef_expm1(dt * pole) / pole : dt;
            coef_put(a, e, n, 0, cexp(dt * pole));
            coef_put(a, e, n, 1, hold * coef_read(a, a->b, i));
            coef_put(a, e, n, 2, coef_read(a, a->c, i));
        }
    }
}

/* The gradient of A: to A_log and A_imag. */
static void coef_pole_backward(const struct coef_args *a, int64_t i, double complex dpole)
{
    a->da_log[i] += (float)(creal(dpole) * creal(coef_pole(a, i)));
    if (a->complex_state)
        a->da_imag[i] += (float)cimag(dpole);
}

static void op_coef_backward(struct backend *be, const struct coef_args *a)
{
    (void)be;
    for (int e = 0; e < a->inner; e++) {
        double ddt = 0.0;
        for (int n = 0; n < a->n_state; n++) {
            int64_t i = (int64_t)e * a->n_state + n;
            if (a->mixer == MIXER_SELECTIVE) {
                double re = a->dcoef[coef_at(a, e, n, 0)] * COEF_LOG2E;
                double im = a->complex_state ? a->dcoef[coef_at(a, e, n, 1)] * COEF_HALVES : 0.0;
                coef_pole_backward(a, i, coef_complex(re, im));
                continue;
            }
            double dt = coef_dt(a, e);
            double complex pole = coef_pole(a, i), decay = cexp(dt * pole);
            double complex b = coef_read(a, a->b, i), dinput = coef_gradient(a, e, n, 1);
            double complex dlog = coef_gradient(a, e, n, 0) * conj(decay);
            double complex dpole = dlog * dt, hold = dt;
            ddt += creal(dlog * conj(pole));
            if (a->mixer == MIXER_S4D) { /* hold = (e^(dt A) - 1)/A */
                hold = coef_expm1(dt * pole) / pole;
                double complex dhold = dinput * conj(b);
                dpole += dhold * conj((dt * decay - hold) / pole);
                ddt += creal(dhold * conj(decay));
            } else {
                ddt += creal(dinput * conj(b));
            }
            coef_pole_backward(a, i, dpole);
            coef_add(a, a->db, i, dinput * conj(hold));
            coef_add(a, a->dc, i, coef_gradient(a, e, n, 2));
        }
        if (a->mixer != MIXER_SELECTIVE)
            a->ddt[e] += (float)(ddt * coef_dt_slope(a, e));
    }
}
