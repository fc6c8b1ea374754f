/* What one sample of a plan costs, averaged over time. */
#include "model/build.h"

/* Multiply-adds of matrix products, and fp32 weights touched, of one tick of a layer. */
static void layer_products(const struct plan *plan, const struct layer *l, double *products,
                           double *weights)
{
    static const enum param_role matrices[] = {PARAM_IN_PROJ, PARAM_X_PROJ, PARAM_DT_PROJ,
                                               PARAM_OUT, PARAM_WEIGHT};
    *products = *weights = 0;
    for (int r = 0; r < PARAM_ROLES; r++)
        if (l->param[r] >= 0)
            *weights += (double)plan->params[l->param[r]].size;
    if (l->kind == LAYER_EMBED || l->kind == LAYER_LABEL) { /* one row of a table */
        *weights = l->width;
        return;
    }
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        if (l->param[matrices[i]] >= 0)
            *products += (double)plan->params[l->param[matrices[i]]].size;
}

void plan_cost(const struct plan *plan, struct plan_cost *cost)
{
    *cost = (struct plan_cost){0};
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        /* an up-pool multiplies once a tick of the tier it reads */
        int tier = l->kind == LAYER_UP ? l->tier + 1 : l->tier;
        double per_sample = 1.0 / (double)plan->rate[tier], products, weights;
        layer_products(plan, l, &products, &weights);
        cost->products += products * per_sample;
        cost->weights += 4 * weights * per_sample;
        if (l->kind == LAYER_MIXER) {
            double lanes = (double)l->inner * l->n_state * (l->complex_state ? 2 : 1);
            cost->scan += 4 * lanes * per_sample;
            cost->conv += (double)l->inner * l->n_taps * per_sample;
            cost->state += 2 * 4 * (double)l->state_size * per_sample;
        }
    }
}
