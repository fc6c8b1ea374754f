/*
 * Many samples to codes, fast: quantizer_encode by table, exactly.
 *
 * [-1, 1] is cut into cells narrower than any code's interval. A cell gives its first sample's
 * code, one comparison with the next code's first sample does the rest; within a thousandth of an
 * interval of such an edge, where rounding decides, quantizer_encode itself is asked.
 *
 * An encoder is only read after encoder_init: any number of threads.
 */
#ifndef HISS_AUDIO_ENCODE_H
#define HISS_AUDIO_ENCODE_H

#include "base/quantizer.h"

enum { ENCODER_CELLS = 1 << 16 };

struct encoder {
    enum quantizer quantizer;
    uint8_t cell[ENCODER_CELLS + 1];
    float edge[257]; /* the first sample of each code; the ends are beyond reach */
    float near[257]; /* how close to it rounding may decide */
};

void encoder_init(struct encoder *e, enum quantizer quantizer);

/* codes[i] = quantizer_encode(quantizer, x[i]). */
void encoder_encode(const struct encoder *e, uint8_t *codes /* (n) */, const float *x /* (n) */,
                    int64_t n);

#endif
