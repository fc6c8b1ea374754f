/* The arena: a dry run counts what a real run hands out. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Some pieces, as a plan would cut them: one kept, two given back. */
static void cut(struct arena *a)
{
    char *kept = arena_alloc(a, 100);
    size_t mark = a->used;
    char *lent = arena_alloc(a, 1000);
    char *empty = arena_alloc(a, 0);
    arena_reset(a, mark);
    char *again = arena_alloc(a, 10);
    if (!a->block) {
        assert_null(kept);
        assert_null(again);
        return;
    }
    assert_ptr_equal(kept, a->block);
    assert_ptr_equal(lent, again);
    assert_ptr_equal(empty, lent + 1024);
    assert_int_equal((uintptr_t)again % ARENA_ALIGN, 0);
    memset(kept, 1, 100);
    memset(again, 2, 10);
}

static void dry_run_counts_the_peak(void **state)
{
    struct arena a;
    arena_init_dry(&a);
    cut(&a);
    assert_int_equal(a.used, 128 + 64);
    assert_int_equal(a.peak, 128 + 1024);
}

static void block_of_that_size_serves(void **state)
{
    struct arena dry, real;
    arena_init_dry(&dry);
    cut(&dry);
    void *block = aligned_alloc(ARENA_ALIGN, dry.peak);
    assert_non_null(block);
    arena_init(&real, block, dry.peak);
    cut(&real);
    assert_int_equal(real.used, dry.used);
    assert_int_equal(real.peak, dry.peak);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dry_run_counts_the_peak),
        cmocka_unit_test(block_of_that_size_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
