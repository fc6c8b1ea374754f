/* Error texts: one line, bounded, a thread's own. */
#include "base/error.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void text_is_set_and_prefixed(void **state)
{
    assert_false(error_set("tensor %s: %d", "A", 7));
    assert_string_equal(error_text(), "tensor A: 7");
    assert_false(error_prefix("file %s", "x"));
    assert_string_equal(error_text(), "file x: tensor A: 7");
    assert_false(error_set("again: %s", error_text()));
    assert_string_equal(error_text(), "again: file x: tensor A: 7");
}

static void control_characters_are_replaced(void **state)
{
    error_set("a\nb\x1b[2Jc\x7f\xc3\xa9");
    assert_string_equal(error_text(), "a?b?[2Jc?\xc3\xa9");
}

static void long_texts_are_cut(void **state)
{
    char lengthy[3 * ERROR_TEXT_MAX];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    error_set("%s", lengthy);
    assert_int_equal(strlen(error_text()), ERROR_TEXT_MAX - 1);
    error_prefix("begin");
    assert_memory_equal(error_text(), "begin: xxx", 10);
    assert_int_equal(strlen(error_text()), ERROR_TEXT_MAX - 1);
    error_prefix("%s", lengthy);
    assert_int_equal(strlen(error_text()), ERROR_TEXT_MAX - 1);
}

static void *other_thread(void *arg)
{
    *(int *)arg = strlen(error_text()) == 0;
    error_set("elsewhere");
    return NULL;
}

static void threads_have_their_own(void **state)
{
    pthread_t thread;
    int was_empty = 0;
    error_set("here");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &was_empty), 0);
    pthread_join(thread, NULL);
    assert_true(was_empty);
    assert_string_equal(error_text(), "here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_set_and_prefixed),
        cmocka_unit_test(control_characters_are_replaced),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(threads_have_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
