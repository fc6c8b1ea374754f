#include "audio/picture_sound.h"

#include "audio/spectrum.h"
#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HOPS_A_FRAME = 32 }; /* finer columns of a short sound would all look alike */

static const float floor_db = -200;

/* The time of a place on the paper, in seconds: the axis is linear. */
static double time_at(const struct panel *p, double x)
{
    return p->across.low + (p->across.high - p->across.low) * (x - p->x) / p->width;
}

/* One sample a point or fewer: a line; more: from the least to the greatest in each pixel. */
void picture_waveform(struct picture *to, const struct panel *p, const float *x, int64_t n,
                      int rate, struct colour colour)
{
    double samples_a_point = (p->across.high - p->across.low) * rate / p->width;
    if (samples_a_point < 1) {
        double before[2] = {0}, after[2];
        for (int64_t i = 0; i < n; i++) {
            after[0] = (double)i / rate;
            after[1] = (double)x[i];
            if (i > 0)
                panel_line(to, p, (double[]){before[0], after[0]}, (double[]){before[1], after[1]},
                           2, colour, 0.8);
            memcpy(before, after, sizeof(before));
        }
        return;
    }
    double step = 1.0 / PICTURE_SCALE;
    for (double at = p->x; at < p->x + p->width; at += step) {
        int64_t from = (int64_t)fmax(floor(time_at(p, at) * rate), 0),
                end = (int64_t)ceil(time_at(p, at + step) * rate) + 1;
        if (from >= n)
            break;
        float low = x[from], high = low;
        for (int64_t i = from; i < end && i < n; i++) {
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        double top = panel_y(p, (double)high), bottom = panel_y(p, (double)low);
        picture_box(to, at, top - 0.25, step, bottom - top + 0.5, colour);
    }
}

/* The frequency at a height, 0 at the bottom of the panel to 1 at its top. */
static double hz_at(const struct axis *a, double height)
{
    if (a->scale == AXIS_MEL)
        return hz_of_mel(mel_of_hz(a->low) + height * (mel_of_hz(a->high) - mel_of_hz(a->low)));
    if (a->scale == AXIS_LOG)
        return a->low * pow(a->high / a->low, height);
    return a->low + height * (a->high - a->low);
}

/* The loudest bin of a row, or between bins the straight line between their neighbours. */
static float row_power(const float *power, int n_bins, double low, double high)
{
    int first = (int)fmax(ceil(low), 0), last = (int)fmin(floor(high), n_bins - 1);
    float most = 0;
    for (int k = first; k <= last; k++)
        most = fmaxf(most, power[k]);
    if (first <= last)
        return most;
    double middle = fmin(fmax((low + high) / 2, 0), n_bins - 1);
    int below = (int)middle, above = below + 1 < n_bins ? below + 1 : below;
    float part = (float)(middle - below);
    return power[below] * (1 - part) + power[above] * part;
}

/* Mean power of the frames whose middles lie in the column; at least of the one in its middle. */
static void column_power(double *mean, float *power, struct spectrum *spectrum, const float *x,
                         int64_t n, int frame, double from, double end)
{
    int n_bins = spectrum_n_bins(spectrum);
    int64_t frames = (int64_t)fmax(1, ceil((end - from) / (frame / 2.0)));
    memset(mean, 0, (size_t)n_bins * sizeof(*mean));
    for (int64_t f = 0; f < frames; f++) {
        double middle = from + (end - from) * ((double)f + 0.5) / (double)frames;
        spectrum_power(spectrum, power, x, n, (int64_t)floor(middle) - frame / 2);
        for (int k = 0; k < n_bins; k++)
            mean[k] += (double)power[k] / (double)frames;
    }
    for (int k = 0; k < n_bins; k++)
        power[k] = (float)mean[k];
}

bool spectrogram_make(struct spectrogram *s, const struct panel *p, const float *x, int64_t n,
                      int rate, int frame)
{
    double dur_s = p->across.high - p->across.low;
    double columns = fmin(p->width * PICTURE_SCALE, dur_s * rate * HOPS_A_FRAME / frame);
    *s = (struct spectrogram){.n_x = (int)fmax(columns, 1),
                              .n_y = (int)fmax(p->height * PICTURE_SCALE, 1),
                              .peak_db = floor_db};
    struct spectrum *spectrum = spectrum_open(frame);
    int n_bins = frame / 2 + 1;
    float *power = malloc((size_t)n_bins * sizeof(*power));
    double *mean = malloc((size_t)n_bins * sizeof(*mean));
    s->db = malloc((size_t)s->n_x * (size_t)s->n_y * sizeof(*s->db));
    bool ok = spectrum && power && mean && s->db;
    for (int column = 0; ok && column < s->n_x; column++) {
        double from = (p->across.low + dur_s * column / s->n_x) * rate,
               end = (p->across.low + dur_s * (column + 1) / s->n_x) * rate;
        bool over = from >= (double)n;
        if (!over)
            column_power(mean, power, spectrum, x, n, frame, from, fmin(end, (double)n));
        for (int row = 0; row < s->n_y; row++) {
            double low = hz_at(&p->up, 1 - (row + 1.0) / s->n_y) * frame / rate,
                   high = hz_at(&p->up, 1 - (double)row / s->n_y) * frame / rate;
            float db = over ? NAN : power_db(row_power(power, n_bins, low, high), floor_db);
            s->db[(int64_t)row * s->n_x + column] = db;
            s->peak_db = fmaxf(s->peak_db, db); /* of NAN and a number, the number */
        }
    }
    spectrum_close(spectrum);
    free(power);
    free(mean);
    if (ok)
        return true;
    spectrogram_free(s);
    return error_set("out of memory for a spectrogram");
}

void spectrogram_free(struct spectrogram *s)
{
    free(s->db);
    memset(s, 0, sizeof(*s));
}

bool picture_spectrogram(struct picture *to, const struct panel *p, const struct spectrogram *s,
                         float low_db, float high_db)
{
    int64_t n = (int64_t)s->n_x * s->n_y;
    struct colour *pixels = malloc((size_t)n * sizeof(*pixels)), map[256];
    if (!pixels)
        return error_set("out of memory for a spectrogram");
    for (int i = 0; i < 256; i++)
        map[i] = colour_of((float)i / 255);
    for (int64_t i = 0; i < n; i++) {
        float t = (s->db[i] - low_db) / (high_db - low_db);
        pixels[i] = map[t > 0 ? (int)(fminf(t, 1) * 255 + 0.5f) : 0];
    }
    picture_image(to, p->x, p->y, p->width, p->height, pixels, s->n_x, s->n_y);
    free(pixels);
    return true;
}
