/*
 * How far a mean over files would move with other files of their kind.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_BOOTSTRAP_H
#define HISS_APP_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>

enum { BOOTSTRAP_DRAWS = 1000 };

/* The 95 % interval of sum(over) / sum(under) over n files: the 2.5 % and 97.5 % quantiles of that
   ratio in BOOTSTRAP_DRAWS draws of n files with replacement (Efron: "Bootstrap methods: another
   look at the jackknife", Annals of Statistics 7, 1979). Bits a sample: over is a file's bits,
   under its samples; a plain mean: under is 1. The draws are random_word's of a fixed seed: the
   same files give the same interval. NAN for fewer than two files, or none with under > 0. False
   with error_text (memory). */
bool bootstrap_ratio(double interval[2], const double *over /* (n) */,
                     const double *under /* (n) */, int64_t n);

#endif
