#include "audio/frechet.h"
#include "audio/loudness.h"
#include "audio/profile.h"

#include "base/random.h"
#include "tests/audio/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 16000, N = 2 * RATE };

static float noise_at(uint64_t seed, int64_t i)
{
    return 2 * random_uniform(random_word(seed, (uint64_t)i, 0, RANDOM_SAMPLE, 0)) - 1;
}

static float *tone(double hz, double level, int64_t n, int rate)
{
    float *x = malloc((size_t)n * sizeof(*x));
    assert_non_null(x);
    fill_tone(x, n, rate, hz, level);
    return x;
}

/* BS.1770-4: a full-scale sine of 997 Hz in one channel reads -3.01 LUFS, at any rate. */
static void test_loudness_of_a_sine(void **state)
{
    const int rates[] = {8000, 16000, 44100, 48000, 96000};
    for (int i = 0; i < 5; i++) {
        int64_t n = 4 * rates[i];
        float *x = tone(997, 1, n, rates[i]);
        assert_float_equal(loudness_lufs(x, n, rates[i]), -3.01, rates[i] < 44100 ? 0.1 : 0.02);
        free(x);
    }
    float *x = tone(997, 0.1, N, RATE);
    assert_float_equal(loudness_lufs(x, N, RATE), -23.01, 0.1);
    assert_float_equal(loudness_lufs(x, RATE / 5, RATE), -23.01, 0.1); /* shorter than a block */
    assert_true(isfinite(loudness_lufs(x, 3, RATE)));
    assert_true(isnan(loudness_lufs(x, N, 4000)));
    memset(x, 0, N * sizeof(*x));
    assert_true(isinf(loudness_lufs(x, N, RATE)));
    free(x);
    x = tone(30, 0.5, N, RATE); /* the ear's deafness to the lowest */
    assert_true(loudness_lufs(x, N, RATE) < -3.01 - 6 - 4);
    free(x);
}

/* What lies 10 LU and more below counts as much as silence: not at all (EBU Tech 3341, case 3). */
static void test_loudness_gate(void **state)
{
    int rate = 8000;
    int64_t soft = 10 * rate, loud = 60 * rate, n = 2 * soft + loud;
    float *x = tone(1000, 1, n, rate);
    double whole = loudness_lufs(x, loud, rate);
    for (int64_t i = 0; i < n; i++)
        x[i] *= (float)pow(10, (i < soft || i >= soft + loud ? -36 : -23) / 20.0);
    assert_float_equal(loudness_lufs(x, n, rate), whole - 23, 0.1);
    free(x);
}

static void test_eigen(void **state)
{
    enum { SIZE = 9 };
    double a[SIZE * SIZE], kept[SIZE * SIZE], values[SIZE], v[SIZE * SIZE];
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j <= i; j++)
            a[i * SIZE + j] = a[j * SIZE + i] = (double)noise_at(3, i * SIZE + j);
    memcpy(kept, a, sizeof(a));
    symmetric_eigen(values, v, a, SIZE);
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            double back = 0, unit = 0;
            for (int k = 0; k < SIZE; k++) {
                back += v[i * SIZE + k] * values[k] * v[j * SIZE + k];
                unit += v[k * SIZE + i] * v[k * SIZE + j];
            }
            assert_float_equal(back, kept[i * SIZE + j], 1e-12);
            assert_float_equal(unit, i == j, 1e-12);
        }
}

/* Moments whose mean and covariance are exactly these: the corners +-1 under a linear map. */
static void moments_set(struct moments *m, const double mean[2], const double root[4])
{
    assert_true(moments_open(m, 2));
    for (int copy = 0; copy < 100; copy++)
        for (int corner = 0; corner < 4; corner++) {
            double s = corner & 1 ? 1 : -1, t = corner & 2 ? 1 : -1;
            moments_add(m, (float[]){(float)(mean[0] + root[0] * s + root[1] * t),
                                     (float)(mean[1] + root[2] * s + root[3] * t)});
        }
}

/* In closed form: |m|^2 + (s1 - s2)^2 in each direction where the covariances share their axes;
   and for two that do not, tr((AB)^1/2) of 2 x 2 matrices is sqrt(tr AB + 2 sqrt det AB). */
static void test_frechet(void **state)
{
    const double n_over = 400.0 / 399;
    struct moments a, b, c;
    moments_set(&a, (double[]){1, 2}, (double[]){1, 0, 0, 2});
    moments_set(&b, (double[]){4, 6}, (double[]){3, 0, 0, 1});
    double distance;
    assert_true(frechet_distance(&distance, &a, &b));
    assert_float_equal(distance, 25 + n_over * ((1 - 3) * (1 - 3) + (2 - 1) * (2 - 1)), 1e-5);
    assert_true(frechet_distance(&distance, &a, &a));
    assert_float_equal(distance, 0, 1e-9);

    moments_set(&c, (double[]){1, 2}, (double[]){2, 1, 0, 1}); /* covariance 5 1 1 1 */
    assert_float_equal(moments_mean(&c, 0), 1, 1e-9);
    assert_float_equal(moments_covariance(&c, 0, 0), 5 * n_over, 1e-9);
    assert_float_equal(moments_covariance(&c, 0, 1), 1 * n_over, 1e-9);
    double trace = 1 * 5 + 4 * 1, root = sqrt(trace + 2 * sqrt(4.0 * 4.0));
    assert_true(frechet_distance(&distance, &a, &c));
    assert_float_equal(distance, n_over * (1 + 4 + 5 + 1 - 2 * root), 1e-5);
    double back;
    assert_true(frechet_distance(&back, &c, &a));
    assert_float_equal(back, distance, 1e-9);

    moments_merge(&a, &c);
    assert_int_equal(a.n, 800);
    assert_float_equal(moments_covariance(&a, 0, 0), 3 * 800.0 / 799, 1e-9);
    moments_close(&a);
    moments_close(&b);
    moments_close(&c);
}

static void test_tone(void **state)
{
    struct profiler *p = profiler_open(RATE);
    struct profile profile;
    float *x = tone(2000, 0.5, N, RATE);
    memset(x + N / 2, 0, (size_t)(N / 2) * sizeof(*x)); /* half of it is silent */
    for (int i = 0; i < N / 100; i++)
        x[i] = i % 2 ? 1 : -1; /* and a hundredth clipped */
    assert_true(profile_make(&profile, p, x, N));
    assert_int_equal(profile.n, N);
    assert_float_equal(profile.silence, 0.5, 0.01);
    assert_float_equal(profile.clipping, 0.01, 1e-9);
    assert_int_equal(profile.n_windows, 8);
    assert_true(profile.windows[7].level_db < -100 && profile.windows[2].level_db > -10);
    profile_free(&profile);

    fill_tone(x, N, RATE, 2000, 0.5);
    assert_true(profile_make(&profile, p, x, N));
    assert_float_equal(profile.centroid, 2000, 5);
    assert_float_equal(profile.level_db, 20 * log10(0.5 / sqrt(2)), 0.01);
    assert_float_equal(profile.silence, 0, 0);
    assert_float_equal(profile.clipping, 0, 0);
    assert_true(profile.windows[0].flatness < 1e-4);
    int frame = profiler_frame(p, 1);
    assert_float_equal(profile.mean_db[1][2000 * frame / RATE], 20 * log10(0.5), 0.01);
    assert_float_equal(profile.mean_db[1][6000 * frame / RATE], PROFILE_FLOOR_DB, 0.01);
    profile_free(&profile);

    for (int64_t i = 0; i < N; i++) /* white noise: as much above as below */
        x[i] = 0.5f * noise_at(1, i);
    assert_true(profile_make(&profile, p, x, N));
    assert_float_equal(profile.centroid, RATE / 4, RATE / 100.0);
    assert_true(profile.windows[3].flatness > 0.7);
    profile_free(&profile);

    assert_true(profile_make(&profile, p, x, 1)); /* a single sample is a sound too */
    assert_int_equal(profile.n_windows, 1);
    assert_int_equal(profile.mel.n, 1);
    profile_free(&profile);
    profiler_close(p);
    free(x);
}

/* 0 for the same sound; growing with the noise that is added. */
static void test_distances(void **state)
{
    struct profiler *p = profiler_open(RATE);
    float *a = tone(440, 0.3, N, RATE), *b = malloc(N * sizeof(*b));
    struct profile of_a, of_b;
    double last = 0, last_pair = 0, last_convergence = 0;
    for (int64_t i = 0; i < N; i++)
        a[i] += 1e-2f * noise_at(1, i);
    assert_true(profile_make(&of_a, p, a, N));
    assert_float_equal(profile_spectra_distance(p, of_a.mean_db, of_a.mean_db), 0, 0);
    struct pair_distance same = profile_pair(p, a, a, N);
    assert_float_equal(same.convergence, 0, 0);
    assert_float_equal(same.log_db, 0, 0);
    for (int step = 1; step <= 4; step++) {
        double level = 1e-2 * pow(4, step);
        for (int64_t i = 0; i < N; i++)
            b[i] = a[i] + (float)level * noise_at(2, i);
        assert_true(profile_make(&of_b, p, b, N));
        double apart = profile_spectra_distance(p, of_a.mean_db, of_b.mean_db);
        struct pair_distance pair = profile_pair(p, a, b, N);
        assert_true(apart > last + 3 && pair.log_db > last_pair + 1);
        assert_true(pair.convergence > 2 * last_convergence);
        last = apart;
        last_pair = pair.log_db;
        last_convergence = pair.convergence;
        profile_free(&of_b);
    }
    for (int64_t i = 0; i < N; i++) /* half as loud: 6 dB in every bin above the floor */
        b[i] = a[i] / 2;
    struct pair_distance half = profile_pair(p, a, b, N);
    assert_float_equal(half.convergence, 0.5, 1e-4);
    assert_true(half.log_db > 5 && half.log_db < 6.03);
    profile_free(&of_a);
    profiler_close(p);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loudness_of_a_sine),
        cmocka_unit_test(test_loudness_gate),
        cmocka_unit_test(test_eigen),
        cmocka_unit_test(test_frechet),
        cmocka_unit_test(test_tone),
        cmocka_unit_test(test_distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
