#define _GNU_SOURCE
#include "app/bench.h"
#include "app/measure.h"
#include "app/stop.h"
#include "base/clock.h"
#include "base/error.h"

#include <stdlib.h>

enum { ROUNDS_MIN = 3, ROUNDS_MAX = 500, CASES_MAX = 8 };

/* A round shorter than this says more about the clock than about the work, or, on a device, about
   how it is begun and waited for. */
#define ROUND_S 3e-4
#define DEVICE_ROUND_S 3e-3

double bench_quantile_sorted(const double *values, int64_t n, double q)
{
    int64_t i = (int64_t)(q * (double)n);
    return values[i < n ? i : n - 1];
}

double bench_quantile(double *values, int64_t n, double q)
{
    measure_sort(values, n);
    return bench_quantile_sorted(values, n, q);
}

bool bench_is_device(const struct backend *be)
{
    return !be->ops->limit_multiply;
}

static double seconds_of(const struct bench_case *c, int64_t times)
{
    if (c->be) {
        backend_timer_begin(c->be);
        c->run(c->arg, times);
        return backend_timer_end(c->be);
    }
    double start = clock_s();
    c->run(c->arg, times);
    return clock_s() - start;
}

/* How often in a round. The very first time does not count: caches are cold, and a device has yet
   to load the code. */
static int64_t times_of(const struct bench_case *c)
{
    int64_t times = 1;
    double round_s = c->be && bench_is_device(c->be) ? DEVICE_ROUND_S : ROUND_S;
    seconds_of(c, 1);
    while (seconds_of(c, times) < round_s && times < (int64_t)1 << 40)
        times *= 2;
    return times;
}

bool bench_measure(const struct bench *b, struct bench_case *cases, int n, double budget_s)
{
    static double seconds[CASES_MAX][ROUNDS_MAX];
    int64_t times[CASES_MAX];
    int rounds = 0;
    for (int i = 0; i < n; i++)
        times[i] = times_of(&cases[i]);
    double end = clock_s() + budget_s * n * (b->quick ? 0.1 : 1);
    while (rounds < ROUNDS_MAX && (rounds < ROUNDS_MIN || clock_s() < end)) {
        for (int i = 0; i < n; i++) {
            if (stop_requested())
                return error_set("interrupted");
            seconds[i][rounds] = seconds_of(&cases[i], times[i]) / (double)times[i];
        }
        rounds++;
    }
    for (int i = 0; i < n; i++) {
        cases[i].median_s = bench_quantile(seconds[i], rounds, 0.5);
        cases[i].best_s = seconds[i][0];
    }
    return true;
}
