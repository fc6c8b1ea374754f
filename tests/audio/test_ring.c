/* What goes in comes out, in order, across two threads; best run under ThreadSanitizer. */
#include "tests/audio/fixture.h"

#include "audio/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { N = 2000000 };

static void test_alone(void **state)
{
    struct ring r;
    float x[20], y[20];
    for (int i = 0; i < 20; i++)
        x[i] = (float)i;
    assert_true(ring_init(&r, 10));
    assert_int_equal(r.size, 16);
    assert_int_equal(ring_read(&r, y, 5), 0);
    for (int round = 0; round < 100; round++) {
        assert_int_equal(ring_write(&r, x, 20), 16);
        assert_int_equal(ring_write(&r, x, 1), 0);
        assert_int_equal(ring_n_ready(&r), 16);
        assert_int_equal(ring_read(&r, y, 5), 5);
        assert_int_equal(ring_write(&r, x + 16, 4), 4);
        assert_int_equal(ring_read(&r, y + 5, 20), 15);
        for (int i = 0; i < 20; i++)
            assert_true(y[i] == x[i]);
        assert_int_equal(ring_n_ready(&r), 0);
        ring_write(&r, x, (size_t)round % 3); /* so that rounds begin everywhere */
        ring_read(&r, y, 3);
    }
    assert_int_equal(ring_write(&r, x, 0), 0);
    ring_free(&r);
    assert_true(ring_init(&r, 1));
    assert_int_equal(ring_write(&r, x, 2), 1);
    ring_free(&r);
    assert_false(ring_init(&r, SIZE_MAX / 2));
    assert_error_has("out of memory");
}

static void *produce(void *arg)
{
    struct ring *r = arg;
    float x[97];
    for (int n = 0; n < N;) {
        size_t part = 1 + (size_t)(n * 31 % 97);
        part = part < (size_t)(N - n) ? part : (size_t)(N - n);
        for (size_t i = 0; i < part; i++)
            x[i] = (float)(n + (int)i);
        size_t done = ring_write(r, x, part);
        n += (int)done;
        if (done == 0)
            sched_yield();
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    struct ring r;
    pthread_t thread;
    float y[64];
    assert_true(ring_init(&r, 256));
    assert_int_equal(pthread_create(&thread, NULL, produce, &r), 0);
    for (int n = 0; n < N;) {
        size_t ready = ring_n_ready(&r);
        size_t got = ring_read(&r, y, 1 + (size_t)(n * 17 % 64));
        assert_true(ready <= 256);
        for (size_t i = 0; i < got; i++)
            if (y[i] != (float)(n + (int)i))
                fail_msg("sample %d is %g", n + (int)i, (double)y[i]);
        n += (int)got;
        if (got == 0)
            sched_yield();
    }
    pthread_join(thread, NULL);
    ring_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
