/*
 * The S4D block of the baseline (model-spec 3):
 *   x + glu(W gelu(scan(rmsnorm(x))) + b)
 */
#include "model/layers.h"

static void cut_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                     const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                     bool with_backward)
{
    int64_t rows = n_batch * n_in, h = l->width;
    *t = (struct layer_tape){
        .norm_r = arena_floats(a, rows),
        .u = arena_floats(a, rows * h),
        .gated = arena_floats(a, rows * h),
        .projected = arena_floats(a, rows * 2 * h),
    };
    if (with_backward)
        t->entering = arena_floats(a, scan_entering_size(net->be->ops, l, n_batch, n_in));
}

/* normed holds gelu's output; wide the gradient before GLU. */
static void cut_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                        int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    int64_t rows = n_batch * n_in, h = l->width;
    *s = (struct layer_scratch){.normed = arena_floats(a, rows * h)};
    if (!with_backward)
        return;
    s->wide = arena_floats(a, rows * 2 * h);
    s->dgated = arena_floats(a, rows * h);
    s->du = arena_floats(a, rows * h);
}

static struct scan_args scan_view(const struct layer_run *r)
{
    const struct layer *l = r->layer;
    return (struct scan_args){
        .mixer = l->mixer,
        .complex_state = l->complex_state,
        .n_batch = r->n_batch,
        .n_time = r->n_in,
        .inner = l->inner,
        .n_state = l->n_state,
        .y = r->tape->gated,
        .u = r->tape->u,
        .coef = r->coef,
        .d = run_weight(r, PARAM_D),
        .state = r->state,
        .entering = r->tape->entering,
        .ld_state = r->ld_state,
    };
}

static void forward(struct layer_run *r)
{
    int h = r->layer->width;
    int64_t n = (int64_t)r->n_batch * r->n_in * h;
    run_norm(r, r->tape->u, false);
    struct scan_args scan = scan_view(r);
    r->ops->scan(r->be, &scan);
    r->ops->gelu(r->be, r->scratch.normed, r->tape->gated, n);
    run_linear(r, PARAM_OUT, r->n_in,
               (struct linear_args){.y = r->tape->projected, .x = r->scratch.normed});
    if (r->out)
        r->ops->glu(r->be, r->out, r->tape->projected, r->in, r->skip, r->n_batch * r->n_in, h);
}

static void backward(struct layer_run *r)
{
    struct layer_scratch *s = &r->scratch;
    int h = r->layer->width;
    int64_t n = (int64_t)r->n_batch * r->n_in * h;
    r->ops->glu_backward(r->be, s->wide, r->dout, r->tape->projected, r->n_batch * r->n_in, h);
    r->ops->gelu(r->be, s->normed, r->tape->gated, n);
    run_linear_backward(
        r, PARAM_OUT, r->n_in,
        (struct linear_backward_args){.dx = s->dgated, .dy = s->wide, .x = s->normed});
    r->ops->gelu_backward(r->be, s->dgated, s->dgated, r->tape->gated, n);
    struct scan_backward_args a = {
        .forward = scan_view(r),
        .dy = s->dgated,
        .du = s->du,
        .dcoef = r->dcoef,
        .dd = run_grad(r, PARAM_D),
        .dstate = r->dstate,
    };
    r->ops->scan_backward(r->be, &a);
    run_norm_backward(r, s->du);
}

const struct layer_functions layer_s4d = {cut_tape, cut_scratch, forward, backward};
