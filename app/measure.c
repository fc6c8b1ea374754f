#include "app/measure.h"

#include "audio/spectrum.h"

#include <math.h>
#include <stdlib.h>

enum { WINDOW = 512, HOP = 256, BINS = WINDOW / 2 };

static const double power_floor = 1e-16; /* digital silence has no logarithm */

const double measure_quantile_at[MEASURE_QUANTILES] = {0, 0.05, 0.25, 0.5, 0.75, 0.95, 1};

static double db(double sum_of_squares, int64_t n)
{
    return n > 0 && sum_of_squares > 0 ? fmax(10 * log10(sum_of_squares / (double)n), -120) : -120;
}

double measure_level_db(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return db(sum, n);
}

double measure_swing_db(const float *x, int64_t n)
{
    double sum = 0, mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    return db(sum, n);
}

double measure_flatness(const float *x, int64_t n)
{
    float power[BINS + 1];
    double mean[BINS] = {0};
    struct spectrum *s = n < WINDOW ? NULL : spectrum_open(WINDOW);
    if (!s)
        return 0;
    int64_t n_frames = 1 + (n - WINDOW) / HOP;
    for (int64_t f = 0; f < n_frames; f++) {
        spectrum_power(s, power, x, n, f * HOP);
        for (int i = 0; i < BINS; i++) /* without the constant part */
            mean[i] += (double)power[i + 1] / (double)n_frames;
    }
    spectrum_close(s);
    double sum = 0, sum_log = 0;
    for (int i = 0; i < BINS; i++) {
        sum += mean[i] + power_floor;
        sum_log += log(mean[i] + power_floor);
    }
    return exp(sum_log / BINS) / (sum / BINS);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void measure_sort(double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof(*x), by_value);
}

double measure_quantile(const double *sorted, int64_t n, double at)
{
    double place = at * (double)(n - 1);
    int64_t below = (int64_t)place, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

void measure_quantiles(double out[MEASURE_QUANTILES], double *x, int64_t n)
{
    measure_sort(x, n);
    for (int q = 0; q < MEASURE_QUANTILES; q++)
        out[q] = measure_quantile(x, n, measure_quantile_at[q]);
}
