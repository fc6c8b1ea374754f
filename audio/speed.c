#include "audio/speed.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

/* The kernel at ratio 1, finely sampled from its middle to its end: h(t) = c sinc(c t) kaiser(t),
   cut off a little below half the rate so that the slope ends near it. */
enum { KERNEL_STEPS = 512, KERNEL_SIZE = SPEED_ZEROS * KERNEL_STEPS };
#define KERNEL_CUTOFF 0.96
#define KERNEL_BETA 7.0

static float kernel[KERNEL_SIZE + 2];
static pthread_once_t kernel_once = PTHREAD_ONCE_INIT;

/* The modified Bessel function I0, by its series. */
static double bessel_i0(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; k < 40; k++) {
        term *= x / 2 / k * (x / 2 / k);
        sum += term;
    }
    return sum;
}

static void make_kernel(void)
{
    for (int i = 0; i < KERNEL_SIZE; i++) {
        double t = (double)i / KERNEL_STEPS, u = t / SPEED_ZEROS;
        double a = M_PI * KERNEL_CUTOFF * t;
        double sinc = i == 0 ? 1 : sin(a) / a;
        double window = bessel_i0(KERNEL_BETA * sqrt(1 - u * u)) / bessel_i0(KERNEL_BETA);
        kernel[i] = (float)(KERNEL_CUTOFF * sinc * window);
    }
}

static float kernel_at(float t)
{
    float at = fabsf(t) * KERNEL_STEPS;
    if (at >= KERNEL_SIZE)
        return 0;
    int i = (int)at;
    return kernel[i] + (at - (float)i) * (kernel[i + 1] - kernel[i]);
}

void speed_init(struct speed *s, float ratio)
{
    assert(ratio > 0 && ratio <= SPEED_RATIO_MAX);
    pthread_once(&kernel_once, make_kernel);
    /* Faster: what would lie above half the rate must go, so the kernel is stretched. */
    float scale = ratio > 1 ? 1 / ratio : 1;
    int half = (int)ceilf(SPEED_ZEROS / scale);
    half += half & 1;
    s->ratio = ratio;
    s->n_taps = 2 * half;
    for (int p = 0; p <= SPEED_PHASES; p++)
        for (int k = 0; k < s->n_taps; k++) {
            float t = (float)(k - half + 1) - (float)p / SPEED_PHASES;
            s->taps[p * s->n_taps + k] = scale * kernel_at(t * scale);
        }
}

typedef float four __attribute__((vector_size(16)));

static four load_four(const float *x)
{
    four v;
    memcpy(&v, x, sizeof v);
    return v;
}

static float sum_four(four v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

void speed_run(const struct speed *s, float *out, const float *x, int64_t n)
{
    int half = s->n_taps / 2;
    for (int64_t i = 0; i < n; i++) {
        double at = (double)i * (double)s->ratio;
        int64_t first = (int64_t)at;
        float phase = (float)(at - (double)first) * SPEED_PHASES;
        int p = (int)phase;
        p = p < SPEED_PHASES ? p : SPEED_PHASES - 1; /* the float may have rounded up */
        const float *in = x + first - half + 1, *taps = s->taps + p * s->n_taps;
        const float *next = taps + s->n_taps;
        four a = {0}, b = {0};
        for (int k = 0; k < s->n_taps; k += 4) {
            four v = load_four(in + k);
            a += v * load_four(taps + k);
            b += v * load_four(next + k);
        }
        float low = sum_four(a);
        out[i] = low + (phase - (float)p) * (sum_four(b) - low);
    }
}
