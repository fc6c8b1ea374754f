#include "tests/device.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SKIPPED = 77 };

const char *device_name(void)
{
    const char *name = getenv("HISS_TEST_BACKEND");
    return name && *name ? name : "cpu";
}

bool device_asked(void)
{
    return strcmp(device_name(), "cpu") != 0;
}

void device_start(void)
{
    const char *only = getenv("HISS_TEST_ONLY");
    if (only && *only)
        cmocka_set_test_filter(only);
    if (!device_asked())
        return;
    struct backend *be = backend_open(device_name(), 1);
    if (!be && (strstr(error_text(), "no device") || strstr(error_text(), "no NVIDIA driver"))) {
        printf("SKIPPED, for there is no GPU here: %s\n", error_text());
        exit(SKIPPED);
    }
    if (!be) {
        printf("failed: %s\n", error_text());
        exit(1);
    }
    backend_close(be);
}

struct backend *device_open(int n_threads)
{
    struct backend *be = backend_open(device_name(), n_threads);
    if (!be)
        fail_msg("%s", error_text());
    return be;
}

/* Of tests/cuda_on_cpu, where the executable is linked with it. */
extern void cuda_on_cpu_set_seed(int seed) __attribute__((weak));

bool device_emulated(void)
{
    return device_asked() && cuda_on_cpu_set_seed;
}

int device_orders(void)
{
    const char *orders = getenv("HISS_TEST_ORDERS");
    return orders && *orders ? atoi(orders) : 2;
}

void device_set_order(int order)
{
    if (device_emulated())
        cuda_on_cpu_set_seed(order);
}
