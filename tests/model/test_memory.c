/*
 * A GPU whose memory does not suffice for a training: whatever it is that finds no room, the error
 * is one line that says what to lower, and everything is given back. Only where kernels run on the
 * CPU, which gives a device as much memory as is asked for (CUDA_ON_CPU_MEMORY_MIB).
 */
#include "base/error.h"
#include "model/build.h"
#include "model/trainer.h"
#include "tests/cuda_on_cpu/cuda_on_cpu.h"
#include "tests/device.h"
#include "tests/model/kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CLIP = 2000, BATCH = 4, ROOMS = 10, SLACK = 1 << 16, SHORT = 40 };

static size_t memory_free(void)
{
    struct gpu_facts facts;
    backend_gpu_facts(&facts);
    assert_true(facts.usable);
    return facts.memory_free;
}

/* Factors in bf16 need scratch memory too. */
static struct backend *backend_new(void)
{
    struct backend *be = device_open(1);
    backend_set_products(be, PRODUCTS_BF16);
    return be;
}

/* As training begins. *taken: what it has of the device's memory when all is there. */
static bool training_fits(struct backend *be, size_t *taken)
{
    const struct train_settings settings = {
        .batch = BATCH, .micro_batch = BATCH, .clip = CLIP, .slice = 0, .steps = 1, .lr = 1e-3};
    struct config config;
    struct net net;
    struct trainer trainer = {0};
    size_t before = memory_free();
    kind_config(&config, &kinds[0]);
    if (!net_open(&net, &config, be))
        return false;
    bool ok = trainer_open(&trainer, &net, &settings);
    *taken = before - memory_free();
    trainer_close(&trainer);
    net_close(&net);
    return ok;
}

static void test_what_to_lower(void **state)
{
    (void)state;
    size_t taken = 0, ignored;
    int n_model = 0, n_training = 0;
    struct backend *be = backend_new();
    for (int i = 0; i < ROOMS; i++) {
        /* first with all there is; then with less and less than was taken, down to nothing */
        size_t room = taken * (size_t)(ROOMS - 1 - i) / (ROOMS - 2), all = memory_free();
        room += i == 1 ? SLACK : 0; /* scratch memory is replaced by more of it */
        void *fill = i > 0 && all > room ? backend_alloc(be, all - room) : NULL;
        size_t before = memory_free();
        bool fits = training_fits(be, i == 0 ? &taken : &ignored);
        if (i < 1) {
            assert_true(fits);
            backend_close(be); /* gives back its scratch memory */
            be = backend_new();
            continue;
        }
        assert_non_null(fill);
        if (fits != (i == 1))
            fail_msg("%zu bytes %s where %zu were taken: %s", room,
                     fits ? "suffice" : "do not suffice", taken, error_text());
        if (!fits) {
            const char *said = error_text();
            n_model += strstr(said, "take a smaller model") != NULL;
            n_training += strstr(said, "lower train.micro_batch") != NULL;
            if (strchr(said, '\n') || !strstr(said, "out of GPU memory: ") ||
                n_model + n_training == 0)
                fail_msg("with %zu bytes: %s", room, said);
            assert_int_equal(memory_free(), before);
        }
        backend_free(be, fill);
        assert_true(backend_sync(be));
        if (fits) { /* with just as much */
            backend_close(be);
            be = backend_new();
        }
    }
    print_message("training %d clips of %d samples takes %.2f MiB; with less: %d times the model "
                  "is too large, %d times the training\n",
                  BATCH, CLIP, (double)taken / (1 << 20), n_model, n_training);
    assert_int_equal(n_model + n_training, ROOMS - 2);
    assert_true(n_model > 0 && n_training > 0);
    backend_close(be);
}

/* Nor does the backend open, if there is not even what it takes itself. */
static void test_full(void **state)
{
    (void)state;
    struct backend *be = device_open(1);
    void *fill = backend_alloc(be, memory_free() - (1 << 20));
    assert_non_null(fill);
    assert_null(backend_open(device_name(), 1));
    if (!strstr(error_text(), "out of GPU memory") || !strstr(error_text(), "--backend cpu"))
        fail_msg("%s", error_text());
    backend_free(be, fill);
    backend_close(be);
}

/* A training's beginning, three steps (the second is recorded), the engine and a sample of it. */
static bool all_runs(struct backend *be)
{
    static const uint8_t codes[SHORT], mask[SHORT] = {1, 1, 1};
    const int32_t labels[1] = {-1};
    const struct decoder_options o = {.n_streams = 1, .precision = PRECISION_FP16};
    const struct train_settings settings = {
        .batch = 1, .micro_batch = 1, .clip = SHORT, .steps = 9, .lr = 1e-3};
    struct config config;
    struct net net;
    struct trainer trainer = {0};
    struct train_result result;
    struct decoder *decoder = NULL;
    uint8_t code = 0;
    kind_config(&config, &kinds[0]);
    if (!net_open(&net, &config, be))
        return false;
    bool ok = trainer_open(&trainer, &net, &settings);
    for (int i = 0; ok && i < 3; i++)
        ok = trainer_step(&trainer, codes, mask, labels, NULL, &result);
    if (ok)
        ok = (decoder = net_decoder_open(&net, &o)) != NULL;
    if (ok) {
        const struct decode_args once = {
            .n_samples = 1, .codes = &code, .labels = labels, .sampling = {.temperature = 1}};
        be->ops->decode(decoder, &once);
        ok = backend_sync(be);
    }
    if (decoder)
        be->ops->decoder_close(decoder);
    trainer_close(&trainer);
    net_close(&net);
    return ok;
}

/* Every single allocation fails once, the backend's own too: one line that says what to do, all is
   given back, and afterwards the same backend does it. */
static void test_each_allocation(void **state)
{
    (void)state;
    struct backend *be = backend_new();
    size_t before = memory_free();
    int n = 0;
    for (bool fails = true; fails; n++) {
        assert_true(n < 100);
        cuda_on_cpu_fail_allocation(n);
        fails = !all_runs(be);
        cuda_on_cpu_fail_allocation(-1);
        const char *said = fails ? error_text() : "";
        if (fails &&
            (!strstr(said, "out of") || strchr(said, '\n') ||
             !(strstr(said, "lower ") || strstr(said, "smaller") || strstr(said, "fewer"))))
            fail_msg("allocation %d: %s", n, said);
        backend_close(be); /* with its scratch memory */
        be = backend_new();
        assert_int_equal(memory_free(), before);
    }
    print_message("%d allocations of a training and an engine\n", n - 1);
    assert_true(n > 20);
    backend_close(be);
    for (n = 0, be = NULL; !be; n++) {
        cuda_on_cpu_fail_allocation(n);
        be = backend_open(device_name(), 1);
        if (!be && !strstr(error_text(), "--backend cpu"))
            fail_msg("allocation %d of the backend: %s", n, error_text());
    }
    cuda_on_cpu_fail_allocation(-1);
    backend_close(be);
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_to_lower),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_each_allocation),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
