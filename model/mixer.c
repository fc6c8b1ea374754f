/*
 * The Mamba mixer, selective or with static dt, B, C (model-spec 2):
 *   x + out_proj(scan(silu(conv(xs))) silu(z)),  [xs | z] = in_proj(rmsnorm(x))
 */
#include "model/layers.h"

/* Where things lie in the rows of x_dbl: dt (R), then B and C together. */
static int x_dbl_width(const struct layer *l)
{
    return l->dt_rank + 2 * l->n_state * (l->complex_state ? 2 : 1);
}

static int64_t conv_state_size(const struct layer *l)
{
    return (int64_t)l->inner * (l->n_taps - 1);
}

static void cut_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                     const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                     bool with_backward)
{
    int64_t rows = n_batch * n_in;
    *t = (struct layer_tape){
        .norm_r = arena_floats(a, rows),
        .projected = arena_floats(a, rows * 2 * l->inner),
        .u = arena_floats(a, rows * l->inner),
        .gated = arena_floats(a, rows * l->inner),
    };
    if (l->mixer == MIXER_SELECTIVE) {
        t->x_dbl = arena_floats(a, rows * x_dbl_width(l));
        t->dt_raw = arena_floats(a, rows * l->inner);
    }
    if (with_backward)
        t->entering = arena_floats(a, scan_entering_size(net->be->ops, l, n_batch, n_in));
}

static void cut_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                        int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    int64_t rows = n_batch * n_in;
    *s = (struct layer_scratch){.normed = arena_floats(a, rows * l->width)};
    if (!with_backward)
        return;
    s->wide = arena_floats(a, rows * 2 * l->inner);
    s->dgated = arena_floats(a, rows * l->inner);
    s->du = arena_floats(a, rows * l->inner);
    s->dnormed = arena_floats(a, rows * l->width);
    if (l->mixer == MIXER_SELECTIVE) {
        s->ddt_raw = arena_floats(a, rows * l->inner);
        s->dx_dbl = arena_floats(a, rows * x_dbl_width(l));
    }
}

static struct conv_args conv_view(const struct layer_run *r)
{
    const struct layer *l = r->layer;
    return (struct conv_args){
        .u = r->tape->u,
        .x = r->tape->projected,
        .w = run_weight(r, PARAM_CONV),
        .bias = run_weight(r, PARAM_CONV_BIAS),
        .state = r->state,
        .ld_x = 2 * l->inner,
        .ld_state = r->ld_state,
        .n_batch = r->n_batch,
        .n_time = r->n_in,
        .inner = l->inner,
        .n_taps = l->n_taps,
    };
}

static struct scan_args scan_view(const struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct scan_args a = {
        .mixer = l->mixer,
        .complex_state = l->complex_state,
        .n_batch = r->n_batch,
        .n_time = r->n_in,
        .inner = l->inner,
        .n_state = l->n_state,
        .y = r->tape->gated,
        .u = r->tape->u,
        .z = r->tape->projected + l->inner,
        .coef = r->coef,
        .d = run_weight(r, PARAM_D),
        .state = r->state + conv_state_size(l),
        .entering = r->tape->entering,
        .ld_z = 2 * l->inner,
        .ld_state = r->ld_state,
    };
    if (l->mixer == MIXER_SELECTIVE) {
        a.dt_raw = r->tape->dt_raw;
        a.dt_bias = run_weight(r, PARAM_DT_BIAS);
        a.bc = r->tape->x_dbl + l->dt_rank;
        a.ld_bc = x_dbl_width(l);
    }
    return a;
}

static void forward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_tape *t = r->tape;
    int h = l->width, e = l->inner;
    run_norm(r, r->scratch.normed);
    run_linear(r, t->projected, r->scratch.normed, PARAM_IN_PROJ, PARAM_ROLES, r->n_in, h, 2 * e);
    struct conv_args conv = conv_view(r);
    r->ops->conv_silu(r->be, &conv);
    if (l->mixer == MIXER_SELECTIVE) {
        run_linear(r, t->x_dbl, t->u, PARAM_X_PROJ, PARAM_ROLES, r->n_in, e, x_dbl_width(l));
        r->ops->linear(r->be, &(struct linear_args){.y = t->dt_raw,
                                                    .x = t->x_dbl,
                                                    .w = run_weight(r, PARAM_DT_PROJ),
                                                    .ld_x = x_dbl_width(l),
                                                    .ld_y = e,
                                                    .n_batch = r->n_batch,
                                                    .n_time = r->n_in,
                                                    .n_in = l->dt_rank,
                                                    .n_out = e});
    }
    struct scan_args scan = scan_view(r);
    r->ops->scan(r->be, &scan);
    if (r->out)
        r->ops->linear(r->be, &(struct linear_args){.y = r->out,
                                                    .x = t->gated,
                                                    .w = run_weight(r, PARAM_OUT),
                                                    .add0 = r->in,
                                                    .add1 = r->skip,
                                                    .ld_x = e,
                                                    .ld_y = h,
                                                    .n_batch = r->n_batch,
                                                    .n_time = r->n_in,
                                                    .n_in = e,
                                                    .n_out = h});
}

/* du += what reaches u through dt, B and C. */
static void projections_backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_scratch *s = &r->scratch;
    int e = l->inner, w = x_dbl_width(l);
    r->ops->linear_backward(r->be, &(struct linear_backward_args){.dx = s->dx_dbl,
                                                                  .dw = run_grad(r, PARAM_DT_PROJ),
                                                                  .dy = s->ddt_raw,
                                                                  .x = r->tape->x_dbl,
                                                                  .w = run_weight(r, PARAM_DT_PROJ),
                                                                  .ld_dx = w,
                                                                  .ld_dy = e,
                                                                  .ld_x = w,
                                                                  .n_batch = r->n_batch,
                                                                  .n_time = r->n_in,
                                                                  .n_in = l->dt_rank,
                                                                  .n_out = e});
    r->ops->linear_backward(r->be, &(struct linear_backward_args){.dx = s->du,
                                                                  .dw = run_grad(r, PARAM_X_PROJ),
                                                                  .dy = s->dx_dbl,
                                                                  .x = r->tape->u,
                                                                  .w = run_weight(r, PARAM_X_PROJ),
                                                                  .add_to_dx = true,
                                                                  .ld_dx = e,
                                                                  .ld_dy = w,
                                                                  .ld_x = e,
                                                                  .n_batch = r->n_batch,
                                                                  .n_time = r->n_in,
                                                                  .n_in = e,
                                                                  .n_out = w});
}

static void scan_part_backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_scratch *s = &r->scratch;
    struct scan_backward_args a = {
        .forward = scan_view(r),
        .dy = s->dgated,
        .du = s->du,
        .dz = s->wide + l->inner,
        .dcoef = r->dcoef,
        .dd = run_grad(r, PARAM_D),
        .dstate = r->dstate + conv_state_size(l),
        .ld_dz = 2 * l->inner,
    };
    if (l->mixer == MIXER_SELECTIVE) {
        a.ddt_raw = s->ddt_raw;
        a.dbc = s->dx_dbl + l->dt_rank;
        a.ld_dbc = x_dbl_width(l);
        a.ddt_bias = run_grad(r, PARAM_DT_BIAS);
    }
    r->ops->scan_backward(r->be, &a);
}

static void conv_part_backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    r->ops->conv_silu_backward(r->be, &(struct conv_backward_args){
                                          .dx = r->scratch.wide,
                                          .dw = run_grad(r, PARAM_CONV),
                                          .dbias = run_grad(r, PARAM_CONV_BIAS),
                                          .dstate = r->dstate,
                                          .du = r->scratch.du,
                                          .x = r->tape->projected,
                                          .w = run_weight(r, PARAM_CONV),
                                          .bias = run_weight(r, PARAM_CONV_BIAS),
                                          .state = r->entering_state,
                                          .ld_dx = 2 * l->inner,
                                          .ld_x = 2 * l->inner,
                                          .ld_state = r->ld_state,
                                          .n_batch = r->n_batch,
                                          .n_time = r->n_in,
                                          .inner = l->inner,
                                          .n_taps = l->n_taps,
                                      });
}

static void backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_scratch *s = &r->scratch;
    int h = l->width, e = l->inner;
    run_linear_backward(r, s->dgated, r->dout, r->tape->gated, PARAM_OUT, PARAM_ROLES, r->n_in, e,
                        h);
    scan_part_backward(r);
    if (l->mixer == MIXER_SELECTIVE)
        projections_backward(r);
    conv_part_backward(r);
    run_norm(r, s->normed);
    run_linear_backward(r, s->dnormed, s->wide, s->normed, PARAM_IN_PROJ, PARAM_ROLES, r->n_in, h,
                        2 * e);
    run_norm_backward(r, s->dnormed);
}

const struct layer_functions layer_mamba = {cut_tape, cut_scratch, forward, backward};
