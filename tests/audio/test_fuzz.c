/* Files with random bytes changed, cut or doubled: read or refused, never a crash or a hang.
   HISS_FUZZ_ROUNDS makes it longer. */
#include "tests/audio/fixture.h"

#include "audio/dataset.h"
#include "audio/reader.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_MAX_BYTES = 1 << 16, SEEDS = 7 };

static const struct {
    const char *name;
    int format, channels;
} seeds[SEEDS] = {
    {"s.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1},
    {"f.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 2},
    {"x.wav", SF_FORMAT_WAVEX | SF_FORMAT_PCM_24, 3},
    {"a.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 1},
    {"u.au", SF_FORMAT_AU | SF_FORMAT_ULAW, 1},
    {"l.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 1},
    {"o.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 1},
};

static uint32_t draw(uint64_t round, uint32_t word, uint32_t below)
{
    return random_word(99, round, 0, RANDOM_DATA_ORDER, word) % below;
}

/* Headers get most of the harm. */
static size_t harm(uint8_t *bytes, size_t size, uint64_t round)
{
    uint32_t n = 1 + draw(round, 0, 6);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t reach = draw(round, 8 * i + 1, 4) ? 64 : (uint32_t)size;
        size_t at = draw(round, 8 * i + 2, reach < size ? reach : (uint32_t)size);
        static const uint8_t favourites[] = {0, 1, 2, 0x7F, 0x80, 0xFF};
        uint32_t kind = draw(round, 8 * i + 3, 4);
        bytes[at] =
            kind < 2 ? (uint8_t)draw(round, 8 * i + 4, 256) : favourites[draw(round, 8 * i + 4, 6)];
        if (kind == 3 && size > 32)
            size -= draw(round, 8 * i + 5, (uint32_t)size / 2);
    }
    return size;
}

static void expect_survival(const char *path)
{
    struct sound s;
    if (!sound_load(&s, path, 8000, 100000)) {
        assert_error_has(":");
        return;
    }
    assert_in_range(s.n, 1, 100000);
    for (int64_t i = 0; i < s.n; i++)
        assert_true(isfinite(s.x[i]));
    sound_free(&s);
}

static void test_fuzz(void **state)
{
    static uint8_t originals[SEEDS][SIZE_MAX_BYTES], bytes[SIZE_MAX_BYTES];
    size_t sizes[SEEDS];
    float x[3000];
    const char *more = getenv("HISS_FUZZ_ROUNDS");
    uint64_t n_rounds = more ? strtoull(more, NULL, 10) : 1500;
    fill_tone(x, 3000, 8000, 220, 0.7);
    for (int k = 0; k < SEEDS; k++) {
        fixture_sound(seeds[k].name, seeds[k].format, 8000, seeds[k].channels, x, 1000);
        FILE *file = fopen(fixture_path(seeds[k].name), "rb");
        sizes[k] = fread(originals[k], 1, SIZE_MAX_BYTES, file);
        fclose(file);
    }
    for (uint64_t round = 0; round < n_rounds; round++) {
        int k = (int)(round % SEEDS);
        char name[64];
        memcpy(bytes, originals[k], sizes[k]);
        size_t size = harm(bytes, sizes[k], round);
        snprintf(name, sizeof name, "set/%d", (int)(round % 40));
        fixture_bytes(name, bytes, size);
        expect_survival(fixture_path(name));
    }
    struct dataset_options o; /* and as a data set: usable, or one line */
    dataset_options_init(&o);
    o.rate = 8000;
    struct dataset *d = dataset_open(fixture_path("set"), &o);
    if (!d)
        assert_error_has(":");
    dataset_close(d);
}

/* On hostile files libsndfile's Ogg reader forgets some memory; that is not ours to find. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libvorbis\nleak:libsndfile\nleak:libogg\n";
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuzz)};
    fixture_open();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    return failed;
}
