/* The fast encoder agrees with the quantiser; levels by each rule. */
#include "tests/audio/fixture.h"

#include "audio/encode.h"
#include "audio/normalize.h"

#include <math.h>

static void expect_same(const struct encoder *e, float x)
{
    uint8_t code;
    encoder_encode(e, &code, &x, 1);
    if (code != quantizer_encode(e->quantizer, x))
        fail_msg("%s: %.9g is %d, not %d", quantizer_name(e->quantizer), (double)x, code,
                 quantizer_encode(e->quantizer, x));
}

static void test_encoder(void **state)
{
    static struct encoder e;
    for (enum quantizer q = 0; q < QUANTIZERS; q++) {
        encoder_init(&e, q);
        for (int i = -40000; i <= 40000; i++)
            expect_same(&e, (float)i / 32768);
        for (int c = 1; c < 256; c++) { /* every float near every edge */
            float x = e.edge[c];
            for (int i = 0; i < 500; i++)
                x = nextafterf(x, -2);
            for (int i = 0; i < 1000; i++, x = nextafterf(x, 2))
                expect_same(&e, x);
            expect_same(&e, e.edge[c] + e.near[c]);
            expect_same(&e, e.edge[c] - e.near[c]);
        }
        uint32_t r = 1;
        for (int i = 0; i < 300000; i++) {
            r = r * 1664525 + 1013904223;
            expect_same(&e, (float)((double)r / 0x1p31 - 1));
        }
        expect_same(&e, NAN);
        expect_same(&e, INFINITY);
        expect_same(&e, -INFINITY);
        expect_same(&e, -0.0f);
        for (int c = 0; c < 256; c++)
            expect_same(&e, quantizer_decode(q, (uint8_t)c));
    }
}

static void test_names(void **state)
{
    enum normalize rule;
    for (enum normalize r = 0; r < NORMALIZES; r++) {
        assert_true(normalize_from_name(&rule, normalize_name(r)));
        assert_int_equal(rule, r);
    }
    assert_false(normalize_from_name(&rule, "loud"));
}

static void test_rules(void **state)
{
    float x[4] = {0.1f, -0.25f, 0, 0.2f}, quiet[2] = {5e-5f, -9e-5f};
    assert_true(normalize_apply(NORMALIZE_NONE, x, 4));
    assert_true(x[1] == -0.25f);
    assert_true(normalize_apply(NORMALIZE_PEAK, x, 4));
    assert_true(x[1] == -1);
    assert_true(x[0] == 0.1f / 0.25f);
    assert_false(normalize_apply(NORMALIZE_PEAK, quiet, 2));
    assert_true(quiet[0] == 5e-5f);
    assert_true(normalize_apply(NORMALIZE_PEAK, quiet, 0) == false);
    float y[3] = {0.5f, 0.25f, 0.75f};
    assert_true(normalize_apply(NORMALIZE_MINMAX, y, 3));
    assert_true(fabsf(y[0]) < 1e-5f && y[1] == -1 && y[2] < 1 && y[2] > 0.99999f);
    float flat[2] = {0.3f, 0.3f}; /* the added 1e-6 keeps silence from dividing by 0 */
    assert_true(normalize_apply(NORMALIZE_MINMAX, flat, 2));
    assert_true(flat[0] == -1 && flat[1] == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
