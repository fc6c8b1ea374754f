#include "app/size.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static void test_counts(void **state)
{
    int64_t n;
    assert_true(count_parse(&n, "0") && n == 0);
    assert_true(count_parse(&n, "16k") && n == 16000);
    assert_true(count_parse(&n, "1.5k") && n == 1500);
    assert_true(count_parse(&n, "2M") && n == 2000000);
    assert_true(count_parse(&n, "1G") && n == 1000000000);
    assert_true(count_parse(&n, "9007199254740993") && n == 9007199254740993); /* not a double */
    const char *wrong[] = {"",
                           "k",
                           "-1",
                           "1.5",
                           "16 k",
                           " 16",
                           "0x10",
                           "1e400",
                           "nan",
                           "inf",
                           "16K",
                           "16kk",
                           "99999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(count_parse(&n, wrong[i]));
}

static void test_times(void **state)
{
    double s;
    assert_true(time_parse(&s, "10") && s == 10);
    assert_true(time_parse(&s, "80ms") && s > 0.0799 && s < 0.0801);
    assert_true(time_parse(&s, "2.5s") && s == 2.5);
    assert_true(time_parse(&s, "3min") && s == 180);
    assert_true(time_parse(&s, "1h") && s == 3600);
    assert_false(time_parse(&s, "16k"));
    assert_false(time_parse(&s, "-1"));
    assert_false(time_parse(&s, "ten"));
}

static void test_samples(void **state)
{
    int64_t n;
    assert_true(samples_parse(&n, "2048", 8000) && n == 2048);
    assert_true(samples_parse(&n, "16k", 8000) && n == 16000);
    assert_true(samples_parse(&n, "80ms", 8000) && n == 640);
    assert_true(samples_parse(&n, "1s", 44100) && n == 44100);
    assert_false(samples_parse(&n, "1.5", 8000));
    assert_false(samples_parse(&n, "s", 8000));
}

static void test_reals(void **state)
{
    double x;
    assert_true(real_parse(&x, "1e-3") && x == 1e-3);
    assert_true(real_parse(&x, "-2.5") && x == -2.5);
    assert_true(real_parse(&x, ".5") && x == 0.5);
    const char *wrong[] = {"", "-", "1,5", "nan", "inf", "1e999", "--1", "1 ", "0x1p3"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(real_parse(&x, wrong[i]));
}

static void test_duration(void **state)
{
    char text[32];
    assert_string_equal(time_format(text, sizeof(text), 65.9), "1:05");
    assert_string_equal(time_format(text, sizeof(text), 7384), "2:03:04");
    assert_string_equal(time_format(text, sizeof(text), -1), "0:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),   cmocka_unit_test(test_times),
        cmocka_unit_test(test_samples),  cmocka_unit_test(test_reals),
        cmocka_unit_test(test_duration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
