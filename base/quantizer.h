/*
 * From sound to codes and back: the 256 values a sample can have.
 *
 * mu-law-256 is the contract of every model of our own; s4-mu-law-256 is the quantiser of the
 * state-spaces/s4 repository, bit for bit, for models whose bits are to stand beside published
 * ones. It lives in base because libhiss must turn codes into sound without any audio library.
 *
 * Any thread; no state.
 */
#ifndef HISS_BASE_QUANTIZER_H
#define HISS_BASE_QUANTIZER_H

#include <stdbool.h>
#include <stdint.h>

enum quantizer { QUANTIZER_MU_LAW_256, QUANTIZER_S4_MU_LAW_256, QUANTIZERS };

/* "mu-law-256", "s4-mu-law-256". */
const char *quantizer_name(enum quantizer q);
bool quantizer_from_name(enum quantizer *q, const char *name); /* false, no error_text: unknown */

/* The code of one sample; x is clamped to [-1, 1], NaN counts as 0.
   mu-law-256, in double: y = sign(x) ln(1+255|x|)/ln 256, code = floor((y+1)/2*255 + 0.5).
   s4-mu-law-256, in float: model of state-spaces/s4 src/dataloaders/audio.py without its min-max.
 */
uint8_t quantizer_encode(enum quantizer q, float x);

/* The value of a code. mu-law-256: encode(decode(c)) = c for all c; no code is exact silence.
   s4-mu-law-256 gives the lower edge of a code's bin: its codes do not survive a round trip. */
float quantizer_decode(enum quantizer q, uint8_t code);

#endif
