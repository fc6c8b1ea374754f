/*
 * Coefficients of the scan, in the layout of scan.h: computed in double, once a change of weights.
 * Real mixers are complex ones whose imaginary parts are 0. A warp a channel.
 */
#include "kernels/cuda/scan.h"

static int64_t op_coef_size(const struct layer *layer)
{
    if (layer->kind != LAYER_MIXER)
        return 0;
    return (int64_t)layer->inner * layer->n_state *
           scan_step_of(layer->mixer == MIXER_SELECTIVE, layer->complex_state);
}

struct coef_number {
    double re, im;
};

CUDA_DEV struct coef_number coef_of(double re, double im)
{
    struct coef_number x = {re, im};
    return x;
}

CUDA_DEV struct coef_number coef_mul(struct coef_number x, struct coef_number y)
{
    return coef_of(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re);
}

/* x conj(y). */
CUDA_DEV struct coef_number coef_mul_conj(struct coef_number x, struct coef_number y)
{
    return coef_of(x.re * y.re + x.im * y.im, x.im * y.re - x.re * y.im);
}

CUDA_DEV struct coef_number coef_div(struct coef_number x, struct coef_number y)
{
    const double size = y.re * y.re + y.im * y.im;
    const struct coef_number z = coef_mul_conj(x, y);
    return coef_of(z.re / size, z.im / size);
}

CUDA_DEV struct coef_number coef_exp(struct coef_number w)
{
    const double size = exp(w.re);
    return coef_of(size * cos(w.im), size * sin(w.im));
}

/* e^w - 1 without the loss of digits near 0. */
CUDA_DEV struct coef_number coef_expm1(struct coef_number w)
{
    const double half = sin(0.5 * w.im);
    return coef_of(expm1(w.re) * cos(w.im) - 2.0 * half * half, exp(w.re) * sin(w.im));
}

CUDA_DEV struct coef_number coef_read(const struct coef_args &a, const float *x, int64_t i)
{
    return a.complex_state ? coef_of(x[2 * i], x[2 * i + 1]) : coef_of(x[i], 0.0);
}

CUDA_DEV void coef_write(const struct coef_args &a, float *x, int64_t i, struct coef_number value)
{
    if (a.complex_state) {
        x[2 * i] = (float)value.re;
        x[2 * i + 1] = (float)value.im;
    } else {
        x[i] = (float)value.re;
    }
}

CUDA_DEV void coef_add(const struct coef_args &a, float *x, int64_t i, struct coef_number value)
{
    if (a.complex_state) {
        x[2 * i] += (float)value.re;
        x[2 * i + 1] += (float)value.im;
    } else {
        x[i] += (float)value.re;
    }
}

CUDA_DEV struct coef_number coef_pole(const struct coef_args &a, int64_t i)
{
    return coef_of(-exp((double)a.a_log[i]), a.complex_state ? a.a_imag[i] : 0.0);
}

CUDA_DEV double coef_dt(const struct coef_args &a, int e)
{
    const double x = a.dt[e];
    if (a.mixer == MIXER_S4D)
        return exp(x);
    return x > 20.0 ? x : log1p(exp(x));
}

CUDA_DEV double coef_dt_slope(const struct coef_args &a, int e)
{
    const double x = a.dt[e];
    if (a.mixer == MIXER_S4D)
        return exp(x);
    return x > 20.0 ? 1.0 : 1.0 / (1.0 + exp(-x));
}

static constexpr double COEF_LOG2E = 1.4426950408889634;
static constexpr double COEF_QUARTERS = 0.63661977236758134; /* quarter turns a radian */

static __global__ void __launch_bounds__(WARP *ROW_WARPS) coef_kernel(struct coef_args a)
{
    const int e = (int)row_of_warp();
    if (e >= a.inner)
        return;
    for (int n = (int)threadIdx.x; n < a.n_state; n += WARP) {
        const int64_t i = (int64_t)e * a.n_state + n;
        const struct coef_number pole = coef_pole(a, i);
        if (a.mixer == MIXER_SELECTIVE) {
            coef_write(a, a.coef, i, coef_of(pole.re * COEF_LOG2E, pole.im * COEF_QUARTERS));
            continue;
        }
        const double dt = coef_dt(a, e);
        const struct coef_number w = coef_of(dt * pole.re, dt * pole.im);
        const struct coef_number hold =
            a.mixer == MIXER_S4D ? coef_div(coef_expm1(w), pole) : coef_of(dt, 0.0);
        coef_write(a, a.coef, 3 * i, coef_exp(w));
        coef_write(a, a.coef, 3 * i + 1, coef_mul(hold, coef_read(a, a.b, i)));
        coef_write(a, a.coef, 3 * i + 2, coef_read(a, a.c, i));
    }
}

static void op_coef(struct backend *be, const struct coef_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    GPU_LAUNCH(coef_kernel, row_grid(a->inner), row_block(), 0, cuda->stream, *a);
    cuda_launched(cuda, "coef");
}

/* The gradient of A: to A_log and A_imag. */
CUDA_DEV void coef_pole_backward(const struct coef_args &a, int64_t i, struct coef_number dpole)
{
    a.da_log[i] += (float)(dpole.re * coef_pole(a, i).re);
    if (a.complex_state)
        a.da_imag[i] += (float)dpole.im;
}

/* One state of a static mixer; returns its share of the gradient of dt. */
CUDA_DEV double coef_static_backward(const struct coef_args &a, int e, int64_t i)
{
    const double dt = coef_dt(a, e);
    const struct coef_number pole = coef_pole(a, i);
    const struct coef_number w = coef_of(dt * pole.re, dt * pole.im), decay = coef_exp(w);
    const struct coef_number b = coef_read(a, a.b, i), dinput = coef_read(a, a.dcoef, 3 * i + 1);
    const struct coef_number dlog = coef_mul_conj(coef_read(a, a.dcoef, 3 * i), decay);
    const struct coef_number dhold = coef_mul_conj(dinput, b);
    struct coef_number dpole = coef_of(dlog.re * dt, dlog.im * dt), hold = coef_of(dt, 0.0);
    double ddt = coef_mul_conj(dlog, pole).re;
    if (a.mixer == MIXER_S4D) { /* hold = (e^(dt A) - 1)/A */
        hold = coef_div(coef_expm1(w), pole);
        const struct coef_number slope =
            coef_div(coef_of(dt * decay.re - hold.re, dt * decay.im - hold.im), pole);
        const struct coef_number more = coef_mul_conj(dhold, slope);
        dpole = coef_of(dpole.re + more.re, dpole.im + more.im);
        ddt += coef_mul_conj(dhold, decay).re;
    } else {
        ddt += dhold.re;
    }
    coef_pole_backward(a, i, dpole);
    coef_add(a, a.db, i, coef_mul_conj(dinput, hold));
    coef_add(a, a.dc, i, coef_read(a, a.dcoef, 3 * i + 2));
    return ddt;
}

static __global__ void __launch_bounds__(WARP *ROW_WARPS) coef_backward_kernel(struct coef_args a)
{
    const int e = (int)row_of_warp();
    if (e >= a.inner)
        return;
    double ddt = 0.0;
    for (int n = (int)threadIdx.x; n < a.n_state; n += WARP) {
        const int64_t i = (int64_t)e * a.n_state + n;
        if (a.mixer == MIXER_SELECTIVE) {
            const struct coef_number g = coef_read(a, a.dcoef, i);
            coef_pole_backward(a, i, coef_of(g.re * COEF_LOG2E, g.im * COEF_QUARTERS));
        } else {
            ddt += coef_static_backward(a, e, i);
        }
    }
    if (a.mixer == MIXER_SELECTIVE)
        return;
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2)
        ddt += __shfl_xor_sync((unsigned)ALL_LANES, ddt, lanes);
    if (threadIdx.x == 0)
        a.ddt[e] += (float)(ddt * coef_dt_slope(a, e));
}

static void op_coef_backward(struct backend *be, const struct coef_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    GPU_LAUNCH(coef_backward_kernel, row_grid(a->inner), row_block(), 0, cuda->stream, *a);
    cuda_launched(cuda, "coef_backward");
}
