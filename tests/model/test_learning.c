/*
 * It learns: a small network of each kind of mixer overfits a second of a tone to far fewer bits
 * than the codes' own distribution holds; and with a non-finite loss a step changes nothing.
 */
#include "base/error.h"
#include "base/quantizer.h"
#include "model/build.h"
#include "model/trainer.h"
#include "tests/device.h"
#include "tests/model/kinds.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RATE = 8000, CLIP = 256, BATCH = 4, STEPS = 200 };

/* Bits of a code when only the codes' frequencies are known. */
static double entropy(const uint8_t *codes, int n)
{
    int count[256] = {0};
    double bits = 0;
    for (int i = 0; i < n; i++)
        count[codes[i]]++;
    for (int c = 0; c < 256; c++)
        if (count[c])
            bits -= count[c] * log2((double)count[c] / n) / n;
    return bits;
}

struct school {
    struct backend *be;
    struct net net;
    struct trainer trainer;
    uint8_t tone[RATE], codes[BATCH * CLIP], mask[BATCH * CLIP];
    int32_t labels[BATCH];
};

static void school_open(struct school *s, const struct kind *k)
{
    struct config config;
    struct train_settings settings = {.batch = BATCH,
                                      .micro_batch = BATCH,
                                      .clip = CLIP,
                                      .lr = 1e-2,
                                      .min_lr = 1e-3,
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .eps = 1e-8,
                                      .weight_decay = 0.01,
                                      .clip_norm = 1,
                                      .warmup = 10,
                                      .steps = STEPS,
                                      .ema = 0.99};
    kind_config(&config, k);
    s->be = device_open(1);
    assert_true(net_open(&s->net, &config, s->be));
    float *weights = malloc((size_t)s->net.plan.weights_size * sizeof *weights);
    plan_init_weights(&s->net.plan, weights, 3);
    net_set_weights(&s->net, weights);
    free(weights);
    if (!trainer_open(&s->trainer, &s->net, &settings))
        fail_msg("%s", error_text());
    for (int t = 0; t < RATE; t++) {
        double x = 0.8 * sin(2 * 3.14159265358979 * 440 * t / RATE);
        s->tone[t] = quantizer_encode(QUANTIZER_MU_LAW_256, (float)x);
    }
    memset(s->mask, 1, sizeof s->mask);
    for (int b = 0; b < BATCH; b++)
        s->labels[b] = -1;
}

static void school_close(struct school *s)
{
    trainer_close(&s->trainer);
    net_close(&s->net);
    backend_close(s->be);
}

/* One step on pieces of the tone; returns its bits. */
static double school_step(struct school *s, int step, struct train_result *r)
{
    for (int b = 0; b < BATCH; b++)
        memcpy(s->codes + b * CLIP, s->tone + (step * 997 + b * 1999) % (RATE - CLIP), CLIP);
    assert_true(trainer_step(&s->trainer, s->codes, s->mask, s->labels, NULL, r));
    return r->nats / (double)r->n_targets / log(2);
}

static void test_overfits_a_tone(void **unused)
{
    for (int k = 0; k < n_kinds; k++) {
        struct school s = {0};
        struct train_result r;
        double last = 0;
        school_open(&s, &kinds[k]);
        double known = entropy(s.tone, RATE);
        for (int i = 0; i < STEPS; i++) {
            double bits = school_step(&s, i, &r);
            last += i >= STEPS - 10 ? bits / 10 : 0;
        }
        print_message("%-24s %.2f bits (frequencies alone: %.2f)\n", kinds[k].name, last, known);
        if (!(last < 0.5 * known))
            fail_msg("%s: %.2f bits a sample after %d steps, frequencies alone give %.2f",
                     kinds[k].name, last, STEPS, known);
        school_close(&s);
    }
}

static void test_bad_step_changes_nothing(void **unused)
{
    struct school s = {0};
    struct train_result r;
    school_open(&s, &kinds[0]);
    size_t size = (size_t)s.net.plan.weights_size;
    float *before = malloc(size * sizeof *before), *after = malloc(size * sizeof *after);
    school_step(&s, 0, &r);
    assert_false(r.skipped);
    float *head_bias = s.net.weights + s.net.plan.params[s.net.plan.n_params - 1].offset;
    const float nan = NAN;
    float kept;
    backend_download(s.be, &kept, head_bias, sizeof kept);
    backend_upload(s.be, head_bias, &nan, sizeof nan);
    net_get_weights(&s.net, before);
    school_step(&s, 1, &r);
    assert_true(r.skipped);
    net_get_weights(&s.net, after);
    assert_memory_equal(before, after, size * sizeof *before);
    backend_upload(s.be, head_bias, &kept, sizeof kept);
    school_step(&s, 2, &r);
    assert_false(r.skipped);
    assert_int_equal(s.trainer.step, 3);
    assert_int_equal(s.trainer.n_updates, 2);
    free(before);
    free(after);
    school_close(&s);
}

static void test_schedule(void **unused)
{
    struct train_settings s = {.lr = 1, .min_lr = 0.1, .warmup = 10, .steps = 110};
    assert_true(fabs(trainer_lr(&s, 0) - 0.1) < 1e-12);
    assert_true(fabs(trainer_lr(&s, 9) - 1) < 1e-12);
    assert_true(fabs(trainer_lr(&s, 10) - 1) < 1e-12);
    assert_true(fabs(trainer_lr(&s, 60) - 0.55) < 1e-12);
    assert_true(fabs(trainer_lr(&s, 110) - 0.1) < 1e-12);
    assert_true(fabs(trainer_lr(&s, 1000) - 0.1) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overfits_a_tone),
        cmocka_unit_test(test_bad_step_changes_nothing),
        cmocka_unit_test(test_schedule),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
