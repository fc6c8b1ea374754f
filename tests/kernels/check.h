/*
 * What the tests of the kernels share: memory filled with numbers that are the same every time, a
 * run of one operation on several numbers of threads, and comparison with naive double loops.
 *
 * Memory from check_* is exactly as long as asked for, so that the sanitizer sees a step beyond it,
 * and is freed by check_free, the teardown of every test.
 */
#ifndef HISS_TESTS_KERNELS_CHECK_H
#define HISS_TESTS_KERNELS_CHECK_H

#include "kernels/cpu/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Tables of operations that this processor can run. */
int check_tables(const struct ops *tables[CPU_TABLES_MAX]);

/* A backend of so many threads (1 to 8) with this table and enough scratch; opened once. */
struct backend *check_backend(const struct ops *ops, int n_threads);

float *check_zeros(int64_t n);
/* About normal, times scale; another `seed`, other numbers. */
float *check_random(int64_t n, uint32_t seed, double scale);
float *check_copy(const float *x, int64_t n);
double *check_doubles(int64_t n);
double *check_to_double(const float *x, int64_t n);
int check_free(void **state);

/* Runs `run` with one thread, which fills out (n floats, zeros before), then with two, three and
   eight, which must fill theirs with the same bits. */
void check_threads(const struct ops *ops, void (*run)(struct backend *be, void *arg, float *out),
                   void *arg, float *out, int64_t n);

/* |got - want| <= tolerance * the largest |want|. */
void check_near(const char *what, const float *got, const double *want, int64_t n,
                double tolerance);
void check_same(const char *what, const float *a, const float *b, int64_t n);

/* dx is the gradient of loss(arg) with respect to x, which arg points to: compared with central
   differences along random directions, to tolerance * (length of dx + 0.01). */
void check_gradient(const char *what, double (*loss)(void *arg), void *arg, double *x,
                    const float *dx, int64_t n, double tolerance);

#endif
