/*
 * Configuration -> plan: the one place that knows how layers, parameters and states follow from a
 * configuration (design 2 and 3; model-spec 1.3 to 1.6, 2, 3).
 *
 * Any thread; a built plan is read-only.
 */
#ifndef HISS_MODEL_BUILD_H
#define HISS_MODEL_BUILD_H

#include "model/config.h"

/* Fills `plan` from a checked configuration. False with error_text if memory runs out.
   plan_free gives it back. */
bool plan_build(struct plan *plan, const struct config *config);
void plan_free(struct plan *plan);

/* Fills the block of weights (host, plan->weights_size floats) with first values: model-spec 2.3.
   Entry i of parameter j depends on (seed, j, i) alone. */
void plan_init_weights(const struct plan *plan, float *weights, uint64_t seed);

/* What a sample costs, averaged over time: for `hiss info`. */
struct plan_cost {
    double products; /* multiply-adds of matrix products */
    double scan;     /* multiply-adds of recurrences, 4 a channel and state */
    double conv;     /* multiply-adds of convolutions */
    double weights;  /* fp32 bytes of weights touched */
    double state;    /* bytes of mixers' state read and written */
};
void plan_cost(const struct plan *plan, struct plan_cost *cost);

/* "embed", "mixer", ... for `hiss info` and messages. */
const char *layer_kind_name(enum layer_kind kind);

#endif
