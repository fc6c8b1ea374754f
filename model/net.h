/*
 * A network that can run: a plan, a backend, and the weights in the backend's memory.
 *
 * One thread at a time.
 */
#ifndef HISS_MODEL_NET_H
#define HISS_MODEL_NET_H

#include "kernels/ops.h"
#include "model/config.h"

struct net {
    struct config config;
    struct plan plan;
    struct backend *be;   /* not owned */
    float *weights;       /* backend memory, plan.weights_size */
    float *coef;          /* backend memory: what ops->coef made of the mixers' weights */
    int64_t *coef_offset; /* of each layer, in coef */
    int64_t coef_size;    /* floats */
};

/* Builds the plan and allocates; the weights are zero. False with error_text. */
bool net_open(struct net *net, const struct config *config, struct backend *be);
void net_close(struct net *net);

/* Copies the block of weights (host, plan.weights_size floats) in, and out. */
void net_set_weights(struct net *net, const float *weights);
void net_get_weights(const struct net *net, float *weights);

/* Recomputes coef: after every change of net->weights. net_set_weights does it. */
void net_refresh(struct net *net);

/* Opens the backend's recurrent engine on the net, which must outlive it unchanged; closed by
   ops->decoder_close. Only where ops->decoder_open is there. NULL with error_text. */
struct decoder *net_decoder_open(struct net *net, const struct decoder_options *o);

/* Adds the gradients of the mixers' parameters that reach them through coef: dcoef, laid out as
   coef, into grads, laid out as the weights. */
void net_coef_backward(struct net *net, float *grads, const float *dcoef);

/* The parameter `role` of a layer in a block laid out as the weights; NULL if the layer has none.
 */
static inline float *layer_param(const struct plan *plan, const struct layer *l,
                                 enum param_role role, float *block)
{
    return l->param[role] < 0 ? NULL : block + plan->params[l->param[role]].offset;
}

#endif
