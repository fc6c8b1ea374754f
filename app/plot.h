/*
 * The pictures that hiss makes, each one function. Without cairo (meson option `cairo`) they all
 * fail with one line that says what to install.
 *
 * Names shown in them may hold any bytes. Paths end in .png or .svg; files are written beside and
 * renamed. Any thread, one at a time.
 */
#ifndef HISS_APP_PLOT_H
#define HISS_APP_PLOT_H

#include "app/compare.h"
#include "app/score.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Was hiss built with cairo? */
bool plot_possible(void);

/* Can a picture of that name be drawn: cairo, .png or .svg? Before any work. False with
   error_text. */
bool plot_check(const char *path);

enum { PLOT_SOUNDS_MAX = 24, PLOT_RUNS_MAX = 7 };

struct plot_sounds {
    const char *const *paths; /* (n) sound files */
    int n;                    /* 1 to PLOT_SOUNDS_MAX: several make a sheet, side by side, with the
                                 same scales of time, height, frequency and level */
    const char *title;        /* NULL: a file's name; none for several */
    double frame_s;           /* of the spectrogram's frames; 0: 32 ms */
    double range_db;          /* shown below the loudest; 0: 80 */
    double from_s, dur_s;     /* the part shown; dur_s 0: to the end */
    bool linear;              /* the frequency axis; else mel */
};

/* Waveform and spectrogram. */
bool plot_sounds(const char *path, const struct plot_sounds *job);

/* Training and validation bits and the learning rate against the samples heard, of the run
   directories (1 to PLOT_RUNS_MAX). */
bool plot_runs(const char *path, const char *const *runs, int n);

/* One page on a folder of generated sounds beside its reference. */
bool plot_comparison(const char *path, const struct comparison *c);

/* One page on the bits of recordings under a model. */
bool plot_scores(const char *path, const struct scores *s,
                 const char *const *label_names /* (n_labels) */, int n_labels);

#endif
