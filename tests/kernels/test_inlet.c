/*
 * What the host sends beside the work arrives whole, in order and in time: nothing is overwritten
 * before it was sent, or taken, or read before it is there. Where kernels are emulated every wait
 * for an event is forgotten once, and that has to be seen.
 */
#include "base/error.h"
#include "kernels/ops.h"
#include "tests/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CYCLES = 8, FLOATS = 3000, BYTES = FLOATS * sizeof(float), WAITS = 3, SEEDS = 4 };

/* Of tests/cuda_on_cpu, where the executable is linked with it. */
extern void cuda_on_cpu_forget_wait(int n) __attribute__((weak));

static void room_fill(struct backend *be, struct backend_inlet *inlet, int cycle)
{
    float *room = backend_inlet_room(be, inlet);
    for (int i = 0; i < FLOATS; i++)
        room[i] = (float)(cycle * FLOATS + i);
}

/* Each cycle's block is taken and worked on while the next comes. Counts what is wrong. */
static int wrong_of_all(struct backend *be)
{
    struct backend_inlet *inlet = backend_inlet_open(be, BYTES);
    float *taken = backend_alloc(be, BYTES), *kept = backend_alloc(be, (size_t)CYCLES * BYTES);
    float *got = malloc((size_t)CYCLES * BYTES);
    int wrong = 0;
    assert_non_null(inlet);
    assert_non_null(taken);
    assert_non_null(kept);
    assert_non_null(got);
    room_fill(be, inlet, 0);
    backend_inlet_post(be, inlet);
    for (int c = 0; c < CYCLES; c++) {
        backend_inlet_take(be, inlet, taken);
        be->ops->add(be, kept + (size_t)c * FLOATS, taken, FLOATS);
        be->ops->add(be, kept + (size_t)c * FLOATS, taken, FLOATS);
        room_fill(be, inlet, c + 1);
        backend_inlet_post(be, inlet);
    }
    backend_download(be, got, kept, (size_t)CYCLES * BYTES);
    for (int i = 0; i < CYCLES * FLOATS; i++)
        wrong += got[i] != 2 * (float)i;
    backend_inlet_close(be, inlet);
    backend_free(be, taken);
    backend_free(be, kept);
    free(got);
    assert_true(backend_sync(be));
    return wrong;
}

static void test_arrives(void **state)
{
    (void)state;
    struct backend *be = device_open(1);
    for (int order = 0; order < device_orders(); order++) {
        device_set_order(order);
        assert_int_equal(wrong_of_all(be), 0);
    }
    device_set_order(0);
    backend_close(be);
}

/* The last of several is what is taken, and what was posted is not the caller's any more. */
static void test_last_counts(void **state)
{
    (void)state;
    struct backend *be = device_open(1);
    struct backend_inlet *inlet = backend_inlet_open(be, BYTES);
    float *taken = backend_alloc(be, BYTES), got[FLOATS];
    for (int c = 0; c < CYCLES; c++) {
        room_fill(be, inlet, c);
        backend_inlet_post(be, inlet);
    }
    backend_inlet_take(be, inlet, taken);
    backend_download(be, got, taken, BYTES);
    for (int i = 0; i < FLOATS; i++)
        assert_true(got[i] == (float)((CYCLES - 1) * FLOATS + i));
    backend_inlet_close(be, inlet);
    backend_free(be, taken);
    assert_true(backend_sync(be));
    backend_close(be);
}

/* Of each cycle the room waits, the upload and the taking. */
static void test_forgotten_waits(void **state)
{
    (void)state;
    int seen[WAITS] = {0};
    struct backend *be = device_open(1);
    for (int seed = 0; seed < SEEDS; seed++) {
        device_set_order(seed);
        for (int n = 0; n < WAITS * CYCLES; n++) {
            cuda_on_cpu_forget_wait(n);
            seen[n % WAITS] += wrong_of_all(be) > 0;
        }
        cuda_on_cpu_forget_wait(-1);
        assert_int_equal(wrong_of_all(be), 0);
    }
    device_set_order(0);
    print_message("forgotten and seen, of %d: %d of the host's waits for its room, %d of the "
                  "uploads' for the block to be taken, %d of the work's for the upload\n",
                  SEEDS * CYCLES, seen[0], seen[1], seen[2]);
    for (int i = 0; i < WAITS; i++)
        assert_true(seen[i] > 0);
    backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrives),
        cmocka_unit_test(test_last_counts),
    };
    const struct CMUnitTest emulated[] = {cmocka_unit_test(test_forgotten_waits)};
    device_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (device_emulated())
        failed += cmocka_run_group_tests(emulated, NULL, NULL);
    return failed;
}
