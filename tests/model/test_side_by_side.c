/*
 * The same small training run on the CPU and on a device: their losses stay side by side, and the
 * device's weights are the same bits on every run, in whatever order its threads come.
 * usage: test_side_by_side STEPS CLIP: of a run
 */
#include "base/error.h"
#include "base/quantizer.h"
#include "base/random.h"
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

enum { RATE = 8000, BATCH = 3, STEPS_MAX = 1000 };

/* Largest difference of the losses, as a part of the CPU's: rounding. An H100 showed 1.4e-8. */
static const double bound = 1e-6;

/* The same where factors of products are rounded to 8 bits, by 2^-8 of themselves at most: the
   losses are means over many targets, so that most of it averages out. Kernels that run on the CPU
   showed 9.6e-5 in 60 steps on clips of 60 samples. TF32 keeps 11 bits: it stays below. */
static const double rounded_bound = 1e-3;

static int n_steps;
static int64_t clip;

struct run {
    double bits[STEPS_MAX]; /* of each step */
    float *weights;         /* after the last */
    size_t weights_size;
};

/* Two tones and noise. */
static uint8_t sound(int64_t t)
{
    double noise = (double)random_uniform(random_word(3, (uint64_t)t, 0, RANDOM_CROP, 0)) - 0.5;
    double x = 0.5 * sin(0.3 * (double)t) + 0.3 * sin(0.041 * (double)t) + 0.1 * noise;
    return quantizer_encode(QUANTIZER_MU_LAW_256, (float)x);
}

/* One step on its own pieces of the sound. */
static double step_bits(struct trainer *trainer, int step, int n_labels)
{
    const size_t size = (size_t)(BATCH * clip);
    uint8_t *codes = malloc(size), *mask = malloc(size);
    int32_t labels[BATCH];
    struct train_result r;
    for (int64_t b = 0; b < BATCH; b++) {
        labels[b] = (int32_t)((step + b) % (n_labels + 1)) - 1;
        for (int64_t t = 0; t < clip; t++) {
            codes[b * clip + t] = sound((step * BATCH + b) * 997 + t);
            mask[b * clip + t] = t % 7 != 0 || b > 0;
        }
    }
    if (!trainer_step(trainer, codes, mask, labels, NULL, &r))
        fail_msg("%s", error_text());
    assert_false(r.skipped);
    free(codes);
    free(mask);
    return r.nats / (double)r.n_targets / log(2);
}

/* slice: of the trainer's settings; 0: whole clips. */
static struct run run_on(struct backend *be, const struct kind *k, int64_t slice)
{
    struct run run = {0};
    struct config config;
    struct net net;
    struct trainer trainer;
    struct train_settings settings = {.batch = BATCH,
                                      .micro_batch = BATCH,
                                      .clip = clip,
                                      .slice = slice,
                                      .lr = 4e-3,
                                      .min_lr = 1e-3,
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .eps = 1e-8,
                                      .weight_decay = 0.01,
                                      .clip_norm = 1,
                                      .warmup = 5,
                                      .steps = n_steps,
                                      .ema = 0.99};
    kind_config(&config, k);
    if (!be || !net_open(&net, &config, be))
        fail_msg("%s", error_text());
    run.weights_size = (size_t)net.plan.weights_size * sizeof *run.weights;
    run.weights = malloc(run.weights_size);
    plan_init_weights(&net.plan, run.weights, 3);
    net_set_weights(&net, run.weights);
    if (!trainer_open(&trainer, &net, &settings))
        fail_msg("%s", error_text());
    for (int i = 0; i < n_steps; i++)
        run.bits[i] = step_bits(&trainer, i, config.n_labels);
    net_get_weights(&net, run.weights);
    trainer_close(&trainer);
    net_close(&net);
    backend_close(be);
    return run;
}

static struct run run_on_device(const struct kind *k, int64_t slice, int order,
                                enum products products)
{
    device_set_order(order);
    struct backend *be = device_open(1);
    backend_set_products(be, products);
    return run_on(be, k, slice);
}

/* The largest difference between the losses of a step, as a part of the first run's. */
static double losses_apart(const struct kind *k, const struct run *cpu, const struct run *device,
                           double most)
{
    double worst = 0;
    for (int i = 0; i < n_steps; i++) {
        double difference = fabs(device->bits[i] - cpu->bits[i]) / cpu->bits[i];
        worst = fmax(worst, difference);
        if (!(difference <= most))
            fail_msg("%s: step %d has %.6f bits on the CPU, %.6f on %s", k->name, i, cpu->bits[i],
                     device->bits[i], device_name());
    }
    return worst;
}

/* worst: how far the device's losses are from the CPU's with exact factors. */
static void check_rounded(const struct kind *k, const struct run *cpu, double worst)
{
    static const char *const names[] = {[PRODUCTS_TF32] = "tf32", [PRODUCTS_BF16] = "bf16"};
    for (int products = PRODUCTS_TF32; products <= PRODUCTS_BF16; products++) {
        if (products == PRODUCTS_TF32 && device_emulated()) /* exact there */
            continue;
        struct run device = run_on_device(k, 0, 0, (enum products)products);
        double rounded = losses_apart(k, cpu, &device, rounded_bound);
        print_message(", %s %.1e", names[products], rounded);
        assert_true(products != PRODUCTS_BF16 || rounded > 10 * worst); /* it was rounded */
        free(device.weights);
    }
}

static void test_losses(void **unused)
{
    (void)unused;
    for (int k = 0; k < n_kinds; k++) {
        struct run cpu = run_on(backend_open("cpu", 2), &kinds[k], 0);
        struct run device = run_on_device(&kinds[k], 0, 0, PRODUCTS_FP32);
        double worst = losses_apart(&kinds[k], &cpu, &device, bound);
        print_message("%-24s bits of steps", kinds[k].name);
        for (int i = 0; i < 4; i++) {
            int step = (n_steps - 1) * i / 3;
            print_message("  %d: %.5f cpu, %.5f %s", step + 1, cpu.bits[step], device.bits[step],
                          device_name());
        }
        print_message("  (at most %.1e apart", worst);
        if (k % 3 == 0 || !device_emulated())
            check_rounded(&kinds[k], &cpu, worst);
        print_message(")\n");
        /* worth the comparison: something was learnt, as can be told after some steps */
        assert_true(n_steps < 40 || cpu.bits[n_steps - 1] < cpu.bits[0] - 0.1);
        free(cpu.weights);
        free(device.weights);
    }
}

/* Every order, factors exact and, of the last kind, rounded. */
static void test_same_bits(void **unused)
{
    (void)unused;
    for (int k = 0; k < n_kinds; k++) {
        enum products products = k == n_kinds - 1 ? PRODUCTS_BF16 : PRODUCTS_FP32;
        struct run first = run_on_device(&kinds[k], clip / 3 + 1, 0, products);
        for (int order = 1; order < device_orders(); order++) {
            struct run other = run_on_device(&kinds[k], clip / 3 + 1, order, products);
            for (int i = 0; i < n_steps; i++)
                if (first.bits[i] != other.bits[i])
                    fail_msg("%s: another run has another loss at step %d", kinds[k].name, i);
            assert_memory_equal(first.weights, other.weights, first.weights_size);
            free(other.weights);
        }
        free(first.weights);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_same_bits),
    };
    if (argc != 3)
        return 2;
    n_steps = atoi(argv[1]);
    clip = atoi(argv[2]);
    if (n_steps < 1 || n_steps > STEPS_MAX || clip < 1)
        return 2;
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
