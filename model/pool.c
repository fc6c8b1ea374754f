/*
 * Pools: between a tier and the next coarser one (design 2; model-spec 1.5, 1.6).
 *   down: W (p ticks as one vector) + b        up: (W x + b) as p ticks, up_shift frames late
 */
#include "model/layers.h"

/* The chunk's first fine tick, absolute. */
static int64_t first_tick(const struct layer_run *r, int tier)
{
    return r->chunk->n0 / r->chunk->net->plan.rate[tier];
}

/* --- down ------------------------------------------------------------------------------------ */

static void down_cut_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                          const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                          bool with_backward)
{
    *t = (struct layer_tape){.frames = arena_floats(a, n_batch * n_out * l->width_in * l->pool)};
}

static void down_cut_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                             int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    *s = (struct layer_scratch){0};
    if (!with_backward)
        return;
    s->wide = arena_floats(a, n_batch * n_out * l->width_in * l->pool);
    s->dnormed = arena_floats(a, n_batch * n_in * l->width_in);
}

static struct frames_args down_view(const struct layer_run *r)
{
    return (struct frames_args){
        .ld_state = r->ld_state,
        .n_batch = r->n_batch,
        .f0 = first_tick(r, r->layer->tier - 1),
        .n_time = r->n_in,
        .width = r->layer->width_in,
        .pool = r->layer->pool,
    };
}

static void down_forward(struct layer_run *r)
{
    struct frames_args a = down_view(r);
    a.frames = r->tape->frames;
    a.x = (float *)r->in;
    a.state = r->state;
    r->ops->frames_gather(r->be, &a);
    if (r->out)
        run_linear(r, PARAM_WEIGHT, r->n_out,
                   (struct linear_args){.y = r->out, .x = r->tape->frames});
}

/* What a down-pool reads was always pushed as a skip: its gradient is added to. */
static void down_backward(struct layer_run *r)
{
    const struct layer *l = r->layer;
    run_linear_backward(
        r, PARAM_WEIGHT, r->n_out,
        (struct linear_backward_args){.dx = r->scratch.wide, .dy = r->dout, .x = r->tape->frames});
    struct frames_args a = down_view(r);
    a.frames = r->scratch.wide;
    a.x = r->scratch.dnormed;
    a.state = r->dstate;
    r->ops->frames_gather_backward(r->be, &a);
    r->ops->add(r->be, r->din, r->scratch.dnormed, r->n_batch * r->n_in * l->width_in);
}

/* --- up -------------------------------------------------------------------------------------- */

static void up_cut_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                        const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                        bool with_backward)
{
    *t = (struct layer_tape){0};
}

static void up_cut_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                           int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    *s = (struct layer_scratch){.wide = arena_floats(a, n_batch * n_in * l->width * l->pool)};
}

static struct frames_args up_view(const struct layer_run *r)
{
    return (struct frames_args){
        .frames = r->scratch.wide,
        .ld_state = r->ld_state,
        .n_batch = r->n_batch,
        .f0 = first_tick(r, r->layer->tier),
        .n_time = r->n_out,
        .width = r->layer->width,
        .pool = r->layer->pool,
        .up_shift = r->layer->up_shift,
    };
}

static void up_forward(struct layer_run *r)
{
    if (!r->out) /* the backward needs nothing but what was read */
        return;
    run_linear(r, PARAM_WEIGHT, r->n_in, (struct linear_args){.y = r->scratch.wide, .x = r->in});
    struct frames_args a = up_view(r);
    a.x = r->out;
    a.add = r->skip;
    a.state = r->state;
    r->ops->frames_emit(r->be, &a);
}

static void up_backward(struct layer_run *r)
{
    struct frames_args a = up_view(r);
    a.x = (float *)r->dout;
    a.state = r->dstate;
    r->ops->frames_emit_backward(r->be, &a);
    run_linear_backward(
        r, PARAM_WEIGHT, r->n_in,
        (struct linear_backward_args){.dx = r->din, .dy = r->scratch.wide, .x = r->in});
}

const struct layer_functions layer_down = {down_cut_tape, down_cut_scratch, down_forward,
                                           down_backward};
const struct layer_functions layer_up = {up_cut_tape, up_cut_scratch, up_forward, up_backward};
