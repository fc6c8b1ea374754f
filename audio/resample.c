#include "audio/resample.h"

#include "base/error.h"

#include <soxr.h>
#include <stdlib.h>
#include <string.h>

/* Shares of half the lower rate. */
static const double passband_end = 0.8, stopband_begin = 1.2;
enum {
    LOG2_DFT = 8,    /* soxr's smallest transforms: larger ones hold back more */
    SLACK = 1 << 14, /* samples soxr may give beyond the mean at once */
};

struct resampler {
    int from, to;
    soxr_t soxr; /* NULL: equal rates */
    int64_t n_in, n_out;
};

struct resampler *resampler_open(int from, int to)
{
    struct resampler *r = calloc(1, sizeof(*r));
    if (!r) {
        error_set("out of memory for a resampler");
        return NULL;
    }
    *r = (struct resampler){.from = from, .to = to};
    if (from == to)
        return r;
    soxr_error_t error = NULL;
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    quality.passband_end = passband_end;
    quality.stopband_begin = stopband_begin;
    soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    runtime.log2_min_dft_size = runtime.log2_large_dft_size = LOG2_DFT;
    r->soxr = soxr_create(from, to, 1, &error, NULL, &quality, &runtime);
    if (!r->soxr || error) {
        error_set("cannot convert %d Hz to %d Hz: %s", from, to,
                  error ? soxr_strerror(error) : "out of memory");
        resampler_close(r);
        return NULL;
    }
    return r;
}

void resampler_close(struct resampler *r)
{
    if (!r)
        return;
    if (r->soxr)
        soxr_delete(r->soxr);
    free(r);
}

int64_t resampler_room(const struct resampler *r, int64_t n)
{
    return r->soxr ? (n * r->to) / r->from + SLACK : n;
}

int64_t resampler_run(struct resampler *r, float *out, const float *in, int64_t n)
{
    if (!r->soxr) {
        if (in && n > 0)
            memcpy(out, in, sizeof(*out) * (size_t)n);
        return in ? n : 0;
    }
    int64_t made = 0, room = resampler_room(r, in ? n : 0);
    for (int64_t used = 0;;) {
        size_t took = 0, gave = 0;
        soxr_process(r->soxr, in ? in + used : NULL, in ? (size_t)(n - used) : 0, &took, out + made,
                     (size_t)(room - made), &gave);
        used += (int64_t)took;
        made += (int64_t)gave;
        if (gave == 0 && (!in || used == n || took == 0))
            break;
    }
    r->n_in += in ? n : 0;
    r->n_out += made;
    return made;
}

double resampler_held_s(const struct resampler *r)
{
    return r->soxr ? (double)r->n_in / r->from - (double)r->n_out / r->to : 0;
}
