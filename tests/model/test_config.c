/* Configurations as JSON: one canonical text, and every mistake refused by its key. */
#include "base/error.h"
#include "model/build.h"
#include "model/config.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TIER(mixer, state)                                                                         \
    "{\"layers\":8,\"mixer\":\"" mixer "\",\"state\":\"" state "\",\"d_state\":16,\"d_conv\":4,"   \
    "\"mixer_expand\":2,\"ff\":0}"

/* As config_format writes it. */
static const char good[] =
    "{\"format\":1,\"sample_rate\":8000,\"quantizer\":\"mu-law-256\",\"normalize\":\"peak\","
    "\"clip\":{\"mode\":\"whole\",\"samples\":8000},\"layout\":\"unet\",\"d_model\":64,"
    "\"expand\":2,\"pool\":[4,4],\"up_shift\":2,\"norm_eps\":1e-05,\"embedding\":\"sinusoidal\","
    "\"labels\":[\"zero\",\"d\xc3\xbc \\\"x\\\" \\\\\"],\"tiers\":[" TIER(
        "selective", "real") "," TIER("lti", "complex") "," TIER("s4d", "complex") "]}";

static struct config config; /* large for a stack */

/* The good text with the first `from` replaced. The caller frees it. */
static char *text_with(const char *from, const char *to)
{
    const char *at = strstr(good, from);
    assert_non_null(at);
    char *text = malloc(sizeof good + strlen(to));
    assert_non_null(text);
    sprintf(text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    return text;
}

static void assert_refused(const char *json, const char *message)
{
    if (config_parse(&config, json))
        fail_msg("accepted: %s", json);
    if (!strstr(error_text(), message))
        fail_msg("'%s' does not say '%s'", error_text(), message);
}

static void text_survives_a_round_trip(void **state)
{
    if (!config_parse(&config, good))
        fail_msg("%s", error_text());
    assert_int_equal(config.clip_mode, CLIP_WHOLE);
    assert_int_equal(config.clip_samples, 8000);
    assert_int_equal(config.n_pools, 2);
    assert_int_equal(config.tier[1].mixer, MIXER_LTI);
    assert_true(config.tier[1].complex_state);
    assert_int_equal(config.up_shift, 2);
    assert_int_equal(config.embedding, EMBEDDING_SINUSOIDAL);
    assert_string_equal(config.label[1], "d\xc3\xbc \"x\" \\");
    char *text = config_format(&config);
    assert_string_equal(text, good);
    free(text);
}

static void optional_keys_have_defaults(void **state)
{
    static const char *const optional[] = {"\"up_shift\":2,", "\"embedding\":\"sinusoidal\","};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        char *text = text_with(optional[i], "");
        assert_true(config_parse(&config, text));
        free(text);
        assert_true(i ? config.embedding == EMBEDDING_LEARNED : config.up_shift == 1);
    }
    char *text = text_with(",\"ff\":0", "");
    assert_true(config_parse(&config, text));
    assert_int_equal(config.tier[0].ff, 0);
    free(text);
}

static void floats_survive_a_round_trip(void **state)
{
    assert_true(config_parse(&config, good));
    static struct config again;
    for (int i = 0; i < 2000; i++) {
        config.norm_eps = i == 0 ? 1e-30f : 0.1f * powf(0.97f, (float)i);
        char *text = config_format(&config);
        if (!config_parse(&again, text))
            fail_msg("%s: %s", error_text(), text);
        assert_true(again.norm_eps == config.norm_eps);
        free(text);
    }
}

static void decimal_commas_change_nothing(void **state)
{
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
        skip();
    char *changed = text_with("1e-05", "0.0125");
    assert_true(config_parse(&config, changed));
    char *text = config_format(&config);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(text, changed);
    free(text);
    free(changed);
}

static void mistakes_are_refused_by_key(void **state)
{
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"format\":1", "\"format\":2", "'format' is 2"},
        {"\"format\":1,", "", "'format' is missing"},
        {"\"d_model\":64,", "", "'d_model' is missing"},
        {"\"labels\":", "\"etiquettes\":", "'etiquettes' is unknown"},
        {"\"d_model\":64", "\"d_model\":64,\"d_model\":64", "duplicate"},
        {"\"d_model\":64", "\"d_model\":64.0", "'d_model' must be a whole number"},
        {"\"d_model\":64", "\"d_model\":\"64\"", "'d_model' must be a whole number"},
        {"\"d_model\":64", "\"d_model\":4294967360", "'d_model' is 4294967360"},
        {"\"d_model\":64", "\"d_model\":99999999999999999999", "not valid JSON"},
        {"\"d_model\":64", "\"d_model\":0", "d_model is 0"},
        {"\"d_model\":64", "\"d_model\":4097", "d_model is 4097"},
        {"\"sample_rate\":8000", "\"sample_rate\":999", "sample_rate is 999"},
        {"\"sample_rate\":8000", "\"sample_rate\":384001", "sample_rate is 384001"},
        {"\"expand\":2", "\"expand\":9", "expand is 9"},
        {"\"pool\":[4,4]", "\"pool\":[4,1]", "pool is 1"},
        {"\"pool\":[4,4]", "\"pool\":[4,1025]", "pool is 1025"},
        {"\"pool\":[4,4]", "\"pool\":[4,\"4\"]", "'pool' must hold whole numbers"},
        {"\"pool\":[4,4]", "\"pool\":4", "'pool' must be a list"},
        {"\"pool\":[4,4]", "\"pool\":[4]", "'tiers' holds 3 tiers, but 1 pools make 2"},
        {"\"pool\":[4,4]", "\"pool\":[4,4,4,4,4,4,4,4]", "'pool' holds more than 7"},
        {"\"up_shift\":2", "\"up_shift\":3", "up_shift is 3"},
        {"1e-05", "0.11", "norm_eps is 0.11"},
        {"1e-05", "-1", "norm_eps is -1"},
        {"1e-05", "0", "norm_eps is 0"},
        {"1e-05", "1e999", "not valid JSON"},
        {"1e-05", "null", "'norm_eps' must be a number"},
        {"\"norm_eps\":1e-05,", "", "'norm_eps' is missing"},
        {"\"mu-law-256\"", "\"mu-law\"", "quantizer 'mu-law' is unknown"},
        {"\"peak\"", "\"loud\"", "normalize 'loud' is unknown"},
        {"\"whole\"", "\"half\"", "'clip.mode' is 'half', which is none of: whole, crop"},
        {"\"samples\":8000", "\"samples\":0", "clip.samples is 0"},
        {"\"samples\":8000", "\"samples\":2147483649", "clip.samples is 2147483649"},
        {"\"samples\":8000", "\"samples\":8000,\"x\":1", "'clip.x' is unknown"},
        {"\"unet\"", "\"vnet\"", "'layout' is 'vnet'"},
        {"\"sinusoidal\"", "\"none\"", "'embedding' is 'none'"},
        {"\"zero\"", "\"\"", "labels[0]"},
        {"\"zero\"", "\"a/b\"", "labels[0] 'a/b' holds a slash"},
        {"\"zero\"", "\"a\\nb\"", "labels[0]"},
        {"\"zero\"", "\"a\\u0000b\"", "not valid JSON"},
        {"\"zero\"", "\"\xff\"", "not valid JSON"},
        {"\"zero\"", "7", "'labels' must hold strings"},
        {"\"zero\"", "\"x\",\"x\"", "labels[0] and labels[1] are both 'x'"},
        {"\"zero\"", "\"0123456789012345678901234567890123456789012345678901234567890123\"",
         "'labels' holds '01234567890123456789...', longer than 63"},
        {"\"layers\":8", "\"layers\":0", "tiers[0]: layers is 0"},
        {"\"layers\":8", "\"layers\":257", "tiers[0]: layers is 257"},
        {"\"layers\":8,", "", "'tiers[0].layers' is missing"},
        {"\"layers\":8", "\"layers\":8,\"depth\":1", "'tiers[0].depth' is unknown"},
        {"\"d_state\":16", "\"d_state\":257", "tiers[0]: d_state is 257"},
        {"\"d_conv\":4", "\"d_conv\":17", "tiers[0]: d_conv is 17"},
        {"\"d_conv\":4", "\"d_conv\":1", "tiers[0]: d_conv is 1"},
        {"\"mixer_expand\":2", "\"mixer_expand\":9", "tiers[0]: mixer_expand is 9"},
        {"\"ff\":0", "\"ff\":9", "tiers[0]: ff is 9"},
        {"\"ff\":0", "\"ff\":-1", "tiers[0]: ff is -1"},
        {"\"selective\"", "\"s4d\"", "tiers[0]: mixer s4d needs state complex"},
        {"\"selective\"", "\"mamba\"", "'tiers[0].mixer' is 'mamba'"},
        {"\"real\"", "\"imaginary\"", "'tiers[0].state' is 'imaginary'"},
        {"[{", "[[],{", "'tiers' holds 4 tiers"},
        {"}]}", "}]}x", "not valid JSON"},
        {"}]}", "}]", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = text_with(cases[i].from, cases[i].to);
        assert_refused(text, cases[i].message);
        free(text);
    }
    assert_refused("", "not valid JSON");
    assert_refused("[]", "must be a JSON object");
    assert_refused("{}", "'format' is missing");
}

static void monstrous_texts_are_refused(void **state)
{
    enum { BYTES = 4 << 20 };
    char *text = malloc(BYTES + 1);
    memset(text, '[', BYTES);
    text[BYTES] = 0;
    assert_refused(text, "longer than");
    text[500000] = 0;
    assert_refused(text, "depth");
    free(text);
}

static void labels_have_a_limit(void **state)
{
    char *list = malloc(16 * (CONFIG_LABELS_MAX + 1));
    char *end = list;
    for (int i = 0; i <= CONFIG_LABELS_MAX; i++)
        end += sprintf(end, "\"l%d\",", i);
    end[-1] = 0;
    char *text = text_with("\"zero\"", list);
    assert_refused(text, "'labels' holds more than 1000 names");
    free(text);
    free(list);
}

static void labels_are_found(void **state)
{
    assert_true(config_parse(&config, good));
    assert_int_equal(config_find_label(&config, "zero"), 0);
    assert_int_equal(config_find_label(&config, "d\xc3\xbc \"x\" \\"), 1);
    assert_int_equal(config_find_label(&config, "one"), -1);
    assert_non_null(strstr(error_text(), "'one'; this model knows zero, d\xc3\xbc"));
    config.n_labels = 0;
    assert_int_equal(config_find_label(&config, "one"), -1);
    assert_non_null(strstr(error_text(), "without labels"));
}

/* config_check estimates the number of weights; where it just accepts, the plan has fewer. */
static void size_estimate_is_no_lower_than_the_plan(void **state)
{
    assert_true(config_parse(&config, good));
    config.d_model = 256;
    for (int kind = 0; kind < MIXER_KINDS * 8; kind++) {
        bool is_complex = kind & 1 || kind / 8 == MIXER_S4D;
        config.layout = kind & 2 ? LAYOUT_PLAIN : LAYOUT_UNET;
        for (int k = 0; k < 3; k++)
            config.tier[k] = (struct tier_config){.layers = 1,
                                                  .mixer = (enum mixer_kind)(kind / 8),
                                                  .complex_state = is_complex,
                                                  .d_state = 256,
                                                  .d_conv = 16,
                                                  .mixer_expand = 8,
                                                  .ff = kind & 4 ? 8 : 0};
        while (config.tier[2].layers < 256 && config_check(&config))
            config.tier[2].layers++;
        config.tier[2].layers--;
        struct plan plan;
        assert_true(config_check(&config));
        assert_true(plan_build(&plan, &config));
        assert_true(plan.n_weights > 1 << 26 && plan.n_weights <= INT64_C(1) << 31);
        plan_free(&plan);
    }
    config.d_model = 4096;
    config.expand = 8;
    assert_false(config_check(&config));
    assert_non_null(strstr(error_text(), "sinusoidal"));
    config.embedding = EMBEDDING_LEARNED;
    assert_false(config_check(&config));
    assert_non_null(strstr(error_text(), "weights"));
    config.tier[0].layers = config.tier[1].layers = 256;
    config.tier[0].ff = 2;
    assert_false(config_check(&config));
    assert_non_null(strstr(error_text(), "layers"));
}

static void names_of_enumerators(void **state)
{
    enum mixer_kind mixer;
    enum layout layout;
    enum embedding embedding;
    enum clip_mode mode;
    assert_true(mixer_from_name(&mixer, mixer_name(MIXER_S4D)) && mixer == MIXER_S4D);
    assert_true(layout_from_name(&layout, layout_name(LAYOUT_PLAIN)) && layout == LAYOUT_PLAIN);
    assert_true(clip_mode_from_name(&mode, clip_mode_name(CLIP_CROP)) && mode == CLIP_CROP);
    assert_true(embedding_from_name(&embedding, embedding_name(EMBEDDING_SINUSOIDAL)));
    assert_int_equal(embedding, EMBEDDING_SINUSOIDAL);
    assert_false(mixer_from_name(&mixer, "Selective"));
    assert_false(layout_from_name(&layout, ""));
    assert_false(embedding_from_name(&embedding, "fixed"));
    assert_false(clip_mode_from_name(&mode, "clip"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_survives_a_round_trip),
        cmocka_unit_test(optional_keys_have_defaults),
        cmocka_unit_test(floats_survive_a_round_trip),
        cmocka_unit_test(decimal_commas_change_nothing),
        cmocka_unit_test(mistakes_are_refused_by_key),
        cmocka_unit_test(monstrous_texts_are_refused),
        cmocka_unit_test(labels_have_a_limit),
        cmocka_unit_test(labels_are_found),
        cmocka_unit_test(size_estimate_is_no_lower_than_the_plan),
        cmocka_unit_test(names_of_enumerators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
