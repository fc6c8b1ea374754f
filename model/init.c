/* First values of the weights: model-spec 2.3 and 3.1, design 3. */
#include "base/random.h"
#include "model/build.h"

#include <math.h>

/* Mamba draws the step dt log-uniformly from [1e-3, 0.1]. */
static double draw_dt(uint32_t r)
{
    double lo = log(1e-3), hi = log(0.1);
    return exp(lo + (hi - lo) * random_uniform(r));
}

static double sinusoid(int64_t code, int64_t column)
{
    double y = (2.0 * (double)code - 255) / 255;
    double angle = y * ldexp(1, (int)(column / 2)) * 1.5707963267948966;
    return column % 2 == 0 ? sin(angle) : cos(angle);
}

/* Entry i of a parameter, from the two words of noise that belong to it. */
static double first_value(const struct param *p, int64_t i, uint32_t r0, uint32_t r1)
{
    int64_t last = p->shape[p->n_dims - 1];
    switch (p->init) {
    case INIT_ONES:
        return 1;
    case INIT_UNIFORM:
        return p->init_scale * (2.0 * random_uniform(r0) - 1);
    case INIT_NORMAL:
        return p->init_scale * random_normal(r0, r1);
    case INIT_SINUSOIDAL:
        return sinusoid(i / last, i % last);
    case INIT_A_LOG_REAL:
        return log((double)(i % last + 1));
    case INIT_A_LOG_HALF:
        return log(0.5);
    case INIT_A_IMAG:
        return 3.141592653589793 * (double)(i % last);
    case INIT_DT_BIAS: {
        double dt = draw_dt(r0);
        return dt + log(-expm1(-dt)); /* the inverse of softplus */
    }
    case INIT_LOG_DT:
        return log(draw_dt(r0));
    case INIT_B_COMPLEX:
        return i % 2 == 0 ? 1 : 0;
    }
    return 0;
}

void plan_init_weights(const struct plan *plan, float *weights, uint64_t seed)
{
    for (int64_t i = 0; i < plan->weights_size; i++)
        weights[i] = 0;
    for (int j = 0; j < plan->n_params; j++) {
        const struct param *p = &plan->params[j];
        for (int64_t i = 0; i < p->size; i++) {
            uint32_t r0 = random_word(seed, (uint64_t)i, (uint32_t)j, RANDOM_INIT, 0);
            uint32_t r1 = random_word(seed, (uint64_t)i, (uint32_t)j, RANDOM_INIT, 1);
            weights[p->offset + i] = (float)first_value(p, i, r0, r1);
        }
    }
}
