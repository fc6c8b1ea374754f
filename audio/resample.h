/*
 * From a model's rate to a device's (or back), as a stream with little delay: soxr with a wide
 * transition band (80 to 120 % of the lower rate's half: a last trace of images of the highest
 * fifth is let through, 20 dB and more below it where it is loudest), so that its filters are
 * short.
 *
 * At equal rates samples pass as they are. One thread at a time.
 */
#ifndef HISS_AUDIO_RESAMPLE_H
#define HISS_AUDIO_RESAMPLE_H

#include <stdbool.h>
#include <stdint.h>

struct resampler;

/* From `from` Hz to `to` Hz, both above 0. NULL with error_text. */
struct resampler *resampler_open(int from, int to);
void resampler_close(struct resampler *r); /* NULL is fine */

/* Room needed for all that n more samples may bring out. */
int64_t resampler_room(const struct resampler *r, int64_t n);

/* Takes n samples and gives what is ready: at most resampler_room(r, n). Returns how many. in NULL:
   the sound has ended; gives what was held back (at most resampler_room(r, 0)); then only
   resampler_close may follow. */
int64_t resampler_run(struct resampler *r, float *out, const float *in /* (n) */, int64_t n);

/* Seconds of sound taken in and not yet given out. */
double resampler_held_s(const struct resampler *r);

#endif
