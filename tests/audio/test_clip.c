/* Clips are functions of their index; epochs, crops, labels and augmentation are what they say. */
#include "tests/audio/fixture.h"

#include "audio/clip.h"
#include "audio/reader.h"
#include "audio/speed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_FILES = 30, CLIP = 1000 };

static int setup(void **state)
{
    static const char *const labels[] = {"a", "b", "c"};
    char name[64];
    fixture_open();
    for (int i = 0; i < N_FILES; i++) { /* from half a clip to many */
        snprintf(name, sizeof name, "d/train/%s/%02d.wav", labels[i % 3], i);
        fixture_tone(name, i % 4 ? 8000 : 11025, 500 + 150 * i, 100 + 31 * i);
    }
    fixture_tone("d/valid/a/v.wav", 8000, 1000, 200);
    return 0;
}

static int teardown(void **state)
{
    fixture_close();
    return 0;
}

static struct dataset_options small(void)
{
    struct dataset_options o;
    dataset_options_init(&o);
    o.rate = 8000;
    o.clip_samples = CLIP;
    o.labels = LABELS_FOLDERS;
    o.seed = 7;
    o.n_threads = 2;
    return o;
}

static struct dataset *open_data(const struct dataset_options *o)
{
    struct dataset *d = dataset_open(fixture_path("d"), o);
    if (!d)
        fail_msg("%s", error_text());
    return d;
}

struct clip {
    uint8_t codes[CLIP], mask[CLIP];
    int32_t label;
};

static void make(struct clip_maker *m, uint64_t index, struct clip *c)
{
    memset(c, 0xAA, sizeof *c);
    assert_true(clip_make(m, index, c->codes, c->mask, &c->label));
}

/* Every mode: memory, temporary file, one decoding thread or more, forwards and backwards. */
static void test_same_bytes(void **state)
{
    for (int k = 0; k < 12; k++) {
        enum { N = 50 };
        static struct clip first[N], other;
        struct dataset_options o = small();
        o.clip_mode = k & 1 ? CLIP_WHOLE : CLIP_CROP;
        o.normalize = k % 3 == 0 ? NORMALIZE_PEAK : k % 3 == 1 ? NORMALIZE_MINMAX : NORMALIZE_NONE;
        o.speed = k >= 6 ? 0.1f : 0;
        o.gain_db = k >= 6 ? 12 : 0;
        struct dataset *d = open_data(&o);
        struct clip_maker *m = clip_maker_open(d);
        assert_true(dataset_in_memory(d));
        for (int i = 0; i < N; i++)
            make(m, (uint64_t)i * 977, &first[i]);
        clip_maker_close(m);
        dataset_close(d);
        o.cache_bytes = k % 2 ? 0 : 40000; /* the file at once, or halfway */
        o.cache_folder = fixture_path("");
        o.n_threads = 1 + 2 * (k % 2);
        d = open_data(&o);
        m = clip_maker_open(d);
        assert_false(dataset_in_memory(d));
        for (int i = N - 1; i >= 0; i--) {
            make(m, (uint64_t)i * 977, &other);
            assert_memory_equal(&other, &first[i], sizeof other);
        }
        clip_maker_close(m);
        dataset_close(d);
    }
}

static void test_other_seed_other_clips(void **state)
{
    struct dataset_options o = small();
    struct dataset *d = open_data(&o);
    o.seed = 8;
    struct dataset *e = open_data(&o);
    int n_same = 0;
    for (uint64_t i = 0; i < 100; i++) {
        struct clip_draw a = clip_draw(d, i), b = clip_draw(e, i);
        n_same += a.item == b.item && a.from == b.from;
    }
    assert_in_range(n_same, 0, 10);
    dataset_close(d);
    dataset_close(e);
}

static void test_epochs(void **state)
{
    struct dataset_options o = small();
    o.clip_mode = CLIP_WHOLE;
    struct dataset *d = open_data(&o);
    int64_t order[40][N_FILES];
    int first_is[N_FILES] = {0};
    assert_int_equal(dataset_clips_per_epoch(d), N_FILES);
    for (uint64_t e = 0; e < 40; e++) {
        bool heard[N_FILES] = {false};
        for (uint64_t i = 0; i < N_FILES; i++) {
            order[e][i] = clip_draw(d, e * N_FILES + i).item;
            assert_in_range(order[e][i], 0, N_FILES - 1);
            assert_false(heard[order[e][i]]);
            heard[order[e][i]] = true;
        }
        first_is[order[e][0]]++;
        for (uint64_t f = 0; f < e; f++)
            assert_memory_not_equal(order[e], order[f], sizeof order[e]);
    }
    for (int i = 0; i < N_FILES; i++) /* 40 draws of 30: no favourite */
        assert_in_range(first_is[i], 0, 7);
    dataset_close(d);
}

static void test_whole_clips(void **state)
{
    struct dataset_options o = small();
    uint8_t codes[6000];
    struct clip c;
    o.clip_mode = CLIP_WHOLE;
    for (int pad = 0; pad < 2; pad++) {
        o.pad_loss = pad;
        struct dataset *d = open_data(&o);
        struct clip_maker *m = clip_maker_open(d);
        for (uint64_t i = 0; i < N_FILES; i++) {
            struct clip_draw draw = clip_draw(d, i);
            const struct dataset_file *f = dataset_item(d, SPLIT_TRAIN, draw.item);
            int64_t n = f->n_samples < CLIP ? f->n_samples : CLIP;
            make(m, i, &c);
            assert_true(dataset_item_codes(d, SPLIT_TRAIN, draw.item, 0, n, codes));
            assert_memory_equal(c.codes, codes, (size_t)n);
            for (int64_t t = 0; t < CLIP; t++) {
                assert_int_equal(c.mask[t], pad || t < n);
                assert_true(t < n || c.codes[t] == 128);
            }
            assert_int_equal(c.label, draw.no_label ? NO_LABEL : f->label);
        }
        clip_maker_close(m);
        dataset_close(d);
    }
}

static void test_crops(void **state)
{
    enum { N = 20000 };
    struct dataset_options o = small();
    struct dataset *d = open_data(&o);
    struct clip_maker *m = clip_maker_open(d);
    double total = (double)dataset_counts(d, SPLIT_TRAIN).n_samples;
    int64_t n_drawn[N_FILES] = {0};
    double where[N_FILES] = {0};
    uint8_t codes[CLIP];
    struct clip c;
    for (uint64_t i = 0; i < N; i++) {
        struct clip_draw draw = clip_draw(d, i);
        const struct dataset_file *f = dataset_item(d, SPLIT_TRAIN, draw.item);
        int64_t room = f->n_samples > CLIP ? f->n_samples - CLIP : 0;
        assert_in_range(draw.from, 0, room);
        n_drawn[draw.item]++;
        where[draw.item] += room ? (double)draw.from / (double)room : 0.5;
        if (i >= 200)
            continue;
        int64_t n = f->n_samples < CLIP ? f->n_samples : CLIP;
        make(m, i, &c);
        assert_true(dataset_item_codes(d, SPLIT_TRAIN, draw.item, draw.from, n, codes));
        assert_memory_equal(c.codes, codes, (size_t)n);
    }
    for (int i = 0; i < N_FILES; i++) {
        double p = (double)dataset_item(d, SPLIT_TRAIN, i)->n_samples / total;
        double deviation = ((double)n_drawn[i] - N * p) / sqrt(N * p * (1 - p));
        double middle = (where[i] / (double)n_drawn[i] - 0.5) * sqrt(12 * (double)n_drawn[i]);
        if (fabs(deviation) > 4 || fabs(middle) > 4)
            fail_msg("file %d: drawn %.1f sigma off, at %.1f sigma off", i, deviation, middle);
    }
    clip_maker_close(m);
    dataset_close(d);
}

static void test_augmentation_draws(void **state)
{
    enum { N = 20000 };
    struct dataset_options o = small();
    o.speed = 0.1f;
    o.gain_db = 12;
    struct dataset *d = open_data(&o);
    double speed = 0, speed2 = 0, db = 0, both = 0;
    int n_dropped = 0;
    for (uint64_t i = 0; i < N; i++) {
        struct clip_draw c = clip_draw(d, i);
        double s = ((double)c.speed - 1) / 0.1, g = -20 * log10((double)c.gain) / 12;
        assert_true(s > -1.0001 && s < 1.0001 && g > -0.0001 && g < 1.0001);
        speed += s;
        speed2 += s * s;
        db += g;
        both += s * (g - 0.5);
        n_dropped += c.no_label;
    }
    assert_true(fabs(speed / N) < 4 * 0.577 / sqrt(N));
    assert_true(fabs(speed2 / N - 1.0 / 3) < 0.01);
    assert_true(fabs(db / N - 0.5) < 4 * 0.289 / sqrt(N));
    assert_true(fabs(both / N) < 4 * 0.577 * 0.289 / sqrt(N));
    assert_true(fabs(n_dropped - 0.1 * N) < 4 * sqrt(0.09 * N));
    dataset_close(d);
}

/* Crossings of zero upwards in the part that is sound, an estimate of its pitch. */
static double pitch(const uint8_t *codes, int n)
{
    int first = -1, last = -1, count = 0;
    for (int t = 1; t < n; t++)
        if (codes[t - 1] < 128 && codes[t] >= 128) {
            first = first < 0 ? t : first;
            last = t;
            count++;
        }
    return count > 1 ? (double)(count - 1) / (last - first) : 0;
}

static void test_augmented_sound(void **state)
{
    struct dataset_options o = small();
    struct clip c;
    o.speed = 0.1f;
    o.gain_db = 12;
    struct dataset *d = open_data(&o);
    struct clip_maker *m = clip_maker_open(d);
    for (uint64_t i = 0; i < 300; i++) {
        struct clip_draw draw = clip_draw(d, i);
        const struct dataset_file *f = dataset_item(d, SPLIT_TRAIN, draw.item);
        float peak = 0;
        int n = 0;
        make(m, i, &c);
        for (int t = 0; t < CLIP; t++) {
            float x = fabsf(quantizer_decode(o.quantizer, c.codes[t]));
            peak = x > peak ? x : peak;
            n = x > 0.01f ? t + 1 : n;
        }
        if (fabs(20 * log10((double)peak / (double)draw.gain)) > 0.5)
            fail_msg("clip %d: peak %g, gain %g", (int)i, (double)peak, (double)draw.gain);
        int64_t wanted = (int64_t)((double)f->n_samples / (double)draw.speed);
        wanted = wanted < CLIP ? wanted : CLIP;
        assert_in_range(n, wanted - 45, wanted);
        /* The tone of this file, so much higher. 11025 Hz files were resampled to the same pitch.
         */
        double hz = 100 + 31 * atoi(strrchr(f->name, '/') + 1);
        double ratio = pitch(c.codes, n) * 8000 / hz / (double)draw.speed;
        if (fabs(ratio - 1) > 0.03)
            fail_msg("clip %d: pitch off by %g", (int)i, ratio);
    }
    clip_maker_close(m);
    dataset_close(d);
}

/* The interpolator against the sine itself: the pass band is kept, what would alias is gone. */
static void test_speed_quality(void **state)
{
    enum { N = 2000, MARGIN = SPEED_MARGIN };
    static struct speed s;
    static float x[4 * N], out[N];
    static const float ratios[] = {0.9f, 0.9371f, 1, 1.0001f, 1.05f, 1.1f, 1.45f};
    for (int k = 0; k < 7; k++) {
        double r = (double)ratios[k], limit = 0.5 * (r > 1 ? 1 / r : 1); /* cycles a sample */
        speed_init(&s, ratios[k]);
        for (double f = 0.01; f < 0.5; f += 0.013) {
            double error = 0, left = 0;
            for (int i = 0; i < 4 * N; i++)
                x[i] = (float)sin(2 * M_PI * f * (i - MARGIN));
            speed_run(&s, out, x + MARGIN, N);
            for (int i = 0; i < N; i++) {
                error = fmax(error, fabs((double)out[i] - sin(2 * M_PI * f * i * r)));
                left = fmax(left, fabs((double)out[i]));
            }
            if (f < 0.88 * limit && error > 1e-3)
                fail_msg("ratio %g, frequency %g: off by %g", r, f, error);
            if (f > 1.06 * limit && left > 1e-3)
                fail_msg("ratio %g, frequency %g: %g left", r, f, left);
        }
    }
}

/* Windows of a stay follow each other without a seam and are what the recording holds; where it
   ends another begins. Files of one and of many windows, with and without gain. */
static void test_stays(void **state)
{
    enum { CARRY = 4, STAYS = 60 };
    for (int k = 0; k < 2; k++) {
        static uint8_t codes[CLIP], mask[CLIP], whole[CLIP];
        struct dataset_options o = small();
        o.carry = CARRY;
        o.gain_db = k ? 6 : 0;
        o.pad_loss = false;
        o.label_dropout = 0;
        struct dataset *d = open_data(&o);
        struct clip_maker *m = clip_maker_open(d);
        int n_on = 0, n_anew = 0, n_full = 0;
        for (int stay = 0; stay < STAYS; stay++) {
            struct clip_draw before = {0};
            for (int w = 0; w < CARRY; w++) {
                struct clip_draw c = clip_draw_window(d, (uint64_t)stay, w);
                int64_t n = dataset_item(d, SPLIT_TRAIN, c.item)->n_samples;
                uint8_t goes_on;
                int32_t label;
                assert_true(clip_make_window(m, (uint64_t)stay, w, codes, mask, &label, &goes_on));
                assert_int_equal(goes_on, c.before > 0);
                assert_true(w > 0 || !goes_on);
                assert_true(c.from >= 0 && c.from < n);
                if (goes_on) {
                    assert_int_equal(c.item, before.item);
                    assert_int_equal(c.from, before.from + CLIP);
                    assert_int_equal(c.before, before.before + 1);
                    assert_true(c.gain == before.gain);
                } else if (w > 0) { /* the one before it ended */
                    assert_true(before.from + CLIP >=
                                dataset_item(d, SPLIT_TRAIN, before.item)->n_samples);
                }
                int64_t heard = n - c.from < CLIP ? n - c.from : CLIP;
                for (int64_t t = 0; t < CLIP; t++)
                    assert_int_equal(mask[t], t < heard);
                assert_int_equal(label, dataset_item(d, SPLIT_TRAIN, c.item)->label);
                if (k == 0) {
                    assert_true(dataset_item_codes(d, SPLIT_TRAIN, c.item, c.from, heard, whole));
                    assert_memory_equal(codes, whole, (size_t)heard);
                }
                n_on += goes_on;
                n_anew += !goes_on && w > 0;
                n_full += c.before == CARRY - 1;
                before = c;
            }
        }
        assert_true(n_on > STAYS && n_anew > STAYS / 4 && n_full > STAYS / 10);
        clip_maker_close(m);
        dataset_close(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),    cmocka_unit_test(test_other_seed_other_clips),
        cmocka_unit_test(test_epochs),        cmocka_unit_test(test_whole_clips),
        cmocka_unit_test(test_crops),         cmocka_unit_test(test_augmentation_draws),
        cmocka_unit_test(test_stays),         cmocka_unit_test(test_augmented_sound),
        cmocka_unit_test(test_speed_quality),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
