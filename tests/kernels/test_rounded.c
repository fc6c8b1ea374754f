/*
 * Tensors that the caller calls rounded: from inputs that bf16 holds exactly an operation gives
 * what it gives from floats, and outputs are rounded and nothing else. Products are in
 * test_linear.c.
 */
#include "tests/kernels/check.h"

#include <string.h>

enum { OUTPUTS_MAX = 8 };

/* bf16's half unit in the last place is 1/512 of an entry; twice rounded, and near the middle
   between two, it is less than this of the largest. */
#define ROUNDING (1.0 / 128)

/* Where the outputs of an operation begin in the memory of a run, and which are rounded. */
struct outputs {
    int n;
    int64_t size[OUTPUTS_MAX];
    bool rounded[OUTPUTS_MAX];
};

struct rounded_test {
    bool rounded; /* what the operation is told */
    int n_batch, inner, n_taps, n_state;
    int64_t n_time;
    enum mixer_kind mixer;
    bool complex_state;
    struct outputs outputs;
};

static int64_t rows_of(const struct rounded_test *t)
{
    return t->n_batch * t->n_time;
}

/* Exact in bf16. */
static float *numbers(int64_t n, uint32_t seed, double scale)
{
    float *x = check_random(n, seed, scale);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0xffff0000;
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

static bool is_bf16(const struct rounded_test *t, struct backend *be)
{
    return t->rounded && backend_rounded_size(be) == 2;
}

/* Memory of n entries, of x if it is given, as the operation is told they are. */
static float *rounded(const struct rounded_test *t, struct backend *be, const float *x, int64_t n)
{
    float *to = check_zeros(is_bf16(t, be) ? (n + 1) / 2 : n);
    for (int64_t i = 0; x && i < n; i++) {
        if (is_bf16(t, be))
            memcpy((uint16_t *)to + i, (const uint16_t *)(x + i) + 1, sizeof(uint16_t));
        else
            to[i] = x[i];
    }
    return to;
}

static void unrounded(const struct rounded_test *t, struct backend *be, float *to,
                      const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint16_t halves[2] = {0, is_bf16(t, be) ? ((const uint16_t *)from)[i] : 0};
        if (is_bf16(t, be))
            memcpy(to + i, halves, sizeof halves);
        else
            to[i] = from[i];
    }
}

static const void *entry(const struct rounded_test *t, struct backend *be, const float *x,
                         int64_t n)
{
    return (const char *)check_in(be, x) + n * (is_bf16(t, be) ? 2 : 4);
}

/* The run as it is told, and not: each output of the one near that of the other. */
static void compare(const struct ops *ops, void (*run)(struct backend *be, void *arg, float *out),
                    struct rounded_test t)
{
    struct backend *be = check_backend(ops, 1);
    int64_t n = 0;
    for (int i = 0; i < t.outputs.n; i++)
        n += t.outputs.size[i];
    float *got = check_zeros(n), *want = check_zeros(n);
    backend_set_products(be, PRODUCTS_BF16);
    t.rounded = true;
    check_run(ops, run, &t, got, n, 1); /* the same bits in every order */
    t.rounded = false;
    run(be, &t, want);
    backend_set_products(be, PRODUCTS_FP32);
    for (int i = 0; i < t.outputs.n; i++) {
        const int64_t size = t.outputs.size[i];
        check_near("rounded", got, check_to_double(want, size), size,
                   t.outputs.rounded[i] ? ROUNDING : 2e-6);
        got += size;
        want += size;
    }
}

static void for_tables(void (*check)(const struct ops *ops, void **state), void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        check(tables[k], state);
}

/* --- norm ------------------------------------------------------------------------------------- */

static void run_norm(struct backend *be, void *arg, float *out)
{
    const struct rounded_test *t = arg;
    const int64_t n = rows_of(t) * t->inner;
    float *y = rounded(t, be, NULL, n);
    be->ops->rmsnorm(be, &(struct norm_args){.y = check_out(be, y),
                                             .r = check_out(be, out + n),
                                             .x = check_in(be, numbers(n, 1, 1)),
                                             .w = check_in(be, numbers(t->inner, 2, 1)),
                                             .eps = 1e-5f,
                                             .y_rounded = t->rounded,
                                             .n_rows = rows_of(t),
                                             .width = t->inner});
    check_ran(be);
    unrounded(t, be, out, y, n);
}

static void norm_cases(const struct ops *ops, void **state)
{
    static const int widths[] = {10, 64, 256};
    for (int i = 0; i < 3; i++) {
        struct rounded_test t = {.n_batch = 1, .n_time = 70, .inner = widths[i]};
        t.outputs = (struct outputs){2, {70 * t.inner, 70}, {true, false}};
        compare(ops, run_norm, t);
        check_free(state);
    }
}

static void test_norm(void **state)
{
    for_tables(norm_cases, state);
}

/* --- convolution ------------------------------------------------------------------------------ */

/* out: u, state; dx, dw, dbias, dstate */
static void run_conv(struct backend *be, void *arg, float *out)
{
    const struct rounded_test *t = arg;
    const int64_t n = rows_of(t) * t->inner, n_state = (int64_t)t->inner * (t->n_taps - 1);
    const int64_t n_w = (int64_t)t->inner * t->n_taps;
    float *state = out + n, *dx = state + t->n_batch * n_state, *dw = dx + 2 * n;
    float *dbias = dw + n_w, *dstate = dbias + t->inner;
    float *dx_there = rounded(t, be, NULL, 2 * n);
    const float *x = rounded(t, be, numbers(2 * n, 1, 1), 2 * n), *w = numbers(n_w, 2, 0.5);
    const float *bias = numbers(t->inner, 3, 1), *entering = numbers(t->n_batch * n_state, 4, 1);
    memcpy(state, entering, (size_t)(t->n_batch * n_state) * sizeof *state);
    memcpy(dstate, entering, (size_t)(t->n_batch * n_state) * sizeof *state);
    be->ops->conv_silu(be, &(struct conv_args){.u = check_out(be, out),
                                               .x = check_in(be, x),
                                               .w = check_in(be, w),
                                               .bias = check_in(be, bias),
                                               .state = check_out(be, state),
                                               .x_rounded = t->rounded,
                                               .ld_x = 2 * t->inner,
                                               .ld_state = n_state,
                                               .n_batch = t->n_batch,
                                               .n_time = t->n_time,
                                               .inner = t->inner,
                                               .n_taps = t->n_taps});
    be->ops->conv_silu_backward(be,
                                &(struct conv_backward_args){.dx = check_out(be, dx_there),
                                                             .dw = check_out(be, dw),
                                                             .dbias = check_out(be, dbias),
                                                             .dstate = check_out(be, dstate),
                                                             .du = check_in(be, numbers(n, 5, 1)),
                                                             .x = check_in(be, x),
                                                             .w = check_in(be, w),
                                                             .bias = check_in(be, bias),
                                                             .state = check_in(be, entering),
                                                             .dx_rounded = t->rounded,
                                                             .x_rounded = t->rounded,
                                                             .ld_dx = 2 * t->inner,
                                                             .ld_x = 2 * t->inner,
                                                             .ld_state = n_state,
                                                             .n_batch = t->n_batch,
                                                             .n_time = t->n_time,
                                                             .inner = t->inner,
                                                             .n_taps = t->n_taps});
    check_ran(be);
    unrounded(t, be, dx, dx_there, 2 * n);
}

static void conv_cases(const struct ops *ops, void **state)
{
    static const struct {
        int n_batch, n_time, inner, n_taps;
    } sizes[] = {{2, 70, 20, 4}, {1, 300, 64, 4}, {3, 2, 7, 4}, {2, 40, 9, 6}};
    for (int i = 0; i < 4; i++) {
        struct rounded_test t = {.n_batch = sizes[i].n_batch,
                                 .n_time = sizes[i].n_time,
                                 .inner = sizes[i].inner,
                                 .n_taps = sizes[i].n_taps};
        const int64_t n = rows_of(&t) * t.inner, n_state = t.n_batch * t.inner * (t.n_taps - 1);
        t.outputs = (struct outputs){6,
                                     {n, n_state, 2 * n, t.inner * t.n_taps, t.inner, n_state},
                                     {false, false, true, false, false, false}};
        compare(ops, run_conv, t);
        check_free(state);
    }
}

static void test_conv(void **state)
{
    for_tables(conv_cases, state);
}

/* --- scan ------------------------------------------------------------------------------------- */

/* out: y; du, dz (in rows of 2 E, the second half), ddt_raw */
static void run_scan(struct backend *be, void *arg, float *out)
{
    const struct rounded_test *t = arg;
    const int parts = t->complex_state ? 2 : 1, ld_bc = 2 * parts * t->n_state;
    const struct layer layer = {.kind = LAYER_MIXER,
                                .mixer = t->mixer,
                                .complex_state = t->complex_state,
                                .inner = t->inner,
                                .n_state = t->n_state};
    const bool selective = t->mixer == MIXER_SELECTIVE;
    const int64_t n = rows_of(t) * t->inner, states = (int64_t)t->inner * t->n_state * parts;
    const int64_t n_coef = be->ops->coef_size(&layer);
    float *y = rounded(t, be, NULL, n), *dz = rounded(t, be, NULL, 2 * n);
    float *bc = numbers(rows_of(t) * ld_bc, 3, 1), *coef = check_zeros(n_coef);
    struct coef_args coefs = {.mixer = t->mixer,
                              .complex_state = t->complex_state,
                              .inner = t->inner,
                              .n_state = t->n_state,
                              .a_log = check_in(be, numbers(states, 4, 1)),
                              .a_imag = check_in(be, numbers(states, 5, 1)),
                              .dt = check_in(be, numbers(t->inner, 6, 1)),
                              .b = check_in(be, numbers(states, 7, 1)),
                              .c = check_in(be, numbers(states, 8, 1)),
                              .coef = check_out(be, coef)};
    be->ops->coef(be, &coefs);
    struct scan_backward_args back = {
        .forward = {.mixer = t->mixer,
                    .complex_state = t->complex_state,
                    .n_batch = t->n_batch,
                    .n_time = t->n_time,
                    .inner = t->inner,
                    .n_state = t->n_state,
                    .y = check_out(be, y),
                    .u = check_in(be, numbers(n, 1, 1)),
                    .z = entry(t, be, rounded(t, be, numbers(2 * n, 2, 1), 2 * n), t->inner),
                    .dt_raw = selective ? check_in(be, numbers(n, 9, 1)) : NULL,
                    .dt_bias = selective ? check_in(be, numbers(t->inner, 10, 1)) : NULL,
                    .bc = selective ? check_in(be, bc) : NULL,
                    .coef = coefs.coef,
                    .d = check_in(be, numbers(t->inner, 11, 1)),
                    .state = check_out(be, numbers(t->n_batch * states, 12, 0.5)),
                    .entering = check_out(be, check_zeros(scan_entering_size(
                                                  be->ops, &layer, t->n_batch, t->n_time))),
                    .rounded = t->rounded,
                    .ld_z = 2 * t->inner,
                    .ld_bc = ld_bc,
                    .ld_state = states},
        .dy = check_in(be, rounded(t, be, numbers(n, 13, 1), n)),
        .du = check_out(be, out + n),
        .ddt_raw = selective ? check_out(be, out + 4 * n) : NULL,
        .dbc = selective ? check_out(be, check_zeros(rows_of(t) * ld_bc)) : NULL,
        .ddt_bias = selective ? check_out(be, check_zeros(t->inner)) : NULL,
        .dcoef = check_out(be, check_zeros(n_coef)),
        .dd = check_out(be, check_zeros(t->inner)),
        .dstate = check_out(be, numbers(t->n_batch * states, 14, 1)),
        .ld_dz = 2 * t->inner,
        .ld_dbc = ld_bc,
    };
    check_out(be, dz);
    back.dz = (float *)(uintptr_t)entry(t, be, dz, t->inner);
    be->ops->scan(be, &back.forward);
    be->ops->scan_backward(be, &back);
    check_ran(be);
    unrounded(t, be, out, y, n);
    unrounded(t, be, out + 2 * n, dz, 2 * n);
}

/* The ways of staging: whole vectors of rows or not, of each kind of scan. */
static void scan_cases(const struct ops *ops, void **state)
{
    static const struct {
        enum mixer_kind mixer;
        bool complex_state;
        int n_batch, n_time, inner, n_state;
    } sizes[] = {
        {MIXER_SELECTIVE, false, 2, 100, 64, 16}, {MIXER_SELECTIVE, false, 1, 300, 72, 16},
        {MIXER_SELECTIVE, false, 2, 70, 11, 3},   {MIXER_SELECTIVE, false, 1, 65, 34, 16},
        {MIXER_SELECTIVE, true, 1, 100, 20, 5},   {MIXER_LTI, false, 2, 100, 20, 16},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rounded_test t = {.n_batch = sizes[i].n_batch,
                                 .n_time = sizes[i].n_time,
                                 .inner = sizes[i].inner,
                                 .n_state = sizes[i].n_state,
                                 .mixer = sizes[i].mixer,
                                 .complex_state = sizes[i].complex_state};
        const int64_t n = rows_of(&t) * t.inner;
        t.outputs = (struct outputs){4, {n, n, 2 * n, n}, {true, false, true, false}};
        compare(ops, run_scan, t);
        check_free(state);
    }
}

static void test_scan(void **state)
{
    for_tables(scan_cases, state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_norm, check_free),
        cmocka_unit_test_teardown(test_conv, check_free),
        cmocka_unit_test_teardown(test_scan, check_free),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
