/*
 * Best of N: which takes are worth keeping, by their likelihood alone (design: "Best of N").
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_KEEP_H
#define HISS_APP_KEEP_H

#include <stdint.h>

/* From this many takes on the published rule holds (state-spaces/s4, models/sashimi/README.md). */
enum { KEEP_RULE_MIN = 20 };

/* Puts takes in order, best first. bits (n): of each take. From 20 takes up: the likeliest first,
   but the 40 % least and the 5 % most likely come last. Below: those nearest `median`, the bits
   of recordings; NAN: of the takes themselves. Ties go to the lower number. */
void keep_order(int64_t *order /* (n) */, const double *bits, int64_t n, double median);

#endif
