/*
 * Which backend a test runs on: the CPU, or the one that HISS_TEST_BACKEND names. The same
 * executables serve both: what they ask for lies in backend memory.
 */
#ifndef HISS_TESTS_DEVICE_H
#define HISS_TESTS_DEVICE_H

#include "kernels/backend.h"

/* "cpu" if nothing else is asked for. */
const char *device_name(void);

/* It is not the CPU: threads, instruction sets and host memory mean nothing there. */
bool device_asked(void);

/* First of all in main. HISS_TEST_ONLY is a pattern of the tests to be run: one under a slow tool,
   say. Where a device is asked for and the machine has none, says so and ends the test with 77,
   which meson counts as skipped; any other failure to open it ends it with 1. */
void device_start(void);

/* The backend asked for; fails the running test if it does not open. n_threads is the CPU's. */
struct backend *device_open(int n_threads);

/* Its kernels run on the CPU (tests/cuda_on_cpu), some thousand times slower than on a GPU: a test
   whose cases are many chooses among them. */
bool device_emulated(void);

/* Orders of execution that must all give the same bits: on a GPU every run is another one; where
   kernels are emulated, the order of blocks and threads is chosen: 0 as written, 1 reversed, from 2
   on at random. HISS_TEST_ORDERS: how many are tried, by default 2. */
int device_orders(void);
void device_set_order(int order);

#endif
