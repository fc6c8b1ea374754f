/*
 * libhiss: what a stream sings depends on its seed, its number and what it heard, and on nothing
 * else. argv[1]: the folder of the reference's fixtures, whose small models serve here.
 */
#include "model/hiss.h"
#include "tests/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 150 };

static const char *fixtures;

static struct hiss_model *open_model(const char *name, int n_threads)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/model.safetensors", fixtures, name);
    struct hiss_model *m =
        hiss_model_open(path, device_asked() ? device_name() : "auto", n_threads);
    if (!m)
        fail_msg("%s", hiss_error());
    return m;
}

static struct hiss_stream *open_stream(struct hiss_model *m, int n, uint32_t first, bool guided)
{
    struct hiss_sampling sampling = {.seed = 5, .temperature = 1, .top_p = 1, .guidance = 1};
    struct hiss_stream *s = hiss_stream_open(m, n, first, guided);
    assert_non_null(s);
    assert_true(hiss_stream_set_sampling(s, &sampling));
    return s;
}

/* The codes of `n` streams that begin with number `first`. */
static uint8_t *sing(struct hiss_model *m, int n, uint32_t first, int label)
{
    uint8_t *codes = malloc((size_t)n * N);
    struct hiss_stream *s = open_stream(m, n, first, false);
    for (int i = 0; i < n; i++)
        assert_true(hiss_stream_set_label(s, i, label));
    assert_true(hiss_stream_generate(s, codes, N, NULL));
    hiss_stream_close(s);
    return codes;
}

static void test_batch_threads_pieces(void **unused)
{
    uint8_t *alone[3], *together = NULL, pieces[N];
    for (int threads = 1; threads <= 3; threads++) {
        struct hiss_model *m = open_model("labels-unet", threads);
        uint8_t *now = sing(m, 3, 7, 1);
        if (together)
            assert_memory_equal(now, together, 3 * N);
        free(together);
        together = now;
        hiss_model_close(m);
    }
    struct hiss_model *m = open_model("labels-unet", 1);
    for (uint32_t i = 0; i < 3; i++) {
        alone[i] = sing(m, 1, 7 + i, 1);
        assert_memory_equal(alone[i], together + i * N, N);
    }
    assert_memory_not_equal(alone[0], alone[1], N);
    struct hiss_stream *s = open_stream(m, 1, 7, true); /* guided, guidance 1: the same song */
    assert_true(hiss_stream_set_label(s, 0, 1));
    double nats = 0;
    for (int t = 0; t < N; t += 30)
        assert_true(hiss_stream_generate(s, pieces + t, 30, &nats));
    assert_memory_equal(pieces, alone[0], N);
    assert_true(nats > 0 && hiss_stream_position(s) == N);
    hiss_stream_close(s);
    for (int i = 0; i < 3; i++)
        free(alone[i]);
    free(together);
    hiss_model_close(m);
}

/* Hearing a prompt in chunks leaves what singing it sample by sample leaves. */
static void test_prompt(void **unused)
{
    static const char *const models[] = {"unet-selective", "plain-selective", "mixed-tiers",
                                         "up-shift-2"};
    for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
        struct hiss_model *m = open_model(models[k], 2);
        struct hiss_sampling plain = {.seed = 5, .temperature = 0, .top_p = 1, .guidance = 1};
        struct hiss_stream *a = open_stream(m, 1, 0, false), *b = open_stream(m, 1, 0, false);
        static uint8_t sung[3000], after_a[40], after_b[40];
        assert_true(hiss_stream_generate(a, sung, 3000, NULL));
        assert_true(hiss_stream_prompt(b, sung, 1));
        assert_true(hiss_stream_prompt(b, sung + 1, 2999));
        assert_int_equal(hiss_stream_position(b), 3000);
        assert_true(hiss_stream_set_sampling(a, &plain) && hiss_stream_set_sampling(b, &plain));
        assert_true(hiss_stream_generate(a, after_a, 40, NULL));
        assert_true(hiss_stream_generate(b, after_b, 40, NULL));
        assert_memory_equal(after_a, after_b, 40);
        hiss_stream_close(a);
        hiss_stream_close(b);
        hiss_model_close(m);
    }
}

static void test_copy_save_load_restart(void **unused)
{
    struct hiss_model *m = open_model("labels-unet", 1), *other = open_model("unet-selective", 1);
    struct hiss_stream *a = open_stream(m, 2, 0, true), *b = open_stream(m, 2, 0, true);
    struct hiss_stream *alien = open_stream(other, 2, 0, true);
    uint8_t head[2 * N], tail_a[2 * N], tail_b[2 * N];
    assert_true(hiss_stream_set_label(a, 0, 2));
    assert_true(hiss_stream_generate(a, head, N, NULL));
    size_t size = hiss_stream_state_size(a);
    unsigned char *saved = malloc(size);
    assert_true(hiss_stream_save(a, saved));
    assert_true(hiss_stream_copy(b, a));
    assert_true(hiss_stream_generate(a, tail_a, N, NULL));
    assert_true(hiss_stream_generate(b, tail_b, N, NULL));
    assert_memory_equal(tail_a, tail_b, sizeof tail_a);
    assert_true(hiss_stream_load(b, saved, size));
    assert_int_equal(hiss_stream_position(b), N);
    assert_true(hiss_stream_generate(b, tail_b, N, NULL));
    assert_memory_equal(tail_a, tail_b, sizeof tail_a);

    assert_false(hiss_stream_load(b, saved, size - 1));
    assert_false(hiss_stream_load(alien, saved, size));
    assert_false(hiss_stream_copy(alien, a));
    for (size_t i = 0; i < 160; i++) { /* no damage to the head crashes */
        saved[i] ^= 0xff;
        hiss_stream_load(b, saved, size);
        assert_true(hiss_stream_generate(b, tail_b, 2, NULL));
        saved[i] ^= 0xff;
    }

    hiss_stream_restart(a); /* a new clip, with new noise */
    assert_int_equal(hiss_stream_position(a), 0);
    assert_true(hiss_stream_generate(a, tail_a, N, NULL));
    assert_memory_not_equal(tail_a, head, sizeof head);
    free(saved);
    hiss_stream_close(a);
    hiss_stream_close(b);
    hiss_stream_close(alien);
    hiss_model_close(m);
    hiss_model_close(other);
}

/* A mix of two states is the one or the other at its ends, something else between them, and of
   equal states that state. */
static void test_mix(void **unused)
{
    struct hiss_model *m = open_model("labels-unet", 1);
    struct hiss_stream *s = open_stream(m, 1, 0, false);
    size_t size = hiss_stream_state_size(s);
    unsigned char *a = malloc(size), *b = malloc(size), *mix = malloc(size);
    static uint8_t codes[N];
    assert_true(hiss_stream_generate(s, codes, 33, NULL) && hiss_stream_save(s, a));
    assert_true(hiss_stream_generate(s, codes, 50, NULL) && hiss_stream_save(s, b));
    assert_true(hiss_stream_load_mix(s, a, b, size, 0) && hiss_stream_save(s, mix));
    assert_memory_equal(mix, a, size);
    assert_true(hiss_stream_load_mix(s, a, b, size, 1) && hiss_stream_save(s, mix));
    assert_memory_equal(mix, b, size);
    assert_true(hiss_stream_load_mix(s, b, b, size, 0.25f) && hiss_stream_save(s, mix));
    assert_memory_equal(mix, b, size);
    assert_true(hiss_stream_load_mix(s, a, b, size, 0.75f) && hiss_stream_save(s, mix));
    assert_int_equal(hiss_stream_position(s), 83);
    assert_memory_not_equal(mix, b, size);
    assert_true(hiss_stream_load_mix(s, a, b, size, 0.25f));
    assert_int_equal(hiss_stream_position(s), 33);
    assert_true(hiss_stream_generate(s, codes, N, NULL));
    assert_false(hiss_stream_load_mix(s, a, b, size, 1.5f));
    assert_false(hiss_stream_load_mix(s, a, b, size - 1, 0.5f));
    free(a);
    free(b);
    free(mix);
    hiss_stream_close(s);
    hiss_model_close(m);
}

static void test_what_is_refused(void **unused)
{
    struct hiss_model *m = open_model("labels-unet", 1);
    struct hiss_stream *s = open_stream(m, 1, 0, false);
    struct hiss_sampling good = {.seed = 1, .temperature = 1, .top_p = 1, .guidance = 1}, bad;
    assert_int_equal(hiss_model_find_label(m, "two"), 2);
    assert_int_equal(hiss_model_find_label(m, "eleven"), -1);
    assert_non_null(strstr(hiss_error(), "three"));
    assert_false(hiss_stream_set_label(s, 0, 3));
    assert_false(hiss_stream_set_label(s, 1, 0));
    bad = good, bad.guidance = 2; /* not opened guided */
    assert_false(hiss_stream_set_sampling(s, &bad));
    bad = good, bad.temperature = -1;
    assert_false(hiss_stream_set_sampling(s, &bad));
    bad = good, bad.top_p = 0;
    assert_false(hiss_stream_set_sampling(s, &bad));
    assert_null(hiss_stream_open(m, 0, 0, false));
    assert_null(hiss_model_open("/nowhere/model.safetensors", "auto", 1));
    assert_non_null(strstr(hiss_error(), "/nowhere"));
    assert_null(hiss_model_open(fixtures, "abacus", 1));
    hiss_stream_close(s);
    hiss_model_close(m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_threads_pieces),   cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_copy_save_load_restart), cmocka_unit_test(test_mix),
        cmocka_unit_test(test_what_is_refused),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURES\n", argv[0]);
        return 2;
    }
    fixtures = argv[1];
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
