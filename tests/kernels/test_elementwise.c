/* GELU, GLU, addition, embedding and labels against loops in double; the backend's memory. */
#include "tests/kernels/check.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct entries_test {
    int64_t n; /* entries, or rows */
    int width, n_batch;
    const float *x, *dy, *add0, *add1;
    double *xd;
    const uint8_t *codes;
    const int32_t *labels;
};

static void run_gelu(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    be->ops->gelu(be, check_out(be, out), check_in(be, t->x), t->n);
    check_ran(be);
}

/* In place: dx is dy. */
static void run_gelu_backward(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    memcpy(out, t->dy, (size_t)t->n * sizeof(float));
    float *dx = check_out(be, out);
    be->ops->gelu_backward(be, dx, dx, check_in(be, t->x), t->n);
    check_ran(be);
}

static void run_add(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    memcpy(out, t->dy, (size_t)t->n * sizeof(float));
    be->ops->add(be, check_out(be, out), check_in(be, t->x), t->n);
    check_ran(be);
}

static double gelu_loss(void *arg)
{
    const struct entries_test *t = arg;
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++)
        sum += t->dy[i] * t->xd[i] * 0.5 * erfc(-t->xd[i] * sqrt(0.5));
    return sum;
}

static void test_gelu_and_add(void **state)
{
    static const int64_t sizes[] = {0, 1, 3, 700, 9000, 70001};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 6; i++) {
            int64_t n = sizes[i];
            struct entries_test t = {
                .n = n, .x = check_random(n, 1, 2), .dy = check_random(n, 2, 1)};
            t.xd = check_to_double(t.x, n);
            float *out = check_zeros(n);
            double *want = check_doubles(n);
            check_run(tables[k], run_gelu, &t, out, n, 1e-6);
            for (int64_t j = 0; j < n; j++)
                want[j] = t.xd[j] * 0.5 * erfc(-t.xd[j] * sqrt(0.5));
            check_near("gelu", out, want, n, 3e-7);
            check_run(tables[k], run_gelu_backward, &t, out, n, 1e-6);
            check_gradient("gelu dx", gelu_loss, &t, t.xd, out, n, 1e-4);
            for (int64_t j = 0; j < n; j++) {
                double x = t.xd[j], phi = exp(-x * x / 2) / sqrt(2 * acos(-1));
                want[j] = t.dy[j] * (0.5 * erfc(-x * sqrt(0.5)) + x * phi);
            }
            check_near("gelu dx", out, want, n, 1e-6);
            check_run(tables[k], run_add, &t, out, n, 1e-7);
            for (int64_t j = 0; j < n; j++)
                want[j] = (double)t.dy[j] + t.x[j];
            check_near("add", out, want, n, 1e-7);
            check_free(state);
        }
}

/* Far out, and the same bits wherever an entry stands. */
static void test_gelu_places(void **state)
{
    static const float values[] = {-1e30f, -100, -13.2f, -6, -3, -1.3f, -1e-20f, 0,
                                   1e-20f, 0.7f, 1.32f,  4,  9,  100,   1e30f};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 15; i++) {
            struct backend *be = check_backend(tables[k], 1);
            double x = values[i], want = x * 0.5 * erfc(-x * sqrt(0.5));
            float *xs = check_zeros(11), *ys = check_zeros(11), *one = check_zeros(1);
            for (int j = 0; j < 11; j++)
                xs[j] = values[i];
            be->ops->gelu(be, check_out(be, ys), check_in(be, xs), 11);
            be->ops->gelu(be, check_out(be, one), check_in(be, xs), 1);
            check_ran(be);
            for (int j = 0; j < 11; j++)
                check_same("place", one, ys + j, 1);
            assert_true(fabs(*one - want) <= 1e-7 * fabs(x));
            assert_true(fabs(*one - want) <= 1e-6 * fabs(want) + 1e-6);
        }
}

static void run_glu(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    be->ops->glu(be, check_out(be, out), check_in(be, t->x), check_in(be, t->add0),
                 check_in(be, t->add1), t->n, t->width);
    check_ran(be);
}

static void run_glu_backward(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    be->ops->glu_backward(be, check_out(be, out), check_in(be, t->dy), check_in(be, t->x), t->n,
                          t->width);
    check_ran(be);
}

static void naive_glu(const struct entries_test *t, double *y)
{
    for (int64_t m = 0; m < t->n; m++)
        for (int j = 0; j < t->width; j++) {
            const double *a = t->xd + m * 2 * t->width;
            int64_t at = m * t->width + j;
            y[at] = a[j] / (1 + exp(-a[t->width + j])) + (t->add0 ? t->add0[at] : 0) +
                    (t->add1 ? t->add1[at] : 0);
        }
}

static double glu_loss(void *arg)
{
    const struct entries_test *t = arg;
    double *y = check_doubles(t->n * t->width), sum = 0;
    naive_glu(t, y);
    for (int64_t i = 0; i < t->n * t->width; i++)
        sum += y[i] * t->dy[i];
    return sum;
}

static void test_glu(void **state)
{
    static const int rows[] = {0, 1, 3, 700, 3000, 21}, widths[] = {64, 5, 7, 12, 16, 259};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 6; i++) {
            int64_t n = (int64_t)rows[i] * widths[i];
            struct entries_test t = {.n = rows[i],
                                     .width = widths[i],
                                     .x = check_random(2 * n, 1, 3),
                                     .dy = check_random(n, 2, 1)};
            t.xd = check_to_double(t.x, 2 * n);
            if (i & 1)
                t.add0 = check_random(n, 3, 1);
            if (i & 2)
                t.add1 = check_random(n, 4, 1);
            float *y = check_zeros(n), *dx = check_zeros(2 * n);
            double *want = check_doubles(n);
            check_run(tables[k], run_glu, &t, y, n, 1e-6);
            naive_glu(&t, want);
            check_near("glu", y, want, n, 1e-6);
            check_run(tables[k], run_glu_backward, &t, dx, 2 * n, 2e-6);
            check_gradient("glu dx", glu_loss, &t, t.xd, dx, 2 * n, 1e-4);
            if (t.add0) {
                float *in_place = check_copy(t.add0, n);
                struct backend *be = check_backend(tables[k], 1);
                float *there = check_out(be, in_place);
                be->ops->glu(be, there, check_in(be, t.x), there, check_in(be, t.add1), t.n,
                             t.width);
                check_ran(be);
                check_same("in place", in_place, y, n);
            }
            check_free(state);
        }
}

static void run_embed(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    be->ops->embed(be, check_out(be, out), check_in(be, t->x), check_in(be, t->codes), t->n,
                   t->width);
    check_ran(be);
}

static void run_embed_backward(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    memcpy(out, t->x, (size_t)(PLAN_CODES * t->width) * sizeof(float));
    be->ops->embed_backward(be, check_out(be, out), check_in(be, t->dy), check_in(be, t->codes),
                            t->n, t->width);
    check_ran(be);
}

static void test_embed(void **state)
{
    static const int rows[] = {0, 1, 3, 700, 9000, 50}, widths[] = {64, 5, 16, 33, 64, 259};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 6; i++) {
            int64_t n = rows[i], width = widths[i], n_table = PLAN_CODES * width;
            struct entries_test t = {.n = n,
                                     .width = (int)width,
                                     .x = check_random(n_table, 1, 1),
                                     .dy = check_random(n * width, 2, 1)};
            uint8_t *codes = check_bytes(n);
            memcpy(codes, check_random(n, 3, 1), (size_t)n);
            for (int64_t m = 0; m < n; m += 2)
                codes[m] = 128;
            t.codes = codes;
            float *y = check_zeros(n * width), *dw = check_zeros(n_table);
            double *want = check_to_double(t.x, n_table);
            check_run(tables[k], run_embed, &t, y, n * width, 0);
            for (int64_t m = 0; m < n; m++) {
                check_same("row", y + m * width, t.x + codes[m] * width, width);
                for (int j = 0; j < width; j++)
                    want[codes[m] * width + j] += t.dy[m * width + j];
            }
            check_run(tables[k], run_embed_backward, &t, dw, n_table, 5e-6);
            check_near("dw", dw, want, n_table, 5e-6);
            check_free(state);
        }
}

enum { LABELS = 3 };

static void run_label_add(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    be->ops->label_add(be, check_out(be, out), check_in(be, t->dy), check_in(be, t->x),
                       check_in(be, t->labels), t->n_batch, t->n, t->width);
    check_ran(be);
}

static void run_label_add_backward(struct backend *be, void *arg, float *out)
{
    const struct entries_test *t = arg;
    memcpy(out, t->x, (size_t)(LABELS * t->width) * sizeof(float));
    be->ops->label_add_backward(be, check_out(be, out), check_in(be, t->dy),
                                check_in(be, t->labels), t->n_batch, t->n, t->width);
    check_ran(be);
}

static void test_label_add(void **state)
{
    static const int32_t names[] = {2, -1, 0, 2, 0};
    static const int times[] = {0, 1, 3, 700, 5000, 9}, widths[] = {64, 5, 16, 33, 20, 259};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 6; i++) {
            int64_t stream = (int64_t)times[i] * widths[i], n = 5 * stream;
            int width = widths[i];
            int32_t *labels = memcpy(check_bytes(sizeof names), names, sizeof names);
            struct entries_test t = {.n = times[i],
                                     .width = width,
                                     .n_batch = 5,
                                     .labels = labels,
                                     .x = check_random(LABELS * width, 1, 1),
                                     .dy = check_random(n, 2, 1)};
            float *y = check_zeros(n), *in_place = check_copy(t.dy, n);
            float *dtable = check_zeros(LABELS * width);
            double *want = check_doubles(n), *dwant = check_to_double(t.x, LABELS * width);
            for (int64_t j = 0; j < n; j++) {
                int label = labels[j / stream];
                want[j] = t.dy[j];
                if (label < 0)
                    continue;
                want[j] += t.x[label * width + j % width];
                dwant[label * width + j % width] += t.dy[j];
            }
            check_run(tables[k], run_label_add, &t, y, n, 1e-7);
            check_near("label_add", y, want, n, 1e-7);
            struct backend *be = check_backend(tables[k], 2);
            float *there = check_out(be, in_place);
            be->ops->label_add(be, there, there, check_in(be, t.x), check_in(be, labels), 5, t.n,
                               width);
            check_ran(be);
            check_same("in place", in_place, y, n);
            check_run(tables[k], run_label_add_backward, &t, dtable, LABELS * width, 1e-6);
            check_near("dtable", dtable, dwant, LABELS * width, 1e-6);
            check_free(state);
        }
}

/* HISS_ISA chooses among the tables this processor can run; others it refuses. */
static void test_isa(void **state)
{
    static const char *const names[CPU_TABLES_MAX] = {"base", "avx2", "avx512"};
    const struct ops *all[CPU_TABLES_MAX], *some[CPU_TABLES_MAX];
    const char *given = getenv("HISS_ISA");
    assert_int_equal(unsetenv("HISS_ISA"), 0);
    int n_all = cpu_tables(all);
    assert_true(n_all >= 1 && all[0] == &cpu_ops_base);
    for (int i = 0; i < CPU_TABLES_MAX; i++) {
        assert_int_equal(setenv("HISS_ISA", names[i], 1), 0);
        assert_int_equal(cpu_tables(some), i < n_all ? i + 1 : 0);
        struct backend *be = backend_open("cpu", 1);
        assert_true(i < n_all ? be && be->ops == all[i] : !be);
        backend_close(be);
    }
    assert_int_equal(setenv("HISS_ISA", "nonsense", 1), 0);
    assert_null(backend_open("cpu", 1));
    assert_non_null(strstr(error_text(), "nonsense"));
    assert_int_equal(given ? setenv("HISS_ISA", given, 1) : unsetenv("HISS_ISA"), 0);
}

static void test_open(void **state)
{
    assert_null(backend_open("abacus", 1));
    assert_non_null(strstr(error_text(), "abacus"));
    struct backend *cuda = backend_open("cuda", 1); /* where there is a device */
    assert_true(cuda || strstr(error_text(), "--backend cpu"));
    backend_close(cuda);
    assert_null(backend_open("cpu", -1));
    struct backend *be = backend_open("auto", 0);
    assert_non_null(be);
    backend_close(be);
}

/* Memory begins as zeros, goes there and back at any size, and is refused where there is none. */
static void test_memory(void **state)
{
    static const size_t sizes[] = {0, 1, 1000, 5 << 20};
    struct backend *be = device_open(1);
    assert_null(backend_alloc(be, SIZE_MAX - 3));
    assert_null(backend_alloc(be, (size_t)1 << 60));
    assert_non_null(strstr(error_text(), "MiB"));
    for (int i = 0; i < 4; i++) {
        char *memory = backend_alloc(be, sizes[i]), *host = malloc(sizes[i] + 1);
        assert_true(memory && host);
        assert_int_equal((uintptr_t)memory % 64, 0);
        backend_download(be, host, memory, sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_true(host[j] == 0);
        for (size_t j = 0; j < sizes[i]; j++)
            host[j] = (char)(j * 31);
        backend_upload(be, memory, host, sizes[i]);
        memset(host, 0, sizes[i]); /* the caller's again */
        backend_download(be, host, memory, sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_true(host[j] == (char)(j * 31));
        backend_free(be, memory);
        free(host);
    }
    float from[4] = {1, 2, 3, 4}, back[4] = {0};
    float *memory = backend_alloc(be, sizeof from), *other = backend_alloc(be, sizeof from);
    backend_upload(be, memory, from, sizeof from);
    backend_copy(be, other, memory, sizeof from);
    backend_zero(be, other, sizeof *other);
    backend_download(be, back, other, sizeof back);
    assert_true(backend_sync(be));
    assert_true(back[0] == 0 && back[3] == 4);
    backend_free(be, memory);
    backend_free(be, other);
    assert_true(backend_reserve(be, 100));
    assert_true(backend_reserve(be, 50));
    assert_false(backend_reserve(be, (size_t)1 << 60));
    assert_true(backend_sync(be));
    backend_close(be);
}

/* Many small uploads, more than any staging holds, each from memory that is then changed. */
static void test_uploads(void **state)
{
    enum { N = 3000, SIZE = 999 };
    struct backend *be = device_open(1);
    float *there = backend_alloc(be, N * SIZE * sizeof(float));
    float *back = malloc(N * SIZE * sizeof(float)), piece[SIZE];
    assert_true(there && back);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < SIZE; j++)
            piece[j] = (float)(i + j);
        backend_upload(be, there + (size_t)i * SIZE, piece, sizeof piece);
    }
    backend_download(be, back, there, N * SIZE * sizeof(float));
    assert_true(backend_sync(be));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < SIZE; j++)
            assert_true(back[i * SIZE + j] == (float)(i + j));
    backend_free(be, there);
    free(back);
    backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gelu_and_add, check_free),
        cmocka_unit_test_teardown(test_gelu_places, check_free),
        cmocka_unit_test_teardown(test_glu, check_free),
        cmocka_unit_test_teardown(test_embed, check_free),
        cmocka_unit_test_teardown(test_label_add, check_free),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_uploads),
    };
    const struct CMUnitTest opening[] = {
        cmocka_unit_test(test_isa),
        cmocka_unit_test(test_open),
    };
    device_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!device_asked()) /* which backends there are, whichever is tested */
        failed += cmocka_run_group_tests(opening, NULL, NULL);
    return failed;
}
