/* The choice of a code against the definition, in double and by sorting. */
#include "tests/kernels/check.h"

#include "base/random.h"

#include <math.h>
#include <string.h>

enum { V = PLAN_CODES };

/* The code the definition chooses; *margin is by how much it won. */
static int naive_choice(const float *with, const float *without, const struct sampling *s,
                        int64_t n, uint32_t stream, double *margin)
{
    double x[V], p[V], sum = 0, max, mass = 0, best = -INFINITY, second = -INFINITY;
    bool kept[V] = {false};
    int code = -1;
    for (int c = 0; c < V; c++)
        x[c] = without ? without[c] + s->guidance * ((double)with[c] - without[c]) : with[c];
    max = x[0];
    for (int c = 0; c < V; c++)
        max = fmax(max, x[c]);
    for (int c = 0; c < V; c++)
        sum += p[c] = exp(x[c] - max);
    while (mass < s->top_p * sum * (1 - 1e-15)) {
        int top = -1;
        for (int c = 0; c < V; c++)
            if (!kept[c] && (top < 0 || p[c] > p[top]))
                top = c;
        if (top < 0)
            break;
        kept[top] = true;
        mass += p[top];
    }
    for (int c = 0; c < V; c++) {
        if (!kept[c])
            continue;
        uint32_t r = random_word(s->seed, (uint64_t)n, stream, RANDOM_SAMPLE, (uint32_t)c);
        double g = -log(-log((double)random_uniform(r)));
        double score = s->temperature > 0 ? x[c] / s->temperature + g : x[c];
        if (score > best) {
            second = best;
            best = score;
            code = c;
        } else if (score > second) {
            second = score;
        }
    }
    *margin = best - second;
    return code;
}

static double naive_nats(const float *x, int code)
{
    double sum = 0;
    for (int c = 0; c < V; c++)
        sum += exp((double)x[c] - x[code]);
    return log(sum);
}

/* Everything is check_* memory. */
static void sample(struct backend *be, const struct sample_args *what, uint8_t *codes, float *nats)
{
    struct sample_args a = *what;
    a.codes = check_out(be, codes);
    a.nats = check_out(be, nats);
    a.logits = check_in(be, what->logits);
    a.without_label = check_in(be, what->without_label);
    be->ops->sample(be, &a);
    check_ran(be);
}

/* out: codes as floats, then nats. */
static void run(struct backend *be, void *arg, float *out)
{
    struct sample_args a = *(const struct sample_args *)arg;
    uint8_t *codes = check_bytes(a.n_batch);
    sample(be, &a, codes, out + a.n_batch);
    for (int b = 0; b < a.n_batch; b++)
        out[b] = codes[b];
}

static void test_definition(void **state)
{
    static const float temperatures[] = {1, 0.5f, 1.3f, 0}, top_ps[] = {1, 0.9f, 0.3f, 1e-6f};
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables), n_close = 0, n_all = 0;
    const int case_step = device_emulated() ? 5 : 1, widest = device_emulated() ? 13 : 40;
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 4 * 4 * 2 * 8; i += case_step) {
            int B = 1 + i % widest;
            struct sample_args a = {
                .logits = check_random(B * V, (uint32_t)i, i & 1 ? 2 : 6),
                .n = i * 1234567891011,
                .first_stream = (uint32_t)(i * 7),
                .n_batch = B,
                .sampling = {.seed = 0x123456789abcdef0u + (uint64_t)i,
                             .temperature = temperatures[i % 4],
                             .top_p = top_ps[i / 4 % 4],
                             .guidance = 2.5f},
            };
            if (i / 16 % 2)
                a.without_label = check_random(B * V, (uint32_t)i + 10000, 2);
            float *out = check_zeros(2 * B);
            /* the choice itself is held to the definition below: rounding decides what is a tie */
            check_run(tables[k], run, &a, out, 2 * B, 1);
            for (int b = 0; b < B; b++) {
                const float *with = a.logits + b * V;
                const float *without = a.without_label ? a.without_label + b * V : NULL;
                double margin, nats;
                int code = naive_choice(with, without, &a.sampling, a.n,
                                        a.first_stream + (uint32_t)b, &margin);
                n_all++;
                if (code != (int)out[b]) { /* rounding may decide what is as good as a tie */
                    n_close++;
                    continue;
                }
                nats = naive_nats(with, code);
                assert_true(fabs(out[B + b] - nats) <= 1e-6 * (1 + nats));
                if (device_emulated() && b > 0)
                    continue;
                struct sample_args one = a;
                one.logits = with;
                one.without_label = without;
                one.first_stream += (uint32_t)b;
                one.n_batch = 1;
                float *alone = check_zeros(2);
                run(check_backend(tables[k], 1), &one, alone);
                assert_true(alone[0] == out[b]);
                check_same("nats alone", alone + 1, out + B + b, 1);
            }
            check_free(state);
        }
    if (n_close > 1 + n_all / 2000)
        fail_msg("%d of %d choices differ from the definition", n_close, n_all);
}

/* Equal logits: the lower code is first, both for the argmax and for who is kept. */
static void test_ties(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++) {
        struct backend *be = check_backend(tables[k], 1);
        float *logits = check_zeros(V), *nats = check_zeros(1);
        uint8_t *code = check_bytes(1);
        struct sample_args a = {
            .logits = logits, .n_batch = 1, .sampling = {.top_p = 1, .guidance = 1}};
        sample(be, &a, code, nats);
        assert_int_equal(*code, 0);
        assert_true(fabsf(*nats - logf(V)) < 1e-5f);
        logits[77] = logits[79] = logits[200] = 1;
        sample(be, &a, code, nats);
        assert_int_equal(*code, 77);

        memset(logits, 0, V * sizeof *logits);
        a.sampling.temperature = 1;
        static const float top_ps[] = {0.5f, 0.25f, 3.0f / 256, 1.0f / 256, 0.0f};
        static const int kept[] = {128, 64, 3, 1, 1};
        const int draws = device_emulated() ? 12 : 40; /* of each that is kept */
        for (int i = 0; i < 5; i++) {
            bool seen[V] = {false};
            if (device_emulated() && kept[i] > 64)
                continue;
            a.sampling.top_p = top_ps[i];
            for (a.n = 0; a.n < draws * kept[i]; a.n++) {
                sample(be, &a, code, nats);
                assert_in_range(*code, 0, kept[i] - 1);
                seen[*code] = true;
            }
            int n_seen = 0;
            for (int c = 0; c < V; c++)
                n_seen += seen[c];
            assert_int_equal(n_seen, kept[i]);
        }
        check_free(state);
    }
}

/* Draws are distributed as softmax(logits / T). */
static void test_frequencies(void **state)
{
    const int draws = device_emulated() ? 1 << 12 : 1 << 16;
    const struct ops *tables[CPU_TABLES_MAX];
    struct backend *be = check_backend(tables[check_tables(tables) - 1], 1);
    const float *logits = check_random(V, 5, 2);
    float *nats = check_zeros(1);
    uint8_t *code = check_bytes(1);
    struct sample_args a = {
        .logits = logits, .n_batch = 1, .sampling = {.seed = 9, .temperature = 0.8f, .top_p = 1}};
    double counts[V] = {0}, p[V], sum = 0, chi = 0;
    for (a.n = 0; a.n < draws; a.n++) {
        sample(be, &a, code, nats);
        counts[*code]++;
    }
    for (int c = 0; c < V; c++)
        sum += p[c] = exp(logits[c] / 0.8);
    for (int c = 0; c < V; c++) {
        double expected = draws * p[c] / sum;
        chi += (counts[c] - expected) * (counts[c] - expected) / expected;
    }
    assert_true(chi < 400); /* 255 +- 23 */
    check_free(state);
}

/* Whatever a broken model says, a code comes out. */
static void test_broken_logits(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (int i = 0; i < 3; i++) {
            struct backend *be = check_backend(tables[k], 1);
            static const float values[] = {NAN, INFINITY, -INFINITY};
            float *logits = check_zeros(V), *nats = check_zeros(1);
            uint8_t *codes = check_bytes(2);
            codes[1] = 99;
            for (int c = 0; c < V; c++)
                logits[c] = values[i];
            struct sample_args a = {
                .logits = logits, .n_batch = 1, .sampling = {.temperature = 1, .top_p = 0.9f}};
            sample(be, &a, codes, nats);
            assert_int_equal(codes[1], 99);
            check_free(state);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_definition, check_free),
        cmocka_unit_test_teardown(test_ties, check_free),
        cmocka_unit_test_teardown(test_frequencies, check_free),
        cmocka_unit_test_teardown(test_broken_logits, check_free),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
