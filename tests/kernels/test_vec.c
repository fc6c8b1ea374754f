/* The functions of vec.h swept against libm in double. Built once for each instruction set: TABLE
   is its place among the tables, 1 first. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { STEPS = 1 << 18 };

struct range {
    double low, high;
};

/* Distance in units of the last place of the exact value. */
static double ulps(float got, double exact)
{
    int exponent;
    frexp(exact, &exponent);
    return fabs(got - exact) / ldexp(1.0, exponent - 24);
}

static void sweep(const char *what, vf (*fast)(vf), double (*exact)(double), struct range range,
                  double allowed)
{
    for (int i = 0; i < STEPS; i += V_LANES) {
        float x[V_LANES], y[V_LANES];
        for (int j = 0; j < V_LANES; j++)
            x[j] = (float)(range.low + (range.high - range.low) * (i + j) / (STEPS - 1));
        vstore(y, fast(vload(x)));
        for (int j = 0; j < V_LANES; j++) {
            double want = exact(x[j]);
            if (fabs(want) > 1.2e-38 && !(ulps(y[j], want) <= allowed))
                fail_msg("%s(%.9g) is %.9g, should be %.9g: %.2f ulp", what, (double)x[j],
                         (double)y[j], want, ulps(y[j], want));
        }
    }
}

static vf fast_exp2_decay(vf x)
{
    vexp2_decays(&x, 1);
    return x;
}

static vf fast_exp(vf x)
{
    return vexp(x);
}

static vf fast_log(vf x)
{
    return vlog(x);
}

static vf fast_log1p(vf x)
{
    return vlog1p(x);
}

static vf fast_softplus(vf x)
{
    return vsoftplus(x);
}

static vf fast_softplus_slope(vf x)
{
    vf slope;
    vsoftplus_and_slope(x, &slope);
    return slope;
}

static vf fast_sigmoid(vf x)
{
    return vsigmoid(x);
}

static vf fast_silu(vf x)
{
    return vsilu(x);
}

static double exact_softplus(double x)
{
    return x > 20 ? x : log1p(exp(x));
}

static double exact_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double exact_silu(double x)
{
    return x / (1 + exp(-x));
}

static void test_accuracy(void **state)
{
    sweep("exp2", fast_exp2_decay, exp2, (struct range){-126, 0}, 2.3);
    sweep("exp2", fast_exp2_decay, exp2, (struct range){-1, 0}, 2.3);
    sweep("exp2", fast_exp2_decay, exp2, (struct range){-1e-3, 0}, 0.6);
    sweep("exp", fast_exp, exp, (struct range){-87, 88}, 1.1);
    sweep("exp", fast_exp, exp, (struct range){-1, 1}, 1.1);
    sweep("log", fast_log, log, (struct range){6e-8, 2}, 1.1);
    sweep("log", fast_log, log, (struct range){0.99, 1.01}, 1.1);
    sweep("log", fast_log, log, (struct range){1, 1e30}, 1.1);
    sweep("log", fast_log, log, (struct range){1.2e-38, 1e-30}, 1.1);
    sweep("log1p", fast_log1p, log1p, (struct range){0, 1e-3}, 2);
    sweep("log1p", fast_log1p, log1p, (struct range){0, 1}, 2);
    sweep("softplus", fast_softplus, exact_softplus, (struct range){-87, 25}, 3);
    sweep("softplus", fast_softplus, exact_softplus, (struct range){-2, 2}, 3);
    sweep("slope of softplus", fast_softplus_slope, exact_sigmoid, (struct range){-87, 30}, 2.6);
    sweep("sigmoid", fast_sigmoid, exact_sigmoid, (struct range){-87, 30}, 2.6);
    sweep("silu", fast_silu, exact_silu, (struct range){-80, 30}, 2.6);
}

static void test_turn(void **state)
{
    for (int i = -STEPS; i < STEPS; i++) {
        float q = (float)(i * 0.0243); /* to 6370 half turns, 20000 radians */
        vf re, im;
        vturn(vset(1.0f), vset(q), &re, &im);
        assert_true(fabs(re[5] - cos(q * M_PI)) < 2e-7);
        assert_true(fabs(im[5] - sin(q * M_PI)) < 2e-7);
    }
    vf re, im;
    vturn(vset(3.0f), vset(0.0f), &re, &im); /* no turn keeps the size */
    assert_true(re[0] == 3 && im[0] == 0);
}

static void test_edges(void **state)
{
    vf x = {0.0f, -1e30f, -INFINITY, -88.5f, 1e30f, INFINITY, NAN, 20.5f};
    vf e2 = fast_exp2_decay(vmin(x, vset(0.0f))), e = vexp(x), sp = vsoftplus(x), si = vsigmoid(x);
    vf silu = vsilu(x);
    assert_true(e2[0] == 1 && e2[1] == 0 && e2[2] == 0 && e2[3] > 0 && e2[3] < 1e-26f);
    assert_true(e[0] == 1 && e[1] == 0 && e[2] == 0 && e[3] == 0);
    assert_true(isfinite(e[4]) && e[4] > 1e38f && isfinite(e[5]) && isnan(e[6]));
    assert_true(sp[1] == 0 && sp[4] == 1e30f && isinf(sp[5]) && isnan(sp[6]) && sp[7] == 20.5f);
    assert_true(si[0] == 0.5f && si[1] >= 0 && si[1] < 1e-37f && si[4] == 1 && si[5] == 1);
    assert_true(silu[0] == 0 && fabsf(silu[1]) < 1e-7f && silu[4] == 1e30f && isnan(silu[6]));
    vf slope = fast_softplus_slope(x);
    assert_true(slope[7] == 1 && slope[0] == 0.5f && slope[2] == 0 && slope[5] == 1);
    vf low = vlog(vset(0.0f));
    assert_true(low[0] < -87 && low[0] > -88);
    vf odd = {1, 2, 4, 8, 16, 32, 64, 128};
    assert_true(vsum(odd) == 255);
    float three[3] = {1, 2, 3}, out[3] = {0};
    vstore_n(out, vload_n(three, 3), 2);
    assert_true(out[0] == 1 && out[1] == 2 && out[2] == 0 && vload_n(three, 3)[7] == 0);
}

int main(void)
{
    const struct ops *tables[CPU_TABLES_MAX];
    if (cpu_tables(tables) < TABLE)
        return 77; /* meson: skipped */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_turn),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
