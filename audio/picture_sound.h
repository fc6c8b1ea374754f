/*
 * Pictures of sound: waveform and spectrogram in a panel. Same thread rules as picture.h.
 */
#ifndef HISS_AUDIO_PICTURE_SOUND_H
#define HISS_AUDIO_PICTURE_SOUND_H

#include "audio/axes.h"

#include <stdbool.h>
#include <stdint.h>

/* Draws x over panel->across in seconds and panel->up in full scales: between panel_begin and
   panel_end. */
void picture_waveform(struct picture *to, const struct panel *p, const float *x /* (n) */,
                      int64_t n, int rate, struct colour colour);

/* A spectrogram as an image for a panel: powers in dB (spectrum.h: a full-scale sine is 0), column
   by column of the panel's pixels. A column is the mean power of the frames in it, which overlap
   by at least a half. */
struct spectrogram {
    int n_x, n_y;  /* columns, and rows from the top */
    float *db;     /* (n_y, n_x); NAN where the sound has ended */
    float peak_db; /* the largest */
};

/* For the places of the panel (its size and axes, seconds and Hz). `frame` samples a frame. False
   with error_text (memory). */
bool spectrogram_make(struct spectrogram *s, const struct panel *p, const float *x /* (n) */,
                      int64_t n, int rate, int frame);
void spectrogram_free(struct spectrogram *s); /* a zeroed one is fine */

/* Draws it with colour_of from low_db to high_db. False with error_text (memory). */
bool picture_spectrogram(struct picture *to, const struct panel *p, const struct spectrogram *s,
                         float low_db, float high_db);

#endif
