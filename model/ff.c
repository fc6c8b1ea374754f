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
    const struct layer *l = r->layer;
    int h = l->width, f = l->inner;
    run_norm(r, r->scratch.normed);
    run_linear(r, r->tape->projected, r->scratch.normed, PARAM_WEIGHT, PARAM_BIAS, r->n_in, h, f);
    if (!r->out)
        return;
    r->ops->gelu(r->be, r->scratch.wide, r->tape->projected, r->n_batch * r->n_in * f);
    r->ops->linear(r->be, &(struct linear_args){.y = r->out,
                                                .x = r->scratch.wide,
                                                .w = run_weight(r, PARAM_OUT),
                                                .bias = run_weight(r, PARAM_OUT_BIAS),
                                                .add0 = r->in,
                                                .add1 = r->skip,
                                                .ld_x = f,
                                                .ld_y = h,
                                                .n_batch = r->n_batch,
                                                .n_time = r->n_in,
                                                .n_in = f,
                                                .n_out = h});
}

static void backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_scratch *s = &r->scratch;
    int h = l->width, f = l->inner;
    int64_t n = r->n_batch * r->n_in * f;
    r->ops->gelu(r->be, s->wide, r->tape->projected, n);
    run_linear_backward(r, s->dgated, r->dout, s->wide, PARAM_OUT, PARAM_OUT_BIAS, r->n_in, f, h);
    r->ops->gelu_backward(r->be, s->dgated, s->dgated, r->tape->projected, n);
    run_norm(r, s->normed);
    run_linear_backward(r, s->dnormed, s->dgated, s->normed, PARAM_WEIGHT, PARAM_BIAS, r->n_in, h,
                        f);
    run_norm_backward(r, s->dnormed);
}

const struct layer_functions layer_ff = {cut_tape, cut_scratch, forward, backward};
