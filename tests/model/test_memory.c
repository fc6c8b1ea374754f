/*
 * A GPU whose memory does not suffice for a training: whatever it is that finds no room, the error
 * is one line that says what to lower, and everything is given back. Only where kernels run on the
 * CPU, which gives a device as much memory as is asked for (CUDA_ON_CPU_MEMORY_MIB).
 */
#include "base/error.h"
#include "model/build.h"
#include "model/trainer.h"
#include "tests/device.h"
#include "tests/model/kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CLIP = 2000, BATCH = 4, ROOMS = 10, SLACK = 1 << 16 };

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
    backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_to_lower),
        cmocka_unit_test(test_full),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
