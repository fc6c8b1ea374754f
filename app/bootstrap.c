#include "app/bootstrap.h"

#include "app/measure.h"
#include "base/error.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>

enum { SEED = 1979 };

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
    if (n_ratios > 0) {
        measure_sort(ratios, n_ratios);
        interval[0] = measure_quantile(ratios, n_ratios, 0.025);
        interval[1] = measure_quantile(ratios, n_ratios, 0.975);
    }
    free(ratios);
    return true;
}
