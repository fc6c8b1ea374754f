/* linear and its gradient against loops in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

struct linear_case {
    int n_batch;
    int64_t n_time;
    int n_in, n_out;
    bool bias, add0, add1, add_to_dx;
    int pad; /* ld - width */
};

/* What operations are told is rounded. */
enum told { TOLD_NOTHING, TOLD_FACTORS, TOLD_ALL };

static const struct linear_case cases[] = {
    {1, 1, 5, 7, true, true, true, false, 0},
    {3, 1, 5, 7, false, true, false, true, 3},
    {1, 3, 5, 7, true, false, true, false, 1},
    {1, 1, 64, 256, true, false, false, true, 0},
    {5, 1, 36, 130, false, false, false, false, 4},
    {2, 1, 4, 128, true, false, false, false, 32},
    {8, 1, 256, 1024, false, true, true, false, 0},
    {1, 1, 3, 4, false, false, true, false, 0},
    {1, 700, 5, 7, false, false, false, false, 0},
    {2, 350, 5, 7, true, true, false, true, 2},
    {1, 9000, 16, 12, true, true, true, true, 0},
    {3, 3000, 5, 7, false, false, true, false, 5},
    {2, 600, 64, 36, true, false, false, false, 0},
    {1, 70000, 3, 2, true, false, false, false, 0},
    {2, 0, 5, 7, true, false, false, false, 0},
    {3, 43, 129, 257, true, true, true, false, 7},
    {1, 71, 515, 33, false, true, true, true, 9},
    {2, 1, 515, 33, true, true, true, true, 9},
    {1, 901, 4, 128, false, false, false, false, 32},
    {2, 77, 8, 256, false, false, false, true, 0},
    {1, 600, 4, 128, true, false, true, false, 0},
    {1, 3, 8, 256, false, false, false, false, 4},
};

struct linear_test {
    struct linear_case c;
    enum told told;
    int64_t rows, ld_x, ld_y;
    const float *x, *w, *bias, *add0, *add1, *dy, *dx0;
    double *xd, *wd, *biasd; /* the loss reads these */
};

static struct linear_test make(const struct linear_case *c)
{
    struct linear_test t = {.c = *c,
                            .rows = c->n_batch * c->n_time,
                            .ld_x = c->n_in + c->pad,
                            .ld_y = c->n_out + c->pad};
    int64_t n_w = (int64_t)c->n_in * c->n_out, n_y = t.rows * c->n_out;
    t.x = check_random(t.rows * t.ld_x, 1, 1);
    t.w = check_random(n_w, 2, 0.3);
    t.bias = check_random(c->n_out, 3, 1);
    t.add0 = check_random(n_y, 4, 1);
    t.add1 = check_random(n_y, 5, 1);
    t.dy = check_random(t.rows * t.ld_y, 6, 1);
    t.dx0 = check_random(t.rows * t.ld_x, 7, 1);
    t.xd = check_to_double(t.x, t.rows * t.ld_x);
    t.wd = check_to_double(t.w, n_w);
    t.biasd = check_to_double(t.bias, c->n_out);
    return t;
}

static void naive(const struct linear_test *t, double *y)
{
    const struct linear_case *c = &t->c;
    for (int64_t m = 0; m < t->rows; m++)
        for (int o = 0; o < c->n_out; o++) {
            double s = c->bias ? t->biasd[o] : 0;
            for (int i = 0; i < c->n_in; i++)
                s += t->xd[m * t->ld_x + i] * t->wd[o * c->n_in + i];
            if (c->add0)
                s += t->add0[m * c->n_out + o];
            if (c->add1)
                s += t->add1[m * c->n_out + o];
            y[m * t->ld_y + o] = s;
        }
}

static double loss(void *arg)
{
    const struct linear_test *t = arg;
    double *y = check_doubles(t->rows * t->ld_y), sum = 0;
    naive(t, y);
    for (int64_t m = 0; m < t->rows; m++)
        for (int o = 0; o < t->c.n_out; o++)
            sum += y[m * t->ld_y + o] * t->dy[m * t->ld_y + o];
    return sum;
}

/* To 8 bits, to the nearest, of two the even one. */
static double to_bf16(double x)
{
    float v = (float)x;
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&v, &bits, sizeof v);
    return (double)v;
}

/* n entries of a tensor, as it lies in be's memory if it is rounded: that of x; and back. */
static float *to_rounded(struct backend *be, const float *x, int64_t n)
{
    if (backend_rounded_size(be) == sizeof *x)
        return check_copy(x, n);
    uint16_t *to = (uint16_t *)check_zeros((n + 1) / 2);
    for (int64_t i = 0; i < n; i++) {
        const float v = (float)to_bf16(x[i]);
        memcpy(to + i, (const uint16_t *)&v + 1, sizeof *to);
    }
    return (float *)to;
}

static void from_rounded(struct backend *be, float *to, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (backend_rounded_size(be) != sizeof *x)
            memcpy(to + i, (const uint16_t[2]){0, ((const uint16_t *)x)[i]}, sizeof *to);
        else
            to[i] = x[i];
}

static bool y_is_rounded(const struct linear_test *t)
{
    return t->told == TOLD_ALL && !t->c.bias && !t->c.add0 && !t->c.add1;
}

static bool dx_is_rounded(const struct linear_test *t)
{
    return t->told == TOLD_ALL && !t->c.add_to_dx;
}

static bool dy_is_rounded(const struct linear_test *t)
{
    return t->told != TOLD_NOTHING && !t->c.bias;
}

static void run_forward(struct backend *be, void *arg, float *out)
{
    const struct linear_test *t = arg;
    const struct linear_case *c = &t->c;
    const int64_t n_x = t->rows * t->ld_x, n_y = t->rows * t->ld_y;
    const bool x_rounded = t->told != TOLD_NOTHING, y_rounded = y_is_rounded(t);
    float *y = y_rounded ? to_rounded(be, out, n_y) : out;
    struct linear_args a = {
        .y = check_out(be, y),
        .x = check_in(be, x_rounded ? to_rounded(be, t->x, n_x) : t->x),
        .x_rounded = x_rounded,
        .y_rounded = y_rounded,
        .w = check_in(be, t->w),
        .bias = check_in(be, c->bias ? t->bias : NULL),
        .add0 = check_in(be, c->add0 ? t->add0 : NULL),
        .add1 = check_in(be, c->add1 ? t->add1 : NULL),
        .ld_x = t->ld_x,
        .ld_y = t->ld_y,
        .n_batch = c->n_batch,
        .n_time = c->n_time,
        .n_in = c->n_in,
        .n_out = c->n_out,
    };
    be->ops->linear(be, &a);
    check_ran(be);
    if (y_rounded)
        from_rounded(be, out, y, n_y);
}

/* dx (ld_x), dw, dbias, one after the other. */
static void run_backward(struct backend *be, void *arg, float *out)
{
    const struct linear_test *t = arg;
    const struct linear_case *c = &t->c;
    int64_t n_x = t->rows * t->ld_x, n_w = (int64_t)c->n_in * c->n_out;
    const int64_t n_y = t->rows * t->ld_y;
    const bool x_rounded = t->told != TOLD_NOTHING, dx_rounded = dx_is_rounded(t);
    memcpy(out, t->dx0, (size_t)n_x * sizeof(float));
    float *dx = dx_rounded ? to_rounded(be, t->dx0, n_x) : out;
    struct linear_backward_args a = {
        .dx = check_out(be, dx),
        .dw = check_out(be, out + n_x),
        .dbias = check_out(be, c->bias ? out + n_x + n_w : NULL),
        .dy = check_in(be, dy_is_rounded(t) ? to_rounded(be, t->dy, n_y) : t->dy),
        .x = check_in(be, x_rounded ? to_rounded(be, t->x, n_x) : t->x),
        .w = check_in(be, t->w),
        .add_to_dx = c->add_to_dx,
        .dy_rounded = dy_is_rounded(t),
        .x_rounded = x_rounded,
        .dx_rounded = dx_rounded,
        .ld_dx = t->ld_x,
        .ld_dy = t->ld_y,
        .ld_x = t->ld_x,
        .n_batch = c->n_batch,
        .n_time = c->n_time,
        .n_in = c->n_in,
        .n_out = c->n_out,
    };
    be->ops->linear_backward(be, &a);
    check_ran(be);
    if (dx_rounded)
        from_rounded(be, out, dx, n_x);
}

static void test_forward(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct linear_test t = make(&cases[i]);
            float *y = check_zeros(t.rows * t.ld_y);
            double *want = check_doubles(t.rows * t.ld_y);
            check_run(tables[k], run_forward, &t, y, t.rows * t.ld_y, 4e-6);
            naive(&t, want); /* what lies between the rows stays 0 in both */
            check_near("y", y, want, t.rows * t.ld_y, 2e-6);
            check_free(state);
        }
}

static void test_backward(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct linear_test t = make(&cases[i]);
            const struct linear_case *c = &t.c;
            int64_t n_x = t.rows * t.ld_x, n_w = (int64_t)c->n_in * c->n_out;
            float *out = check_zeros(n_x + n_w + c->n_out);
            check_run(tables[k], run_backward, &t, out, n_x + n_w + c->n_out, 1e-5);
            for (int64_t m = 0; m < t.rows; m++)
                for (int64_t j = 0; j < t.ld_x; j++) {
                    float *dx = &out[m * t.ld_x + j], before = t.dx0[m * t.ld_x + j];
                    if (j >= c->n_in)
                        assert_memory_equal(dx, &before, sizeof before);
                    *dx = j < c->n_in ? *dx - (c->add_to_dx ? before : 0.0f) : 0.0f;
                }
            check_gradient("dx", loss, &t, t.xd, out, n_x, 1e-4);
            check_gradient("dw", loss, &t, t.wd, out + n_x, n_w, 1e-4);
            if (c->bias)
                check_gradient("dbias", loss, &t, t.biasd, out + n_x + n_w, c->n_out, 1e-4);
            check_free(state);
        }
}

/* Gradients of parameters are added to; each output may be left out. */
static void test_backward_parts(void **state)
{
    static const struct linear_case c = {1, 300, 12, 20, true, false, false, false, 0};
    struct linear_test t = make(&c);
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++) {
        struct backend *be = check_backend(tables[k], 2);
        int64_t n_x = t.rows * t.ld_x, n_w = 12 * 20, n = n_x + n_w + 20;
        float *all = check_zeros(n);
        run_backward(be, &t, all);
        float *dx = check_zeros(n_x), *dw = check_copy(t.w, n_w), *dbias = check_copy(t.bias, 20);
        struct linear_backward_args a = {
            .ld_dx = 12,
            .ld_dy = 20,
            .ld_x = 12,
            .n_batch = 1,
            .n_time = 300,
            .n_in = 12,
            .n_out = 20,
        };
        for (int part = 0; part < 3; part++) {
            struct linear_backward_args only = a;
            only.dy = check_in(be, t.dy);
            only.x = check_in(be, t.x);
            only.w = check_in(be, t.w);
            only.dx = check_out(be, part == 0 ? dx : NULL);
            only.dw = check_out(be, part == 1 ? dw : NULL);
            only.dbias = check_out(be, part == 2 ? dbias : NULL);
            be->ops->linear_backward(be, &only);
            check_ran(be);
        }
        check_same("dx alone", dx, all, n_x);
        double *want = check_doubles(n_w);
        for (int i = 0; i < n_w; i++)
            want[i] = (double)t.w[i] + all[n_x + i];
        check_near("dw alone", dw, want, n_w, 1e-6);
        for (int i = 0; i < 20; i++)
            want[i] = (double)t.bias[i] + all[n_x + n_w + i];
        check_near("dbias alone", dbias, want, 20, 1e-6);
    }
}

/* A stream's tick is the same bits alone and among others, and may be added to in place. So are
   many ticks on the CPU; a GPU's library chooses another order of sums for another number of rows.
 */
static void test_streams(void **state)
{
    static const int64_t times[] = {1, 300};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 2; i++) {
            int64_t n_time = times[i];
            struct linear_case c = {7, n_time, 44, 100, true, true, false, false, 0};
            struct linear_test all = make(&c);
            int64_t n = n_time * 100;
            float *y = check_zeros(7 * n), *alone = check_zeros(n);
            struct backend *be = check_backend(tables[k], 2);
            run_forward(be, &all, y);
            for (int b = 0; b < 7; b++) {
                struct linear_test one = all;
                one.c.n_batch = 1;
                one.x += b * n_time * 44;
                one.add0 += b * n;
                run_forward(be, &one, alone);
                if (n_time == 1 || !device_asked())
                    check_same("alone", alone, y + b * n, n);
                else
                    check_near("alone", alone, check_to_double(y + b * n, n), n, 1e-6);
            }
            float *in_place = check_copy(all.add0, 7 * n);
            struct linear_test into = all;
            into.add0 = in_place;
            run_forward(be, &into, in_place);
            check_same("in place", in_place, y, 7 * n);
            into.c.bias = false; /* nothing but y itself to begin with */
            all.c.bias = false;
            run_forward(be, &all, y);
            memcpy(in_place, all.add0, (size_t)(7 * n) * sizeof *y);
            run_forward(be, &into, in_place);
            check_near("in place alone", in_place, check_to_double(y, 7 * n), 7 * n, 1e-6);
            check_free(state);
        }
}

/* --- factors that are rounded ------------------------------------------------------------------
 */

static double *rounded(const float *x, int64_t n)
{
    double *y = check_to_double(x, n);
    for (int64_t i = 0; i < n; i++)
        y[i] = to_bf16(y[i]);
    return y;
}

/* As run_backward leaves them: dx, dw, dbias. */
static double *gradients(const struct linear_test *t, const double *dy)
{
    const struct linear_case *c = &t->c;
    int64_t n_x = t->rows * t->ld_x, n_w = (int64_t)c->n_in * c->n_out;
    double *want = check_doubles(n_x + n_w + c->n_out), *dw = want + n_x, *dbias = dw + n_w;
    for (int64_t m = 0; m < t->rows; m++) {
        double *dx = want + m * t->ld_x;
        for (int j = 0; j < t->ld_x; j++)
            dx[j] = j >= c->n_in || c->add_to_dx ? (double)t->dx0[m * t->ld_x + j] : 0;
        for (int o = 0; o < c->n_out; o++) {
            double g = dy[m * t->ld_y + o];
            for (int i = 0; i < c->n_in; i++) {
                dx[i] += g * t->wd[o * c->n_in + i];
                dw[o * c->n_in + i] += g * t->xd[m * t->ld_x + i];
            }
            if (c->bias) /* not of a product */
                dbias[o] += (double)t->dy[m * t->ld_y + o];
        }
    }
    return want;
}

/* Largest difference. */
static double apart(const double *a, const double *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

/* bf16: where a factor is rounded the product of the rounded factors, as exact as that of others;
   a result that is rounded loses 2^-9 of itself more. Else TF32, which keeps 10 bits behind the
   point: a factor that is cut off there loses 2^-10 of itself at most, a term of the sum 2^-9, and
   so does a sum whose terms lose alike; where they cancel the largest entries still are of that
   size. Twice that is the bound, whatever the number of terms; nothing is lost where kernels run on
   the CPU. */
static void check_products(struct backend *be, const struct linear_case *c, enum products products,
                           enum told told)
{
    struct linear_test t = make(c);
    int64_t n_y = t.rows * t.ld_y, n_x = t.rows * t.ld_x;
    int64_t n_w = (int64_t)c->n_in * c->n_out, n = n_x + n_w + c->n_out;
    double *exact = check_doubles(n_y), *want = check_doubles(n_y);
    const double bound = told ? 1.0 / 32 : 1.0 / 256; /* from the CPU's */
    const double near = told ? 4e-6 : bound;          /* from what it should be */
    naive(&t, exact);
    t.told = told;
    struct linear_test r = t;
    const double *dy = check_to_double(t.dy, n_y);
    if (told) {
        r.xd = rounded(t.x, n_x);
        r.wd = rounded(t.w, n_w);
        dy = rounded(t.dy, n_y);
        naive(&r, want);
        assert_true(apart(exact, want, n_y) > 1e-3);
        if (c->n_time == 1) /* no product of cuBLAS */
            r.wd = t.wd;
    }
    naive(&r, want);
    r.wd = told ? rounded(t.w, n_w) : t.wd;
    float *y = check_zeros(n_y), *out = check_zeros(n);
    backend_set_products(be, products);
    check_run(be->ops, run_forward, &t, y, n_y, bound);
    check_run(be->ops, run_backward, &t, out, n, bound);
    backend_set_products(be, PRODUCTS_FP32);
    check_near("y", y, want, n_y, y_is_rounded(&t) ? 1.0 / 256 : near);
    want = gradients(&r, dy);
    check_near("dx", out, want, n_x, dx_is_rounded(&t) ? 1.0 / 256 : near);
    check_near("dw", out + n_x, want + n_x, n_w, fmax(near, 1e-5));
    if (c->bias)
        check_near("dbias", out + n_x + n_w, want + n_x + n_w, c->n_out, 1e-5);
}

static void test_rounded(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    check_tables(tables);
    struct backend *be = check_backend(tables[0], 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].n_time == 0)
            continue;
        check_products(be, &cases[i], PRODUCTS_TF32, TOLD_NOTHING);
        check_products(be, &cases[i], PRODUCTS_BF16, TOLD_NOTHING);
        check_products(be, &cases[i], PRODUCTS_BF16, TOLD_FACTORS);
        check_products(be, &cases[i], PRODUCTS_BF16, TOLD_ALL);
        check_free(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_forward, check_free),
        cmocka_unit_test_teardown(test_backward, check_free),
        cmocka_unit_test_teardown(test_backward_parts, check_free),
        cmocka_unit_test_teardown(test_streams, check_free),
    };
    const struct CMUnitTest of_device[] = {cmocka_unit_test_teardown(test_rounded, check_free)};
    device_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (device_asked())
        failed += cmocka_run_group_tests(of_device, NULL, NULL);
    return failed;
}
