#include "audio/spectrum.h"

#include "base/error.h"

#include <assert.h>
#include <fftw3.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { FRAME_MAX = 1 << 20 };

static const double pi = 3.14159265358979323846;

/* FFTW makes and forgets plans in one thread at a time; it transforms in any. */
static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

struct spectrum {
    int n;
    double scale;         /* of a power */
    double *window;       /* (n) */
    double *frame;        /* (n) */
    fftw_complex *result; /* (n / 2 + 1) */
    fftw_plan plan;
};

struct spectrum *spectrum_open(int n)
{
    assert(n >= 2 && n <= FRAME_MAX && n % 2 == 0);
    struct spectrum *s = calloc(1, sizeof(*s));
    if (s) {
        s->n = n;
        s->window = malloc((size_t)n * sizeof(*s->window));
        s->frame = fftw_alloc_real((size_t)n);
        s->result = fftw_alloc_complex((size_t)n / 2 + 1);
    }
    if (s && s->window && s->frame && s->result) {
        pthread_mutex_lock(&planner);
        s->plan = fftw_plan_dft_r2c_1d(n, s->frame, s->result, FFTW_ESTIMATE);
        pthread_mutex_unlock(&planner);
    }
    if (!s || !s->plan) {
        spectrum_close(s);
        error_set("out of memory for spectra of %d samples", n);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        s->window[i] = 0.5 - 0.5 * cos(2 * pi * i / n);
    s->scale = 16.0 / ((double)n * n); /* the window's sum is n / 2 */
    return s;
}

void spectrum_close(struct spectrum *s)
{
    if (!s)
        return;
    if (s->plan) {
        pthread_mutex_lock(&planner);
        fftw_destroy_plan(s->plan);
        pthread_mutex_unlock(&planner);
    }
    free(s->window);
    fftw_free(s->frame);
    fftw_free(s->result);
    free(s);
}

int spectrum_n_bins(const struct spectrum *s)
{
    return s->n / 2 + 1;
}

void spectrum_power(struct spectrum *s, float *power, const float *x, int64_t n_x, int64_t at)
{
    for (int i = 0; i < s->n; i++)
        s->frame[i] = at + i >= 0 && at + i < n_x ? s->window[i] * (double)x[at + i] : 0;
    fftw_execute(s->plan);
    for (int k = 0; k <= s->n / 2; k++)
        power[k] = (float)(s->scale *
                           (s->result[k][0] * s->result[k][0] + s->result[k][1] * s->result[k][1]));
}

float power_db(float power, float floor_db)
{
    return power > 0 ? fmaxf(10 * log10f(power), floor_db) : floor_db;
}

int spectrum_frame(double dur_s, int rate)
{
    double power = round(log2(fmax(dur_s * rate, 2)));
    return 1 << (int)fmin(fmax(power, 1), 20);
}

struct mel {
    int n_bands;
    int *first, *n_bins; /* (n_bands) the bins of a band */
    float **weights;     /* (n_bands)(n_bins[b]) into `block` */
    float *block;
};

double mel_of_hz(double hz)
{
    return 2595 * log10(1 + hz / 700);
}

double hz_of_mel(double mel)
{
    return 700 * (pow(10, mel / 2595) - 1);
}

/* Weight of bin k in a band; 0 outside. Corners in bins. */
static double triangle(double k, double low, double middle, double high)
{
    return k <= low || k >= high ? 0
           : k <= middle         ? (k - low) / (middle - low)
                                 : (high - k) / (high - middle);
}

/* Corner c of n_bands + 2, in bins of a frame of n samples. */
static double corner(int c, int n_bands, int n, int rate)
{
    return hz_of_mel(mel_of_hz(rate / 2.0) * c / (n_bands + 1)) * n / rate;
}

struct mel *mel_open(int n_bands, int n, int rate)
{
    assert(n_bands >= 1 && n >= 2 && rate >= 1);
    struct mel *m = calloc(1, sizeof(*m));
    /* Each bin lies in at most two bands; a band without any gets one. */
    size_t n_weights = 2 * (size_t)(n / 2 + 1) + (size_t)n_bands;
    if (m) {
        m->n_bands = n_bands;
        m->first = calloc((size_t)n_bands, sizeof(*m->first));
        m->n_bins = calloc((size_t)n_bands, sizeof(*m->n_bins));
        m->weights = calloc((size_t)n_bands, sizeof(*m->weights));
        m->block = calloc(n_weights, sizeof(*m->block));
    }
    if (!m || !m->first || !m->n_bins || !m->weights || !m->block) {
        mel_close(m);
        error_set("out of memory for %d mel bands", n_bands);
        return NULL;
    }
    float *to = m->block;
    for (int b = 0; b < n_bands; b++) {
        double low = corner(b, n_bands, n, rate), middle = corner(b + 1, n_bands, n, rate),
               high = corner(b + 2, n_bands, n, rate);
        m->weights[b] = to;
        m->first[b] = (int)floor(low) + 1;
        for (int k = m->first[b]; k < high && k <= n / 2; k++)
            m->weights[b][m->n_bins[b]++] = (float)triangle(k, low, middle, high);
        if (m->n_bins[b] == 0) {
            m->first[b] = (int)fmin(round(middle), n / 2);
            m->weights[b][m->n_bins[b]++] = 1;
        }
        to += m->n_bins[b];
    }
    return m;
}

void mel_close(struct mel *m)
{
    if (!m)
        return;
    free(m->first);
    free(m->n_bins);
    free(m->weights);
    free(m->block);
    free(m);
}

void mel_power(const struct mel *m, float *bands, const float *power)
{
    for (int b = 0; b < m->n_bands; b++) {
        double sum = 0;
        for (int i = 0; i < m->n_bins[b]; i++)
            sum += (double)m->weights[b][i] * (double)power[m->first[b] + i];
        bands[b] = (float)sum;
    }
}
