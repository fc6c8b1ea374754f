/*
 * What a recording is like, in numbers that two folders of recordings can be compared by.
 *
 * Frames are of 32 ms (spectrum_frame), half overlapping, all inside the sound; a shorter sound is
 * one frame, filled up with silence. Powers are those of spectrum.h (a full-scale sine is 0 dB),
 * never below PROFILE_FLOOR_DB.
 *
 * A profiler belongs to one thread at a time. Only opening and growing lists allocates.
 */
#ifndef HISS_AUDIO_PROFILE_H
#define HISS_AUDIO_PROFILE_H

#include "audio/frechet.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PROFILE_BANDS = 64,       /* mel bands of a frame */
    PROFILE_RESOLUTIONS = 3,  /* frames of 16, 32 and 64 ms */
    PROFILE_FLOOR_DB = -80,   /* of a power */
    PROFILE_SILENCE_DB = -60, /* a frame whose root mean square is below is silent */
};
extern const double profile_clip_level; /* |x| from here on counts as clipped: 0.999 */
extern const double profile_window_s;   /* of `windows`: 0.25 */
extern const double profile_resolution_s[PROFILE_RESOLUTIONS];

/* A quarter of a second: what runaway sound is told by. */
struct profile_window {
    float level_db; /* root mean square, full scale 0, at least -120 */
    float flatness; /* of the mean power spectrum: geometric over arithmetic mean, 1 is white */
};

struct profile {
    int64_t n;          /* samples */
    double level_db;    /* root mean square of the whole, full scale 0, at least -120 */
    double loudness;    /* LUFS (loudness.h): -INFINITY of silence, NAN where it has none */
    double centroid;    /* Hz: sum f |X| / sum |X| of a frame (Peeters: "A large set of audio
                           features", 2004), mean over the frames that are not silent; NAN if all
                           are */
    double silence;     /* share of silent frames */
    double clipping;    /* share of samples at profile_clip_level or beyond */
    struct moments mel; /* (PROFILE_BANDS) of the frames' mel powers in dB */
    double *mean_db[PROFILE_RESOLUTIONS]; /* (bins) mean over frames of the power in dB */
    struct profile_window *windows;       /* (n_windows) one after the other; a sound shorter than
                                             one is one */
    int64_t n_windows;
};

struct profiler;

/* For sounds of `rate` Hz. NULL with error_text (memory). */
struct profiler *profiler_open(int rate);
void profiler_close(struct profiler *p); /* NULL is fine */

/* Bins of a resolution's frames, and their length. */
int profiler_n_bins(const struct profiler *p, int resolution);
int profiler_frame(const struct profiler *p, int resolution);

/* Measures a sound of at least one sample. False with error_text (memory). */
bool profile_make(struct profile *out, struct profiler *p, const float *x /* (n) */, int64_t n);
void profile_free(struct profile *profile); /* a zeroed one is fine */

/* Two sounds that should be the same, over what both have (n samples), at each resolution r with
   magnitudes |X|: spectral convergence |X_b - X_a| / |X_a| (Frobenius norms), and the mean of
   |dB of X_b - dB of X_a|; both averaged over resolutions (Yamamoto, Song, Kim: "Parallel WaveGAN",
   2020, equations 4 to 6; their logarithm told in dB). a is the reference. */
struct pair_distance {
    double convergence, log_db;
};
struct pair_distance profile_pair(struct profiler *p, const float *a /* (n) */,
                                  const float *b /* (n) */, int64_t n);

/* Two sets of sounds that need not be the same: the mean over bins of |mean dB of b - mean dB of a|
   at each resolution, averaged over resolutions; the means are those of mean_db. */
double profile_spectra_distance(const struct profiler *p, double *const a[PROFILE_RESOLUTIONS],
                                double *const b[PROFILE_RESOLUTIONS]);

#endif
