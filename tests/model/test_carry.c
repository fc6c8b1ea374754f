/*
 * Training with carried states: windows heard one after the other cost what the whole costs, rows
 * begin anew on their own, a skipped step ends what was carried, and a resumed training has the
 * same bits.
 */
#include "base/error.h"
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
#include <unistd.h>

#include <cmocka.h>

enum { WINDOW = 96, WINDOWS = 3, WHOLE = WINDOW * WINDOWS, BATCH = 2 };

struct school {
    struct backend *be;
    struct net net;
    struct trainer trainer;
};

static void school_open(struct school *s, const struct kind *k, bool carry, int64_t clip,
                        int64_t slice, double lr)
{
    struct config config;
    struct train_settings settings = {.batch = BATCH,
                                      .micro_batch = slice ? 1 : BATCH,
                                      .clip = clip,
                                      .slice = slice,
                                      .carry = carry,
                                      .lr = lr,
                                      .min_lr = lr,
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .eps = 1e-8,
                                      .clip_norm = 1,
                                      .steps = 100,
                                      .ema = 0.9};
    kind_config(&config, k);
    *s = (struct school){.be = device_open(2)};
    assert_true(net_open(&s->net, &config, s->be));
    float *weights = calloc((size_t)s->net.plan.weights_size, sizeof *weights);
    plan_init_weights(&s->net.plan, weights, 3);
    net_set_weights(&s->net, weights);
    free(weights);
    if (!trainer_open(&s->trainer, &s->net, &settings))
        fail_msg("%s: %s", k->name, error_text());
}

static void school_close(struct school *s)
{
    trainer_close(&s->trainer);
    net_close(&s->net);
    backend_close(s->be);
}

/* Samples from `begin` on of a row's sequence, which never ends. */
static void codes_fill(uint8_t *codes, int row, int64_t begin, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        codes[t] =
            (uint8_t)(random_word(5, (uint64_t)(begin + t) / 7, (uint32_t)row, RANDOM_CROP, 0) +
                      (uint64_t)(begin + t) % 3);
}

/* Clips from begin[row] on are posted; nothing of what is given is looked at any more. */
static void post(struct school *s, const int64_t begin[BATCH], const uint8_t *goes_on)
{
    static uint8_t codes[BATCH * WHOLE], mask[BATCH * WHOLE];
    int32_t labels[BATCH] = {-1, -1};
    uint8_t on[BATCH] = {0};
    const int64_t clip = s->trainer.settings.clip;
    for (int b = 0; b < BATCH; b++)
        codes_fill(codes + b * clip, b, begin[b], clip);
    if (goes_on)
        memcpy(on, goes_on, sizeof on);
    memset(mask, 1, sizeof mask);
    trainer_post(&s->trainer, codes, mask, labels, goes_on ? on : NULL);
    memset(codes, 255, sizeof codes);
    memset(mask, 0, sizeof mask);
    memset(labels, 1, sizeof labels);
    memset(on, 0, sizeof on);
}

/* Nats of one step on clips from begin[row] on. */
static double step(struct school *s, const int64_t begin[BATCH], const uint8_t *goes_on)
{
    struct train_result r;
    post(s, begin, goes_on);
    trainer_begin(&s->trainer);
    assert_true(trainer_end(&s->trainer, &r));
    return r.nats;
}

static void check_near(const char *name, double a, double b)
{
    if (!(fabs(a - b) <= 2e-5 * fabs(b)))
        fail_msg("%s: %.9g nats, not %.9g", name, a, b);
}

/* With a learning rate of 0 the windows' losses add up to the long clip's. */
static void windows_of(const struct kind *k, int64_t slice, double whole)
{
    const uint8_t none[BATCH] = {0, 0}, both[BATCH] = {1, 1};
    struct school s;
    double sum = 0, anew = 0;
    school_open(&s, k, true, WINDOW, slice, 0);
    for (int64_t w = 0; w < WINDOWS; w++)
        sum += step(&s, (int64_t[]){w * WINDOW, w * WINDOW}, w ? both : none);
    for (int b = 0; b < BATCH; b++)
        assert_int_equal(s.trainer.windows[b], WINDOWS - 1);
    check_near(k->name, sum, whole);
    for (int64_t w = 0; w < WINDOWS; w++)
        anew += step(&s, (int64_t[]){w * WINDOW, w * WINDOW}, none);
    if (!(fabs(anew - whole) > 1e-4 * whole))
        fail_msg("%s: what was carried makes no difference", k->name);
    school_close(&s);
}

static void test_windows_cost_what_the_whole_costs(void **unused)
{
    for (int i = 0; i < n_kinds; i++) {
        struct school s;
        if (device_emulated() && i % 4 != 0)
            continue;
        school_open(&s, &kinds[i], false, WHOLE, 0, 0);
        double whole = step(&s, (int64_t[]){0, 0}, NULL);
        school_close(&s);
        windows_of(&kinds[i], 0, whole);
        windows_of(&kinds[i], 25, whole);
    }
}

/* Writes `value` where the last parameter begins; returns what was there. */
static float last_param(struct school *s, float value)
{
    float *at = s->net.weights + s->net.plan.params[s->net.plan.n_params - 1].offset, before;
    backend_download(s->be, &before, at, sizeof before);
    backend_upload(s->be, at, &value, sizeof value);
    return before;
}

/* Row 0 goes on where row 1 begins anew, and after a skipped step both do. */
static void test_rows_are_apart(void **unused)
{
    const uint8_t both[BATCH] = {1, 1}, one[BATCH] = {1, 0};
    struct school s, t;
    school_open(&s, &kinds[0], true, WINDOW, 0, 0);
    school_open(&t, &kinds[0], true, WINDOW, 0, 0);
    /* nothing was before the first step, whatever is said */
    check_near("first", step(&s, (int64_t[]){0, 0}, both), step(&t, (int64_t[]){0, 0}, NULL));
    double mixed = step(&s, (int64_t[]){WINDOW, 500}, one);
    double on = step(&t, (int64_t[]){WINDOW, WINDOW}, both);
    assert_int_equal(s.trainer.windows[0], 1);
    assert_int_equal(s.trainer.windows[1], 0);
    school_close(&t);
    school_open(&t, &kinds[0], true, WINDOW, 0, 0);
    step(&t, (int64_t[]){500, 0}, NULL);
    double on_1 = step(&t, (int64_t[]){600, WINDOW}, (uint8_t[]){0, 1});
    double anew_0 = step(&t, (int64_t[]){600, 500}, NULL); /* 600 anew + 500 anew */
    check_near("rows", mixed + on_1, on + anew_0);

    float kept = last_param(&s, NAN);
    step(&s, (int64_t[]){2 * WINDOW, 600}, both);
    last_param(&s, kept);
    double after = step(&s, (int64_t[]){3 * WINDOW, 700}, both);
    check_near("after a skipped step", after, step(&t, (int64_t[]){3 * WINDOW, 700}, NULL));
    assert_int_equal(s.trainer.windows[0], 0);
    school_close(&s);
    school_close(&t);
}

static void train_some(struct school *s, int64_t from, int64_t to)
{
    for (int64_t w = from; w < to; w++) {
        const uint8_t goes_on[BATCH] = {w % 4 != 0, w % 3 != 0};
        step(s, (int64_t[]){w * WINDOW, w * WINDOW}, goes_on);
    }
}

/* Whether a step's batch was posted while the one before was computed makes no difference to any
   bit: not after a step that turned out to be skipped either, nor to what is saved meanwhile. */
static void test_posted_ahead(void **unused)
{
    enum { STEPS = 7, SPOILT = 3 };
    const uint8_t both[BATCH] = {1, 1};
    struct school a, b;
    struct train_result r = {0};
    float kept_a = 0, kept_b = 0;
    school_open(&a, &kinds[0], true, WINDOW, 0, 1e-2);
    school_open(&b, &kinds[0], true, WINDOW, 0, 1e-2);
    post(&b, (int64_t[]){0, 0}, both);
    for (int64_t w = 0; w < STEPS; w++) {
        if (w == SPOILT) {
            kept_a = last_param(&a, NAN);
            kept_b = last_param(&b, NAN);
        }
        double nats = step(&a, (int64_t[]){w * WINDOW, w * WINDOW}, both);
        trainer_begin(&b.trainer);
        post(&b, (int64_t[]){(w + 1) * WINDOW, (w + 1) * WINDOW}, both);
        assert_true(trainer_end(&b.trainer, &r));
        if (w == SPOILT) {
            assert_true(r.skipped);
            last_param(&a, kept_a);
            last_param(&b, kept_b);
        } else {
            assert_true(r.nats == nats);
            assert_int_equal(r.n_targets, BATCH * WINDOW);
        }
        assert_memory_equal(a.trainer.windows, b.trainer.windows, BATCH * sizeof(int64_t));
        assert_memory_equal(a.trainer.last, b.trainer.last, BATCH);
    }
    assert_int_equal(b.trainer.windows[0], STEPS - SPOILT - 2);
    school_close(&a);
    school_close(&b);
}

/* Six steps, saved in the middle of what is carried, against twelve: weights and states. */
static void test_resumes_with_the_same_bits(void **unused)
{
    enum { HALF = 6, ALL = 12 };
    for (int i = 0; i < 3; i++) {
        struct school a, b;
        char path[] = "/tmp/hiss-carry-XXXXXX";
        int file = mkstemp(path);
        assert_true(file >= 0);
        close(file);
        school_open(&a, &kinds[i], true, WINDOW, 40, 1e-2);
        school_open(&b, &kinds[i], true, WINDOW, 40, 1e-2);
        train_some(&a, 0, HALF);
        if (!trainer_save(&a.trainer, path) || !trainer_load(&b.trainer, path))
            fail_msg("%s", error_text());
        assert_memory_equal(a.trainer.windows, b.trainer.windows, BATCH * sizeof(int64_t));
        train_some(&a, HALF, ALL);
        train_some(&b, HALF, ALL);
        size_t n = (size_t)a.net.plan.weights_size, m = BATCH * (size_t)a.net.plan.state_size;
        float *x = malloc((n + m) * sizeof *x), *y = malloc((n + m) * sizeof *y);
        net_get_weights(&a.net, x);
        net_get_weights(&b.net, y);
        backend_download(a.be, x + n, a.trainer.carried, m * sizeof *x);
        backend_download(b.be, y + n, b.trainer.carried, m * sizeof *y);
        assert_memory_equal(x, y, (n + m) * sizeof *x);
        school_close(&b);
        /* what a training without it left is not enough to go on with */
        school_open(&b, &kinds[i], true, WINDOW, 0, 1e-2);
        school_close(&a);
        school_open(&a, &kinds[i], false, WINDOW, 0, 1e-2);
        assert_true(trainer_save(&a.trainer, path));
        assert_false(trainer_load(&b.trainer, path));
        assert_non_null(strstr(error_text(), "carry.state"));
        free(x);
        free(y);
        unlink(path);
        school_close(&a);
        school_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows_cost_what_the_whole_costs),
        cmocka_unit_test(test_rows_are_apart),
        cmocka_unit_test(test_posted_ahead),
        cmocka_unit_test(test_resumes_with_the_same_bits),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
