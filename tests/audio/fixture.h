/*
 * Sound files for the tests, made where they are needed.
 */
#ifndef HISS_TESTS_AUDIO_FIXTURE_H
#define HISS_TESTS_AUDIO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sndfile.h>

#include "base/error.h"

/* A fresh folder, the same until fixture_close; every name below lies in it. */
void fixture_open(void);
void fixture_close(void);

/* The path of a name in the folder; one of eight buffers, used in turn. */
const char *fixture_path(const char *name);

/* Folders above a name are made on the way. */
void fixture_bytes(const char *name, const void *bytes, size_t size);
void fixture_text(const char *name, const char *text);
void fixture_folder(const char *name);
void fixture_link(const char *name, const char *target);

/* Writes (n_frames, channels) floats by libsndfile. */
void fixture_sound(const char *name, int format, int rate, int channels, const float *x,
                   int64_t n_frames);

/* n samples of a sine in a 16 bit WAV, its frequency telling files apart. */
void fixture_tone(const char *name, int rate, int64_t n, double hz);

/* x[i] = level * sin(2 pi hz i / rate). */
void fill_tone(float *x, int64_t n, int rate, double hz, double level);

/* The error text holds a piece, and is one line. */
void assert_error_has(const char *piece);

#endif
