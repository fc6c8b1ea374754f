/*
 * What the tests of the kernels share: memory filled with numbers that are the same every time, a
 * run of one operation in every way that must not matter, and comparison with naive double loops.
 *
 * Memory from check_* is host memory, exactly as long as asked for, so that the sanitizer sees a
 * step beyond it, and is freed by check_free, the teardown of every test. An operation is given it
 * through check_in and check_out, and check_ran ends the run: on the CPU it works on that memory
 * itself, on a device on copies that are as long.
 */
#ifndef HISS_TESTS_KERNELS_CHECK_H
#define HISS_TESTS_KERNELS_CHECK_H

#include "kernels/cpu/cpu.h"
#include "tests/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* The tables of operations to be tested: those that this processor can run, or the device's. */
int check_tables(const struct ops *tables[CPU_TABLES_MAX]);

/* A backend of so many threads (1 to 8) with this table and enough scratch; opened once. */
struct backend *check_backend(const struct ops *ops, int n_threads);

float *check_zeros(int64_t n);
/* About normal, times scale; another `seed`, other numbers. */
float *check_random(int64_t n, uint32_t seed, double scale);
float *check_copy(const float *x, int64_t n);
uint8_t *check_bytes(int64_t n);
double *check_doubles(int64_t n);
double *check_to_double(const float *x, int64_t n);
int check_free(void **state);

/* Where the operations of `be` find the check_* memory at x, a pointer anywhere into it, or NULL:
   memory that they only read, and memory that they may write. A device's copy is made at the first
   mention, so the host writes before that. */
const void *check_in(struct backend *be, const void *x);
void *check_out(struct backend *be, void *x);
/* Waits, brings back what may have been written, and fails if anything went wrong or if what is
   only read has changed. */
void check_ran(struct backend *be);

/* Runs `run` with one thread, which fills out (n floats of check_* memory, zeros before), then with
   two, three and eight, which must fill theirs with the same bits. On a device: once in every order
   of tests/device.h, with the same bits, and on the CPU, with the same numbers to `tolerance` of
   the largest. */
void check_run(const struct ops *ops, void (*run)(struct backend *be, void *arg, float *out),
               void *arg, float *out, int64_t n, double tolerance);

/* |got - want| <= tolerance * the largest |want|. */
void check_near(const char *what, const float *got, const double *want, int64_t n,
                double tolerance);
void check_same(const char *what, const float *a, const float *b, int64_t n);

/* dx is the gradient of loss(arg) with respect to x, which arg points to: compared with central
   differences along random directions, to tolerance * (length of dx + 0.01). */
void check_gradient(const char *what, double (*loss)(void *arg), void *arg, double *x,
                    const float *dx, int64_t n, double tolerance);

#endif
