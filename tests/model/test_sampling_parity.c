/*
 * Quantisers, random words, and the choice of a code against the reference. argv[1]: the folder of
 * fixtures.
 */
#include "base/error.h"
#include "base/quantizer.h"
#include "base/random.h"
#include "kernels/cpu/cpu.h"
#include "model/safetensors.h"
#include "tests/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *fixtures;

static void open_fixture(struct safetensors *st, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", fixtures, name);
    if (!safetensors_open(st, path))
        fail_msg("%s", error_text());
}

static float *floats(const struct safetensors *st, const char *name, int64_t *n)
{
    const struct tensor_entry *t = safetensors_find(st, name);
    if (!t)
        fail_msg("%s has no %s", st->path, name);
    *n = t->n_entries;
    float *x = malloc((size_t)*n * sizeof *x + 1);
    tensor_to_float(x, t);
    return x;
}

static void check_quantizer(const struct safetensors *st, enum quantizer q, const char *prefix,
                            bool survives)
{
    char name[64];
    int64_t n, n_out;
    snprintf(name, sizeof name, "%s.decode", prefix);
    float *decode = floats(st, name, &n);
    assert_int_equal(n, 256);
    for (int c = 0; c < 256; c++) {
        assert_true(fabs((double)decode[c] - (double)quantizer_decode(q, (uint8_t)c)) < 1e-7);
        if (survives)
            assert_int_equal(quantizer_encode(q, quantizer_decode(q, (uint8_t)c)), c);
    }
    snprintf(name, sizeof name, "%s.encode.in", prefix);
    float *in = floats(st, name, &n);
    snprintf(name, sizeof name, "%s.encode.out", prefix);
    float *out = floats(st, name, &n_out);
    assert_int_equal(n, n_out);
    for (int64_t i = 0; i < n; i++)
        if (quantizer_encode(q, in[i]) != (uint8_t)out[i])
            fail_msg("%s: %g gives %d, not %g", prefix, (double)in[i], quantizer_encode(q, in[i]),
                     (double)out[i]);
    free(decode);
    free(in);
    free(out);
}

static void test_quantizers(void **unused)
{
    struct safetensors st;
    open_fixture(&st, "quantizer.safetensors");
    check_quantizer(&st, QUANTIZER_MU_LAW_256, "mu", true);
    check_quantizer(&st, QUANTIZER_S4_MU_LAW_256, "s4", false);
    safetensors_close(&st);
}

/* 16-bit pieces, low first. */
static uint64_t join(const float *pieces, int n)
{
    uint64_t x = 0;
    for (int i = n - 1; i >= 0; i--)
        x = x << 16 | (uint64_t)pieces[i];
    return x;
}

struct noise {
    float *seed, *n, *stream, *word, *g;
    int64_t rows;
};

static void noise_open(struct noise *z, const struct safetensors *st)
{
    int64_t ignored;
    z->seed = floats(st, "seed", &ignored);
    z->n = floats(st, "n", &ignored);
    z->stream = floats(st, "stream", &ignored);
    z->word = floats(st, "word", &ignored);
    z->g = floats(st, "g", &ignored);
    z->rows = ignored / 256;
}

static void noise_close(struct noise *z)
{
    free(z->seed);
    free(z->n);
    free(z->stream);
    free(z->word);
    free(z->g);
}

static void test_words_and_noise(void **unused)
{
    struct safetensors st;
    struct noise z;
    open_fixture(&st, "philox.safetensors");
    noise_open(&z, &st);
    for (int64_t row = 0; row < z.rows; row++)
        for (uint32_t c = 0; c < 256; c++) {
            uint32_t r = random_word(join(z.seed + 4 * row, 4), join(z.n + 4 * row, 4),
                                     (uint32_t)join(z.stream + 2 * row, 2), RANDOM_SAMPLE, c);
            assert_int_equal(r, join(z.word + (row * 256 + c) * 2, 2));
            double g = -log(-log((double)random_uniform(r)));
            assert_true(fabs(g - (double)z.g[row * 256 + c]) < 1e-5 * (1 + fabs(g)));
        }
    noise_close(&z);
    safetensors_close(&st);
}

static void check_choices(struct backend *be)
{
    struct safetensors st;
    struct noise z;
    int64_t n;
    open_fixture(&st, "philox.safetensors");
    noise_open(&z, &st);
    float *logits = floats(&st, "sampling.logits", &n);
    float *temperature = floats(&st, "sampling.temperature", &n);
    float *top_p = floats(&st, "sampling.top_p", &n);
    float *noise = floats(&st, "sampling.noise", &n);
    float *code = floats(&st, "sampling.code", &n);
    float *logits_there = backend_alloc(be, (size_t)n * 256 * sizeof(float));
    float *nats_there = backend_alloc(be, sizeof(float));
    uint8_t *code_there = backend_alloc(be, 1);
    assert_true(logits_there && nats_there && code_there);
    backend_upload(be, logits_there, logits, (size_t)n * 256 * sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (int64_t)noise[i];
        uint8_t chosen;
        be->ops->sample(be, &(struct sample_args){
                                .codes = code_there,
                                .nats = nats_there,
                                .logits = logits_there + 256 * i,
                                .sampling = {.seed = join(z.seed + 4 * row, 4),
                                             .temperature = temperature[i],
                                             .top_p = top_p[i],
                                             .guidance = 1},
                                .n = (int64_t)join(z.n + 4 * row, 4),
                                .first_stream = (uint32_t)join(z.stream + 2 * row, 2),
                                .n_batch = 1,
                            });
        backend_download(be, &chosen, code_there, 1);
        if (chosen != (uint8_t)code[i])
            fail_msg("choice %d: code %d, not %g (temperature %g, top-p %g)", (int)i, chosen,
                     (double)code[i], (double)temperature[i], (double)top_p[i]);
    }
    backend_free(be, logits_there);
    backend_free(be, nats_there);
    backend_free(be, code_there);
    if (!backend_sync(be))
        fail_msg("%s", error_text());
    free(logits);
    free(temperature);
    free(top_p);
    free(noise);
    free(code);
    noise_close(&z);
    safetensors_close(&st);
}

static void test_choices(void **unused)
{
    struct backend *be = device_open(1);
    check_choices(be);
    if (!device_asked()) {
        be->ops = &cpu_ops_base; /* the plainest too */
        check_choices(be);
    }
    backend_close(be);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantizers),
        cmocka_unit_test(test_words_and_noise),
        cmocka_unit_test(test_choices),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURES\n", argv[0]);
        return 2;
    }
    fixtures = argv[1];
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
