/* How much scratch memory the operations of a plan need at most. */
#include "kernels/cpu/rounds.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Which of a layer's parameters are matrices of op_linear is not asked: the others are smaller. */
static size_t op_workspace(struct backend *be, const struct plan *plan, int n_batch, int64_t n_time,
                           bool backward)
{
    int n_threads = pool_n_threads(cpu_of(be)->pool);
    size_t bytes = 0;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *layer = &plan->layers[i];
        /* the most ticks a chunk of this length can have, or more: an UP's matrix sees fewer */
        int64_t ticks = n_time / plan->rate[layer->tier] + 1;
        int64_t rows = n_batch * ticks;
        for (int role = 0; role < PARAM_ROLES; role++) {
            if (layer->param[role] < 0)
                continue;
            const struct param *param = &plan->params[layer->param[role]];
            int64_t n_in = param->shape[1], n_out = param->shape[0];
            if (param->n_dims != 2)
                continue;
            bytes = larger(bytes, linear_workspace(n_in, n_out));
            if (backward)
                bytes = larger(bytes, linear_backward_workspace(rows, n_in, n_out, n_threads));
        }
        if (!backward)
            continue;
        if (layer->param[PARAM_NORM] >= 0)
            bytes = larger(bytes, norm_backward_workspace(rows, layer->width_in));
        if (layer->kind == LAYER_MIXER) {
            bytes = larger(bytes, scan_backward_workspace(layer, n_batch, ticks, n_threads));
            bytes = larger(bytes, conv_backward_workspace(layer, n_batch, ticks, n_threads));
        }
    }
    return bytes;
}
