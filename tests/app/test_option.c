#include "app/option.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

struct values {
    bool flag;
    const char *text, *samples;
    struct texts texts;
    int64_t count;
    double real, time;
};

static enum parsed parse(struct values *v, const char *arguments[ARGUMENTS_MAX + 1], int argc,
                         const char **argv)
{
    const struct option options[] = {
        {"flag", 'f', OPTION_FLAG, &v->flag, NULL, 0, 0, "a flag"},
        {"text", 't', OPTION_TEXT, &v->text, "TEXT", 0, 0, "a text"},
        {"set", 's', OPTION_TEXTS, &v->texts, "TEXT", 0, 0, "texts"},
        {"count", 'n', OPTION_COUNT, &v->count, "N", 1, 1e6, "a count"},
        {"real", 0, OPTION_REAL, &v->real, "X", -10, 10, "a number"},
        {"time", 0, OPTION_TIME, &v->time, "TIME", 0, 100, "a time"},
        {"context", 0, OPTION_SAMPLES, &v->samples, "LENGTH", 0, 0, "a length"},
    };
    const struct usage usage = {"try", "[A] [B]", "Tries.", 0, 2};
    return options_parse(argc, argv, &usage, options, 7, arguments);
}

static void test_all_kinds(void **state)
{
    struct values v = {.count = 7, .real = 0.5};
    const char *rest[ARGUMENTS_MAX + 1];
    const char *argv[] = {"try",    "one",  "-f",        "--text=x y", "-s",     "a=1",
                          "--set",  "b=2",  "-n",        "16k",        "--real", "-2.5",
                          "--time", "80ms", "--context", "1s",         "two"};
    assert_int_equal(parse(&v, rest, sizeof(argv) / sizeof(argv[0]), argv), PARSED_OK);
    assert_true(v.flag);
    assert_string_equal(v.text, "x y");
    assert_int_equal(v.texts.n, 2);
    assert_string_equal(v.texts.text[1], "b=2");
    assert_int_equal(v.count, 16000);
    assert_true(v.real == -2.5 && v.time > 0.079 && v.time < 0.081);
    assert_string_equal(v.samples, "1s");
    assert_string_equal(rest[0], "one");
    assert_string_equal(rest[1], "two");
    assert_null(rest[2]);
}

static void test_absent_options_keep_their_values(void **state)
{
    struct values v = {.count = 7, .real = 0.5};
    const char *rest[ARGUMENTS_MAX + 1], *argv[] = {"try"};
    assert_int_equal(parse(&v, rest, 1, argv), PARSED_OK);
    assert_true(!v.flag && !v.text && v.texts.n == 0 && v.count == 7 && v.real == 0.5);
}

static void test_a_dash_is_a_value(void **state)
{
    struct values v = {0};
    const char *rest[ARGUMENTS_MAX + 1], *argv[] = {"try", "-t", "-", "--", "-f"};
    assert_int_equal(parse(&v, rest, 5, argv), PARSED_OK);
    assert_string_equal(v.text, "-");
    assert_string_equal(rest[0], "-f");
}

static void test_wrong_words(void **state)
{
    const char *words[][3] = {{"try", "--flug", NULL},     {"try", "-x", NULL},
                              {"try", "--count", NULL},    {"try", "--count", "0"},
                              {"try", "--count", "2M"},    {"try", "--count", "many"},
                              {"try", "--real", "11"},     {"try", "--time", "16k"},
                              {"try", "--context", "1.5"}, {"try", "--flag=1", NULL}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct values v = {0};
        const char *rest[ARGUMENTS_MAX + 1];
        assert_int_equal(parse(&v, rest, words[i][2] ? 3 : 2, words[i]), PARSED_WRONG);
    }
    struct values v = {0};
    const char *rest[ARGUMENTS_MAX + 1], *argv[] = {"try", "a", "b", "c"};
    assert_int_equal(parse(&v, rest, 4, argv), PARSED_WRONG);
}

static void test_help(void **state)
{
    struct values v = {0};
    const char *rest[ARGUMENTS_MAX + 1], *argv[] = {"try", "a", "--help"};
    assert_int_equal(parse(&v, rest, 3, argv), PARSED_HELP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_absent_options_keep_their_values),
        cmocka_unit_test(test_a_dash_is_a_value),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
