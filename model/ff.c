/*
 * The feed-forward layer (model-spec 3.2):  x + W2 gelu(W1 rmsnorm(x) + b1) + b2
 */
#include "model/layers.h"

static void cut_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                     const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                     bool with_backward)
{
    int64_t rows = n_batch * n_in;
    *t = (struct layer_tape){
        .norm_r = arena_floats(a, rows),
        .projected = arena_floats(a, rows * l->inner),
    };
}

static void cut_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                        int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    int64_t rows = n_batch * n_in;
    *s = (struct layer_scratch){
        .normed = arena_floats(a, rows * l->width),
        .wide = arena_floats(a, rows * l->inner), /* gelu's output, later its gradient */
    };
    if (!with_backward)
        return;
    s->dgated = arena_floats(a, rows * l->inner);
    s->dnormed = arena_floats(a, rows * l->width);
}

static void forward(struct layer_run *r)
{
    int64_t n = r->n_in;
    run_norm(r, r->scratch.normed, false);
    run_linear(r, PARAM_WEIGHT, n,
               (struct linear_args){.y = r->tape->projected, .x = r->scratch.normed});
    if (!r->out)
        return;
    r->ops->gelu(r->be, r->scratch.wide, r->tape->projected, r->n_batch * n * r->layer->inner);
    run_linear(
        r, PARAM_OUT, n,
        (struct linear_args){.y = r->out, .x = r->scratch.wide, .add0 = r->in, .add1 = r->skip});
}

static void backward(struct layer_run *r)
{
    struct layer_scratch *s = &r->scratch;
    int64_t n = r->n_in, entries = r->n_batch * n * r->layer->inner;
    r->ops->gelu(r->be, s->wide, r->tape->projected, entries);
    run_linear_backward(
        r, PARAM_OUT, n,
        (struct linear_backward_args){.dx = s->dgated, .dy = r->dout, .x = s->wide});
    r->ops->gelu_backward(r->be, s->dgated, s->dgated, r->tape->projected, entries);
    run_norm(r, s->normed, false);
    run_linear_backward(
        r, PARAM_WEIGHT, n,
        (struct linear_backward_args){.dx = s->dnormed, .dy = s->dgated, .x = s->normed});
    run_norm_backward(r, s->dnormed);
}

const struct layer_functions layer_ff = {cut_tape, cut_scratch, forward, backward};
