#include "audio/encode.h"

#include <math.h>

/* Where the codes reach c, by bisection. Edges lie at least 1.7e-4 apart, so that the float nearest
   to the last step of a double bisection is close enough for `near`. */
static float find_edge(enum quantizer q, int c)
{
    double low = -1, high = 1;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (quantizer_encode(q, (float)middle) >= c)
            high = middle;
        else
            low = middle;
    }
    return (float)high;
}

void encoder_init(struct encoder *e, enum quantizer quantizer)
{
    e->quantizer = quantizer;
    for (int i = 0; i <= ENCODER_CELLS; i++)
        e->cell[i] = quantizer_encode(quantizer, (float)(2.0 * i / ENCODER_CELLS - 1));
    e->edge[0] = -4;
    e->edge[256] = 4;
    for (int c = 1; c < 256; c++)
        e->edge[c] = find_edge(quantizer, c);
    e->near[0] = e->near[256] = 0;
    for (int c = 1; c < 256; c++) {
        float below = c > 1 ? e->edge[c] - e->edge[c - 1] : 1;
        float above = c < 255 ? e->edge[c + 1] - e->edge[c] : 1;
        e->near[c] = 1e-3f * (below < above ? below : above);
    }
}

static uint8_t encode_one(const struct encoder *e, float x)
{
    if (isnan(x))
        x = 0;
    x = x > 1 ? 1 : x < -1 ? -1 : x;
    int c = e->cell[(int)((x + 1) * (ENCODER_CELLS / 2))];
    float above = x - e->edge[c + 1];
    if (fabsf(above) <= e->near[c + 1] || fabsf(x - e->edge[c]) <= e->near[c])
        return quantizer_encode(e->quantizer, x);
    return (uint8_t)(c + (above > 0));
}

void encoder_encode(const struct encoder *e, uint8_t *codes, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        codes[i] = encode_one(e, x[i]);
}
