#include "audio/profile.h"

#include "audio/loudness.h"
#include "audio/spectrum.h"
#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIDDLE = 1 }; /* the resolution of mel bands, centroid and windows */

const double profile_clip_level = 0.999, profile_window_s = 0.25;
const double profile_resolution_s[PROFILE_RESOLUTIONS] = {0.016, 0.032, 0.064};

static const float flat_floor = 1e-16f; /* of a power: digital silence has no logarithm */

struct profiler {
    int rate;
    int frame[PROFILE_RESOLUTIONS];
    struct spectrum *spectrum[PROFILE_RESOLUTIONS];
    struct mel *mel;
    float *power, *other; /* (bins of the longest frame) */
    double *window_power; /* (bins of the middle one) summed over a window's frames */
};

struct profiler *profiler_open(int rate)
{
    struct profiler *p = calloc(1, sizeof(*p));
    bool ok = p || error_set("out of memory for measuring sounds");
    for (int r = 0; ok && r < PROFILE_RESOLUTIONS; r++) {
        p->frame[r] = spectrum_frame(profile_resolution_s[r], rate);
        ok = (p->spectrum[r] = spectrum_open(p->frame[r])) != NULL;
    }
    if (ok) {
        size_t n_bins = (size_t)profiler_n_bins(p, PROFILE_RESOLUTIONS - 1);
        p->rate = rate;
        p->power = calloc(n_bins, sizeof(*p->power));
        p->other = calloc(n_bins, sizeof(*p->other));
        p->window_power = calloc(n_bins, sizeof(*p->window_power));
        ok = (p->power && p->other && p->window_power) ||
             error_set("out of memory for measuring sounds");
        ok = ok && (p->mel = mel_open(PROFILE_BANDS, p->frame[MIDDLE], rate));
    }
    if (ok)
        return p;
    profiler_close(p);
    return NULL;
}

void profiler_close(struct profiler *p)
{
    if (!p)
        return;
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++)
        spectrum_close(p->spectrum[r]);
    mel_close(p->mel);
    free(p->power);
    free(p->other);
    free(p->window_power);
    free(p);
}

int profiler_n_bins(const struct profiler *p, int resolution)
{
    return p->frame[resolution] / 2 + 1;
}

int profiler_frame(const struct profiler *p, int resolution)
{
    return p->frame[resolution];
}

static int64_t n_frames(int64_t n, int frame)
{
    return n < frame ? 1 : 1 + (n - frame) / (frame / 2);
}

static double square_mean(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return n > 0 ? sum / (double)n : 0;
}

static double level_of(double mean_square)
{
    return mean_square > 0 ? fmax(10 * log10(mean_square), -120) : -120;
}

static double centroid_of(const float *power, int n_bins, double hz_a_bin)
{
    double sum = 0, weighted = 0;
    for (int k = 0; k < n_bins; k++) {
        double magnitude = sqrt((double)power[k]);
        sum += magnitude;
        weighted += magnitude * k * hz_a_bin;
    }
    return sum > 0 ? weighted / sum : 0;
}

/* Mel bands, centroid, silence. */
static void frames_measure(struct profile *out, struct profiler *p, const float *x, int64_t n)
{
    int frame = p->frame[MIDDLE], n_bins = frame / 2 + 1;
    int64_t frames = n_frames(n, frame), silent = 0;
    double centroids = 0;
    for (int64_t f = 0; f < frames; f++) {
        float bands[PROFILE_BANDS];
        int64_t at = f * (frame / 2), length = n - at < frame ? n - at : frame;
        spectrum_power(p->spectrum[MIDDLE], p->power, x, n, at);
        mel_power(p->mel, bands, p->power);
        for (int b = 0; b < PROFILE_BANDS; b++)
            bands[b] = power_db(bands[b], PROFILE_FLOOR_DB);
        moments_add(&out->mel, bands);
        if (level_of(square_mean(x + at, length)) < PROFILE_SILENCE_DB)
            silent++;
        else
            centroids += centroid_of(p->power, n_bins, (double)p->rate / frame);
    }
    out->silence = (double)silent / (double)frames;
    out->centroid = silent < frames ? centroids / (double)(frames - silent) : NAN;
}

static void spectra_mean(struct profile *out, struct profiler *p, const float *x, int64_t n)
{
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++) {
        int n_bins = profiler_n_bins(p, r);
        int64_t frames = n_frames(n, p->frame[r]);
        for (int64_t f = 0; f < frames; f++) {
            spectrum_power(p->spectrum[r], p->power, x, n, f * (p->frame[r] / 2));
            for (int k = 0; k < n_bins; k++)
                out->mean_db[r][k] +=
                    (double)power_db(p->power[k], PROFILE_FLOOR_DB) / (double)frames;
        }
    }
}

static double flatness_of(const double *power, int n_bins)
{
    double sum = 0, sum_log = 0;
    for (int k = 1; k < n_bins; k++) { /* without the constant part */
        sum += power[k];
        sum_log += log(power[k]);
    }
    return exp(sum_log / (n_bins - 1)) / (sum / (n_bins - 1));
}

static void windows_measure(struct profile *out, struct profiler *p, const float *x, int64_t n,
                            int64_t length)
{
    int frame = p->frame[MIDDLE], n_bins = frame / 2 + 1;
    for (int64_t w = 0; w < out->n_windows; w++) {
        const float *from = x + w * length;
        int64_t frames = n_frames(length, frame);
        memset(p->window_power, 0, (size_t)n_bins * sizeof(*p->window_power));
        for (int64_t f = 0; f < frames; f++) {
            spectrum_power(p->spectrum[MIDDLE], p->power, from, length, f * (frame / 2));
            for (int k = 0; k < n_bins; k++)
                p->window_power[k] += (double)(p->power[k] + flat_floor) / (double)frames;
        }
        out->windows[w] =
            (struct profile_window){.level_db = (float)level_of(square_mean(from, length)),
                                    .flatness = (float)flatness_of(p->window_power, n_bins)};
    }
}

bool profile_make(struct profile *out, struct profiler *p, const float *x, int64_t n)
{
    *out = (struct profile){.n = n};
    if (!moments_open(&out->mel, PROFILE_BANDS))
        return false;
    int64_t length = (int64_t)fmax(round(profile_window_s * p->rate), 1), n_clipped = 0;
    if (n < length)
        length = n;
    out->n_windows = n / length;
    out->windows = calloc((size_t)out->n_windows, sizeof(*out->windows));
    bool ok = out->windows != NULL;
    for (int r = 0; ok && r < PROFILE_RESOLUTIONS; r++) {
        out->mean_db[r] = calloc((size_t)profiler_n_bins(p, r), sizeof(double));
        ok = out->mean_db[r] != NULL;
    }
    if (!ok) {
        profile_free(out);
        return error_set("out of memory for measuring a sound of %lld samples", (long long)n);
    }
    for (int64_t i = 0; i < n; i++)
        n_clipped += fabs((double)x[i]) >= profile_clip_level;
    out->clipping = (double)n_clipped / (double)n;
    out->level_db = level_of(square_mean(x, n));
    out->loudness = loudness_lufs(x, n, p->rate);
    frames_measure(out, p, x, n);
    spectra_mean(out, p, x, n);
    windows_measure(out, p, x, n, length);
    return true;
}

void profile_free(struct profile *profile)
{
    moments_close(&profile->mel);
    free(profile->windows);
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++)
        free(profile->mean_db[r]);
    memset(profile, 0, sizeof(*profile));
}

struct pair_distance profile_pair(struct profiler *p, const float *a, const float *b, int64_t n)
{
    struct pair_distance mean = {0, 0};
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++) {
        int n_bins = profiler_n_bins(p, r);
        int64_t frames = n_frames(n, p->frame[r]);
        double apart = 0, whole = 0, log_apart = 0;
        for (int64_t f = 0; f < frames; f++) {
            spectrum_power(p->spectrum[r], p->power, a, n, f * (p->frame[r] / 2));
            spectrum_power(p->spectrum[r], p->other, b, n, f * (p->frame[r] / 2));
            for (int k = 0; k < n_bins; k++) {
                double d = sqrt((double)p->other[k]) - sqrt((double)p->power[k]);
                apart += d * d;
                whole += (double)p->power[k];
                log_apart += fabs((double)(power_db(p->other[k], PROFILE_FLOOR_DB) -
                                           power_db(p->power[k], PROFILE_FLOOR_DB)));
            }
        }
        mean.convergence +=
            (apart > 0 ? sqrt(apart / fmax(whole, 1e-300)) : 0) / PROFILE_RESOLUTIONS;
        mean.log_db += log_apart / (double)(frames * n_bins) / PROFILE_RESOLUTIONS;
    }
    return mean;
}

double profile_spectra_distance(const struct profiler *p, double *const a[PROFILE_RESOLUTIONS],
                                double *const b[PROFILE_RESOLUTIONS])
{
    double sum = 0;
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++) {
        int n_bins = profiler_n_bins(p, r);
        for (int k = 0; k < n_bins; k++)
            sum += fabs(b[r][k] - a[r][k]) / n_bins / PROFILE_RESOLUTIONS;
    }
    return sum;
}
