/*
 * The level of a recording before it becomes codes: the same in training, eval and prompts.
 *
 *   none     as it is; the quantiser clamps what is beyond [-1, 1]
 *   peak     divided by the largest |x| of the whole file (mixed to mono, at the model's rate);
 *            a file that never reaches NORMALIZE_PEAK_MIN is left alone
 *   minmax   a = -1 + 2 (x - min) / (max - min + 1e-6) over one clip as it was cut, in float: the
 *            rule of state-spaces/s4, for models whose bits are to stand beside published ones
 *
 * Any thread; no state.
 */
#ifndef HISS_AUDIO_NORMALIZE_H
#define HISS_AUDIO_NORMALIZE_H

#include <stdbool.h>
#include <stdint.h>

enum normalize { NORMALIZE_NONE, NORMALIZE_PEAK, NORMALIZE_MINMAX, NORMALIZES };

#define NORMALIZE_PEAK_MIN 1e-4f

/* "none", "peak", "minmax". */
const char *normalize_name(enum normalize rule);
bool normalize_from_name(enum normalize *rule,
                         const char *name); /* false, no error_text: unknown */

/* The largest |x|; 0 for no samples. */
float normalize_peak(const float *x /* (n) */, int64_t n);

/* The smallest and the largest x, joined to those already in *min and *max. */
void normalize_range(float *min, float *max, const float *x /* (n) */, int64_t n);

/* What `peak` divides by: `peak` itself, or 1 if it is below NORMALIZE_PEAK_MIN. */
float normalize_divisor(float peak);

/* minmax with a range found before, in place. */
void normalize_to_range(float *x /* (n) */, int64_t n, float min, float max);

/* Applies a rule to a whole recording (peak) or clip (minmax), in place. Returns false, without
   error_text, if `peak` found it too quiet and left it alone: worth a word to the user. */
bool normalize_apply(enum normalize rule, float *x /* (n) */, int64_t n);

#endif
