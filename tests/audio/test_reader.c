/* Every format and width, odd rates, many channels, and files that are not what they say. */
#include "tests/audio/fixture.h"

#include "audio/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int setup(void **state)
{
    fixture_open();
    return 0;
}

static int teardown(void **state)
{
    fixture_close();
    return 0;
}

static double largest_difference(const float *a, const float *b, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) { /* gcc 12 for aarch64 breaks down on a loop of fmax here */
        double difference = fabs((double)a[i] - (double)b[i]);
        largest = difference > largest ? difference : largest;
    }
    return largest;
}

static void test_formats(void **state)
{
    static const struct {
        const char *name;
        int format;
        double close;
        bool same_length;
    } cases[] = {
        {"u8.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 2.0 / 128, true},
        {"16.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 2.0 / 32768, true},
        {"24.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 1e-6, true},
        {"32.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_32, 1e-7, true},
        {"f.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 0, true},
        {"d.wav", SF_FORMAT_WAV | SF_FORMAT_DOUBLE, 0, true},
        {"ulaw.wav", SF_FORMAT_WAV | SF_FORMAT_ULAW, 0.02, true},
        {"alaw.wav", SF_FORMAT_WAV | SF_FORMAT_ALAW, 0.02, true},
        {"x.wav", SF_FORMAT_WAVEX | SF_FORMAT_PCM_24, 1e-6, true},
        {"s8.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_S8, 2.0 / 128, true},
        {"16.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 2.0 / 32768, true},
        {"d.au", SF_FORMAT_AU | SF_FORMAT_DOUBLE, 0, true},
        {"24.w64", SF_FORMAT_W64 | SF_FORMAT_PCM_24, 1e-6, true},
        {"24.rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_24, 1e-6, true},
        {"8.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_S8, 2.0 / 128, true},
        {"16.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 2.0 / 32768, true},
        {"24.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 1e-6, true},
        {"v.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0.1, true},
        {"o.opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, 2, true},
        {"m.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 2, false},
    };
    enum { N = 24000 };
    float *x = malloc(sizeof *x * N);
    fill_tone(x, N, 48000, 440, 0.7);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SF_INFO info = {.format = cases[i].format, .channels = 1, .samplerate = 48000};
        struct sound s;
        if (!sf_format_check(&info))
            continue;
        fixture_sound(cases[i].name, cases[i].format, 48000, 1, x, N);
        if (!sound_load(&s, fixture_path(cases[i].name), 0, 0))
            fail_msg("%s", error_text());
        assert_int_equal(s.rate, 48000);
        assert_int_equal(s.info.channels, 1);
        assert_true(s.info.format[0] != 0);
        assert_string_equal(s.trouble, "");
        if (cases[i].same_length)
            assert_int_equal(s.n, N);
        assert_in_range(s.n, N, N + 5000);
        double energy = 0; /* codecs may shift the phase, but it is the same sound */
        for (int64_t t = 0; t < s.n; t++)
            energy += (double)s.x[t] * (double)s.x[t] / N;
        assert_true(fabs(energy - 0.245) < 0.01);
        if (largest_difference(s.x, x, N) > cases[i].close)
            fail_msg("%s is off by %g", cases[i].name, largest_difference(s.x, x, N));
        sound_free(&s);
    }
    free(x);
}

static void test_channels_are_averaged(void **state)
{
    static const int channels[] = {2, 6, 255, 1024};
    for (int k = 0; k < 4; k++) {
        int c = channels[k];
        float *x = malloc(sizeof *x * (size_t)(300 * c));
        struct sound s;
        for (int i = 0; i < 300 * c; i++)
            x[i] = (float)(i % c + i / c % 2) / (float)(2 * c);
        fixture_sound("many.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, c, x, 300);
        assert_true(sound_load(&s, fixture_path("many.wav"), 0, 0));
        assert_int_equal(s.n, 300);
        assert_int_equal(s.info.channels, c);
        for (int i = 0; i < 300; i++) {
            double mean = ((c - 1) / 2.0 + i % 2) / (2 * c);
            assert_true(fabs((double)s.x[i] - mean) < 1e-6);
        }
        sound_free(&s);
        free(x);
    }
}

static void test_rates(void **state)
{
    static const int rates[] = {100,   4000,  7999,  11025,  16000,
                                22050, 44100, 48000, 192000, 1000000};
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        int rate = rates[k];
        int64_t n = rate / 2 + 2007, wanted = (int64_t)round((double)n * 8000 / rate);
        struct sound s;
        double hz = rate > 2000 ? 440 : 10, error = 0;
        fixture_tone("rate.wav", rate, n, hz);
        if (!sound_load(&s, fixture_path("rate.wav"), 8000, 0))
            fail_msg("%d Hz: %s", rate, error_text());
        assert_in_range(s.n, wanted - 1, wanted + 1);
        assert_int_equal(s.info.rate, rate);
        for (int64_t i = s.n / 4; i < 3 * s.n / 4; i++) /* the ends ring */
            error = fmax(error, fabs((double)s.x[i] - 0.5 * sin(2 * M_PI * hz * (double)i / 8000)));
        if (error > 2e-3)
            fail_msg("%d Hz to 8000 Hz is off by %g", rate, error);
        sound_free(&s);
    }
}

static void test_rates_beyond_reason(void **state)
{
    struct sound s;
    float x[10] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
    fixture_sound("1hz.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 1, x, 10);
    assert_false(sound_load(&s, fixture_path("1hz.wav"), 8000, 0));
    assert_error_has("1hz.wav: its rate of 1 Hz is too far below 8000 Hz");
    assert_true(sound_load(&s, fixture_path("1hz.wav"), 0, 0));
    sound_free(&s);
    fixture_sound("fast.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 2147483647, 1, x, 10);
    assert_false(sound_load(&s, fixture_path("fast.wav"), 8000, 0));
    assert_error_has("fast.wav");
}

static void test_blocks_do_not_matter(void **state)
{
    fixture_tone("blocks.wav", 44100, 30000, 300);
    struct sound s;
    float *x = malloc(sizeof *x * 20000);
    assert_true(sound_load(&s, fixture_path("blocks.wav"), 16000, 0));
    struct reader *r = reader_open(fixture_path("blocks.wav"), 16000);
    assert_non_null(r);
    assert_int_equal(reader_rate(r), 16000);
    int64_t n = 0, got, sizes[] = {1, 7, 1000, 63};
    for (int i = 0; (got = reader_read(r, x + n, sizes[i % 4])) > 0; i++)
        n += got;
    assert_int_equal(n, s.n);
    assert_memory_equal(x, s.x, sizeof *x * (size_t)n);
    reader_close(r);
    sound_free(&s);
    assert_true(sound_load(&s, fixture_path("blocks.wav"), 16000, 5000));
    assert_int_equal(s.n, 5000);
    assert_true(s.cut);
    assert_memory_equal(x, s.x, sizeof *x * 5000);
    sound_free(&s);
    assert_true(sound_load(&s, fixture_path("blocks.wav"), 0, 30000));
    assert_false(s.cut);
    sound_free(&s);
    free(x);
}

static void test_no_numbers(void **state)
{
    float x[8] = {0.5f, NAN, INFINITY, -INFINITY, 0.25f, -NAN, 3e38f, 0};
    struct sound s;
    fixture_sound("nan.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 2, x, 4);
    assert_true(sound_load(&s, fixture_path("nan.wav"), 0, 0));
    assert_int_equal(s.n, 4);
    assert_int_equal(s.n_bad, 4);
    assert_true(s.x[0] == 0.25f && s.x[1] == 0 && s.x[2] == 0.125f);
    sound_free(&s);
    for (int i = 0; i < 8; i++)
        x[i] = i % 2 ? 3e38f : -3e38f;
    fixture_sound("huge.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, x, 8);
    assert_true(sound_load(&s, fixture_path("huge.wav"), 16000, 0));
    for (int64_t i = 0; i < s.n; i++)
        assert_true(isfinite(s.x[i]));
    sound_free(&s);
}

static void put_u32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

/* A header of 44 bytes by hand, so that it can lie. */
static size_t make_wav(uint8_t *out, int channels, int rate, uint32_t claimed, size_t n_bytes)
{
    memcpy(out, "RIFF    WAVEfmt ", 16);
    put_u32(out + 4, claimed + 36);
    put_u32(out + 16, 16);
    put_u32(out + 20, 1 | (uint32_t)channels << 16);
    put_u32(out + 24, (uint32_t)rate);
    put_u32(out + 28, (uint32_t)(rate * channels * 2));
    put_u32(out + 32, ((uint32_t)channels * 2 & 0xFFFF) | 16u << 16);
    memcpy(out + 36, "data", 4);
    put_u32(out + 40, claimed);
    for (size_t i = 0; i < n_bytes; i++)
        out[44 + i] = (uint8_t)(i * 37);
    return 44 + n_bytes;
}

static void test_lying_headers(void **state)
{
    static uint8_t bytes[1 << 18];
    struct sound s;
    fixture_bytes("lies.wav", bytes, make_wav(bytes, 1, 8000, 80000, 16000));
    assert_true(sound_load(&s, fixture_path("lies.wav"), 0, 0));
    assert_int_equal(s.n, 8000);
    assert_non_null(strstr(s.trouble, "stops after 1.000 s of the 5.000 s"));
    sound_free(&s);
    /* A stream cannot know its length and says so. */
    fixture_bytes("stream.wav", bytes, make_wav(bytes, 1, 8000, 0xFFFFFFFF, 16000));
    assert_true(sound_load(&s, fixture_path("stream.wav"), 0, 0));
    assert_int_equal(s.n, 8000);
    assert_string_equal(s.trouble, "");
    sound_free(&s);
    fixture_bytes("none.wav", bytes, make_wav(bytes, 1, 8000, 80000, 0));
    assert_false(sound_load(&s, fixture_path("none.wav"), 0, 0));
    assert_error_has("none.wav");
    fixture_bytes("crowd.wav", bytes, make_wav(bytes, 65535, 8000, 131070, 131070));
    if (sound_load(&s, fixture_path("crowd.wav"), 0, 0))
        sound_free(&s);
    else
        assert_error_has("crowd.wav");
    for (size_t n = 0; n < 60; n++) { /* cut anywhere */
        make_wav(bytes, 2, 8000, 400, 400);
        fixture_bytes("cut.wav", bytes, n);
        if (sound_load(&s, fixture_path("cut.wav"), 0, 0))
            sound_free(&s);
        else
            assert_error_has("cut.wav");
    }
}

static void test_truncated(void **state)
{
    static const char *const names[] = {"t.flac", "t.ogg", "t.aiff"};
    static const int formats[] = {SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                                  SF_FORMAT_OGG | SF_FORMAT_VORBIS,
                                  SF_FORMAT_AIFF | SF_FORMAT_PCM_16};
    static uint8_t bytes[1 << 18];
    static float x[40000];
    for (int i = 0; i < 40000; i++) /* noise: a tone would fit in one page of Ogg */
        x[i] = (float)(i * 2654435761u % 65536) / 65536 - 0.5f;
    for (int k = 0; k < 3; k++) {
        struct sound s;
        fixture_sound(names[k], formats[k], 8000, 1, x, 40000);
        FILE *file = fopen(fixture_path(names[k]), "rb");
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        fixture_bytes(names[k], bytes, size / 2);
        if (!sound_load(&s, fixture_path(names[k]), 0, 0))
            fail_msg("%s", error_text());
        assert_in_range(s.n, 1000, 39000);
        /* FLAC and AIFF headers tell the length; half an Ogg is an Ogg. */
        if (k != 1 && !strstr(s.trouble, "stops after"))
            fail_msg("%s: trouble is \"%s\"", names[k], s.trouble);
        sound_free(&s);
    }
}

static void test_not_sound(void **state)
{
    struct sound s;
    fixture_text("words.wav", "This is text, whatever its name says.\n");
    assert_false(sound_load(&s, fixture_path("words.wav"), 0, 0));
    assert_error_has("words.wav: not a sound file");
    fixture_text("empty.wav", "");
    assert_false(sound_load(&s, fixture_path("empty.wav"), 0, 0));
    assert_error_has("the file is empty");
    fixture_folder("folder.wav");
    assert_false(sound_load(&s, fixture_path("folder.wav"), 0, 0));
    assert_error_has("is a folder");
    assert_int_equal(mkfifo(fixture_path("pipe.wav"), 0600), 0);
    assert_false(sound_load(&s, fixture_path("pipe.wav"), 0, 0));
    assert_error_has("not a regular file");
    assert_false(sound_load(&s, "/dev/zero", 0, 0));
    assert_error_has("not a regular file");
    fixture_link("gone.wav", "nowhere");
    assert_false(sound_load(&s, fixture_path("gone.wav"), 0, 0));
    assert_error_has("No such file");
    fixture_link("self.wav", "self.wav");
    assert_false(sound_load(&s, fixture_path("self.wav"), 0, 0));
    assert_error_has("self.wav");
}

static void test_odd_names(void **state)
{
    static const char *const names[] = {"two\nlines.wav", "-rf.wav", "caf\xc3\xa9 \xe2\x99\xab.wav",
                                        "%s%n.wav", "\xff\xfe.wav"};
    for (int i = 0; i < 5; i++) {
        struct sound s;
        fixture_tone(names[i], 8000, 100, 440);
        assert_true(sound_load(&s, fixture_path(names[i]), 0, 0));
        assert_int_equal(s.n, 100);
        sound_free(&s);
        fixture_text(names[i], "text");
        assert_false(sound_load(&s, fixture_path(names[i]), 0, 0));
        assert_error_has("not a sound file");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_channels_are_averaged),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_rates_beyond_reason),
        cmocka_unit_test(test_blocks_do_not_matter),
        cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_lying_headers),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_not_sound),
        cmocka_unit_test(test_odd_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
