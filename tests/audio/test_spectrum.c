#include "audio/spectrum.h"

#include "base/random.h"
#include "tests/audio/fixture.h"

#include <math.h>
#include <stdlib.h>

enum { RATE = 8000, N = 512, BINS = N / 2 + 1, BANDS = 40 };

static int loudest(const float *power, int n)
{
    int at = 0;
    for (int i = 1; i < n; i++)
        if (power[i] > power[at])
            at = i;
    return at;
}

/* A sine in the middle of a bin: its power, a sixth of the amplitude beside it, nothing further. */
static void test_tone(void **state)
{
    float x[2 * N], power[BINS];
    fill_tone(x, 2 * N, RATE, 100 * RATE / (double)N, 0.5);
    struct spectrum *s = spectrum_open(N);
    assert_non_null(s);
    assert_int_equal(spectrum_n_bins(s), BINS);
    spectrum_power(s, power, x, 2 * N, 77);
    assert_int_equal(loudest(power, BINS), 100);
    assert_float_equal(power[100], 0.25, 1e-5);
    assert_float_equal(power[99], 0.25 / 4, 1e-5);
    assert_float_equal(power[101], 0.25 / 4, 1e-5);
    for (int k = 0; k < BINS; k++)
        if (k < 98 || k > 102)
            assert_true(power_db(power[k], -200) < -110);
    spectrum_close(s);
}

/* Parseval: the power of all bins is the windowed frame's energy. */
static void test_noise(void **state)
{
    float x[N], power[BINS];
    double energy = 0, sum = 0;
    for (uint32_t i = 0; i < N; i++) {
        x[i] = 2 * random_uniform(random_word(5, i, 0, RANDOM_SAMPLE, 0)) - 1;
        double windowed = (0.5 - 0.5 * cos(2 * 3.14159265358979 * i / N)) * (double)x[i];
        energy += windowed * windowed;
    }
    struct spectrum *s = spectrum_open(N);
    spectrum_power(s, power, x, N, 0);
    for (int k = 0; k < BINS; k++)
        sum += (double)power[k] * (k == 0 || k == N / 2 ? 1 : 2);
    assert_float_equal(sum * N / 16, energy, 1e-4 * energy);
    spectrum_close(s);
}

/* Outside the sound is silence, on either side. */
static void test_edges(void **state)
{
    float x[N], padded[3 * N] = {0}, power[BINS], expected[BINS];
    fill_tone(x, N, RATE, 1000, 0.3);
    for (int i = 0; i < N; i++)
        padded[N + i] = x[i];
    struct spectrum *s = spectrum_open(N);
    for (int at = -N; at <= N; at += 100) {
        spectrum_power(s, power, x, N, at);
        spectrum_power(s, expected, padded, 3 * N, N + at);
        assert_memory_equal(power, expected, sizeof(power));
    }
    spectrum_power(s, power, x, N, 5 * N);
    for (int k = 0; k < BINS; k++)
        assert_float_equal(power_db(power[k], -90), -90, 0);
    spectrum_close(s);
}

static void test_frame_length(void **state)
{
    assert_int_equal(spectrum_frame(0.032, 16000), 512);
    assert_int_equal(spectrum_frame(0.032, 44100), 1024);
    assert_int_equal(spectrum_frame(0.032, 10), 2);
    assert_int_equal(spectrum_frame(1e9, 48000), 1 << 20);
}

/* A tone in the middle of a band is heard in that band, whole. */
static void test_mel(void **state)
{
    float x[N], power[BINS], bands[BANDS];
    assert_float_equal(mel_of_hz(1000), 999.99, 0.01); /* the scale's anchor: 1000 Hz, 1000 mel */
    assert_float_equal(hz_of_mel(mel_of_hz(440)), 440, 1e-9);
    struct spectrum *s = spectrum_open(N);
    struct mel *m = mel_open(BANDS, N, RATE);
    assert_non_null(m);
    for (int b = 10; b < BANDS; b++) {
        double hz = hz_of_mel(mel_of_hz(RATE / 2) * (b + 1) / (BANDS + 1));
        fill_tone(x, N, RATE, hz, 0.5);
        spectrum_power(s, power, x, N, 0);
        mel_power(m, bands, power);
        assert_int_equal(loudest(bands, BANDS), b);
    }
    mel_close(m);
    spectrum_close(s);
}

/* Between the outer middles the triangles add up to 1: no power is lost or counted twice. */
static void test_mel_partition(void **state)
{
    float power[BINS], bands[BANDS];
    struct mel *m = mel_open(BANDS, N, RATE);
    double low = hz_of_mel(mel_of_hz(RATE / 2) / (BANDS + 1)),
           high = hz_of_mel(mel_of_hz(RATE / 2) * BANDS / (BANDS + 1));
    int n_checked = 0;
    for (int k = 20; k < BINS; k++) { /* below, bands are narrower than bins */
        double hz = (double)k * RATE / N, sum = 0;
        for (int i = 0; i < BINS; i++)
            power[i] = i == k;
        mel_power(m, bands, power);
        for (int b = 0; b < BANDS; b++)
            sum += (double)bands[b];
        if (hz >= low && hz <= high) {
            assert_float_equal(sum, 1, 1e-5);
            n_checked++;
        }
    }
    assert_true(n_checked > 200);
    mel_close(m);
    /* More bands than bins: each still hears something. */
    m = mel_open(200, 64, RATE);
    float many[200], flat[33];
    for (int k = 0; k < 33; k++)
        flat[k] = 1;
    mel_power(m, many, flat);
    for (int b = 0; b < 200; b++)
        assert_true(many[b] > 0);
    mel_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tone),  cmocka_unit_test(test_noise),
        cmocka_unit_test(test_edges), cmocka_unit_test(test_frame_length),
        cmocka_unit_test(test_mel),   cmocka_unit_test(test_mel_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
