#include "model/net.h"

#include "base/error.h"
#include "model/build.h"

#include <stdlib.h>

bool net_open(struct net *net, const struct config *config, struct backend *be)
{
    *net = (struct net){.config = *config, .be = be};
    if (!plan_build(&net->plan, config))
        return false;
    net->coef_offset = calloc((size_t)net->plan.n_layers, sizeof *net->coef_offset);
    if (!net->coef_offset) {
        error_set("out of memory for a network");
        goto fail;
    }
    for (int i = 0; i < net->plan.n_layers; i++) {
        net->coef_offset[i] = net->coef_size;
        net->coef_size += (be->ops->coef_size(&net->plan.layers[i]) + 15) / 16 * 16;
    }
    net->weights = backend_alloc(be, (size_t)net->plan.weights_size * sizeof(float));
    net->coef = backend_alloc(be, (size_t)net->coef_size * sizeof(float));
    if (!net->weights || !net->coef) {
        error_prefix("a model of %.1f M parameters (take a smaller model)",
                     (double)net->plan.weights_size * 1e-6);
        goto fail;
    }
    return true;
fail:
    net_close(net);
    return false;
}

void net_close(struct net *net)
{
    if (net->weights)
        backend_free(net->be, net->weights);
    if (net->coef)
        backend_free(net->be, net->coef);
    free(net->coef_offset);
    plan_free(&net->plan);
    *net = (struct net){0};
}

void net_set_weights(struct net *net, const float *weights)
{
    backend_upload(net->be, net->weights, weights, (size_t)net->plan.weights_size * sizeof(float));
    net_refresh(net);
}

void net_get_weights(const struct net *net, float *weights)
{
    backend_download(net->be, weights, net->weights,
                     (size_t)net->plan.weights_size * sizeof(float));
}

static struct coef_args mixer_coef(struct net *net, int layer)
{
    const struct plan *plan = &net->plan;
    const struct layer *l = &plan->layers[layer];
    return (struct coef_args){
        .mixer = l->mixer,
        .complex_state = l->complex_state,
        .inner = l->inner,
        .n_state = l->n_state,
        .a_log = layer_param(plan, l, PARAM_A_LOG, net->weights),
        .a_imag = layer_param(plan, l, PARAM_A_IMAG, net->weights),
        .dt =
            l->mixer == MIXER_SELECTIVE ? NULL : layer_param(plan, l, PARAM_DT_BIAS, net->weights),
        .b = layer_param(plan, l, PARAM_B, net->weights),
        .c = layer_param(plan, l, PARAM_C, net->weights),
        .coef = net->coef + net->coef_offset[layer],
    };
}

void net_refresh(struct net *net)
{
    for (int i = 0; i < net->plan.n_layers; i++)
        if (net->plan.layers[i].kind == LAYER_MIXER) {
            struct coef_args a = mixer_coef(net, i);
            net->be->ops->coef(net->be, &a);
        }
}

struct decoder *net_decoder_open(struct net *net, const struct decoder_options *o)
{
    return net->be->ops->decoder_open(net->be,
                                      &(struct decoder_net){.plan = &net->plan,
                                                            .weights = net->weights,
                                                            .coef = net->coef,
                                                            .coef_offset = net->coef_offset},
                                      o);
}

void net_coef_backward(struct net *net, float *grads, const float *dcoef)
{
    const struct plan *plan = &net->plan;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        if (l->kind != LAYER_MIXER)
            continue;
        struct coef_args a = mixer_coef(net, i);
        a.dcoef = dcoef + net->coef_offset[i];
        a.da_log = layer_param(plan, l, PARAM_A_LOG, grads);
        a.da_imag = layer_param(plan, l, PARAM_A_IMAG, grads);
        a.ddt = a.dt ? layer_param(plan, l, PARAM_DT_BIAS, grads) : NULL;
        a.db = layer_param(plan, l, PARAM_B, grads);
        a.dc = layer_param(plan, l, PARAM_C, grads);
        net->be->ops->coef_backward(net->be, &a);
    }
}
