#define _GNU_SOURCE
#include "app/plot_page.h"
#include "audio/spectrum.h"
#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WIDTH = 940,
    HEIGHT = 762,
    LINE = 18,
    TABLE_Y = 78,
    SPECTRUM_Y = 300,
    SPREAD_Y = 572,
    LEFT = 80,
    RIGHT = 24,
    GAP = 66, /* between the lowest panels */
    N_SPREAD = 3,
};

static const struct text_style plain = {.size = 11, .colour = {0.13f, 0.13f, 0.15f}},
                               number = {.size = 11, .across = 1, .colour = {0.13f, 0.13f, 0.15f}},
                               faint = {.size = 10, .colour = {0.45f, 0.45f, 0.48f}};

/* "-21.32  (-22.10 to -20.49)", right aligned in two columns. */
static void value_draw(struct picture *to, double x, double y, double value,
                       const double interval[2], const struct measure_name *name)
{
    char text[64];
    if (!isfinite(value)) {
        picture_text(to, x, y, "-", &number);
        return;
    }
    snprintf(text, sizeof(text), "%.*f", name->decimals, name->unit * value);
    picture_text(to, x, y, text, &number);
    if (!isfinite(interval[0]))
        return;
    snprintf(text, sizeof(text), "(%.*f to %.*f)", name->decimals, name->unit * interval[0],
             name->decimals, name->unit * interval[1]);
    picture_text(to, x + 8, y, text, &faint);
}

static void distance_draw(struct picture *to, double y, const char *name, double value,
                          double halves)
{
    char text[120];
    picture_text(to, 24, y, name, &plain);
    snprintf(text, sizeof(text), "%.5g", value);
    picture_text(to, 440, y, text, &number);
    if (!isfinite(halves))
        return;
    snprintf(text, sizeof(text), "%.4g between random halves of the reference", halves);
    picture_text(to, 448, y, text, &faint);
}

static void table_draw(struct picture *to, const struct comparison *c)
{
    const struct text_style head_g = {.size = 11,
                                      .across = 1,
                                      .bold = true,
                                      .colour = colour_series(1)},
                            head_r = {
                                .size = 11, .across = 1, .bold = true, .colour = colour_series(0)};
    double y = TABLE_Y;
    picture_text(to, 440, y, "generated", &head_g);
    picture_text(to, 700, y, "reference", &head_r);
    picture_text(to, 448, y, "(95 % interval)", &faint);
    for (int m = 0; m < MEASURES; m++) {
        y += LINE;
        picture_text(to, 24, y, measure_names[m].text, &plain);
        value_draw(to, 440, y, c->generated.mean[m], c->generated.interval[m], &measure_names[m]);
        if (m == MEASURE_RUNAWAY) /* told by the reference: it has none of its own */
            continue;
        value_draw(to, 700, y, c->reference.mean[m], c->reference.interval[m], &measure_names[m]);
    }
    y += LINE + 8;
    distance_draw(to, y, "Fréchet distance over log-mel frames (dB²)", c->frechet,
                  c->frechet_halves);
    distance_draw(to, y + LINE, "multi-resolution distance of mean spectra (dB)", c->spectra,
                  c->spectra_halves);
    if (c->n_pairs > 0) {
        char text[160];
        distance_draw(to, y + 2 * LINE, "multi-resolution distance, file by file (dB)",
                      c->pairs.log_db, NAN);
        snprintf(text, sizeof(text), "%lld pairs of the same name; spectral convergence %.4g",
                 (long long)c->n_pairs, c->pairs.convergence);
        picture_text(to, 448, y + 2 * LINE, text, &faint);
    }
}

/* Mean and standard deviation over frames of a folder's mel powers. */
static void mel_draw(struct picture *to, const struct panel *p, const struct moments *mel,
                     struct colour colour, bool band)
{
    double hz[PROFILE_BANDS], mean[PROFILE_BANDS], low[PROFILE_BANDS], high[PROFILE_BANDS];
    for (int b = 0; b < PROFILE_BANDS; b++) {
        hz[b] = hz_of_mel(mel_of_hz(p->across.high) * (b + 1) / (PROFILE_BANDS + 1));
        mean[b] = moments_mean(mel, b);
        double deviation = sqrt(fmax(moments_covariance(mel, b, b), 0));
        low[b] = mean[b] - deviation;
        high[b] = mean[b] + deviation;
    }
    if (band) {
        panel_band(to, p, hz, low, high, PROFILE_BANDS, colour_fade(colour, 0.85f));
        return;
    }
    panel_line(to, p, hz, low, PROFILE_BANDS, colour, 0.6);
    panel_line(to, p, hz, high, PROFILE_BANDS, colour, 0.6);
    panel_line(to, p, hz, mean, PROFILE_BANDS, colour, 2);
}

static void spectrum_draw(struct picture *to, const struct comparison *c)
{
    const struct moments *both[] = {&c->reference.mel, &c->generated.mel};
    struct axis up = {.low = INFINITY, .high = -INFINITY};
    for (int i = 0; i < 2; i++)
        for (int b = 0; b < PROFILE_BANDS; b++) {
            double mean = moments_mean(both[i], b),
                   deviation = sqrt(fmax(moments_covariance(both[i], b, b), 0));
            axis_fit(&up, (double[]){mean - deviation, mean + deviation}, 2);
        }
    axis_round(&up);
    up.title = "level (dB)";
    struct panel p = {
        .x = LEFT,
        .y = SPECTRUM_Y,
        .width = WIDTH - LEFT - RIGHT,
        .height = 200,
        .across = {.high = c->rate / 2.0, .scale = AXIS_MEL, .title = "frequency (Hz)"},
        .up = up,
        .title = "Mel spectrum",
        .note = "mean over frames, and one standard deviation to either side",
    };
    panel_begin(to, &p);
    for (int i = 0; i < 4; i++)
        mel_draw(to, &p, both[i % 2], colour_series(i % 2), i < 2);
    panel_end(to, &p);
    panel_legend(to, &p,
                 (struct legend_entry[]){{"reference", colour_series(0), true},
                                         {"generated", colour_series(1), true}},
                 2, false);
}

static bool spread_draw(struct picture *to, const struct comparison *c, enum measure m, int column)
{
    const struct compared_folder *both[] = {&c->reference, &c->generated};
    int64_t n_all = c->reference.n + c->generated.n;
    double *values = malloc((size_t)n_all * sizeof(*values));
    if (!values)
        return error_set("out of memory for a picture");
    for (int64_t i = 0; i < n_all; i++)
        values[i] = i < c->reference.n ? measure_of(&c->reference.files[i], m)
                                       : measure_of(&c->generated.files[i - c->reference.n], m);
    for (int64_t i = 0; i < n_all; i++)
        values[i] *= measure_names[m].unit;
    struct axis across = {.low = INFINITY, .high = -INFINITY, .title = measure_names[m].text};
    axis_fit(&across, values, n_all);
    bool any = across.low <= across.high;
    if (any)
        axis_round(&across);
    else
        across.low = 0, across.high = 1, across.blank = true;
    double width = (WIDTH - LEFT - RIGHT - GAP * (N_SPREAD - 1)) / (double)N_SPREAD;
    struct panel p = {
        .x = LEFT + column * (width + GAP),
        .y = SPREAD_Y,
        .width = width,
        .height = 140,
        .across = across,
        .up = {.high = 10, .title = column == 0 ? "share of files (%)" : NULL},
        .title = column == 0 ? "Files" : NULL,
        .note = any ? NULL : "nothing but silence",
    };
    for (int i = 0; i < 2; i++)
        histogram_fit(&p, i == 0 ? values : values + c->reference.n, both[i]->n);
    panel_begin(to, &p);
    for (int i = 0; i < 2; i++)
        histogram_draw(to, &p, i == 0 ? values : values + c->reference.n, both[i]->n,
                       colour_series(i), i == 0);
    panel_end(to, &p);
    free(values);
    return true;
}

bool plot_comparison(const char *path, const struct comparison *c)
{
    char title[600], line[200];
    snprintf(title, sizeof(title), "%.250s beside %.250s", c->generated.path, c->reference.path);
    snprintf(line, sizeof(line),
             "%lld generated sounds, %.1f s; %lld of the reference, %.1f s; compared at %d Hz",
             (long long)c->generated.n, (double)c->generated.n_samples / c->rate,
             (long long)c->reference.n, (double)c->reference.n_samples / c->rate, c->rate);
    struct picture *to = picture_open(path, WIDTH, HEIGHT);
    if (!to)
        return false;
    page_head(to, title, line);
    table_draw(to, c);
    spectrum_draw(to, c);
    const enum measure spread[N_SPREAD] = {MEASURE_LEVEL, MEASURE_CENTROID, MEASURE_SILENCE};
    bool ok = true;
    for (int i = 0; ok && i < N_SPREAD; i++)
        ok = spread_draw(to, c, spread[i], i);
    if (ok)
        return picture_close(to);
    picture_discard(to);
    return false;
}
