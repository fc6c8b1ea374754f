/*
 * The decode engine against the one forward: its logits are the chunk's to rounding (fp32) or to
 * the precision of its weights, after a prompt too. test_decode_bits is about its bits.
 */
#include "base/error.h"
#include "model/model_file.h"
#include "tests/device.h"
#include "tests/model/engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *shipped_model; /* the bundled model's file */

/* The chunk's logits of the codes of stream 0, and the state after them, without label. */
static void chunk_run(struct fixture *f, const uint8_t *codes, int n, float *logits, float *final)
{
    struct chunk chunk;
    struct state state;
    uint8_t *in = backend_alloc(f->be, (size_t)n);
    int32_t *label = backend_alloc(f->be, sizeof *label);
    const int32_t none = -1;
    const uint8_t first = PLAN_START_CODE;
    backend_upload(f->be, label, &none, sizeof none);
    backend_upload(f->be, in, &first, 1);
    backend_upload(f->be, in + 1, codes, (size_t)n - 1);
    assert_true(chunk_open(&chunk, &f->net, 1, n, TAPE_NONE));
    assert_true(state_open(&state, &f->net, 1));
    const float *made = chunk_forward(&chunk, &state, in, label, n);
    backend_download(f->be, logits, made, sizeof(float) * (size_t)n * PLAN_CODES);
    backend_download(f->be, final, state.data, state_bytes(f, 1));
    chunk_close(&chunk);
    state_close(&state, &f->net);
    backend_free(f->be, in);
    backend_free(f->be, label);
}

struct difference {
    double largest; /* of the largest entry */
    double db;      /* signal, without its mean a row, to error */
};

static struct difference compare(const float *a, const float *b, int64_t rows, int width)
{
    double signal = 0, error = 0, most = 0, worst = 0;
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0;
        for (int i = 0; i < width; i++)
            mean += (double)a[r * width + i] / width;
        for (int i = 0; i < width; i++) {
            double x = a[r * width + i], d = (double)b[r * width + i] - x;
            signal += (x - mean) * (x - mean);
            error += d * d;
            most = fmax(most, fabs(x));
            worst = isnan(d) ? d : fmax(worst, fabs(d));
        }
    }
    return (struct difference){worst / most, 10 * log10(signal / (error + 1e-300))};
}

/* Bounds of design 8 for the shipped model; small random networks of 5 to 10 channels are held to
   somewhat less in int8, where few channels share a scale. */
static void check_precision(const char *name, enum precision precision, struct difference d,
                            const double least_db[PRECISIONS])
{
    bool good = precision == PRECISION_FP32 ? d.largest <= 2e-4 : true;
    if (!good || !(d.db >= least_db[precision]))
        fail_msg("%s, %s: largest difference %g of the largest logit, %.1f dB", name,
                 precision_name(precision), d.largest, d.db);
}

/* Inputs of products rounded too: another result, and hardly a worse one. */
static void check_rounded(struct fixture *f, const float *logits, double least_db)
{
    struct decoder_options o = {.n_streams = 1, .precision = PRECISION_FP16};
    struct trace *plain = run(f, o, true, N_TIME);
    o.round_inputs = true;
    struct trace *rounded = run(f, o, true, N_TIME);
    const struct difference d = compare(logits, rounded->logits, N_TIME, PLAN_CODES);
    if (!(d.db >= least_db))
        fail_msg("%s, rounded inputs: %.1f dB", f->name, d.db);
    assert_memory_not_equal(plain->logits, rounded->logits, sizeof(float) * N_TIME * PLAN_CODES);
    trace_free(plain);
    trace_free(rounded);
}

static void check_chunk(const struct kind *kind)
{
    static const double least_db[PRECISIONS] = {100, 55, 25};
    static const struct decoder_options plain = {.n_streams = 1, .at_once = true};
    struct fixture f;
    fixture_open(&f, kind);
    f.n_labels = 0; /* of the chunk here too */
    float *logits = malloc(sizeof(float) * N_TIME * PLAN_CODES);
    float *state = malloc(sizeof(float) * (size_t)f.net.plan.state_size);
    chunk_run(&f, f.codes, N_TIME, logits, state);
    for (int p = 0; p < PRECISIONS; p++) {
        struct decoder_options o = plain;
        if (!precision_fits(&f, p))
            continue;
        o.precision = (enum precision)p;
        struct trace *trace = run(&f, o, true, N_TIME);
        check_precision(f.name, o.precision, compare(logits, trace->logits, N_TIME, PLAN_CODES),
                        least_db);
        if (p == PRECISION_FP32 &&
            !(compare(state, trace->state, 1, (int)f.net.plan.state_size).largest <= 2e-5))
            fail_msg("%s: another state than the chunk's", f.name);
        trace_free(trace);
    }
    if (!device_asked())
        check_rounded(&f, logits, least_db[PRECISION_FP16]);
    free(logits);
    free(state);
    fixture_close(&f);
}

static void test_chunk(void **unused)
{
    (void)unused;
    for (int k = 0; k < n_kinds; k++)
        check_chunk(&kinds[k]);
    check_chunk(&kind_wide);
}

/* 4096 teacher-forced samples of the shipped model. */
static void test_shipped(void **unused)
{
    (void)unused;
    enum { N = 4096 };
    static const double least_db[PRECISIONS] = {100, 60, 33};
    struct fixture f = {.name = "the shipped model"};
    struct model_file file;
    if (!model_file_load(&file, shipped_model))
        fail_msg("%s", error_text());
    f.be = device_open(2);
    if (!net_open(&f.net, &file.config, f.be))
        fail_msg("%s", error_text());
    net_set_weights(&f.net, file.weights);
    model_file_free(&file);
    struct decoder_options o = {.n_streams = 1, .threads = DECODE_ONE};
    uint8_t *codes = malloc(N);
    int32_t label = -1;
    float *logits = malloc(sizeof(float) * N * PLAN_CODES);
    float *decoded = malloc(sizeof(float) * N * PLAN_CODES);
    float *state = malloc(sizeof(float) * (size_t)f.net.plan.state_size);
    const int first = (int)finest(&f);
    for (int p = first; p < PRECISIONS; p++) {
        if (!precision_fits(&f, p))
            continue;
        o.precision = (enum precision)p;
        struct decoder *d = engine(&f, o);
        start(&f, d, &o);
        struct decode_args a = {
            .n_samples = N,
            .codes = codes,
            .forced = p > first ? codes : NULL, /* its own sound, made in the finest */
            .logits = decoded,
            .labels = &label,
            .sampling = {.seed = 1, .temperature = 1, .top_p = 1, .guidance = 1}};
        f.be->ops->decode(d, &a);
        if (p == first)
            chunk_run(&f, codes, N, logits, state);
        check_precision(f.name, o.precision, compare(logits, decoded, N, PLAN_CODES), least_db);
        engine_close(&f, d);
    }
    free(codes);
    free(logits);
    free(decoded);
    free(state);
    net_close(&f.net);
    backend_close(f.be);
}

/* The state a chunk leaves at any sample is one an engine goes on from. */
static void test_prefill(void **unused)
{
    (void)unused;
    for (int k = 0; k < n_kinds; k++) {
        struct fixture f;
        fixture_open(&f, &kinds[k]);
        f.n_labels = 0;
        const struct decoder_options o = {.n_streams = 1, .precision = finest(&f)};
        const double least_db = o.precision == PRECISION_FP32 ? 90 : 55;
        float *logits = malloc(sizeof(float) * N_TIME * PLAN_CODES);
        float *state = malloc(sizeof(float) * (size_t)f.net.plan.state_size);
        struct trace *whole = run(&f, o, true, N_TIME);
        for (int cut = 1; cut < 40;
             cut += device_asked() ? 5 : 1) { /* every fifth is fast enough */
            struct trace *trace = trace_new(&f);
            struct decoder *d = engine(&f, o);
            chunk_run(&f, f.codes, cut, logits, state);
            import_states(&f, d, 1, state, cut, &f.codes[cut - 1]);
            run_part(&f, d, &o, trace, true, cut, N_TIME, N_TIME);
            struct difference difference =
                compare(whole->logits + cut * PLAN_CODES, trace->logits + cut * PLAN_CODES,
                        N_TIME - cut, PLAN_CODES);
            bool good = o.precision == PRECISION_FP32 ? difference.largest <= 2e-5 : true;
            if (!good || !(difference.db >= least_db))
                fail_msg("%s: after a prompt of %d, logits differ by %g, %.1f dB", f.name, cut,
                         difference.largest, difference.db);
            engine_close(&f, d);
            trace_free(trace);
        }
        trace_free(whole);
        free(logits);
        free(state);
        fixture_close(&f);
    }
}

/* What the engine does not do, it says. */
static void refuse(struct fixture *f, struct decoder_options o, const char *word)
{
    assert_false(engine_fits(f, &o));
    assert_non_null(strstr(error_text(), word));
    assert_null(engine_open(f, o));
    assert_non_null(strstr(error_text(), word));
}

static void test_refusals(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_open(&f, &kinds[0]);
    if (device_asked()) {
        const struct decoder_options o = {.n_streams = 1, .precision = finest(&f)};
        struct decoder_options other = o;
        other.precision = PRECISION_INT8;
        refuse(&f, other, "int8");
        other = o;
        other.threads = DECODE_ROWS;
        refuse(&f, other, "rows");
        other.threads = DECODE_LOCKSTEP;
        refuse(&f, other, "lockstep");
        fixture_close(&f);
        return;
    }
    assert_null(engine_open(&f, (struct decoder_options){.n_streams = 1, .threads = DECODE_ROWS}));
    assert_non_null(strstr(error_text(), "one row"));
    fixture_close(&f);
    for (int k = 0; k < n_kinds; k++) {
        fixture_open(&f, &kinds[k]);
        if (f.net.plan.n_tiers == 1) {
            assert_null(engine_open(
                &f, (struct decoder_options){.n_streams = 1, .threads = DECODE_PIPELINE}));
            assert_non_null(strstr(error_text(), "one tier"));
        }
        fixture_close(&f);
    }
}

static int run_group(const char *isa, bool thorough)
{
    static const struct CMUnitTest quick[] = {
        cmocka_unit_test(test_chunk),
        cmocka_unit_test(test_prefill),
        cmocka_unit_test(test_refusals),
    };
    static const struct CMUnitTest long_ones[] = {
        cmocka_unit_test(test_shipped),
    };
    return thorough ? cmocka_run_group_tests_name(isa, long_ones, NULL, NULL)
                    : cmocka_run_group_tests_name(isa, quick, NULL, NULL);
}

/* Once for each instruction set of this processor, or for the one HISS_ISA names.
   usage: test_decode MODEL quick|thorough */
int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    shipped_model = argv[1];
    const bool thorough = strcmp(argv[2], "thorough") == 0;
    return on_each_isa(run_group, thorough);
}
