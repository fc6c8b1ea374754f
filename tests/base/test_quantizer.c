/* The quantisers' contract (design 4): every file and every model depends on it. */
#include "base/quantizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void names(void **state)
{
    for (int q = 0; q < QUANTIZERS; q++) {
        enum quantizer found = QUANTIZERS;
        assert_true(quantizer_from_name(&found, quantizer_name((enum quantizer)q)));
        assert_int_equal(found, q);
    }
    enum quantizer found;
    assert_false(quantizer_from_name(&found, "mu-law"));
    assert_false(quantizer_from_name(&found, ""));
}

static void codes_survive_decoding_and_16_bits(void **state)
{
    for (int c = 0; c < 256; c++) {
        float x = quantizer_decode(QUANTIZER_MU_LAW_256, (uint8_t)c);
        assert_int_equal(quantizer_encode(QUANTIZER_MU_LAW_256, x), c);
        float stored = (float)lrintf(x * 32767) / 32768;
        assert_int_equal(quantizer_encode(QUANTIZER_MU_LAW_256, stored), c);
        if (c > 0)
            assert_true(x > quantizer_decode(QUANTIZER_MU_LAW_256, (uint8_t)(c - 1)));
    }
}

static void silence_and_the_ends(void **state)
{
    for (int q = 0; q < QUANTIZERS; q++) {
        enum quantizer kind = (enum quantizer)q;
        assert_int_equal(quantizer_encode(kind, NAN), quantizer_encode(kind, 0));
        assert_int_equal(quantizer_encode(kind, 1), 255);
        assert_int_equal(quantizer_encode(kind, 7), 255);
        assert_int_equal(quantizer_encode(kind, INFINITY), 255);
        assert_int_equal(quantizer_encode(kind, -1), 0);
        assert_int_equal(quantizer_encode(kind, -INFINITY), 0);
    }
    assert_int_equal(quantizer_encode(QUANTIZER_MU_LAW_256, 0), 128);
    assert_true(quantizer_decode(QUANTIZER_MU_LAW_256, 255) == 1);
    assert_true(quantizer_decode(QUANTIZER_MU_LAW_256, 0) == -1);
    float quiet = quantizer_decode(QUANTIZER_MU_LAW_256, 128);
    assert_true(fabsf(quiet - 8.6e-5f) < 1e-6f);
    assert_true(quantizer_decode(QUANTIZER_MU_LAW_256, 127) == -quiet);
}

/* The formula of the contract, written once more. */
static int encode_by_formula(double x)
{
    double sign = x < 0 ? -1 : 1;
    double y = sign * log(1 + 255 * fabs(x)) / log(256);
    return (int)floor((y + 1) / 2 * 255 + 0.5);
}

static void encoding_is_the_formula_and_monotone(void **state)
{
    int before = 0;
    for (int i = -32768; i <= 32768; i++) {
        int code = quantizer_encode(QUANTIZER_MU_LAW_256, (float)i / 32768);
        assert_int_equal(code, encode_by_formula(i / 32768.0));
        assert_true(code >= before);
        before = code;
    }
}

static void s4_decodes_to_the_lower_edge(void **state)
{
    for (int c = 1; c < 256; c++) {
        float edge = quantizer_decode(QUANTIZER_S4_MU_LAW_256, (uint8_t)c);
        int code = quantizer_encode(QUANTIZER_S4_MU_LAW_256, edge);
        assert_true(code == c || code == c - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(codes_survive_decoding_and_16_bits),
        cmocka_unit_test(silence_and_the_ends),
        cmocka_unit_test(encoding_is_the_formula_and_monotone),
        cmocka_unit_test(s4_decodes_to_the_lower_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
