/* Coefficients, scan and their gradients against loops in double that know nothing of coefficients,
   tiles or chunks. */
#include "tests/kernels/check.h"

#include <complex.h>
#include <math.h>
#include <string.h>

enum array { U, Z, DT_RAW, DT_BIAS, BC, D, STATE, A_LOG, A_IMAG, DT, B, C, ARRAYS };

static const char *const array_names[ARRAYS] = {"du",      "dz",  "ddt_raw", "ddt_bias",
                                                "dbc",     "dd",  "dstate",  "da_log",
                                                "da_imag", "ddt", "db",      "dc"};

/* Activations but u lie in wider rows, as behind a projection. */
struct scan_test {
    const struct ops *ops;
    enum mixer_kind mixer;
    bool complex_state, with_z;
    int n_batch, inner, n_state;
    int64_t n_time, ld_z, ld_bc, ld_state;
    int64_t size[ARRAYS]; /* 0: this kind has no such input */
    const float *x[ARRAYS];
    double *xd[ARRAYS];
    const float *dy, *dstate;
};

static struct layer layer_of(const struct scan_test *t)
{
    return (struct layer){.kind = LAYER_MIXER,
                          .mixer = t->mixer,
                          .complex_state = t->complex_state,
                          .inner = t->inner,
                          .n_state = t->n_state};
}

static double complex entry(const struct scan_test *t, enum array which, int64_t i)
{
    const double *x = t->xd[which];
    return t->complex_state ? x[2 * i] + I * x[2 * i + 1] : x[i];
}

/* B (part 0) or C (part 1) of a state at a row. */
static double complex selected(const struct scan_test *t, int64_t row, int part, int n)
{
    const double *bc = t->xd[BC] + row * t->ld_bc;
    if (t->complex_state)
        return bc[2 * part * t->n_state + n] + I * bc[(2 * part + 1) * t->n_state + n];
    return bc[part * t->n_state + n];
}

static double softplus(double x)
{
    return x > 20 ? x : log1p(exp(x));
}

/* One channel of one stream. */
static void naive_channel(const struct scan_test *t, int b, int e, double *y, double *state)
{
    const int step = t->complex_state ? 2 : 1;
    const double gain = t->complex_state ? 2 : 1;
    double *h_out = state + b * t->ld_state + e * t->n_state * step;
    for (int64_t i = 0; i < t->n_time; i++) {
        int64_t row = b * t->n_time + i;
        y[row * t->inner + e] = t->xd[D][e] * t->xd[U][row * t->inner + e];
    }
    for (int n = 0; n < t->n_state; n++) {
        int64_t at = (int64_t)e * t->n_state + n;
        double complex pole = -exp(t->xd[A_LOG][at]);
        if (t->complex_state)
            pole += I * t->xd[A_IMAG][at];
        double complex h = entry(t, STATE, b * (t->ld_state / step) + at);
        double complex decay = 0, hold = 0, c = 0;
        if (t->mixer != MIXER_SELECTIVE) {
            double dt = t->mixer == MIXER_LTI ? softplus(t->xd[DT][e]) : exp(t->xd[DT][e]);
            decay = cexp(dt * pole);
            hold = entry(t, B, at) * (t->mixer == MIXER_LTI ? dt : (decay - 1) / pole);
            c = entry(t, C, at);
        }
        for (int64_t i = 0; i < t->n_time; i++) {
            int64_t row = b * t->n_time + i, u_at = row * t->inner + e;
            if (t->mixer == MIXER_SELECTIVE) {
                double dt = softplus(t->xd[DT_RAW][u_at] + t->xd[DT_BIAS][e]);
                decay = t->complex_state ? cexp(dt * pole) : exp(dt * creal(pole));
                hold = dt * selected(t, row, 0, n);
                c = selected(t, row, 1, n);
            }
            h = decay * h + hold * t->xd[U][u_at];
            y[u_at] += gain * creal(c * h);
        }
        h_out[n * step] = creal(h);
        if (t->complex_state)
            h_out[n * step + 1] = cimag(h);
    }
    for (int64_t i = 0; t->with_z && i < t->n_time; i++) {
        int64_t row = b * t->n_time + i;
        double z = t->xd[Z][row * t->ld_z + e];
        y[row * t->inner + e] *= z / (1 + exp(-z));
    }
}

static void naive(const struct scan_test *t, double *y, double *state)
{
    for (int b = 0; b < t->n_batch; b++)
        for (int e = 0; e < t->inner; e++)
            naive_channel(t, b, e, y, state);
}

static int64_t size_y(const struct scan_test *t)
{
    return t->n_batch * t->n_time * t->inner;
}

static double loss(void *arg)
{
    const struct scan_test *t = arg;
    double *y = check_doubles(size_y(t)), *state = check_doubles(t->size[STATE]), sum = 0;
    naive(t, y, state);
    for (int64_t i = 0; i < size_y(t); i++)
        sum += y[i] * t->dy[i];
    for (int64_t i = 0; i < t->size[STATE]; i++)
        sum += state[i] * t->dstate[i];
    return sum;
}

static struct coef_args coef_args_of(struct backend *be, const struct scan_test *t)
{
    struct layer layer = layer_of(t);
    return (struct coef_args){
        .mixer = t->mixer,
        .complex_state = t->complex_state,
        .inner = t->inner,
        .n_state = t->n_state,
        .a_log = check_in(be, t->x[A_LOG]),
        .a_imag = check_in(be, t->x[A_IMAG]),
        .dt = check_in(be, t->x[DT]),
        .b = check_in(be, t->x[B]),
        .c = check_in(be, t->x[C]),
        .coef = check_out(be, check_zeros(be->ops->coef_size(&layer))),
    };
}

/* y, state and entering are host memory, coef the backend's. */
static struct scan_args scan_args_of(struct backend *be, const struct scan_test *t,
                                     const float *coef, float *y, float *state, float *entering)
{
    return (struct scan_args){
        .mixer = t->mixer,
        .complex_state = t->complex_state,
        .n_batch = t->n_batch,
        .n_time = t->n_time,
        .inner = t->inner,
        .n_state = t->n_state,
        .y = check_out(be, y),
        .u = check_in(be, t->x[U]),
        .z = check_in(be, t->with_z ? t->x[Z] : NULL),
        .dt_raw = check_in(be, t->x[DT_RAW]),
        .dt_bias = check_in(be, t->x[DT_BIAS]),
        .bc = check_in(be, t->x[BC]),
        .coef = coef,
        .d = check_in(be, t->x[D]),
        .state = check_out(be, state),
        .entering = check_out(be, entering),
        .ld_z = t->ld_z,
        .ld_bc = t->ld_bc,
        .ld_state = t->ld_state,
    };
}

/* out: y, then the state that leaves. */
static void run_forward(struct backend *be, void *arg, float *out)
{
    const struct scan_test *t = arg;
    struct coef_args coef = coef_args_of(be, t);
    float *state = out + size_y(t);
    memcpy(state, t->x[STATE], (size_t)t->size[STATE] * sizeof(float));
    be->ops->coef(be, &coef);
    struct scan_args scan = scan_args_of(be, t, coef.coef, out, state, NULL);
    be->ops->scan(be, &scan);
    check_ran(be);
}

/* out: the gradients, as the arrays, one after the other. */
static void run_backward(struct backend *be, void *arg, float *out)
{
    const struct scan_test *t = arg;
    struct layer layer = layer_of(t);
    float *d[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        d[i] = t->size[i] ? out : NULL;
        out += t->size[i];
    }
    memcpy(d[STATE], t->dstate, (size_t)t->size[STATE] * sizeof(float));
    for (int i = 0; i < ARRAYS; i++)
        d[i] = check_out(be, d[i]);
    struct coef_args coef = coef_args_of(be, t);
    be->ops->coef(be, &coef);
    float *state = check_copy(t->x[STATE], t->size[STATE]), *y = check_zeros(size_y(t));
    int64_t n_entering = scan_entering_size(be->ops, &layer, t->n_batch, t->n_time);
    float *dcoef = check_out(be, check_zeros(be->ops->coef_size(&layer)));
    struct scan_backward_args back = {
        .forward = scan_args_of(be, t, coef.coef, y, state, check_zeros(n_entering)),
        .dy = check_in(be, t->dy),
        .du = d[U],
        .dz = d[Z],
        .ddt_raw = d[DT_RAW],
        .dbc = d[BC],
        .ddt_bias = d[DT_BIAS],
        .dcoef = dcoef,
        .dd = d[D],
        .dstate = d[STATE],
        .ld_dz = t->ld_z,
        .ld_dbc = t->ld_bc,
    };
    be->ops->scan(be, &back.forward);
    back.forward.y = NULL;
    back.forward.state = NULL;
    be->ops->scan_backward(be, &back);
    coef.dcoef = dcoef;
    coef.da_log = d[A_LOG];
    coef.da_imag = d[A_IMAG];
    coef.ddt = d[DT];
    coef.db = d[B];
    coef.dc = d[C];
    be->ops->coef_backward(be, &coef);
    check_ran(be);
}

static struct scan_test scan_test_of(const struct ops *ops, enum mixer_kind mixer, bool is_complex,
                                     bool with_z, int n_batch, int64_t n_time, int inner,
                                     int n_state)
{
    struct scan_test t = {.ops = ops,
                          .mixer = mixer,
                          .complex_state = is_complex,
                          .with_z = with_z,
                          .n_batch = n_batch,
                          .inner = inner,
                          .n_state = n_state,
                          .n_time = n_time};
    const bool selective = mixer == MIXER_SELECTIVE;
    const int64_t rows = n_batch * n_time, states = (int64_t)inner * n_state;
    const int64_t numbers = states * (is_complex ? 2 : 1);
    t.ld_z = 2 * inner;
    /* whole vectors of rows, and rows that lie anyhow */
    t.ld_bc = (is_complex ? 4 : 2) * n_state + (inner % 4 == 0 ? 4 : 3);
    t.ld_state = numbers + 6;
    t.size[U] = rows * inner;
    t.size[Z] = with_z ? rows * t.ld_z : 0;
    t.size[DT_RAW] = selective ? rows * inner : 0;
    t.size[DT_BIAS] = selective ? inner : 0;
    t.size[BC] = selective ? rows * t.ld_bc : 0;
    t.size[D] = inner;
    t.size[STATE] = n_batch * t.ld_state;
    t.size[A_LOG] = states;
    t.size[A_IMAG] = is_complex ? states : 0;
    t.size[DT] = selective ? 0 : inner;
    t.size[B] = t.size[C] = selective ? 0 : numbers;
    for (int i = 0; i < ARRAYS; i++) {
        if (!t.size[i])
            continue;
        t.x[i] = check_random(t.size[i], (uint32_t)i + 1, i == STATE ? 0.5 : 1.0);
        t.xd[i] = check_to_double(t.x[i], t.size[i]);
    }
    t.dy = check_random(rows * inner, 20, 1);
    float *dstate = check_random(t.size[STATE], 21, 1);
    for (int b = 0; b < n_batch; b++) /* nothing depends on what lies between two streams */
        memset(dstate + b * t.ld_state + numbers, 0,
               (size_t)(t.ld_state - numbers) * sizeof(float));
    t.dstate = dstate;
    return t;
}

/* Moves an input: x = scale x + shift. */
static void rescale(struct scan_test *t, enum array which, float scale, float shift)
{
    float *x = (float *)t->x[which];
    for (int64_t i = 0; i < t->size[which]; i++) {
        x[i] = scale * x[i] + shift;
        t->xd[which][i] = x[i];
    }
}

static void check_forward(struct scan_test *t)
{
    int64_t n = size_y(t);
    float *out = check_zeros(n + t->size[STATE]);
    double *y = check_doubles(n), *state = check_to_double(t->x[STATE], t->size[STATE]);
    naive(t, y, state);
    check_run(t->ops, run_forward, t, out, n + t->size[STATE], 1e-5);
    check_near("y", out, y, n, 3e-6);
    check_near("state", out + n, state, t->size[STATE], 3e-6);
}

static void check_backward(struct scan_test *t)
{
    int64_t n = 0;
    for (int i = 0; i < ARRAYS; i++)
        n += t->size[i];
    float *d = check_zeros(n);
    check_run(t->ops, run_backward, t, d, n, 1e-5);
    for (int i = 0; i < ARRAYS; d += t->size[i++])
        if (t->size[i])
            check_gradient(array_names[i], loss, t, t->xd[i], d, t->size[i], 3e-5);
}

static void for_tables(void (*check)(const struct ops *ops, void **state), void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++) {
        check(tables[k], state);
        check_free(state);
    }
}

static void forward_cases(const struct ops *ops, void **state)
{
    static const int64_t times[] = {0, 1, 5, 33, 100};
    for (int i = 0; i < 3 * 2 * 2 * 2 * 2 * 2 * 5; i++) {
        int j = i / 5;
        struct scan_test t =
            scan_test_of(ops, (enum mixer_kind)(j / 32), j & 1, j & 2, j & 4 ? 3 : 1, times[i % 5],
                         j & 8 ? 64 : 10, j & 16 ? 16 : 3);
        check_forward(&t);
        check_free(state);
    }
}

static void test_forward(void **state)
{
    for_tables(forward_cases, state);
}

static void backward_cases(const struct ops *ops, void **state)
{
    static const struct {
        int n_batch, n_time, inner, n_state;
    } sizes[] = {{1, 0, 10, 3},   {1, 1, 10, 3},   {3, 5, 10, 16},  {1, 33, 64, 3},
                 {3, 33, 12, 16}, {2, 100, 10, 3}, {1, 40, 40, 16}, {1, 65, 34, 9}};
    for (int i = 0; i < 3 * 2 * 2 * 8; i++) {
        int j = i / 8, k = i % 8;
        struct scan_test t =
            scan_test_of(ops, (enum mixer_kind)(j / 4), j & 1, j & 2, sizes[k].n_batch,
                         sizes[k].n_time, sizes[k].inner, sizes[k].n_state);
        check_backward(&t);
        check_free(state);
    }
}

static void test_backward(void **state)
{
    for_tables(backward_cases, state);
}

/* States by the hundred: every way a channel's states are shared out. */
static void wide_cases(const struct ops *ops, void **state)
{
    static const int widths[] = {17, 40, 64, 65, 100, 256};
    for (int i = 0; i < 3 * 2 * 6; i++) {
        const enum mixer_kind mixer = (enum mixer_kind)(i / 12);
        struct scan_test t =
            scan_test_of(ops, mixer, i / 6 & 1, i & 1, 1 + i % 2, 37, 5, widths[i % 6]);
        check_forward(&t);
        check_backward(&t);
        check_free(state);
    }
}

static void test_wide(void **state)
{
    for_tables(wide_cases, state);
}

/* More than one segment of the backward, partial sums over streams and segments. */
static void long_cases(const struct ops *ops, void **state)
{
    for (int i = 0; i < 6; i++) {
        struct scan_test t =
            scan_test_of(ops, (enum mixer_kind)(i / 2), i & 1, i & 2, 2, 300 + 7 * i, 9, 3 + i);
        check_forward(&t);
        check_backward(&t);
        check_free(state);
    }
    struct scan_test t = scan_test_of(ops, MIXER_SELECTIVE, false, true, 1, 8230, 33, 1);
    check_backward(&t);
    check_free(state);
    t = scan_test_of(ops, MIXER_SELECTIVE, false, true, 257, 35, 33, 1);
    check_backward(&t);
    check_free(state);
    /* so many streams that each is one segment of a few chunks; rows of whole vectors */
    t = scan_test_of(ops, MIXER_SELECTIVE, false, true, 200, 75, 4, 16);
    check_forward(&t);
    check_backward(&t);
}

static void test_long(void **state)
{
    for_tables(long_cases, state);
}

static void extreme_cases(const struct ops *ops, void **state)
{
    static const float dt_shifts[] = {26, -30, -90}, a_shifts[] = {-14, 3};
    for (int i = 0; i < 2 * 3 * 2; i++) {
        struct scan_test t = scan_test_of(ops, MIXER_SELECTIVE, i & 1, true, 1, 70, 12, 3);
        rescale(&t, DT_RAW, 2, dt_shifts[i / 2 % 3]);
        rescale(&t, A_LOG, 1, a_shifts[i / 6]);
        rescale(&t, A_IMAG, 0.01f, 0);
        check_forward(&t);
        check_free(state);
    }
    for (int i = 0; i < 4; i++) { /* around the bend of softplus at 20; poles near 0 */
        struct scan_test t = scan_test_of(ops, MIXER_SELECTIVE, i & 1, true, 1, 40, 10, 3);
        rescale(&t, DT_RAW, 3, i & 2 ? -8 : 20);
        rescale(&t, A_LOG, 1, i & 2 ? -6 : 0);
        rescale(&t, A_IMAG, 0.02f, 0);
        check_backward(&t);
        check_free(state);
    }
    for (int i = 0; i < 4; i++) { /* dt A near 0, where exp(dt A) - 1 must keep its digits */
        struct scan_test t =
            scan_test_of(ops, i & 1 ? MIXER_S4D : MIXER_LTI, i & 2, false, 1, 40, 10, 4);
        rescale(&t, DT, 1, -7);
        check_forward(&t);
        check_backward(&t);
        rescale(&t, DT, 0.1f, -10); /* alone: nothing else in the sums */
        rescale(&t, D, 0, 0);
        rescale(&t, STATE, 0, 0);
        check_forward(&t);
        check_free(state);
    }
    for (int i = 0; i < 2; i++) { /* where softplus is nearly, but not yet, its argument */
        struct scan_test t = scan_test_of(ops, MIXER_SELECTIVE, i & 1, false, 1, 40, 10, 3);
        rescale(&t, DT_RAW, 0.3f, 8);
        rescale(&t, DT_BIAS, 0.1f, 0);
        check_forward(&t);
        check_free(state);
    }
}

static void test_extremes(void **state)
{
    for_tables(extreme_cases, state);
}

/* A sequence in pieces is the sequence, one tick at a time too. */
static void partition_cases(const struct ops *ops, void **state)
{
    for (int i = 0; i < 6; i++) {
        struct scan_test whole =
            scan_test_of(ops, (enum mixer_kind)(i / 2), i & 1, true, 1, 100, 20, 5);
        struct scan_test part = whole;
        int64_t n = size_y(&whole), n_state = whole.size[STATE], begin = 0;
        float *out = check_zeros(n + n_state), *parts = check_zeros(n);
        struct backend *be = check_backend(ops, 2);
        run_forward(be, &whole, out);
        while (begin < 100) {
            part.n_time = begin == 0 ? 37 : begin < 40 ? 1 : 60;
            part.x[U] = whole.x[U] + begin * whole.inner;
            part.x[Z] = whole.x[Z] + begin * whole.ld_z;
            if (whole.mixer == MIXER_SELECTIVE) {
                part.x[DT_RAW] = whole.x[DT_RAW] + begin * whole.inner;
                part.x[BC] = whole.x[BC] + begin * whole.ld_bc;
            }
            float *piece = check_zeros(size_y(&part) + n_state);
            run_forward(be, &part, piece);
            memcpy(parts + begin * 20, piece, (size_t)size_y(&part) * sizeof(float));
            part.x[STATE] = piece + size_y(&part);
            begin += part.n_time;
        }
        check_near("y in pieces", parts, check_to_double(out, n), n, 1e-6);
        check_near("state in pieces", part.x[STATE], check_to_double(out + n, n_state), n_state,
                   1e-6);
        check_free(state);
    }
}

static void test_partition(void **state)
{
    for_tables(partition_cases, state);
}

/* One tick of a batch is one tick of each stream, to the bit. */
static void stream_cases(const struct ops *ops, void **state)
{
    for (int i = 0; i < 6; i++) {
        struct scan_test all =
            scan_test_of(ops, (enum mixer_kind)(i / 2), i & 1, true, 3, 1, 20, 16);
        float *out = check_zeros(3 * 20 + all.size[STATE]);
        struct backend *be = check_backend(ops, 1);
        run_forward(be, &all, out);
        for (int b = 0; b < 3; b++) {
            struct scan_test one = all;
            one.n_batch = 1;
            one.size[STATE] = all.ld_state;
            one.x[U] += b * 20;
            one.x[Z] += b * all.ld_z;
            one.x[STATE] += b * all.ld_state;
            if (all.mixer == MIXER_SELECTIVE) {
                one.x[DT_RAW] += b * 20;
                one.x[BC] += b * all.ld_bc;
            }
            float *alone = check_zeros(20 + one.size[STATE]);
            run_forward(be, &one, alone);
            check_same("y alone", alone, out + b * 20, 20);
            check_same("state alone", alone + 20, out + 60 + b * all.ld_state, all.ld_state);
        }
        check_free(state);
    }
}

static void test_streams(void **state)
{
    for_tables(stream_cases, state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_forward, check_free),
        cmocka_unit_test_teardown(test_backward, check_free),
        cmocka_unit_test_teardown(test_wide, check_free),
        cmocka_unit_test_teardown(test_long, check_free),
        cmocka_unit_test_teardown(test_extremes, check_free),
        cmocka_unit_test_teardown(test_partition, check_free),
        cmocka_unit_test_teardown(test_streams, check_free),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
