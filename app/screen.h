/*
 * The screen of a live session as a grid of cells: a pure function of facts, so that it can be
 * tested without a terminal. app/terminal.h paints it.
 *
 * From top to bottom: what plays; the waveform; the scrolling spectrum; meters; messages; the keys.
 * Whatever the size, as much as fits is shown, the keys first; below SCREEN_ROWS_MIN by
 * SCREEN_COLUMNS_MIN a line asks for more room.
 *
 * Any thread; no state, no allocation beyond grid_init.
 */
#ifndef HISS_APP_SCREEN_H
#define HISS_APP_SCREEN_H

#include "app/live.h"

enum {
    SCREEN_ROWS_MIN = 16,
    SCREEN_COLUMNS_MIN = 70,
    SCREEN_BANDS = 32,    /* mel bands of a spectrum, lowest first */
    SCREEN_SPECTRA = 400, /* spectra kept at most: a column each */
    SCREEN_WAVE = 4096,   /* samples of the waveform at most */
};

enum style {
    STYLE_PLAIN,
    STYLE_DIM,
    STYLE_TITLE,
    STYLE_GOOD,
    STYLE_WARN,
    STYLE_BAD,
    STYLE_KEY,
    STYLE_WAVE,
    STYLE_HEAT, /* the coldest of SCREEN_HEATS */
    SCREEN_HEATS = 5,
    STYLES = STYLE_HEAT + SCREEN_HEATS,
};

struct cell {
    uint32_t character; /* Unicode */
    uint8_t style;
};

struct grid {
    int rows, columns;
    struct cell *cells; /* (rows, columns) */
};

/* All blank. False with error_text. */
bool grid_init(struct grid *g, int rows, int columns);
void grid_free(struct grid *g);
/* A row as UTF-8 text without the blanks at its end. */
void grid_text(const struct grid *g, int row, char *text, size_t size);

struct key_help {
    const char *key, *what;
};

struct screen_facts {
    bool utf8; /* else ASCII alone */
    const char *model, *device, *label, *label_heard;
    int rate; /* Hz, the model's */
    struct live_facts live;
    const float *wave; /* (n_wave) latest samples, oldest first */
    int n_wave;
    const float *spectra; /* (n_spectra, SCREEN_BANDS) dB below full scale, oldest first */
    int n_spectra;
    const struct key_help *keys; /* (n_keys) */
    int n_keys;
    bool guard;         /* it listens */
    int64_t n_guarded;  /* how often it stepped in */
    const char *record; /* path of the recording under way, or NULL */
    double record_s;
    const char *prompt;  /* what is being typed, with its question, or NULL */
    const char *message; /* the latest, or "" */
};

void screen_draw(struct grid *g, const struct screen_facts *f);

#endif
