/*
 * Power spectra of short frames (FFTW), and those of the mel bands over them.
 *
 * A frame of n samples lies under a periodic Hann window. Power is scaled so that a sine of
 * amplitude a shows a^2 in its bin: full scale is 0 dB, whatever the length of the frame
 * (|X_k|^2 (2 / sum w)^2; Heinzel, Ruediger, Schilling: "Spectrum and spectral density estimation
 * by the DFT", 2002, section 9).
 *
 * A spectrum belongs to one thread at a time; different ones are independent, and any thread may
 * open one. Nothing but opening allocates.
 */
#ifndef HISS_AUDIO_SPECTRUM_H
#define HISS_AUDIO_SPECTRUM_H

#include <stdbool.h>
#include <stdint.h>

struct spectrum;

/* Frames of `n` samples, even, 2 to 2^20. NULL with error_text (memory). */
struct spectrum *spectrum_open(int n);
void spectrum_close(struct spectrum *s); /* NULL is fine */

/* Bins of a frame: n / 2 + 1; bin k lies at k rate / n Hz. */
int spectrum_n_bins(const struct spectrum *s);

/* The power of samples [at, at + n) of x; what lies outside [0, n_x) counts as 0. */
void spectrum_power(struct spectrum *s, float *power /* (n / 2 + 1) */, const float *x /* (n_x) */,
                    int64_t n_x, int64_t at);

/* 10 log10 of a power, at least floor_db. */
float power_db(float power, float floor_db);

/* A length of frames for sounds of `rate` Hz: the power of two nearest to dur_s, 2 to 2^20. */
int spectrum_frame(double dur_s, int rate);

/*
 * Mel bands: triangles of height 1 over the power spectrum, whose corners lie evenly between 0 and
 * rate / 2 on the mel scale m = 2595 log10(1 + f / 700) (O'Shaughnessy: "Speech communication",
 * 1987; the form that HTK and torchaudio use). Band b has its corners at corners b, b + 1, b + 2 of
 * n_bands + 2.
 */
struct mel;

double mel_of_hz(double hz);
double hz_of_mel(double mel);

/* For frames of `n` samples at `rate` Hz. A band too narrow to hold a bin takes the one nearest its
   middle. NULL with error_text (memory). */
struct mel *mel_open(int n_bands, int n, int rate);
void mel_close(struct mel *m); /* NULL is fine */

/* The power in each band. Any thread. */
void mel_power(const struct mel *m, float *bands /* (n_bands) */,
               const float *power /* (n / 2 + 1) */);

#endif
