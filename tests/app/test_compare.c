#include "app/compare.h"

#include "app/bootstrap.h"
#include "audio/writer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 8000, N_MAX = 4 * RATE };

static const double pi = 3.14159265358979323846;
static char root[] = "/tmp/hiss-compare-XXXXXX";

static double uniform_at(uint64_t seed, uint64_t i)
{
    return (double)random_uniform(random_word(seed, i, 0, RANDOM_SAMPLE, 0));
}

/* A tone with a little noise, `level` dB loud; noise alone for hz 0. */
static void write(const char *folder, const char *name, double hz, double level_db, double noise,
                  double seconds, uint64_t seed)
{
    static float x[N_MAX];
    char path[FILE_PATH_MAX];
    int64_t n = (int64_t)(seconds * RATE);
    double level = pow(10, level_db / 20);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(level * (hz > 0 ? sin(2 * pi * hz * (double)i / RATE) : 0) +
                       noise * (2 * uniform_at(seed, (uint64_t)i) - 1));
    assert_true(path_join(path, root, folder) && folder_make(path) && path_join(path, path, name));
    struct writer *w = writer_open(path, &(struct writer_options){.rate = RATE});
    assert_non_null(w);
    assert_true(writer_write(w, x, n) && writer_close(w));
}

static const char *in_root(const char *folder)
{
    static char paths[2][FILE_PATH_MAX];
    static int next;
    next = !next;
    assert_true(path_join(paths[next], root, folder));
    return paths[next];
}

static int setup(void **state)
{
    char name[16];
    assert_non_null(mkdtemp(root));
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "%d.wav", i);
        write("reference", name, 400 + 50 * i, -20, 0.005, 2, (uint64_t)i + 1);
        write("copy", name, 400 + 50 * i, -20, 0.005, 2, (uint64_t)i + 1);
        write("near", name, 410 + 50 * i, -20, 0.005, 2, (uint64_t)i + 50);
        write("far", name, 1500 + 50 * i, -30, 0.02, 2, (uint64_t)i + 70);
    }
    return 0;
}

static int teardown(void **state)
{
    return path_remove(root) ? 0 : -1;
}

static void test_same(void **state)
{
    struct comparison c;
    assert_true(compare_folders(&c, in_root("copy"), in_root("reference"), 0));
    assert_int_equal(c.rate, RATE);
    assert_int_equal(c.generated.n, 6);
    assert_int_equal(c.n_pairs, 6);
    assert_float_equal(c.frechet, 0, 1e-3);
    assert_float_equal(c.spectra, 0, 1e-9);
    assert_float_equal(c.pairs.log_db, 0, 1e-9);
    assert_true(c.frechet_halves > 1 && c.spectra_halves > 0.1);
    for (int m = 0; m < MEASURES; m++)
        if (m != MEASURE_RUNAWAY)
            assert_float_equal(c.generated.mean[m], c.reference.mean[m], 0);
    assert_float_equal(c.generated.mean[MEASURE_RUNAWAY], 0, 0);
    assert_float_equal(c.generated.mean[MEASURE_LEVEL], -20 - 3.01, 0.05);
    assert_true(c.generated.interval[MEASURE_CENTROID][0] < c.generated.mean[MEASURE_CENTROID]);
    comparison_free(&c);
}

/* What is further away is further away by every distance. */
static void test_order(void **state)
{
    struct comparison near, far;
    assert_true(compare_folders(&near, in_root("near"), in_root("reference"), 0));
    assert_true(compare_folders(&far, in_root("far"), in_root("reference"), 0));
    assert_true(near.frechet > 0 && far.frechet > 5 * near.frechet);
    assert_true(far.frechet > 3 * far.frechet_halves);
    assert_true(far.spectra > 2 * near.spectra && near.spectra > 0);
    assert_true(far.pairs.log_db > near.pairs.log_db);
    comparison_free(&near);
    comparison_free(&far);
}

/* Each kind of running away, for a second and not less, is told by its name. */
static void test_runaway(void **state)
{
    static const struct {
        const char *name;
        double hz, level_db, noise, seconds;
        enum runaway expected;
    } cases[] = {
        {"a-fine.wav", 500, -20, 0.005, 2, RUNAWAY_NONE},
        {"b-loud.wav", 500, -5, 0.02, 2, RUNAWAY_LOUD},
        {"c-noise.wav", 0, 0, 0.05, 2, RUNAWAY_NOISE},
        {"d-tone.wav", 500, -20, 0, 2, RUNAWAY_TONE},
        {"e-silent.wav", 0, 0, 0, 2, RUNAWAY_SILENT},
        {"f-short.wav", 0, 0, 0.05, 0.6, RUNAWAY_NOISE},
        {"g-soft.wav", 500, -25, 0.003, 3, RUNAWAY_NONE},
    };
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    for (int i = 0; i < CASES; i++)
        write("wild", cases[i].name, cases[i].hz, cases[i].level_db, cases[i].noise,
              cases[i].seconds, 90);
    struct comparison c;
    assert_true(compare_folders(&c, in_root("wild"), in_root("reference"), 0));
    assert_int_equal(c.generated.n, CASES);
    for (int i = 0; i < CASES; i++) {
        assert_string_equal(c.generated.files[i].name, cases[i].name);
        assert_string_equal(runaway_name(c.generated.files[i].runaway),
                            runaway_name(cases[i].expected));
    }
    assert_float_equal(c.generated.mean[MEASURE_RUNAWAY], 5.0 / CASES, 1e-9);
    assert_int_equal(c.n_pairs, 0);
    comparison_free(&c);
}

static void test_errors(void **state)
{
    struct comparison c;
    char path[FILE_PATH_MAX];
    assert_false(compare_folders(&c, in_root("nowhere"), in_root("reference"), 0));
    assert_non_null(strstr(error_text(), "nowhere"));
    comparison_free(&c);
    assert_true(path_join(path, root, "texts") && folder_make(path));
    struct file_writer w;
    assert_true(path_join(path, path, "note.txt") && file_create(&w, path));
    fputs("no sound", w.file);
    assert_true(file_commit(&w));
    assert_false(compare_folders(&c, in_root("reference"), in_root("texts"), 0));
    assert_non_null(strstr(error_text(), "there is no sound file in it"));
    comparison_free(&c);
}

/* Of n values with deviation s, about 1.96 s / sqrt(n) to either side of the mean. */
static void test_bootstrap(void **state)
{
    enum { FILES = 400 };
    static double over[FILES], under[FILES];
    double interval[2], again[2], sum = 0, squares = 0;
    for (int i = 0; i < FILES; i++) {
        over[i] = uniform_at(7, (uint64_t)i);
        under[i] = 1;
        sum += over[i] / FILES;
        squares += over[i] * over[i] / FILES;
    }
    double half = 1.96 * sqrt((squares - sum * sum) / FILES);
    assert_true(bootstrap_ratio(interval, over, under, FILES));
    assert_float_equal(interval[0], sum - half, 0.15 * half);
    assert_float_equal(interval[1], sum + half, 0.15 * half);
    assert_true(bootstrap_ratio(again, over, under, FILES));
    assert_memory_equal(again, interval, sizeof(interval));

    /* Weighted: a ratio of sums is the same whatever the weights if every file has it. */
    for (int i = 0; i < FILES; i++) {
        under[i] = 100 + i;
        over[i] = 4.5 * under[i];
    }
    assert_true(bootstrap_ratio(interval, over, under, FILES));
    assert_float_equal(interval[0], 4.5, 1e-12);
    assert_float_equal(interval[1], 4.5, 1e-12);
    assert_true(bootstrap_ratio(interval, over, under, 1));
    assert_true(isnan(interval[0]) && isnan(interval[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),      cmocka_unit_test(test_order),
        cmocka_unit_test(test_runaway),   cmocka_unit_test(test_errors),
        cmocka_unit_test(test_bootstrap),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
