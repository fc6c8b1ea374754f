/* Folders into splits, labels and an index; every way a file can be unusable. */
#include "tests/audio/fixture.h"

#include "audio/dataset.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static struct dataset_options small(void)
{
    struct dataset_options o;
    dataset_options_init(&o);
    o.rate = 8000;
    o.clip_samples = 1000;
    o.labels = LABELS_FOLDERS;
    o.n_threads = 2;
    return o;
}

static struct dataset *open_data(const char *name, const struct dataset_options *o)
{
    struct dataset *d = dataset_open(fixture_path(name), o);
    if (!d)
        fail_msg("%s", error_text());
    return d;
}

static const struct dataset_file *find_file(const struct dataset *d, const char *name,
                                            enum split split)
{
    for (int64_t i = 0; i < dataset_n_files(d); i++)
        if (strcmp(dataset_file(d, i)->name, name) == 0 && dataset_file(d, i)->split == split)
            return dataset_file(d, i);
    fail_msg("%s is not in the index", name);
    return NULL;
}

static void test_splits_and_labels(void **state)
{
    struct dataset_options o = small();
    fixture_tone("a/train/two/x.wav", 8000, 1500, 200);
    fixture_tone("a/train/one/y.wav", 8000, 1000, 300);
    fixture_tone("a/train/one/deep/z.wav", 8000, 600, 400);
    fixture_tone("a/train/loose.wav", 8000, 500, 400);
    fixture_tone("a/valid/two/v.wav", 8000, 2500, 500);
    fixture_tone("a/valid/three/w.wav", 8000, 500, 500);
    fixture_tone("a/test/one/t.wav", 8000, 1, 600);
    fixture_tone("a/aside.wav", 8000, 500, 600);
    fixture_text("a/.hidden.wav", "text");
    fixture_text("a/.git/x.wav", "text");
    struct dataset *d = open_data("a", &o);
    assert_int_equal(dataset_n_items(d, SPLIT_TRAIN), 4);
    assert_int_equal(dataset_n_items(d, SPLIT_VALID), 2);
    assert_int_equal(dataset_n_items(d, SPLIT_TEST), 0);
    assert_int_equal(dataset_n_files(d), 7); /* nothing hidden, nothing of test */
    assert_string_equal(find_file(d, "aside.wav", SPLIT_TRAIN)->why,
                        "lies outside train/, valid/ and test/");
    assert_int_equal(dataset_n_labels(d), 3);
    assert_string_equal(dataset_label(d, 0), "deep");
    assert_string_equal(dataset_label(d, 1), "one");
    assert_string_equal(dataset_label(d, 2), "two");
    assert_int_equal(find_file(d, "train/two/x.wav", SPLIT_TRAIN)->label, 2);
    assert_int_equal(find_file(d, "train/one/deep/z.wav", SPLIT_TRAIN)->label, 0);
    assert_int_equal(find_file(d, "train/loose.wav", SPLIT_TRAIN)->label, NO_LABEL);
    assert_int_equal(find_file(d, "valid/two/v.wav", SPLIT_VALID)->label, 2);
    assert_int_equal(find_file(d, "valid/three/w.wav", SPLIT_VALID)->label, NO_LABEL);
    assert_int_equal(find_file(d, "train/loose.wav", SPLIT_TRAIN)->fate, FATE_PADDED);
    assert_int_equal(find_file(d, "train/two/x.wav", SPLIT_TRAIN)->fate, FATE_KEPT);
    assert_int_equal(dataset_n_windows(d, SPLIT_VALID), 4);
    struct dataset_counts c = dataset_counts(d, SPLIT_TRAIN);
    assert_int_equal(c.n_used, 4);
    assert_int_equal(c.n_skipped, 1);
    assert_int_equal(c.n_padded, 2);
    assert_int_equal(c.n_samples, 3600);
    dataset_close(d);

    o.clip_mode = CLIP_WHOLE;
    d = open_data("a", &o);
    assert_int_equal(find_file(d, "train/two/x.wav", SPLIT_TRAIN)->fate, FATE_CUT);
    assert_int_equal(dataset_n_windows(d, SPLIT_VALID), 2);
    dataset_close(d);

    static const char *const names[] = {"three", "two"}; /* a model's, in its order */
    o.label_names = names;
    o.n_label_names = 2;
    o.splits = 1u << SPLIT_TEST | 1u << SPLIT_VALID;
    d = open_data("a", &o);
    assert_int_equal(dataset_n_labels(d), 2);
    assert_int_equal(find_file(d, "valid/two/v.wav", SPLIT_VALID)->label, 1);
    assert_int_equal(find_file(d, "valid/three/w.wav", SPLIT_VALID)->label, 0);
    assert_int_equal(find_file(d, "test/one/t.wav", SPLIT_TEST)->label, NO_LABEL);
    assert_int_equal(find_file(d, "test/one/t.wav", SPLIT_TEST)->fate, FATE_KEPT);
    dataset_close(d);

    o.splits = 1u << SPLIT_ALL;
    d = open_data("a", &o);
    assert_int_equal(dataset_n_items(d, SPLIT_ALL), 8);
    assert_int_equal(find_file(d, "train/loose.wav", SPLIT_ALL)->label, NO_LABEL);
    assert_int_equal(find_file(d, "train/two/x.wav", SPLIT_ALL)->label, 1);
    dataset_close(d);

    d = dataset_open(fixture_path("a/train/two/x.wav"), &o);
    assert_non_null(d);
    assert_int_equal(dataset_n_items(d, SPLIT_ALL), 1);
    assert_int_equal(dataset_item(d, SPLIT_ALL, 0)->label, 1);
    dataset_close(d);

    o.labels = LABELS_NONE;
    d = open_data("a", &o);
    assert_int_equal(dataset_n_labels(d), 0);
    assert_int_equal(find_file(d, "train/two/x.wav", SPLIT_ALL)->label, NO_LABEL);
    dataset_close(d);
}

static void test_valid_by_content(void **state)
{
    struct dataset_options o = small();
    char name[64];
    bool valid[60];
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "h/%02d.wav", i);
        fixture_tone(name, 8000, 200, 100 + i / 2);               /* each sound twice */
        snprintf(name, sizeof name, "g/train/z%02d.wav", 99 - i); /* other names, other order */
        fixture_tone(name, 8000, 200, 100 + i / 2);
    }
    struct dataset *d = open_data("h", &o);
    int64_t n_valid = dataset_n_items(d, SPLIT_VALID);
    assert_in_range(n_valid, 3, 4); /* 5 % of 60, and its twin */
    assert_int_equal(n_valid + dataset_n_items(d, SPLIT_TRAIN), 60);
    for (int i = 0; i < 60; i++)
        valid[i] = dataset_file(d, i)->split == SPLIT_VALID;
    for (int i = 0; i < 60; i += 2)
        assert_int_equal(valid[i], valid[i + 1]);
    dataset_close(d);
    d = open_data("g", &o);
    for (int i = 0; i < 60; i++)
        assert_int_equal(dataset_file(d, 59 - i)->split == SPLIT_VALID, valid[i]);
    dataset_close(d);
    o.splits = 1u << SPLIT_VALID; /* the same part, whoever asks */
    d = open_data("g", &o);
    assert_int_equal(dataset_n_items(d, SPLIT_VALID), n_valid);
    dataset_close(d);
    o.splits = 1u << SPLIT_TRAIN; /* nobody asks: all is train */
    d = open_data("g", &o);
    assert_int_equal(dataset_n_items(d, SPLIT_TRAIN), 60);
    dataset_close(d);
    for (int i = 0; i < 25; i++) {
        snprintf(name, sizeof name, "same/%02d.wav", i);
        fixture_tone(name, 8000, 200, 100);
    }
    o.splits = 1u << SPLIT_TRAIN | 1u << SPLIT_VALID;
    assert_null(dataset_open(fixture_path("same"), &o));
    assert_error_has("the same content");
}

static void test_valid_by_time(void **state)
{
    struct dataset_options o = small();
    uint8_t whole[4010], part[4010];
    fixture_tone("t/a.wav", 8000, 4010, 200);
    fixture_tone("t/b.wav", 8000, 19, 200);
    struct dataset *d = open_data("t", &o);
    assert_int_equal(dataset_n_items(d, SPLIT_TRAIN), 2);
    assert_int_equal(dataset_n_items(d, SPLIT_VALID), 1); /* too short to give a 20th */
    assert_int_equal(dataset_item(d, SPLIT_TRAIN, 0)->n_samples, 3810);
    assert_int_equal(dataset_item(d, SPLIT_VALID, 0)->start, 3810);
    assert_int_equal(dataset_item(d, SPLIT_VALID, 0)->n_samples, 200);
    assert_true(dataset_item_codes(d, SPLIT_TRAIN, 0, 0, 3810, part));
    assert_true(dataset_item_codes(d, SPLIT_VALID, 0, 0, 200, part + 3810));
    dataset_close(d);
    o.splits = 1u << SPLIT_ALL;
    d = open_data("t/a.wav", &o);
    assert_int_equal(dataset_item(d, SPLIT_ALL, 0)->n_samples, 4010);
    assert_true(dataset_item_codes(d, SPLIT_ALL, 0, 0, 4010, whole));
    assert_memory_equal(whole, part, 4010);
    assert_true(dataset_item_codes(d, SPLIT_ALL, 0, 1000, 500, part));
    assert_memory_equal(whole + 1000, part, 500);
    dataset_close(d);
    o.splits = 1u << SPLIT_TRAIN | 1u << SPLIT_VALID;
    d = open_data("t/a.wav", &o); /* a single file is split by time too */
    assert_int_equal(dataset_item(d, SPLIT_VALID, 0)->n_samples, 200);
    dataset_close(d);
    assert_null(dataset_open(fixture_path("t/b.wav"), &o));
    assert_error_has("too little sound to set 5 % aside");
}

static void test_unusable_files(void **state)
{
    struct dataset_options o = small();
    float bad[2000], quiet[2000], x[2000];
    fill_tone(bad, 2000, 8000, 200, 0.5);
    bad[7] = NAN;
    fill_tone(quiet, 2000, 8000, 200, 5e-5);
    fill_tone(x, 2000, 8000, 200, 0.25);
    fixture_sound("u/train/bad.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, bad, 2000);
    fixture_sound("u/train/quiet.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, quiet, 2000);
    fixture_sound("u/train/none.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, x, 0);
    fixture_sound("u/train/slow.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 1, 1, x, 2000);
    fixture_sound("u/train/half.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, x, 2000);
    fixture_text("u/train/notes.txt", "words");
    fixture_text("u/train/words.wav", "words");
    fixture_text("u/train/empty.flac", "");
    fixture_link("u/train/gone.wav", "nowhere");
    fixture_link("u/train/loop.wav", "loop.wav");
    fixture_link("u/train/up", "..");
    fixture_link("u/train/other", "../valid");
    fixture_link("u/train/again", "more");
    fixture_tone("u/train/more/new\nline \xc3\xa9.wav", 8000, 1000, 300);
    fixture_tone("u/valid/v.wav", 8000, 1000, 300);
    assert_int_equal(mkfifo(fixture_path("u/train/pipe.wav"), 0600), 0);
    assert_int_equal(truncate(fixture_path("u/train/half.wav"), 4000), 0);
    struct dataset *d = open_data("u", &o);
    static const struct {
        const char *name, *why;
        bool usable;
    } cases[] = {
        {"train/bad.wav", "1 samples were not numbers", true},
        {"train/quiet.wav", "too quiet to normalise", true},
        {"train/none.wav", "holds no samples", false},
        {"train/slow.wav", "its rate of 1 Hz is too far below", false},
        {"train/half.wav", "stops after 0.1", true},
        {"train/notes.txt", "not a sound file", false},
        {"train/words.wav", "not a sound file", false},
        {"train/empty.flac", "the file is empty", false},
        {"train/gone.wav", "a link to nothing", false},
        {"train/loop.wav", "symbolic links", false},
        {"train/up", "has its own place", false},
        {"train/other", "has its own place", false},
        {"train/again", "has its own place", false}, /* though it comes first by name */
        {"train/more/new\nline \xc3\xa9.wav", "", true},
        {"train/pipe.wav", "not a regular file", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct dataset_file *f = find_file(d, cases[i].name, SPLIT_TRAIN);
        assert_int_equal(f->fate != FATE_SKIPPED, cases[i].usable);
        if (!strstr(f->why, cases[i].why) || (!*cases[i].why && *f->why))
            fail_msg("%s: \"%s\"", cases[i].name, f->why);
    }
    assert_string_equal(find_file(d, "train/none.wav", SPLIT_TRAIN)->why, "holds no samples");
    assert_int_equal(dataset_counts(d, SPLIT_TRAIN).n_told, 3);
    assert_int_equal(dataset_n_items(d, SPLIT_TRAIN), 4);
    uint8_t codes[2000];
    assert_true(dataset_item_codes(d, SPLIT_TRAIN, 3, 0, 2000, codes)); /* quiet: left alone */
    for (int i = 0; i < 2000; i++)
        assert_in_range(codes[i], 127, 128);
    dataset_close(d);
}

static void test_nothing_usable(void **state)
{
    struct dataset_options o = small();
    fixture_folder("e");
    assert_null(dataset_open(fixture_path("e"), &o));
    assert_error_has("no recordings found");
    fixture_folder("e/train");
    assert_null(dataset_open(fixture_path("e"), &o));
    assert_error_has("the folder is empty");
    fixture_text("e/train/x.txt", "words");
    assert_null(dataset_open(fixture_path("e"), &o));
    assert_error_has("nothing usable for train in 1 files; the first, train/x.txt: not a sound");
    fixture_tone("e/train/x.wav", 8000, 1000, 300);
    fixture_folder("e/valid");
    assert_null(dataset_open(fixture_path("e"), &o));
    assert_error_has("valid/: the folder is empty");
    o.splits = 1u << SPLIT_TEST;
    assert_null(dataset_open(fixture_path("e"), &o));
    assert_error_has("no folder named test");
    assert_null(dataset_open(fixture_path("nowhere"), &o));
    assert_error_has("No such file");
    assert_null(dataset_open("", &o));
    assert_error_has("No such file");
    o.splits = 1u << SPLIT_ALL;
    assert_null(dataset_open(fixture_path("e/train/x.txt"), &o));
    assert_error_has("x.txt: not a sound file");
    assert_null(dataset_open("/dev/null", &o));
    assert_error_has("not a regular file");
    o.splits = 1u << SPLIT_TRAIN;
    fixture_tone("only/valid/x.wav", 8000, 1000, 300);
    assert_null(dataset_open(fixture_path("only"), &o));
    assert_error_has("no recordings found to train on");
}

static bool stop_at_three(void *arg, int64_t n_done, int64_t n_files)
{
    *(int64_t *)arg = n_files;
    return n_done < 3;
}

static void test_progress_can_stop(void **state)
{
    struct dataset_options o = small();
    int64_t n_files = 0;
    o.progress = stop_at_three;
    o.progress_arg = &n_files;
    for (int i = 0; i < 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "p/%d.wav", i);
        fixture_tone(name, 8000, 500, 200);
    }
    assert_null(dataset_open(fixture_path("p"), &o));
    assert_error_has("interrupted");
    assert_int_equal(n_files, 10);
}

/* Longer than what is held while decoding: read twice, in blocks. */
static void test_long_file(void **state)
{
    struct dataset_options o = small();
    int64_t n = ((int64_t)1 << 23) + 12345;
    float *x = malloc(sizeof *x * (size_t)n);
    uint8_t *codes = malloc((size_t)n);
    static const int64_t checks[] = {0, 1 << 20, (1 << 23) - 1, 1 << 23};
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i % 199) / 400;
    x[n - 5] = -0.8f; /* the peak comes last */
    fixture_sound("long.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, x, n);
    o.splits = 1u << SPLIT_ALL;
    for (int k = 0; k < 2; k++) {
        o.gain_db = k ? 6 : 0; /* codes kept, floats kept */
        struct dataset *d = open_data("long.wav", &o);
        assert_int_equal(dataset_item(d, SPLIT_ALL, 0)->n_samples, n);
        assert_true(dataset_item_codes(d, SPLIT_ALL, 0, 0, n, codes));
        for (int i = 0; i < 4; i++)
            assert_int_equal(codes[checks[i]], quantizer_encode(o.quantizer, x[checks[i]] / 0.8f));
        assert_int_equal(codes[n - 5], 0);
        dataset_close(d);
    }
    free(x);
    free(codes);
}

static void test_windows(void **state)
{
    struct dataset_options o = small();
    uint8_t whole[2500], codes[1000], mask[1000];
    int32_t label;
    fixture_tone("w/valid/x/a.wav", 8000, 2500, 123);
    fixture_tone("w/valid/y/b.wav", 8000, 1000, 321);
    o.splits = 1u << SPLIT_VALID;
    struct dataset *d = open_data("w", &o);
    assert_int_equal(dataset_n_windows(d, SPLIT_VALID), 4);
    assert_true(dataset_item_codes(d, SPLIT_VALID, 0, 0, 2500, whole));
    for (int i = 0; i < 3; i++) {
        int n = i < 2 ? 1000 : 500;
        assert_true(dataset_window(d, SPLIT_VALID, i, codes, mask, &label));
        assert_int_equal(label, 0);
        assert_memory_equal(codes, whole + 1000 * i, (size_t)n);
        for (int t = 0; t < 1000; t++)
            assert_int_equal(mask[t], t < n);
        for (int t = n; t < 1000; t++)
            assert_int_equal(codes[t], 128);
    }
    assert_true(dataset_window(d, SPLIT_VALID, 3, codes, mask, &label));
    assert_int_equal(label, 1);
    assert_int_equal(mask[999], 1);
    dataset_close(d);
}

/* The published rule: levels over the clip as it was cut, codes by the other quantiser. */
static void test_minmax(void **state)
{
    struct dataset_options o = small();
    float x[1500];
    uint8_t codes[1500], mask[1000];
    int32_t label;
    for (int i = 0; i < 1500; i++)
        x[i] = (float)(int)(i * 2654435761u >> 17) / 65536 - (i < 1000 ? 0.2f : 0.1f);
    fixture_sound("m.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, x, 1500);
    o.normalize = NORMALIZE_MINMAX;
    o.quantizer = QUANTIZER_S4_MU_LAW_256;
    o.splits = 1u << SPLIT_ALL;
    struct dataset *d = open_data("m.wav", &o);
    assert_true(dataset_item_codes(d, SPLIT_ALL, 0, 700, 800, codes));
    assert_true(normalize_apply(NORMALIZE_MINMAX, x, 1500));
    for (int i = 0; i < 800; i++)
        assert_int_equal(codes[i], quantizer_encode(o.quantizer, x[700 + i]));
    assert_true(dataset_window(d, SPLIT_ALL, 1, codes, mask, &label));
    assert_true(normalize_apply(NORMALIZE_MINMAX, x + 1000, 500));
    for (int i = 0; i < 500; i++)
        assert_int_equal(codes[i], quantizer_encode(o.quantizer, x[1000 + i]));
    assert_int_equal(codes[500], 128);
    dataset_close(d);
}

static void test_names(void **state)
{
    enum clip_mode clip;
    enum label_mode label;
    assert_true(clip_mode_from_name(&clip, "crop") && clip == CLIP_CROP);
    assert_true(clip_mode_from_name(&clip, "whole") && clip == CLIP_WHOLE);
    assert_false(clip_mode_from_name(&clip, "hole"));
    assert_true(label_mode_from_name(&label, "folders") && label == LABELS_FOLDERS);
    assert_true(label_mode_from_name(&label, "none") && label == LABELS_NONE);
    assert_false(label_mode_from_name(&label, ""));
    assert_string_equal(clip_mode_name(CLIP_WHOLE), "whole");
    assert_string_equal(label_mode_name(LABELS_FOLDERS), "folders");
    assert_string_equal(fate_name(FATE_CUT), "cut");
    assert_string_equal(split_name(SPLIT_VALID), "valid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splits_and_labels),
        cmocka_unit_test(test_valid_by_content),
        cmocka_unit_test(test_valid_by_time),
        cmocka_unit_test(test_unusable_files),
        cmocka_unit_test(test_nothing_usable),
        cmocka_unit_test(test_progress_can_stop),
        cmocka_unit_test(test_long_file),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_minmax),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
