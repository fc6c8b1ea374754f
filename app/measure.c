#include "app/measure.h"

#include <fftw3.h>
#include <math.h>
#include <stdlib.h>

enum { WINDOW = 512, HOP = 256, BINS = WINDOW / 2 };

static const double pi = 3.14159265358979323846;
static const double power_floor = 1e-12; /* digital silence has no logarithm */

const double measure_quantile_at[MEASURE_QUANTILES] = {0, 0.05, 0.25, 0.5, 0.75, 0.95, 1};

double measure_level_db(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return n > 0 && sum > 0 ? fmax(10 * log10(sum / (double)n), -120) : -120;
}

double measure_flatness(const float *x, int64_t n)
{
    if (n < WINDOW)
        return 0;
    double frame[WINDOW], power[BINS] = {0};
    fftw_complex spectrum[WINDOW / 2 + 1];
    fftw_plan plan = fftw_plan_dft_r2c_1d(WINDOW, frame, spectrum, FFTW_ESTIMATE);
    int64_t n_frames = 0;
    for (int64_t at = 0; at + WINDOW <= n; at += HOP, n_frames++) {
        for (int i = 0; i < WINDOW; i++)
            frame[i] = (0.5 - 0.5 * cos(2 * pi * i / WINDOW)) * (double)x[at + i];
        fftw_execute(plan);
        for (int i = 0; i < BINS; i++) /* without the constant part */
            power[i] +=
                spectrum[i + 1][0] * spectrum[i + 1][0] + spectrum[i + 1][1] * spectrum[i + 1][1];
    }
    fftw_destroy_plan(plan);
    double sum = 0, sum_log = 0;
    for (int i = 0; i < BINS; i++) {
        double mean = power[i] / (double)n_frames + power_floor;
        sum += mean;
        sum_log += log(mean);
    }
    return exp(sum_log / BINS) / (sum / BINS);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void measure_quantiles(double out[MEASURE_QUANTILES], double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof(*x), by_value);
    for (int q = 0; q < MEASURE_QUANTILES; q++) {
        double at = measure_quantile_at[q] * (double)(n - 1);
        int64_t below = (int64_t)at, above = below + 1 < n ? below + 1 : below;
        out[q] = x[below] + (at - (double)below) * (x[above] - x[below]);
    }
}
