/* Cross entropy and its gradient against loops in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

enum { V = PLAN_CODES };

struct loss_test {
    int64_t rows;
    const float *logits;
    double *logitsd;
    uint8_t *targets;
    const uint8_t *mask;
    float scale;
    bool in_place;
};

static double naive_row(const struct loss_test *t, int64_t m)
{
    const double *x = t->logitsd + m * V;
    double max = x[0], sum = 0;
    if (t->mask && !t->mask[m])
        return 0;
    for (int c = 1; c < V; c++)
        max = fmax(max, x[c]);
    for (int c = 0; c < V; c++)
        sum += exp(x[c] - max);
    return log(sum) + max - x[t->targets[m]];
}

static double loss(void *arg)
{
    const struct loss_test *t = arg;
    double sum = 0;
    for (int64_t m = 0; m < t->rows; m++)
        sum += naive_row(t, m);
    return t->scale * sum;
}

/* out: dlogits, then nats. */
static void run(struct backend *be, void *arg, float *out)
{
    const struct loss_test *t = arg;
    if (t->in_place)
        memcpy(out, t->logits, (size_t)(t->rows * V) * sizeof *out);
    struct cross_entropy_args a = {
        .nats = check_out(be, out + t->rows * V),
        .dlogits = check_out(be, out),
        .logits = check_in(be, t->in_place ? out : t->logits),
        .targets = check_in(be, t->targets),
        .mask = check_in(be, t->mask),
        .scale = t->scale,
        .n_rows = t->rows,
    };
    be->ops->cross_entropy(be, &a);
    check_ran(be);
}

static void test_loss(void **state)
{
    static const int64_t rows[] = {0, 1, 3, 700};
    static const double scales[] = {0.1, 5, 80};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 4; i++)
            for (int s = 0; s < 3; s++) {
                int64_t n = rows[i] * V;
                struct loss_test t = {.rows = rows[i],
                                      .scale = 0.37f,
                                      .in_place = s == 1,
                                      .logits = check_random(n, 1, scales[s])};
                t.logitsd = check_to_double(t.logits, n);
                t.targets = check_bytes(rows[i]);
                memcpy(t.targets, check_random(rows[i], 2, 1), (size_t)rows[i]);
                uint8_t *mask = check_bytes(rows[i]);
                memcpy(mask, check_random(rows[i], 3, 1), (size_t)rows[i]);
                for (int64_t m = 0; m < rows[i]; m++)
                    mask[m] &= 1;
                t.mask = s == 2 ? NULL : mask;
                float *out = check_zeros(n + rows[i]);
                check_run(tables[k], run, &t, out, n + rows[i], 2e-6);
                double *nats = check_doubles(rows[i]);
                for (int64_t m = 0; m < rows[i]; m++)
                    nats[m] = naive_row(&t, m);
                check_near("nats", out + n, nats, rows[i], 2e-6);
                check_gradient("dlogits", loss, &t, t.logitsd, out, n, 1e-4);

                float *only = check_zeros(rows[i]);
                struct backend *be = check_backend(tables[k], 1);
                struct cross_entropy_args a = {
                    .nats = check_out(be, only),
                    .logits = check_in(be, t.logits),
                    .targets = check_in(be, t.targets),
                    .mask = check_in(be, t.mask),
                    .scale = 1,
                    .n_rows = rows[i],
                };
                be->ops->cross_entropy(be, &a);
                check_ran(be);
                check_same("nats alone", only, out + n, rows[i]);
                check_free(state);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_loss, check_free)};
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
