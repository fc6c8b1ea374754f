/*
 * Plain measures of sound: what a validation clip is like, so that takes can be held against it.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_MEASURE_H
#define HISS_APP_MEASURE_H

#include <stdint.h>

/* Level in dB below full scale: 20 log10 of the root mean square; at least -120. */
double measure_level_db(const float *x /* (n) */, int64_t n);

/* The same of what moves: without the mean. Sound that stands still, at any value, has -120. */
double measure_swing_db(const float *x /* (n) */, int64_t n);

/* Spectral flatness, 0 to 1: geometric over arithmetic mean of the power spectrum, averaged over
   windows of 512 samples. 1 is white noise. 0 for fewer samples than a window. */
double measure_flatness(const float *x /* (n) */, int64_t n);

/* Upwards. */
void measure_sort(double *x /* (n) */, int64_t n);

/* Quantile `at`, 0 to 1, of n > 0 sorted values, between neighbours by a straight line. */
double measure_quantile(const double *sorted /* (n) */, int64_t n, double at);

enum { MEASURE_QUANTILES = 7 };
extern const double measure_quantile_at[MEASURE_QUANTILES]; /* 0, .05, .25, .5, .75, .95, 1 */

/* The quantiles of n values; sorts x. */
void measure_quantiles(double out[MEASURE_QUANTILES], double *x /* (n) */, int64_t n);

#endif
