#define _GNU_SOURCE
#include "app/plot_page.h"
#include "audio/picture_sound.h"
#include "audio/reader.h"
#include "audio/spectrum.h"
#include "base/error.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS_MAX = 4, /* of a sheet */
    SINGLE_WIDTH = 760,
    CELL_WIDTH = 330,
    WAVE_HEIGHT = 90,
    GRAM_HEIGHT = 260,
    GAP = 28,     /* between the two: the numbers of the time axis */
    HEAD = 34,    /* above the panels of a row */
    FOOT = 48,    /* below them: the time axis */
    LEFT = 66,    /* for the axes of a row's first cell */
    BETWEEN = 26, /* between cells */
    RIGHT = 70,   /* for the colour bar */
};

static const double default_frame_s = 0.032, default_range_db = 80;

struct cell {
    struct sound sound;
    const float *x; /* (n) the part shown */
    int64_t n;
    char *title, note[96];
    struct panel wave, gram;
    struct spectrogram spectrogram;
};

struct sheet {
    const struct plot_sounds *job;
    struct cell cells[PLOT_SOUNDS_MAX];
    int n_columns, n_rows;
    double dur_s, height; /* of the common axes: the longest, the loudest */
    double hz;
    float peak_db;
};

static bool cell_load(struct sheet *s, int i)
{
    const struct plot_sounds *job = s->job;
    struct cell *c = &s->cells[i];
    const char *path = job->paths[i], *slash = strrchr(path, '/');
    if (!sound_load(&c->sound, path, 0, 0))
        return false;
    int rate = c->sound.rate;
    int64_t from = (int64_t)round(job->from_s * rate);
    c->n = c->sound.n - from;
    if (job->dur_s > 0)
        c->n = (int64_t)fmin((double)c->n, ceil(job->dur_s * rate));
    if (c->n <= 0)
        return error_set("%s: it has ended before %g s: nothing to draw", path, job->from_s);
    c->x = c->sound.x + from;
    c->title = text_escape(job->title && job->n == 1 ? job->title : slash ? slash + 1 : path);
    if (!c->title)
        return error_set("%s: out of memory", path);
    double peak = 0, sum = 0;
    for (int64_t t = 0; t < c->n; t++) {
        peak = fmax(peak, fabs((double)c->x[t]));
        sum += (double)c->x[t] * (double)c->x[t];
    }
    snprintf(c->note, sizeof(c->note), "%d Hz, %.*f s, peak %.1f dB, mean %.1f dB", rate,
             c->n < 10 * rate ? 2 : 1, (double)c->n / rate, 20 * log10(fmax(peak, 1e-6)),
             10 * log10(fmax(sum / (double)c->n, 1e-12)));
    s->dur_s = fmax(s->dur_s, (double)c->n / rate);
    s->height = fmax(s->height, peak);
    s->hz = fmax(s->hz, rate / 2.0);
    return true;
}

/* 1, 0.5, 0.2, ...: the least that holds the loudest. */
static double round_height(double peak)
{
    static const double parts[] = {2, 2.5, 2};
    double height = 1;
    for (int i = 0; height > 1e-4; i++) {
        double next = height / parts[i % 3];
        if (next < peak)
            break;
        height = next;
    }
    return height;
}

static void cell_place(const struct sheet *s, struct cell *c, int i)
{
    int column = i % s->n_columns, row = i / s->n_columns;
    double width = s->n_columns == 1 ? SINGLE_WIDTH : CELL_WIDTH;
    bool last = i + s->n_columns >= s->job->n;
    struct axis time = {.low = s->job->from_s, .high = s->job->from_s + s->dur_s};
    c->wave = (struct panel){
        .x = LEFT + column * (width + BETWEEN),
        .y = HEAD + row * (HEAD + WAVE_HEIGHT + GAP + GRAM_HEIGHT),
        .width = width,
        .height = WAVE_HEIGHT,
        .across = time,
        .up = {.low = -s->height,
               .high = s->height,
               .title = column == 0 ? "amplitude" : NULL,
               .bare = column > 0},
        .title = c->title,
        .note = s->n_columns == 1 ? c->note : NULL,
    };
    c->gram = (struct panel){
        .x = c->wave.x,
        .y = c->wave.y + WAVE_HEIGHT + GAP,
        .width = width,
        .height = GRAM_HEIGHT,
        .across = time,
        .up = {.high = s->hz,
               .scale = s->job->linear ? AXIS_LINEAR : AXIS_MEL,
               .title = column == 0 ? "frequency (Hz)" : NULL,
               .bare = column > 0},
        .note = s->n_columns == 1 ? NULL : c->note,
        .no_grid = true,
    };
    c->wave.across.bare = true;
    c->gram.across.title = last ? "time (s)" : NULL;
    if (s->n_columns == 1) /* nothing stands between them */
        c->gram.y -= GAP - 14;
}

static bool cell_draw(struct picture *to, const struct sheet *s, const struct cell *c)
{
    double range = s->job->range_db > 0 ? s->job->range_db : default_range_db;
    float high = ceilf(s->peak_db / 5) * 5;
    panel_begin(to, &c->wave);
    /* Time counts from the part's beginning where the panel does. */
    struct panel from_zero = c->wave;
    from_zero.across.low = 0;
    from_zero.across.high = s->dur_s;
    picture_waveform(to, &from_zero, c->x, c->n, c->sound.rate, colour_series(0));
    panel_end(to, &c->wave);
    panel_begin(to, &c->gram);
    bool ok = picture_spectrogram(to, &c->gram, &c->spectrogram, high - (float)range, high);
    panel_end(to, &c->gram);
    bool last_of_row =
        (c - s->cells) % s->n_columns == s->n_columns - 1 || c - s->cells == s->job->n - 1;
    if (last_of_row)
        panel_colour_bar(to, &c->gram, (double)high - range, (double)high,
                         "level (dB, full-scale sine = 0)");
    return ok;
}

static bool sheet_make(struct sheet *s)
{
    for (int i = 0; i < s->job->n; i++)
        if (!cell_load(s, i))
            return false;
    s->height = round_height(s->height);
    s->peak_db = -200;
    for (int i = 0; i < s->job->n; i++) {
        struct cell *c = &s->cells[i];
        double frame_s = s->job->frame_s > 0 ? s->job->frame_s : default_frame_s;
        cell_place(s, c, i);
        struct panel from_zero = c->gram;
        from_zero.across.low = 0;
        from_zero.across.high = s->dur_s;
        if (!spectrogram_make(&c->spectrogram, &from_zero, c->x, c->n, c->sound.rate,
                              spectrum_frame(frame_s, c->sound.rate)))
            return false;
        s->peak_db = fmaxf(s->peak_db, c->spectrogram.peak_db);
    }
    return true;
}

static bool sheet_draw(const char *path, const struct sheet *s)
{
    const struct panel *last_column = &s->cells[s->n_columns - 1].gram,
                       *last = &s->cells[s->job->n - 1].gram;
    struct picture *to = picture_open(path, (int)(last_column->x + last_column->width + RIGHT),
                                      (int)(last->y + last->height + FOOT));
    bool ok = to != NULL;
    for (int i = 0; ok && i < s->job->n; i++)
        ok = cell_draw(to, s, &s->cells[i]);
    if (ok)
        return picture_close(to);
    picture_discard(to);
    return false;
}

bool plot_sounds(const char *path, const struct plot_sounds *job)
{
    struct sheet *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set("out of memory for a picture");
    s->job = job;
    s->n_columns = job->n < COLUMNS_MAX ? job->n : COLUMNS_MAX;
    bool ok = sheet_make(s) && sheet_draw(path, s);
    for (int i = 0; i < job->n; i++) {
        sound_free(&s->cells[i].sound);
        spectrogram_free(&s->cells[i].spectrogram);
        free(s->cells[i].title);
    }
    free(s);
    return ok;
}
