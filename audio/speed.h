/*
 * Sound played a little faster or slower, for augmentation: a windowed sinc of 64 taps (Kaiser
 * window), its coefficients interpolated between 256 phases, at any ratio up to 1.45. Passes up to
 * 90 % of the band that both speeds have in common; images and aliases lie some 70 dB down. (soxr
 * serves where a whole file changes its rate; its start costs more than such a short clip.)
 *
 * The taps are scratch memory: one thread.
 */
#ifndef HISS_AUDIO_SPEED_H
#define HISS_AUDIO_SPEED_H

#include <stdint.h>

enum {
    SPEED_ZEROS = 32,  /* zero crossings on each side of the sinc at ratio 1 */
    SPEED_MARGIN = 48, /* samples needed before and after those named in speed_run */
    SPEED_TAPS = 96,   /* most taps, at the highest ratio */
    SPEED_PHASES = 256,
};

/* Ratios above 0, up to this. */
#define SPEED_RATIO_MAX 1.45f

struct speed {
    float ratio;
    int n_taps;                                  /* a multiple of 4 */
    float taps[(SPEED_PHASES + 1) * SPEED_TAPS]; /* (SPEED_PHASES + 1, n_taps) */
};

/* Computes the taps for a ratio: 1.1 plays 10 % faster. */
void speed_init(struct speed *s, float ratio);

/* out[i] = x at i * ratio. x must be readable from -SPEED_MARGIN to n * ratio + SPEED_MARGIN. */
void speed_run(const struct speed *s, float *out /* (n) */, const float *x, int64_t n);

#endif
