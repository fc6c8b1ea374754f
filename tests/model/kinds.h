/* One small configuration of every kind of network, for the tests of model/. */
#ifndef HISS_TESTS_MODEL_KINDS_H
#define HISS_TESTS_MODEL_KINDS_H

#include "model/config.h"

struct kind {
    const char *name;
    const char *layout;
    int d_model;
    const char *pool; /* JSON */
    int up_shift;
    const char *embedding;
    const char *labels; /* JSON */
    const char *tiers;  /* JSON */
};

extern const struct kind kinds[];
extern const int n_kinds;
/* The common mixer at widths of 32 to 256, which engines have code of its own for: too slow for
   every test. */
extern const struct kind kind_wide;

/* Builds the configuration; fails the running test if it is refused. */
void kind_config(struct config *c, const struct kind *k);

#endif
