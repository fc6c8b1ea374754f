#include "audio/loudness.h"

#include <math.h>

static const double pi = 3.14159265358979323846;
static const double gate_absolute = -70, gate_relative = -10, offset = -0.691;

/* y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2], in the transposed form. */
struct biquad {
    double b0, b1, b2, a1, a2, z1, z2;
};

/* The head: a shelf that lifts what lies above about 1.7 kHz by 4 dB. */
static struct biquad shelf_make(int rate)
{
    const double hz = 1681.974450955533, gain_db = 3.999843853973347, q = 0.7071752369554196;
    double k = tan(pi * hz / rate), v = pow(10, gain_db / 20), v_half = pow(v, 0.4996667741545416),
           a0 = 1 + k / q + k * k;
    return (struct biquad){.b0 = (v + v_half * k / q + k * k) / a0,
                           .b1 = 2 * (k * k - v) / a0,
                           .b2 = (v - v_half * k / q + k * k) / a0,
                           .a1 = 2 * (k * k - 1) / a0,
                           .a2 = (1 - k / q + k * k) / a0};
}

/* The ear's deafness to the lowest: a high-pass at 38 Hz. Its gain is not 1: as published. */
static struct biquad high_pass_make(int rate)
{
    const double hz = 38.13547087602444, q = 0.5003270373238773;
    double k = tan(pi * hz / rate), a0 = 1 + k / q + k * k;
    return (struct biquad){
        .b0 = 1, .b1 = -2, .b2 = 1, .a1 = 2 * (k * k - 1) / a0, .a2 = (1 - k / q + k * k) / a0};
}

static double biquad_next(struct biquad *f, double x)
{
    double y = f->b0 * x + f->z1;
    f->z1 = f->b1 * x - f->a1 * y + f->z2;
    f->z2 = f->b2 * x - f->a2 * y;
    return y;
}

static double lufs_of(double mean_square)
{
    return mean_square > 0 ? offset + 10 * log10(mean_square) : -INFINITY;
}

/* One pass over the sound: blocks above the gate; returns their loudness. Blocks are sums of four
   quarters, so that nothing but the last four need be kept. */
static double blocks_mean(const float *x, int64_t n, int rate, double gate)
{
    struct biquad shelf = shelf_make(rate), high_pass = high_pass_make(rate);
    int64_t quarter = (int64_t)round(0.1 * rate), n_blocks = 0;
    if (n < 4 * quarter)
        quarter = (n + 3) / 4;
    double quarters[4] = {0}, sum = 0, total = 0;
    for (int64_t i = 0; i < n; i++) {
        double y = biquad_next(&high_pass, biquad_next(&shelf, (double)x[i]));
        sum += y * y;
        if ((i + 1) % quarter != 0 && (i + 1 < n || n >= 4 * quarter))
            continue;
        quarters[i / quarter % 4] = sum;
        sum = 0;
        if (i / quarter < 3 && i + 1 < n)
            continue;
        int64_t length = 4 * quarter < n ? 4 * quarter : n;
        double mean = (quarters[0] + quarters[1] + quarters[2] + quarters[3]) / (double)length;
        if (lufs_of(mean) > gate) {
            total += mean;
            n_blocks++;
        }
    }
    return lufs_of(n_blocks > 0 ? total / (double)n_blocks : 0);
}

double loudness_lufs(const float *x, int64_t n, int rate)
{
    if (rate < LOUDNESS_RATE_MIN || n <= 0)
        return NAN;
    double loudness = blocks_mean(x, n, rate, gate_absolute);
    return isfinite(loudness)
               ? blocks_mean(x, n, rate, fmax(gate_absolute, loudness + gate_relative))
               : loudness;
}
