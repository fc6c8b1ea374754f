#include "app/bootstrap.h"

#include "base/error.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>

enum { SEED = 1979 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between neighbours by a straight line. */
static double quantile(const double *sorted, int64_t n, double at)
{
    double place = at * (double)(n - 1);
    int64_t below = (int64_t)place, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

bool bootstrap_ratio(double interval[2], const double *over, const double *under, int64_t n)
{
    int64_t n_ratios = 0;
    interval[0] = interval[1] = NAN;
    if (n < 2)
        return true;
    double *ratios = malloc(BOOTSTRAP_DRAWS * sizeof(*ratios));
    if (!ratios)
        return error_set("out of memory for an interval");
    for (uint64_t draw = 0; draw < BOOTSTRAP_DRAWS; draw++) {
        double sum_over = 0, sum_under = 0;
        for (int64_t i = 0; i < n; i++) {
            uint32_t r = random_word(SEED, draw, (uint32_t)i, RANDOM_RESAMPLE, 0);
            int64_t file = (int64_t)((uint64_t)r * (uint64_t)n >> 32);
            sum_over += over[file];
            sum_under += under[file];
        }
        if (sum_under > 0)
            ratios[n_ratios++] = sum_over / sum_under;
    }
    qsort(ratios, (size_t)n_ratios, sizeof(*ratios), by_value);
    if (n_ratios > 0) {
        interval[0] = quantile(ratios, n_ratios, 0.025);
        interval[1] = quantile(ratios, n_ratios, 0.975);
    }
    free(ratios);
    return true;
}
