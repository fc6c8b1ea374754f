/*
 * The Mamba mixer, selective or with static dt, B, C (model-spec 2):
 *   x + out_proj(scan(silu(conv(xs))) silu(z)),  [xs | z] = in_proj(rmsnorm(x))
 *
 * Rounded (kernels/ops.h) are the normed input, xs and z, what out_proj reads, and the gradients of
 * these but for the normed input's.
 */
#include "model/layers.h"

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
        .projected = arena_rounded(a, net->be, rows * 2 * l->inner),
        .u = arena_floats(a, rows * l->inner),
        .gated = arena_rounded(a, net->be, rows * l->inner),
    };
    if (l->mixer == MIXER_SELECTIVE) {
        t->x_dbl = arena_floats(a, rows * layer_x_dbl_width(l));
        t->dt_raw = arena_floats(a, rows * l->inner);
    }
    if (with_backward && backend_rounded_size(net->be) < sizeof(float))
        t->normed = arena_rounded(a, net->be, rows * l->width);
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
        s->dx_dbl = arena_floats(a, rows * layer_x_dbl_width(l));
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
        .x_rounded = true,
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
        .z = rounded_entry(r->be, r->tape->projected, l->inner),
        .coef = r->coef,
        .d = run_weight(r, PARAM_D),
        .state = r->state + conv_state_size(l),
        .entering = r->tape->entering,
        .rounded = true,
        .ld_z = 2 * l->inner,
        .ld_state = r->ld_state,
    };
    if (l->mixer == MIXER_SELECTIVE) {
        a.dt_raw = r->tape->dt_raw;
        a.dt_bias = run_weight(r, PARAM_DT_BIAS);
        a.bc = r->tape->x_dbl + l->dt_rank;
        a.ld_bc = layer_x_dbl_width(l);
    }
    return a;
}

static float *normed_of(const struct layer_run *r)
{
    return r->tape->normed ? r->tape->normed : r->scratch.normed;
}

static void forward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_tape *t = r->tape;
    int64_t n = r->n_in;
    run_norm(r, normed_of(r), true);
    run_linear(r, PARAM_IN_PROJ, n,
               (struct linear_args){
                   .y = t->projected, .x = normed_of(r), .y_rounded = true, .x_rounded = true});
    struct conv_args conv = conv_view(r);
    r->ops->conv_silu(r->be, &conv);
    if (l->mixer == MIXER_SELECTIVE) {
        run_linear(r, PARAM_X_PROJ, n, (struct linear_args){.y = t->x_dbl, .x = t->u});
        run_linear(
            r, PARAM_DT_PROJ, n,
            (struct linear_args){.y = t->dt_raw, .x = t->x_dbl, .ld_x = layer_x_dbl_width(l)});
    }
    struct scan_args scan = scan_view(r);
    r->ops->scan(r->be, &scan);
    if (r->out)
        run_linear(
            r, PARAM_OUT, n,
            (struct linear_args){
                .y = r->out, .x = t->gated, .add0 = r->in, .add1 = r->skip, .x_rounded = true});
}

/* du += what reaches u through dt, B and C. */
static void projections_backward(struct layer_run *r)
{
    struct layer_scratch *s = &r->scratch;
    int w = layer_x_dbl_width(r->layer);
    run_linear_backward(
        r, PARAM_DT_PROJ, r->n_in,
        (struct linear_backward_args){
            .dx = s->dx_dbl, .dy = s->ddt_raw, .x = r->tape->x_dbl, .ld_dx = w, .ld_x = w});
    run_linear_backward(r, PARAM_X_PROJ, r->n_in,
                        (struct linear_backward_args){
                            .dx = s->du, .dy = s->dx_dbl, .x = r->tape->u, .add_to_dx = true});
}

static void scan_part_backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    struct layer_scratch *s = &r->scratch;
    struct scan_backward_args a = {
        .forward = scan_view(r),
        .dy = s->dgated,
        .du = s->du,
        .dz = rounded_entry(r->be, s->wide, l->inner),
        .dcoef = r->dcoef,
        .dd = run_grad(r, PARAM_D),
        .dstate = r->dstate + conv_state_size(l),
        .ld_dz = 2 * l->inner,
    };
    if (l->mixer == MIXER_SELECTIVE) {
        a.ddt_raw = s->ddt_raw;
        a.dbc = s->dx_dbl + l->dt_rank;
        a.ld_dbc = layer_x_dbl_width(l);
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
                                          .dx_rounded = true,
                                          .x_rounded = true,
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
    struct layer_scratch *s = &r->scratch;
    run_linear_backward(r, PARAM_OUT, r->n_in,
                        (struct linear_backward_args){.dx = s->dgated,
                                                      .dy = r->dout,
                                                      .x = r->tape->gated,
                                                      .dx_rounded = true,
                                                      .x_rounded = true});
    scan_part_backward(r);
    if (r->layer->mixer == MIXER_SELECTIVE)
        projections_backward(r);
    conv_part_backward(r);
    if (!r->tape->normed)
        run_norm(r, s->normed, true);
    run_linear_backward(r, PARAM_IN_PROJ, r->n_in,
                        (struct linear_backward_args){.dx = s->dnormed,
                                                      .dy = s->wide,
                                                      .x = normed_of(r),
                                                      .dy_rounded = true,
                                                      .x_rounded = true});
    run_norm_backward(r, s->dnormed);
}

const struct layer_functions layer_mamba = {cut_tape, cut_scratch, forward, backward};
