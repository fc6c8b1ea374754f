/* The causal convolution with SiLU, and its gradients, against loops in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

struct conv_test {
    int n_batch, inner, n_taps;
    int64_t n_time, ld_x;
    const float *x, *w, *bias, *state, *du, *dstate;
    double *xd, *wd, *biasd, *stated;
};

static int64_t rows_of(const struct conv_test *t)
{
    return t->n_batch * t->n_time;
}

static int64_t state_size(const struct conv_test *t)
{
    return (int64_t)t->inner * (t->n_taps - 1);
}

/* Input of a channel at tick i >= -(K-1). */
static double input(const struct conv_test *t, int b, int64_t i, int e)
{
    int keep = t->n_taps - 1;
    if (i < 0)
        return t->stated[b * state_size(t) + e * keep + keep + i];
    return t->xd[(b * t->n_time + i) * t->ld_x + e];
}

static void naive(const struct conv_test *t, double *u, double *state)
{
    int keep = t->n_taps - 1;
    for (int b = 0; b < t->n_batch; b++)
        for (int e = 0; e < t->inner; e++) {
            for (int64_t i = 0; i < t->n_time; i++) {
                double c = t->biasd[e];
                for (int k = 0; k < t->n_taps; k++)
                    c += t->wd[e * t->n_taps + k] * input(t, b, i - keep + k, e);
                u[(b * t->n_time + i) * t->inner + e] = c / (1 + exp(-c));
            }
            for (int j = 0; j < keep; j++)
                state[b * state_size(t) + e * keep + j] = input(t, b, t->n_time - keep + j, e);
        }
}

static double loss(void *arg)
{
    const struct conv_test *t = arg;
    int64_t n = rows_of(t) * t->inner, n_state = t->n_batch * state_size(t);
    double *u = check_doubles(n), *state = check_doubles(n_state), sum = 0;
    naive(t, u, state);
    for (int64_t i = 0; i < n; i++)
        sum += u[i] * t->du[i];
    for (int64_t i = 0; i < n_state; i++)
        sum += state[i] * t->dstate[i];
    return sum;
}

/* out: u, then the state that leaves */
static void run_forward(struct backend *be, void *arg, float *out)
{
    const struct conv_test *t = arg;
    float *state = out + rows_of(t) * t->inner;
    memcpy(state, t->state, (size_t)(t->n_batch * state_size(t)) * sizeof(float));
    be->ops->conv_silu(be, &(struct conv_args){
                               .u = check_out(be, out),
                               .x = check_in(be, t->x),
                               .w = check_in(be, t->w),
                               .bias = check_in(be, t->bias),
                               .state = check_out(be, state),
                               .ld_x = t->ld_x,
                               .ld_state = state_size(t),
                               .n_batch = t->n_batch,
                               .n_time = t->n_time,
                               .inner = t->inner,
                               .n_taps = t->n_taps,
                           });
    check_ran(be);
}

/* out: dx (as x), dw, dbias, dstate */
static void run_backward(struct backend *be, void *arg, float *out)
{
    const struct conv_test *t = arg;
    float *dw = out + rows_of(t) * t->ld_x, *dbias = dw + t->inner * t->n_taps;
    float *dstate = dbias + t->inner;
    memcpy(dstate, t->dstate, (size_t)(t->n_batch * state_size(t)) * sizeof(float));
    be->ops->conv_silu_backward(be, &(struct conv_backward_args){
                                        .dx = check_out(be, out),
                                        .dw = check_out(be, dw),
                                        .dbias = check_out(be, dbias),
                                        .dstate = check_out(be, dstate),
                                        .du = check_in(be, t->du),
                                        .x = check_in(be, t->x),
                                        .w = check_in(be, t->w),
                                        .bias = check_in(be, t->bias),
                                        .state = check_in(be, t->state),
                                        .ld_dx = t->ld_x,
                                        .ld_x = t->ld_x,
                                        .ld_state = state_size(t),
                                        .n_batch = t->n_batch,
                                        .n_time = t->n_time,
                                        .inner = t->inner,
                                        .n_taps = t->n_taps,
                                    });
    check_ran(be);
}

static struct conv_test conv_test_of(int n_batch, int64_t n_time, int inner, int n_taps)
{
    struct conv_test t = {
        .n_batch = n_batch, .inner = inner, .n_taps = n_taps, .n_time = n_time, .ld_x = 2 * inner};
    int64_t n_x = rows_of(&t) * t.ld_x, n_state = n_batch * state_size(&t);
    t.x = check_random(n_x, 1, 1);
    t.w = check_random(inner * n_taps, 2, 0.5);
    t.bias = check_random(inner, 3, 0.5);
    t.state = check_random(n_state, 4, 1);
    t.du = check_random(rows_of(&t) * inner, 5, 1);
    t.dstate = check_random(n_state, 6, 1);
    t.xd = check_to_double(t.x, n_x);
    t.wd = check_to_double(t.w, inner * n_taps);
    t.biasd = check_to_double(t.bias, inner);
    t.stated = check_to_double(t.state, n_state);
    return t;
}

static void check_case(const struct ops *ops, int n_batch, int64_t n_time, int inner, int n_taps)
{
    struct conv_test t = conv_test_of(n_batch, n_time, inner, n_taps);
    int64_t n_u = rows_of(&t) * inner, n_x = rows_of(&t) * t.ld_x, n_w = inner * n_taps;
    int64_t n_state = n_batch * state_size(&t);
    float *out = check_zeros(n_u + n_state);
    double *u = check_doubles(n_u), *state = check_doubles(n_state);
    naive(&t, u, state);
    check_run(ops, run_forward, &t, out, n_u + n_state, 2e-6);
    check_near("u", out, u, n_u, 1e-6);
    check_near("state", out + n_u, state, n_state, 0);

    float *d = check_zeros(n_x + n_w + inner + n_state);
    check_run(ops, run_backward, &t, d, n_x + n_w + inner + n_state, 1e-5);
    check_gradient("dx", loss, &t, t.xd, d, n_x, 1e-5);
    check_gradient("dw", loss, &t, t.wd, d + n_x, n_w, 1e-5);
    check_gradient("dbias", loss, &t, t.biasd, d + n_x + n_w, inner, 1e-5);
    check_gradient("dstate", loss, &t, t.stated, d + n_x + n_w + inner, n_state, 1e-5);
}

static void test_conv(void **state)
{
    static const int64_t times[] = {0, 1, 2, 5, 33, 300};
    static const int inners[] = {10, 64}, taps[] = {1, 2, 4, 5};
    static const int many_taps[] = {3, 8, 16, 32};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++) {
        for (int i = 0; i < 6 * 2 * 4 * 2; i++) {
            check_case(tables[k], i % 2 ? 3 : 1, times[i / 16], inners[i / 2 % 2], taps[i / 4 % 4]);
            check_free(state);
        }
        for (int i = 0; i < 4 * 2; i++) {
            check_case(tables[k], 2, i % 2 ? 70 : 9, 37, many_taps[i / 2]);
            check_free(state);
        }
        check_case(tables[k], 2, 9000, 12, 4); /* over blocks of the gradient */
        check_case(tables[k], 1, 4097, 40, 4); /* whose last has fewer ticks than taps */
        check_free(state);
    }
}

/* A sequence in pieces is the sequence. */
static void test_partition(void **state)
{
    static const int64_t cuts[] = {0, 37, 38, 40, 100};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++) {
        struct conv_test whole = conv_test_of(1, 100, 20, 4);
        int64_t n_u = 100 * 20, n_state = state_size(&whole);
        struct backend *be = check_backend(tables[k], 1);
        float *out = check_zeros(n_u + n_state), *parts = check_zeros(n_u + n_state);
        run_forward(be, &whole, out);
        struct conv_test part = whole;
        for (int i = 0; i < 4; i++) {
            part.n_time = cuts[i + 1] - cuts[i];
            part.x = whole.x + cuts[i] * whole.ld_x;
            float *piece = check_zeros(part.n_time * 20 + n_state);
            run_forward(be, &part, piece);
            memcpy(parts + cuts[i] * 20, piece, (size_t)(part.n_time * 20) * sizeof(float));
            part.state = piece + part.n_time * 20;
        }
        memcpy(parts + n_u, part.state, (size_t)n_state * sizeof(float));
        check_near("u in pieces", parts, check_to_double(out, n_u), n_u, 1e-6);
        check_same("state in pieces", parts + n_u, out + n_u, n_state);
        check_free(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_conv, check_free),
        cmocka_unit_test_teardown(test_partition, check_free),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
