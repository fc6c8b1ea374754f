/* How much scratch memory the operations of a plan need at most. */
#include "kernels/cuda/cuda.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The most ticks a chunk of this length can have; an UP's matrix sees fewer. */
static int64_t layer_ticks(const struct plan *plan, const struct layer *layer, int64_t n_time)
{
    return n_time / plan->rate[layer->tier] + 1;
}

/* Which of a layer's parameters are matrices of op_linear is not asked: the others are smaller. */
static size_t layer_products_workspace(const struct cuda_backend *cuda, const struct plan *plan,
                                       const struct layer *layer, int n_batch, int64_t n_time,
                                       bool backward)
{
    int64_t rows = n_batch * layer_ticks(plan, layer, n_time);
    size_t bytes = 0;
    for (int role = 0; role < PARAM_ROLES; role++) {
        if (layer->param[role] < 0)
            continue;
        const struct param *param = &plan->params[layer->param[role]];
        int64_t n_out = param->shape[0], n_in = param->shape[1];
        if (param->n_dims == 2)
            bytes = larger(bytes, backward ? linear_backward_workspace(cuda, rows, n_in, n_out)
                                           : factors_workspace(cuda, rows, n_in, n_out, false));
    }
    return bytes;
}

static size_t layer_backward_workspace(const struct plan *plan, const struct layer *layer,
                                       int n_batch, int64_t n_time)
{
    int64_t ticks = layer_ticks(plan, layer, n_time), rows = n_batch * ticks;
    size_t bytes = 0;
    if (layer->param[PARAM_NORM] >= 0)
        bytes = larger(bytes, norm_backward_workspace(rows, layer->width_in));
    if (layer->kind == LAYER_EMBED)
        bytes = larger(bytes, embed_backward_workspace(rows, layer->width));
    if (layer->kind == LAYER_LABEL)
        bytes = larger(bytes, label_add_backward_workspace(n_batch, ticks, layer->width));
    if (layer->kind == LAYER_MIXER) {
        bytes = larger(bytes, scan_backward_workspace(layer, n_batch, ticks));
        bytes = larger(bytes, conv_backward_workspace(layer, n_batch, ticks));
    }
    return bytes;
}

static size_t op_workspace(struct backend *be, const struct plan *plan, int n_batch, int64_t n_time,
                           bool backward)
{
    const struct cuda_backend *cuda = cuda_of(be);
    size_t bytes = squares_workspace();
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *layer = &plan->layers[i];
        if (layer->kind == LAYER_MIXER)
            bytes = larger(bytes, scan_workspace(layer, n_batch, layer_ticks(plan, layer, n_time)));
        bytes =
            larger(bytes, layer_products_workspace(cuda, plan, layer, n_batch, n_time, backward));
        if (backward)
            bytes = larger(bytes, layer_backward_workspace(plan, layer, n_batch, n_time));
    }
    return bytes;
}
