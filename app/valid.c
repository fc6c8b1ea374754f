#include "app/valid.h"

#include "app/measure.h"
#include "app/stop.h"
#include "base/error.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 1 << 14 };

static int64_t guard_window_samples(const struct valid *v)
{
    return GUARD_WINDOW * guard_hop(dataset_options(v->data)->rate);
}

bool valid_open(struct valid *v, const struct dataset *data, struct net *net, int64_t max_clips)
{
    const struct dataset_options *o = dataset_options(data);
    memset(v, 0, sizeof(*v));
    v->data = data;
    v->clip_samples = o->clip_samples;
    v->n_windows = dataset_n_windows(data, SPLIT_VALID);
    v->n_clips = v->n_windows < max_clips ? v->n_windows : max_clips;
    size_t n = (size_t)v->n_clips, samples = (size_t)v->clip_samples;
    v->codes = malloc(samples);
    v->mask = malloc(samples);
    v->x = malloc(samples * sizeof(*v->x));
    v->each_nats = malloc(samples * sizeof(*v->each_nats));
    v->guard_a_clip = 2 * v->clip_samples / guard_window_samples(v) + 1;
    v->windows = calloc(n * (size_t)v->guard_a_clip, sizeof(*v->windows));
    v->bits = calloc(n, sizeof(double));
    v->level_db = calloc(n, sizeof(double));
    v->flatness = calloc(n, sizeof(double));
    if (!v->codes || !v->mask || !v->x || !v->each_nats || !v->windows || !v->bits ||
        !v->level_db || !v->flatness)
        return error_set("out of memory for a validation of %lld clips", (long long)v->n_clips);
    if (!evaluator_open(&v->evaluator, net,
                        v->clip_samples < CHUNK_MAX ? v->clip_samples : CHUNK_MAX, NULL))
        return error_prefix("validating beside the training (lower train.micro_batch or "
                            "train.slice, or set train.recompute)");
    v->evaluator.each = v->each_nats;
    return true;
}

void valid_close(struct valid *v)
{
    evaluator_close(&v->evaluator);
    free(v->codes);
    free(v->mask);
    free(v->x);
    free(v->each_nats);
    free(v->windows);
    free(v->bits);
    free(v->level_db);
    free(v->flatness);
    memset(v, 0, sizeof(*v));
}

/* A clip of n samples as the guard hears it: windows half over each other; of a clip shorter than a
   window, all of it. */
static void windows_measure(struct valid *v, int64_t n)
{
    int64_t window = guard_window_samples(v);
    window = window < n ? window : n;
    for (int64_t at = 0; window > 0 && at + window <= n; at += (window + 1) / 2) {
        double nats = 0;
        for (int64_t t = 0; t < window; t++)
            nats += (double)v->each_nats[at + t];
        v->windows[v->n_guard++] = guard_window_measure(v->x + at, window, nats);
    }
}

bool valid_run(struct valid *v, double *bits, bool *stopped)
{
    enum quantizer quantizer = dataset_options(v->data)->quantizer;
    double nats_sum = 0;
    int64_t n_sum = 0;
    v->n_guard = 0;
    *stopped = false;
    for (int64_t i = 0; i < v->n_clips; i++) {
        if (stop_requested()) {
            *stopped = true;
            return true;
        }
        int32_t label;
        double nats;
        int64_t n = 0; /* padding is at the end: what counts is the first n samples */
        if (!dataset_window(v->data, SPLIT_VALID, i * v->n_windows / v->n_clips, v->codes, v->mask,
                            &label))
            return false;
        while (n < v->clip_samples && v->mask[n])
            n++;
        if (!evaluator_run(&v->evaluator, v->codes, n, label, 0, &nats, NULL, NULL))
            return false;
        nats_sum += nats;
        n_sum += n;
        for (int64_t t = 0; t < n; t++)
            v->x[t] = quantizer_decode(quantizer, v->codes[t]);
        v->bits[i] = nats / log(2) / (double)(n > 0 ? n : 1);
        v->level_db[i] = measure_level_db(v->x, n);
        v->flatness[i] = measure_flatness(v->x, n);
        windows_measure(v, n);
    }
    *bits = nats_sum / log(2) / (double)(n_sum > 0 ? n_sum : 1);
    return true;
}

static json_t *quantiles_json(const double *x, int64_t n)
{
    double out[MEASURE_QUANTILES], *sorted = malloc((size_t)n * sizeof(*sorted));
    json_t *array = json_array();
    if (sorted) {
        memcpy(sorted, x, (size_t)n * sizeof(*sorted));
        measure_quantiles(out, sorted, n);
        for (int q = 0; q < MEASURE_QUANTILES; q++)
            json_array_append_new(array, json_real(out[q]));
    }
    free(sorted);
    return array;
}

char *valid_stats(const struct valid *v)
{
    json_t *at = json_array();
    for (int q = 0; q < MEASURE_QUANTILES; q++)
        json_array_append_new(at, json_real(measure_quantile_at[q]));
    json_t *stats = json_pack("{s:I, s:o, s:o, s:o, s:o}", "clips", (json_int_t)v->n_clips,
                              "quantiles", at, "bits", quantiles_json(v->bits, v->n_clips),
                              "level_db", quantiles_json(v->level_db, v->n_clips), "flatness",
                              quantiles_json(v->flatness, v->n_clips));
    json_t *windows = guard_windows_json(v->windows, v->n_guard);
    if (windows)
        json_object_set_new(stats, "windows", windows);
    char *text = stats ? json_dumps(stats, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(stats);
    if (!text)
        error_set("out of memory while writing the statistics");
    return text;
}
