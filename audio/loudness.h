/*
 * Loudness of a mono sound as ITU-R BS.1770-4 (2015) defines it: two filters that stand for head
 * and ear, the mean square of blocks of 400 ms that overlap by three quarters, a gate at -70 LUFS
 * and one 10 LU below the loudness of what passes the first.
 *
 * The recommendation gives the filters at 48 kHz; at other rates they are made again from the same
 * analogue prototypes (De Man: "Evaluation of implementations of the EBU R128 loudness
 * measurement", AES 145, 2018): at 8 and 16 kHz a tone of 1 kHz then reads up to 0.1 LU too loud.
 * Below 8 kHz too little of what they weigh is left.
 *
 * Any thread; no state.
 */
#ifndef HISS_AUDIO_LOUDNESS_H
#define HISS_AUDIO_LOUDNESS_H

#include <stdint.h>

enum { LOUDNESS_RATE_MIN = 8000 };

/* LUFS. A sound shorter than a block is taken as one block. -INFINITY if nothing passes the gates
   (silence); NAN below LOUDNESS_RATE_MIN. */
double loudness_lufs(const float *x /* (n) */, int64_t n, int rate);

#endif
