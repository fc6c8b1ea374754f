/*
 * The decode engine of a device against the CPU's that rounds where the device does (weights, and
 * inputs of products, to half precision): teacher-forced logits of the shipped model side by side,
 * so that what eval measures of the one on a whole test folder (--precision fp16a) holds for the
 * other. What is left between them is the order of sums and approximate functions, and roundings
 * that these tip over.
 * usage: test_decode_tie MODEL SAMPLES
 */
#include "base/error.h"
#include "base/random.h"
#include "model/build.h"
#include "model/chunk.h"
#include "model/model_file.h"
#include "tests/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of the shipped model: signal, without its mean a sample, to error; bits a sample of 4096 samples,
   which fewer miss by more. Measured: 61 dB and 1.2e-5 bits, 64.6 dB between fp32 and fp16a. */
static const double least_db = 55, most_bits = 1e-4;

static const char *model;
static int n_samples;

/* What an engine finds. */
struct run {
    uint8_t *codes; /* (n_samples) */
    float *logits;  /* (n_samples, V) */
    double nats;
};

static struct run run_new(void)
{
    return (struct run){.codes = malloc((size_t)n_samples),
                        .logits = malloc(sizeof(float) * (size_t)n_samples * PLAN_CODES)};
}

static void run_free(struct run *r)
{
    free(r->codes);
    free(r->logits);
}

/* forced: NULL: its own sound. */
static struct run run_on(struct backend *be, struct decoder_options o, const uint8_t *forced)
{
    struct model_file file;
    struct net net;
    struct run r = run_new();
    const uint8_t start = PLAN_START_CODE;
    const int32_t label = -1;
    if (!model_file_load(&file, model) || !net_open(&net, &file.config, be))
        fail_msg("%s", error_text());
    net_set_weights(&net, file.weights);
    model_file_free(&file);
    struct decoder *d = net_decoder_open(&net, &o);
    const size_t size = (size_t)net.plan.state_size * sizeof(float);
    float *state = backend_alloc(be, size);
    if (!d || !state)
        fail_msg("%s", error_text());
    backend_zero(be, state, size);
    be->ops->decoder_import(d, state, 0, &start);
    be->ops->decode(d, &(struct decode_args){
                           .n_samples = n_samples,
                           .codes = r.codes,
                           .forced = forced,
                           .nats = &r.nats,
                           .logits = r.logits,
                           .labels = &label,
                           .sampling = {.seed = 1, .temperature = 1, .top_p = 1, .guidance = 1},
                       });
    be->ops->decoder_close(d);
    backend_free(be, state);
    net_close(&net);
    if (!backend_sync(be))
        fail_msg("%s", error_text());
    return r;
}

struct difference {
    double db, largest; /* of the largest logit */
    int choices;        /* samples whose most likely code is another one */
};

static int likeliest(const float *x)
{
    int at = 0;
    for (int i = 1; i < PLAN_CODES; i++)
        at = x[i] > x[at] ? i : at;
    return at;
}

static struct difference compare(const struct run *a, const struct run *b)
{
    struct difference d = {0};
    double signal = 0, error = 0, most = 0;
    for (int t = 0; t < n_samples; t++) {
        const float *x = a->logits + (size_t)t * PLAN_CODES, *y = b->logits + (x - a->logits);
        double mean = 0;
        for (int i = 0; i < PLAN_CODES; i++)
            mean += (double)x[i] / PLAN_CODES;
        for (int i = 0; i < PLAN_CODES; i++) {
            const double e = (double)y[i] - (double)x[i];
            signal += ((double)x[i] - mean) * ((double)x[i] - mean);
            error += e * e;
            most = fmax(most, fabs((double)x[i]));
            d.largest = isnan(e) ? e : fmax(d.largest, fabs(e));
        }
        d.choices += likeliest(x) != likeliest(y);
    }
    d.largest /= most;
    d.db = 10 * log10(signal / (error + 1e-300));
    return d;
}

static double bits_of(const struct run *r)
{
    return r->nats / n_samples / log(2);
}

static void report(const char *what, const struct run *a, const struct run *b)
{
    const struct difference d = compare(a, b);
    print_message("%s: %d samples, %.1f dB, largest difference %.2g of the largest logit, %+.6f "
                  "bits a sample, another likeliest code %d times\n",
                  what, n_samples, d.db, d.largest, bits_of(b) - bits_of(a), d.choices);
}

static void test_tie(void **unused)
{
    (void)unused;
    struct backend *cpu = backend_open("cpu", 1), *device = device_open(1);
    struct decoder_options o = {.n_streams = 1, .threads = DECODE_ONE};
    if (!cpu)
        fail_msg("%s", error_text());
    struct run whole = run_on(cpu, o, NULL);
    o.precision = PRECISION_FP16;
    struct run there = run_on(device, o, whole.codes);
    o.round_inputs = true;
    struct run rounded = run_on(cpu, o, whole.codes);
    report("fp32 and fp16a on the CPU", &whole, &rounded);
    report("fp16a on the CPU and the device", &rounded, &there);
    const struct difference d = compare(&rounded, &there);
    const double most = most_bits * sqrt(4096.0 / n_samples);
    if (!(d.db >= least_db))
        fail_msg("%.1f dB, and %.0f is the least", d.db, least_db);
    if (!(fabs(bits_of(&there) - bits_of(&rounded)) <= most))
        fail_msg("%+.6f bits a sample, and %.6f is the most", bits_of(&there) - bits_of(&rounded),
                 most);
    /* They are two engines: not a single bit between them would mean that one was asked twice. */
    assert_memory_not_equal(rounded.logits, there.logits,
                            sizeof(float) * (size_t)n_samples * PLAN_CODES);
    run_free(&whole);
    run_free(&there);
    run_free(&rounded);
    backend_close(device);
    backend_close(cpu);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tie)};
    if (argc != 3)
        return 2;
    model = argv[1];
    n_samples = atoi(argv[2]);
    device_start();
    if (!device_asked()) {
        print_message("HISS_TEST_BACKEND names no device\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
