#include "audio/normalize.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const char *const names[NORMALIZES] = {
    [NORMALIZE_NONE] = "none",
    [NORMALIZE_PEAK] = "peak",
    [NORMALIZE_MINMAX] = "minmax",
};

const char *normalize_name(enum normalize rule)
{
    assert(rule < NORMALIZES);
    return names[rule];
}

bool normalize_from_name(enum normalize *rule, const char *name)
{
    for (int i = 0; i < NORMALIZES; i++)
        if (strcmp(names[i], name) == 0) {
            *rule = (enum normalize)i;
            return true;
        }
    return false;
}

float normalize_peak(const float *x, int64_t n)
{
    float peak = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        peak = a > peak ? a : peak;
    }
    return peak;
}

void normalize_range(float *min, float *max, const float *x, int64_t n)
{
    float low = *min, high = *max;
    for (int64_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *min = low;
    *max = high;
}

float normalize_divisor(float peak)
{
    return peak < NORMALIZE_PEAK_MIN ? 1 : peak;
}

void normalize_to_range(float *x, int64_t n, float min, float max)
{
    float range = max - min + 1e-6f;
    for (int64_t i = 0; i < n; i++)
        x[i] = -1.0f + 2.0f * (x[i] - min) / range;
}

bool normalize_apply(enum normalize rule, float *x, int64_t n)
{
    if (rule == NORMALIZE_PEAK) {
        float peak = normalize_peak(x, n), divisor = normalize_divisor(peak);
        for (int64_t i = 0; i < n; i++)
            x[i] /= divisor;
        return peak >= NORMALIZE_PEAK_MIN;
    }
    if (rule == NORMALIZE_MINMAX && n > 0) {
        float min = x[0], max = x[0];
        normalize_range(&min, &max, x, n);
        normalize_to_range(x, n, min, max);
    }
    return true;
}
