/* Philox4x32-10 against the known answers of Random123 (its file kat_vectors), and the layout of
   counters that takes and trained models depend on. */
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <cmocka.h>

static void published_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        philox4x32(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].answer, sizeof out);
    }
}

static void words_follow_the_counter_layout(void **state)
{
    const uint64_t seed = 0x0123456789abcdef, n = 0xfedcba9876543210;
    const uint32_t key[2] = {0x89abcdef, 0x01234567};
    for (uint32_t word = 0; word < 1024; word += 77) {
        const uint32_t counter[4] = {0x76543210, 0xfedcba98, 5, 3u << 8 | word / 4};
        uint32_t block[4];
        philox4x32(counter, key, block);
        assert_int_equal(random_word(seed, n, 5, RANDOM_CROP, word), block[word % 4]);
    }
}

static void uniform_is_inside_its_bounds(void **state)
{
    assert_true(random_uniform(0) == 0x1p-24f);
    assert_true(random_uniform(0xffffffff) == 1 - 0x1p-24f);
    assert_true(random_uniform(0x80000000) == 0.5f + 0x1p-24f);
}

static void normal_has_mean_0_and_variance_1(void **state)
{
    enum { N = 100000 };
    double sum = 0, squares = 0;
    for (uint64_t n = 0; n < N; n++) {
        double x = random_normal(random_word(1, n, 0, RANDOM_INIT, 0),
                                 random_word(1, n, 0, RANDOM_INIT, 1));
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / N) < 0.015);
    assert_true(fabs(squares / N - 1) < 0.02);
    assert_true(isfinite(random_normal(0, 0)));
    assert_true(isfinite(random_normal(0xffffffff, 0xffffffff)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_answers),
        cmocka_unit_test(words_follow_the_counter_layout),
        cmocka_unit_test(uniform_is_inside_its_bounds),
        cmocka_unit_test(normal_has_mean_0_and_variance_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
