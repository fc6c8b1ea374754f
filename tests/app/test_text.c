#include "app/text.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

static void assert_escaped(const char *text, const char *expected)
{
    char *escaped = text_escape(text);
    assert_non_null(escaped);
    assert_string_equal(escaped, expected);
    assert_true(text_is_utf8(escaped));
    free(escaped);
}

static void test_utf8_stays(void **state)
{
    static const char *const texts[] = {
        "", "plain", "\xc3\xa9t\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8e\xb5", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_true(text_is_utf8(texts[i]));
        assert_escaped(texts[i], texts[i]);
    }
}

static void test_other_bytes_are_written_out(void **state)
{
    assert_false(text_is_utf8("caf\xe9"));
    assert_escaped("caf\xe9", "caf\\xE9");
    assert_escaped("\xe9t\xc3\xa9", "\\xE9t\xc3\xa9");
    assert_escaped("\x80", "\\x80");
    assert_escaped("\xc0\xaf", "\\xC0\\xAF");                   /* overlong */
    assert_escaped("\xed\xa0\x80", "\\xED\\xA0\\x80");          /* a surrogate */
    assert_escaped("\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80"); /* beyond Unicode */
    assert_escaped("\xe2\x82", "\\xE2\\x82");                   /* torn */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_stays),
        cmocka_unit_test(test_other_bytes_are_written_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
