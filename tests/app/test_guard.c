/* The guard on made-up trajectories: what it notices, what it leaves alone, what it does. */
#include "app/guard.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

enum { RATE = 8000, BLOCK = 256 };

static const struct guard_limits limits = {.bits = 5, .flatness = 0.3, .level_db = -50};

enum sound { TONE, NOISE, STILL };

static float sample(enum sound sound, int64_t i)
{
    switch (sound) {
    case TONE:
        return 0.3f * (float)sin(0.2 * (double)i);
    case NOISE:
        return 0.3f * ((float)rand() / (float)RAND_MAX - 0.5f);
    case STILL:
        return 0.25f; /* loud, but nothing moves */
    }
    return 0;
}

/* Lets it hear so many seconds, at so many bits a sample. Seconds until it speaks, or -1. */
static double hears(struct guard *g, enum sound sound, double bits, double seconds,
                    enum guard_verdict *verdict)
{
    int64_t n = llround(seconds * RATE / BLOCK);
    for (int64_t k = 0; k < n; k++) {
        float x[BLOCK];
        for (int i = 0; i < BLOCK; i++)
            x[i] = sample(sound, k * BLOCK + i);
        *verdict = guard_hear(g, x, BLOCK, bits * log(2) * BLOCK);
        if (*verdict != GUARD_WELL)
            return (double)((k + 1) * BLOCK) / RATE;
    }
    return -1;
}

static void test_leaves_alone(void **state)
{
    enum guard_verdict v;
    struct guard *g = guard_open(&limits, RATE, false);
    assert_true(hears(g, TONE, 3, 20, &v) < 0);
    assert_true(hears(g, TONE, 7, 20, &v) < 0);    /* surprising, but no noise */
    assert_true(hears(g, NOISE, 4.9, 20, &v) < 0); /* noise as the data has it */
    for (int i = 0; i < 10; i++) {
        assert_true(hears(g, TONE, 3, 0.7, &v) < 0);
        assert_true(hears(g, NOISE, 7, 0.3, &v) < 0); /* a burst passes */
    }
    assert_true(hears(g, STILL, 0, 3, &v) < 0); /* a rest */
    assert_true(hears(g, TONE, 3, 5, &v) < 0);
    assert_int_equal(guard_count(g), 0);
    assert_true(guard_cooling(g) == 1);
    guard_close(g);
}

static void test_notices(void **state)
{
    enum guard_verdict v;
    struct guard *g = guard_open(&limits, RATE, false);
    assert_true(hears(g, TONE, 3, 5, &v) < 0);
    double after = hears(g, NOISE, 7, 5, &v);
    assert_true(after > 0.5 && after < 1.6);
    assert_int_equal(v, GUARD_NOISE);
    guard_forget(g);
    assert_true(hears(g, TONE, 3, 5, &v) < 0);
    after = hears(g, STILL, 0, 10, &v);
    assert_true(after > 4 && after < 5);
    assert_int_equal(v, GUARD_SILENCE);
    guard_close(g);
}

/* In clips silence follows a word; a new clip forgets the old one's noise. */
static void test_clips(void **state)
{
    enum guard_verdict v;
    struct guard *g = guard_open(&limits, RATE, true);
    assert_true(hears(g, STILL, 0, 60, &v) < 0);
    for (int clip = 0; clip < 10; clip++) {
        guard_forget(g);
        assert_true(hears(g, NOISE, 7, 0.6, &v) < 0);
    }
    assert_true(hears(g, NOISE, 7, 0.7, &v) > 0);
    guard_close(g);
}

static void test_answers(void **state)
{
    enum guard_verdict v;
    struct guard *g = guard_open(&limits, RATE, false);
    uint64_t seeds[GUARD_TRIES];
    double back = 0, cooling = 1;
    for (int i = 0; i < GUARD_TRIES; i++) {
        assert_true(hears(g, NOISE, 7, 5, &v) > 0);
        struct guard_answer a = guard_answer(g, v, 1234);
        assert_true(a.back_s > back && a.back_s <= GUARD_BACK_S);
        back = a.back_s;
        assert_true((double)guard_cooling(g) < cooling);
        cooling = (double)guard_cooling(g);
        seeds[i] = a.seed;
        for (int j = 0; j < i; j++)
            assert_true(seeds[j] != seeds[i]);
    }
    assert_int_equal(guard_count(g), GUARD_TRIES);
    assert_true(cooling >= 0.4);
    /* Now it lets be for a while, but stays cool, then tries as often again. */
    double after = hears(g, NOISE, 7, 60, &v);
    assert_true(after > 14.9 && after < 15.3);
    assert_true((double)guard_cooling(g) <= cooling);
    for (int i = 0; i < GUARD_TRIES; i++) {
        guard_answer(g, v, 1234);
        after = hears(g, NOISE, 7, 60, &v);
        assert_true(i == GUARD_TRIES - 1 ? after > 14.9 : after < 2);
    }
    guard_answer(g, v, 1234);
    /* Well for long: the next time is a first time, and the temperature is its own again. */
    assert_true(hears(g, TONE, 3, 300, &v) < 0);
    assert_true(guard_cooling(g) == 1);
    assert_true(hears(g, NOISE, 7, 5, &v) > 0);
    assert_true(guard_answer(g, v, 1234).back_s < back);
    guard_close(g);

    /* Trouble that comes back whenever the temperature does: cool for longer, not cooler, and it is
       never let be. */
    g = guard_open(&limits, RATE, false);
    double cool_s = 0;
    for (int i = 0; i < 6; i++) {
        assert_true(hears(g, NOISE, 7, 5, &v) < 2);
        guard_answer(g, v, 1);
        assert_true(fabs((double)guard_cooling(g) - 0.8) < 1e-6);
        double cool = 0;
        for (; guard_cooling(g) != 1; cool += 0.5)
            assert_true(hears(g, TONE, 3, 0.5, &v) < 0);
        assert_true(cool >= cool_s && cool < 90);
        assert_true(i == 0 ? cool < 11 : i > 3 || cool > 1.9 * cool_s);
        cool_s = cool;
    }
    guard_close(g);

    /* The noise of an answer is a function of the seed and its number. */
    g = guard_open(&limits, RATE, false);
    assert_true(hears(g, NOISE, 7, 5, &v) > 0);
    assert_true(guard_answer(g, v, 1234).seed == seeds[0]);
    guard_close(g);

    /* Cooler after silence would be stiller still. */
    g = guard_open(&limits, RATE, false);
    assert_true(hears(g, STILL, 0, 10, &v) > 0);
    assert_true(guard_answer(g, v, 1).back_s > 4);
    assert_true(guard_cooling(g) == 1);
    guard_close(g);
}

/* What train writes, generate reads. */
static void test_statistics(void **state)
{
    enum { N = 200 };
    struct guard_window w[N];
    for (int i = 0; i < N; i++) /* half of them pauses: flat, and no noise */
        w[i] = i % 2 ? (struct guard_window){2 + 2.0 * i / (N - 1), -20, 0.09}
                     : (struct guard_window){1, -90, 1};
    json_t *windows = guard_windows_json(w, N), *stats = json_object();
    json_object_set_new(stats, "windows", windows);
    char *text = json_dumps(stats, 0);
    struct guard_limits l = {0};
    assert_true(guard_limits_read(&l, text));
    assert_true(fabs(l.bits - 5) < 1e-9);          /* 4, and a quarter of the way to 8 */
    assert_true(fabs(l.flatness - 0.5477) < 1e-9); /* the fourth root of 0.09 */
    assert_true(fabs(l.level_db + 70) < 1e-9);     /* there are pauses */
    free(text);
    json_decref(stats);
    assert_false(guard_limits_read(&l, NULL));
    assert_false(guard_limits_read(&l, "{}"));
    assert_false(guard_limits_read(&l, "{\"windows\":{\"bits\":[1,2]}}"));
    assert_false(guard_limits_read(&l, "{\"windows\":{\"bits\":[1,2,3,4,5,6,\"7\"],"
                                       "\"level_db\":[1,2,3,4,5,6,7],"
                                       "\"flatness\":[1,2,3,4,5,6,7]}}"));
    assert_null(guard_windows_json(w, 0));
}

static void test_window(void **state)
{
    static float x[4096];
    for (int i = 0; i < 4096; i++)
        x[i] = sample(NOISE, i);
    struct guard_window w = guard_window_measure(x, 4096, 4096 * log(2) * 6);
    assert_true(fabs(w.bits - 6) < 1e-9 && w.flatness > 0.8 && w.level_db > -30);
    for (int i = 0; i < 4096; i++)
        x[i] = sample(STILL, i);
    assert_true(guard_window_measure(x, 4096, 0).level_db < -100);
    for (int rate = 1000; rate <= 192000; rate *= 2) {
        assert_int_equal(guard_hop(rate) % 256, 0);
        assert_true(guard_hop(rate) >= 256);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_alone), cmocka_unit_test(test_notices),
        cmocka_unit_test(test_clips),        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_statistics),   cmocka_unit_test(test_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
