#define _GNU_SOURCE
#include "app/keep.h"

#include <math.h>
#include <stdlib.h>

static int by_key(const void *a, const void *b, void *keys)
{
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    double x = ((const double *)keys)[i], y = ((const double *)keys)[j];
    return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

/* Reverses order[from .. to - 1]. */
static void reverse(int64_t *order, int64_t from, int64_t to)
{
    for (to--; from < to; from++, to--) {
        int64_t other = order[from];
        order[from] = order[to];
        order[to] = other;
    }
}

/* The first `by` become the last, in place: it needs no memory that could be missing. */
static void rotate(int64_t *order, int64_t n, int64_t by)
{
    reverse(order, 0, by);
    reverse(order, by, n);
    reverse(order, 0, n);
}

void keep_order(int64_t *order, const double *bits, int64_t n, double median)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof(*order), by_key, (void *)bits);
    if (n >= KEEP_RULE_MIN) {
        rotate(order, n, n / 20); /* the likeliest: too easy, often silence or hum */
        return;
    }
    if (isnan(median))
        median = (bits[order[(n - 1) / 2]] + bits[order[n / 2]]) / 2;
    double *distance = calloc((size_t)n, sizeof(*distance));
    if (!distance)
        return; /* the likeliest first, then */
    for (int64_t i = 0; i < n; i++)
        distance[i] = fabs(bits[i] - median);
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof(*order), by_key, distance);
    free(distance);
}
