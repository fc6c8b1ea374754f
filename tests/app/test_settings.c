#include "app/settings.h"
#include "base/error.h"
#include "base/file.h"
#include "model/build.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *presets; /* the folder of bundled presets */
static char folder[] = "/tmp/hiss-settings-XXXXXX";

static const char *ini(const char *text)
{
    static char path[FILE_PATH_MAX];
    assert_true(path_join(path, folder, "x.ini"));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void assert_error(const char *part)
{
    if (!strstr(error_text(), part))
        fail_msg("'%s' does not hold '%s'", error_text(), part);
}

static void assert_load_fails(const char *text, const char *part)
{
    static struct settings s;
    settings_init(&s);
    assert_false(settings_load(&s, ini(text)));
    assert_error(part);
}

static void assert_resolve_fails(const char *text, const char *part)
{
    static struct settings s;
    settings_init(&s);
    assert_true(settings_load(&s, ini(text)));
    assert_false(settings_resolve(&s));
    assert_error(part);
}

static void test_table(void **state)
{
    struct settings s;
    settings_init(&s);
    assert_true(settings_resolve(&s));
    for (int i = 0; i < n_settings; i++) {
        assert_true(strlen(setting_table[i].help) > 0);
        for (int j = 0; j < i; j++)
            assert_false(strcmp(setting_table[i].section, setting_table[j].section) == 0 &&
                         strcmp(setting_table[i].key, setting_table[j].key) == 0);
    }
}

static void test_each_source_goes_over_the_one_before(void **state)
{
    struct settings s;
    settings_init(&s);
    assert_true(settings_load(&s, ini("[train]\nlr = 1e-3\nbatch = 2k\n[model]\npool = 2, 8\n")));
    assert_true(settings_load(&s, ini("[train]\nlr = 2e-3 ; twice\nwarmup = 3\n")));
    assert_true(settings_set_pair(&s, "train.lr=5e-4"));
    assert_true(settings_set(&s, "train.steps", "7", "--steps"));
    assert_true(settings_resolve(&s));
    assert_true(s.lr == 5e-4 && s.batch == 2000 && s.warmup == 3 && s.steps == 7);
    assert_true(s.pool.n == 2 && s.pool.value[1] == 8 && s.layers.n == 3 && s.layers.value[2] == 8);
}

static void test_times_become_samples_at_the_final_rate(void **state)
{
    struct settings s;
    settings_init(&s);
    assert_true(settings_load(&s, ini("[audio]\nclip_samples = 500ms\nsample_rate = 8k\n")));
    assert_true(settings_set_pair(&s, "audio.sample_rate=4000"));
    assert_true(settings_resolve(&s));
    assert_int_equal(s.clip_samples, 2000);
}

static void test_configuration(void **state)
{
    static struct config c;
    struct settings s;
    settings_init(&s);
    assert_true(settings_load(
        &s, ini("[audio]\nquantizer = s4-mu-law-256\nnormalize = minmax\nclip = whole\n"
                "[model]\nlayout = plain\npool = 4\nlayers = 1,2\nmixer = lti,s4d\n"
                "state = real,complex\nff = 0,2\nembedding = sinusoidal\n")));
    assert_true(settings_resolve(&s) && settings_config(&s, &c));
    assert_string_equal(c.quantizer, "s4-mu-law-256");
    assert_string_equal(c.normalize, "minmax");
    assert_true(c.clip_mode == CLIP_WHOLE && c.layout == LAYOUT_PLAIN && c.n_pools == 1);
    assert_true(c.embedding == EMBEDDING_SINUSOIDAL && c.tier[0].mixer == MIXER_LTI);
    assert_true(c.tier[1].mixer == MIXER_S4D && c.tier[1].complex_state && c.tier[1].ff == 2);
    assert_true(!c.tier[0].complex_state && c.tier[1].layers == 2);
}

/* What the table allows to a number, a model can have. */
static void test_bounds_are_the_models(void **state)
{
    static const char *const pairs[] = {
        "audio.sample_rate=1000",
        "audio.sample_rate=384000",
        "audio.clip_samples=1",
        "audio.clip_samples=2147483648",
        "model.d_model=1",
        "model.d_model=4096",
        "model.expand=1",
        "model.expand=8",
        "model.pool=2",
        "model.pool=1024",
        "model.layers=1",
        "model.layers=256",
        "model.d_state=1",
        "model.d_state=256",
        "model.d_conv=2",
        "model.d_conv=16",
        "model.mixer_expand=1",
        "model.mixer_expand=8",
        "model.ff=0",
        "model.ff=8",
        "model.norm_eps=1e-30",
        "model.norm_eps=0.1",
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        static struct config c;
        struct settings s;
        settings_init(&s);
        assert_true(settings_set_pair(&s, "model.layers=1"));
        assert_true(settings_set_pair(&s, "model.pool=4"));
        assert_true(settings_set_pair(&s, "model.d_model=8"));
        if (!settings_set_pair(&s, pairs[i]) || !settings_resolve(&s) || !settings_config(&s, &c))
            fail_msg("%s: %s", pairs[i], error_text());
    }
}

static void test_messages_name_file_line_and_key(void **state)
{
    assert_load_fails("[train]\n\nlearning_rate = 1\n",
                      "x.ini:3: there is no setting train.learning_rate; [train] has seed, steps");
    assert_load_fails("[trian]\nlr = 1\n", "x.ini:2: there is no section [trian]");
    assert_load_fails("[train]\nlr = fast\n",
                      "x.ini:2: train.lr = fast: expected a number from 0 to 10");
    assert_load_fails("[train]\nbatch = 0\n", "train.batch = 0: expected a whole number from 1");
    assert_load_fails("[audio]\nclip = some\n", "audio.clip = some: expected one of whole|crop");
    assert_load_fails("[model]\nmixer = mamba\n", "each one of selective|lti|s4d");
    assert_load_fails("[model]\nlayers = 1,,2\n", "model.layers = 1,,2: expected whole numbers");
    assert_load_fails("[model]\nlayers = 1 9,1,2\n", "model.layers = 1 9,1,2: expected whole");
    assert_load_fails("[model]\nd_state = 4 16\n", "model.d_state = 4 16: expected whole");
    assert_load_fails("[model]\nmixer = lti x\n", "each one of selective|lti|s4d");
    assert_load_fails("[model]\nmixer = selective|lti\n", "each one of selective|lti|s4d");
    assert_load_fails("[model]\nmixer = lti,\n", "each one of selective|lti|s4d");
    assert_load_fails("[audio]\nnormalize = none|peak\n", "expected one of none|peak|minmax");
    assert_load_fails("[model]\nd_model = 65536\n", "expected a whole number from 1 to 4096");
    assert_load_fails("[audio]\nsample_rate = 1000000\n", "from 1000 to 384000");
    assert_load_fails("[audio]\nclip_samples = 1e12\n", "from 1 to 2147483648");
    assert_load_fails("[model]\nlayers\n", "x.ini:2: expected [section], key = value");
    assert_load_fails("[audio]\nclip_samples = 1.5\n", "expected samples (16k) or a time (2s)");
}

static void test_odd_files(void **state)
{
    static struct settings s;
    char text[400];
    memset(text, 'a', sizeof(text));
    memcpy(text, "[data]\ncard = ", 14);
    text[398] = '\n';
    text[399] = 0;
    assert_load_fails(text, "x.ini:2: the line is longer than 198 bytes");
    settings_init(&s);
    assert_false(settings_load(&s, "/nowhere/x.ini"));
    assert_false(settings_load(&s, folder));
    assert_true(settings_load(&s, ini("")));
    assert_true(settings_load(&s, ini("; only this\r\n[train]\r\nlr = 1e-3\r\n")));
    assert_true(settings_load(&s, ini("[model]\npool =\n")) && settings_resolve(&s));
    assert_int_equal(s.pool.n, 0);
    assert_int_equal(s.layers.n, 1);
}

static void test_settings_that_do_not_go_together(void **state)
{
    assert_resolve_fails("[model]\nlayers = 1,2\n",
                         "x.ini:2: model.layers has 2 values: expected 1");
    assert_resolve_fails("[train]\nbatch = 8\nmicro_batch = 3\n",
                         "does not divide train.batch = 8");
    assert_resolve_fails("[train]\nlr = 1e-4\nmin_lr = 1e-3\n", "train.min_lr = 0.001 is above");
    assert_resolve_fails("[train]\ncarry = 2\n[audio]\nclip = whole\n",
                         "x.ini:2: train.carry = 2 needs audio.clip = crop");
    assert_resolve_fails("[data]\nspeed = 0.1\n[train]\ncarry = 2\n", "needs data.speed = 0");
    assert_resolve_fails("[audio]\nnormalize = minmax\n[train]\ncarry = 9\n",
                         "train.carry = 9 needs audio.normalize = none or peak");
    assert_resolve_fails("[model]\npool = 4,8\nup_shift = 2\n[train]\ncarry = 2\n"
                         "clip_samples = 160\n",
                         "needs clips of a multiple of 64 samples (the pools and up_shift), not of "
                         "160");
}

static void test_set_pairs(void **state)
{
    struct settings s;
    settings_init(&s);
    assert_false(settings_set_pair(&s, "lr=1"));
    assert_error("--set lr=1: expected section.key=value");
    assert_false(settings_set_pair(&s, "train.lr"));
    assert_false(settings_set_pair(&s, "train.lr="));
    assert_error("--set: train.lr = : expected a number");
    assert_false(settings_set_pair(&s, "data.card=one ; two"));
    assert_true(settings_set_pair(&s, "data.card= a = b "));
    assert_true(settings_resolve(&s));
    assert_string_equal(s.card, "a = b");
}

/* What is written reads back as the same settings. */
static void test_round_trip(void **state)
{
    struct settings a, b;
    char path[FILE_PATH_MAX];
    settings_init(&a);
    assert_true(path_join(path, presets, "digits.ini") && settings_load(&a, path));
    assert_true(settings_set_pair(&a, "data.license=CC BY-SA 4.0, \"as is\" # 1"));
    assert_true(settings_set_pair(&a, "train.lr=0.0012345678901"));
    assert_true(settings_resolve(&a));
    assert_true(path_join(path, folder, "out.ini"));
    FILE *f = fopen(path, "w");
    assert_true(f && settings_write(&a, f));
    fclose(f);
    settings_init(&b);
    assert_true(settings_load(&b, path) && settings_resolve(&b));
    for (int i = 0; i < n_settings; i++)
        assert_string_equal(a.source[i].text, b.source[i].text);
    assert_null(settings_difference(&a, &b));
    assert_true(a.lr == b.lr);
}

static void test_what_a_resumed_run_may_change(void **state)
{
    struct settings a, b;
    settings_init(&a);
    settings_init(&b);
    assert_true(settings_set_pair(&b, "train.steps=77") && settings_set_pair(&b, "train.keep=9"));
    assert_true(settings_set_pair(&b, "audio.clip_samples=1s")); /* is 16000 */
    assert_true(settings_resolve(&a) && settings_resolve(&b));
    assert_null(settings_difference(&a, &b));
    assert_true(settings_set_pair(&b, "train.lr=1e-3") && settings_resolve(&b));
    assert_string_equal(settings_difference(&a, &b)->key, "lr");
}

/* Every bundled preset is complete, in order, and of the published size. */
static void test_presets(void **state)
{
    const char *names[] = {"tiny",     "digits",   "piano",        "sc09-6m",
                           "sc09-24m", "sc09-s4d", "youtubemix-3m"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        static struct settings s;
        static struct config c;
        char path[FILE_PATH_MAX], file[64];
        snprintf(file, sizeof(file), "%s.ini", names[i]);
        settings_init(&s);
        assert_true(path_join(path, presets, file));
        if (!settings_load(&s, path) || !settings_resolve(&s) || !settings_config(&s, &c))
            fail_msg("%s", error_text());
        for (int k = 0; k < n_settings; k++)
            if (strcmp(setting_table[k].key, "license") != 0 &&
                strcmp(setting_table[k].key, "card") != 0 && !s.source[k].origin[0])
                fail_msg("%s leaves out %s", path, setting_table[k].key);
    }
}

/* What a music model needs of its preset: recordings of any length without labels, pieces from
   anywhere, tiers outside that do not choose, and a file of at most 8 MiB in single precision. */
static void test_piano(void **state)
{
    static struct settings s;
    static struct config c;
    struct plan plan;
    char path[FILE_PATH_MAX];
    settings_init(&s);
    assert_true(path_join(path, presets, "piano.ini") && settings_load(&s, path));
    assert_true(settings_resolve(&s) && settings_config(&s, &c) && plan_build(&plan, &c));
    assert_int_equal(s.labels, 0);
    assert_true(s.label_dropout == 0 && s.speed == 0 && s.pad_loss == 0 && s.guidance == 1);
    assert_int_equal(c.n_labels, 0);
    assert_int_equal(c.sample_rate, 16000);
    assert_int_equal(c.clip_mode, CLIP_CROP);
    assert_string_equal(c.quantizer, "mu-law-256");
    assert_string_equal(c.normalize, "peak");
    assert_int_equal(c.embedding, EMBEDDING_SINUSOIDAL);
    for (int k = 0; k <= c.n_pools; k++) {
        bool outer = k < 2;
        assert_int_equal(c.tier[k].mixer, outer ? MIXER_LTI : MIXER_SELECTIVE);
        assert_int_equal(c.tier[k].complex_state, outer);
    }
    assert_true(4 * plan.n_weights <= 8 << 20);
    /* A run remembers what it was made from: both go into the model file, and are empty until the
       data is known. */
    assert_string_equal(s.license, "");
    assert_string_equal(s.card, "");
    plan_free(&plan);
}

int main(int argc, char **argv)
{
    presets = argc > 1 ? argv[1] : "presets";
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_each_source_goes_over_the_one_before),
        cmocka_unit_test(test_times_become_samples_at_the_final_rate),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_bounds_are_the_models),
        cmocka_unit_test(test_messages_name_file_line_and_key),
        cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_settings_that_do_not_go_together),
        cmocka_unit_test(test_set_pairs),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_a_resumed_run_may_change),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_piano),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    path_remove(folder);
    return failed;
}
