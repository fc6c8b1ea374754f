#include "base/quantizer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const char *const names[QUANTIZERS] = {
    [QUANTIZER_MU_LAW_256] = "mu-law-256",
    [QUANTIZER_S4_MU_LAW_256] = "s4-mu-law-256",
};

const char *quantizer_name(enum quantizer q)
{
    assert(q < QUANTIZERS);
    return names[q];
}

bool quantizer_from_name(enum quantizer *q, const char *name)
{
    for (int i = 0; i < QUANTIZERS; i++)
        if (strcmp(names[i], name) == 0) {
            *q = (enum quantizer)i;
            return true;
        }
    return false;
}

static uint8_t encode_mu_law(double x)
{
    double y = copysign(log1p(255 * fabs(x)) / log(256), x);
    return (uint8_t)floor((y + 1) / 2 * 255 + 0.5);
}

/* In float, step by step as the original computes it: its codes depend on the roundings. */
static uint8_t encode_s4(float x)
{
    float sign = x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f;
    float e = sign * log1pf(255.0f * fabsf(x + 1e-8f)) / log1pf(255.0f);
    float v = (e + 1.0f) / 2.0f;
    return (uint8_t)(v * (256.0f - 0.01f) + 0.005f);
}

uint8_t quantizer_encode(enum quantizer q, float x)
{
    if (isnan(x))
        x = 0;
    x = x > 1 ? 1 : x < -1 ? -1 : x;
    return q == QUANTIZER_S4_MU_LAW_256 ? encode_s4(x) : encode_mu_law(x);
}

float quantizer_decode(enum quantizer q, uint8_t code)
{
    double y = q == QUANTIZER_S4_MU_LAW_256 ? code / 128.0 - 1 : (2.0 * code - 255) / 255;
    return (float)copysign((pow(256, fabs(y)) - 1) / 255, y);
}
