/* RMSNorm and its gradient against loops in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

struct norm_test {
    int64_t rows;
    int width;
    const float *x, *w, *dy, *r, *dx0, *more; /* dx0: what dx holds before */
    bool add0, add1;                          /* dx itself, and more */
    double *xd, *wd;
};

static const float eps = 1e-5f;

static void naive(const struct norm_test *t, double *y, double *r)
{
    for (int64_t m = 0; m < t->rows; m++) {
        const double *x = t->xd + m * t->width;
        double s = 0;
        for (int j = 0; j < t->width; j++)
            s += x[j] * x[j];
        r[m] = 1 / sqrt(s / t->width + eps);
        for (int j = 0; j < t->width; j++)
            y[m * t->width + j] = x[j] * r[m] * t->wd[j];
    }
}

static double loss(void *arg)
{
    const struct norm_test *t = arg;
    double *y = check_doubles(t->rows * t->width), *r = check_doubles(t->rows), sum = 0;
    naive(t, y, r);
    for (int64_t i = 0; i < t->rows * t->width; i++)
        sum += y[i] * t->dy[i];
    return sum;
}

static void run_forward(struct backend *be, void *arg, float *out)
{
    const struct norm_test *t = arg;
    float *y = check_out(be, out);
    be->ops->rmsnorm(be, &(struct norm_args){.y = y,
                                             .r = y + t->rows * t->width,
                                             .x = check_in(be, t->x),
                                             .w = check_in(be, t->w),
                                             .eps = eps,
                                             .n_rows = t->rows,
                                             .width = t->width});
    check_ran(be);
}

static void run_backward(struct backend *be, void *arg, float *out)
{
    const struct norm_test *t = arg;
    memcpy(out, t->dx0, (size_t)(t->rows * t->width) * sizeof(float));
    float *dx = check_out(be, out);
    be->ops->rmsnorm_backward(be, &(struct norm_backward_args){
                                      .dx = dx,
                                      .dw = dx + t->rows * t->width,
                                      .dy = check_in(be, t->dy),
                                      .x = check_in(be, t->x),
                                      .r = check_in(be, t->r),
                                      .w = check_in(be, t->w),
                                      .add0 = t->add0 ? dx : NULL,
                                      .add1 = t->add1 ? check_in(be, t->more) : NULL,
                                      .n_rows = t->rows,
                                      .width = t->width,
                                  });
    check_ran(be);
}

static void test_norm(void **state)
{
    static const struct {
        int64_t rows;
        int width;
    } cases[] = {{0, 8},     {1, 1},   {1, 64},    {3, 5},     {700, 7},   {9000, 12}, {1000, 64},
                 {40000, 3}, {5, 257}, {33, 1001}, {5001, 64}, {999, 128}, {300, 256}, {17, 3004}};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            int64_t rows = cases[i].rows, width = cases[i].width, n = rows * width;
            struct norm_test t = {
                .rows = rows,
                .width = (int)width,
                .x = check_random(n, 1, 2),
                .w = check_random(width, 2, 1),
                .dy = check_random(n, 3, 1),
                .dx0 = check_random(n, 4, 1),
                .more = check_random(n, 5, 1),
                .add0 = i % 3 > 0,
                .add1 = i % 2 > 0,
            };
            t.xd = check_to_double(t.x, n);
            t.wd = check_to_double(t.w, width);
            float *y = check_zeros(n + rows), *d = check_zeros(n + width);
            double *yd = check_doubles(n), *rd = check_doubles(rows);
            check_run(tables[k], run_forward, &t, y, n + rows, 1e-6);
            naive(&t, yd, rd);
            check_near("y", y, yd, n, 1e-6);
            check_near("r", y + n, rd, rows, 1e-6);
            float *without_r = check_zeros(n);
            struct backend *be = check_backend(tables[k], 1);
            be->ops->rmsnorm(be, &(struct norm_args){.y = check_out(be, without_r),
                                                     .x = check_in(be, t.x),
                                                     .w = check_in(be, t.w),
                                                     .eps = eps,
                                                     .n_rows = rows,
                                                     .width = (int)width});
            check_ran(be);
            check_same("without r", without_r, y, n);

            t.r = y + n;
            check_run(tables[k], run_backward, &t, d, n + width, 1e-5);
            for (int64_t j = 0; j < n; j++)
                d[j] -= (t.add0 ? t.dx0[j] : 0) + (t.add1 ? t.more[j] : 0);
            check_gradient("dx", loss, &t, t.xd, d, n, 1e-4);
            check_gradient("dw", loss, &t, t.wd, d + n, width, 1e-4);
            check_free(state);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_norm, check_free)};
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
