#include "model/chunk.h"

#include "base/error.h"
#include "model/layers.h"

#include <assert.h>
#include <stdlib.h>

static const struct layer_functions *const table[LAYER_KINDS] = {
    [LAYER_EMBED] = &layer_embed, [LAYER_LABEL] = &layer_label, [LAYER_MIXER] = &layer_mamba,
    [LAYER_FF] = &layer_ff,       [LAYER_DOWN] = &layer_down,   [LAYER_UP] = &layer_up,
    [LAYER_HEAD] = &layer_head,
};

const struct layer_functions *layer_functions_of(const struct layer *l)
{
    return l->kind == LAYER_MIXER && l->mixer == MIXER_S4D ? &layer_s4d : table[l->kind];
}

/* Tier of the value a layer reads. */
static int tier_in(const struct plan *plan, const struct layer *l)
{
    return l->in < 0 ? 0 : plan->layers[l->in].tier;
}

static bool keeps_shape(const struct layer *l)
{
    return l->kind == LAYER_LABEL || l->kind == LAYER_MIXER || l->kind == LAYER_FF;
}

/* --- memory ---------------------------------------------------------------------------------- */

/* The most ticks a chunk can have in a tier, whatever sample it begins with. */
static int64_t max_ticks(const struct chunk *c, int tier)
{
    int64_t rate = c->net->plan.rate[tier];
    return (c->max_time + rate - 1) / rate;
}

static void cut_values(struct chunk *c, struct arena *a)
{
    const struct plan *plan = &c->net->plan;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        c->value[i] = arena_floats(a, c->n_batch * max_ticks(c, l->tier) * l->width);
    }
}

/* From the last layer to the first. The gradient of what a layer adds, its skip, is the gradient of
   its output, and the first source of it to be met: see plan.h, in_is_skip. A layer that keeps its
   input's shape turns the gradient of its output into that of its input in place, unless that is a
   skip's, or the input's gradient has another source. */
static void cut_gradients(struct chunk *c, struct arena *a)
{
    const struct plan *plan = &c->net->plan;
    int last = plan->n_layers - 1; /* the head: its gradient is the caller's dlogits */
    c->dvalue[last] = NULL;
    for (int i = 0; i < last; i++)
        c->dvalue[i] = NULL;
    for (int i = last; i > 0; i--) {
        const struct layer *l = &plan->layers[i], *in = &plan->layers[l->in];
        if (l->skip >= 0)
            c->dvalue[l->skip] = c->dvalue[i];
        if (l->in_is_skip)
            continue;
        if (keeps_shape(l) && l->skip < 0)
            c->dvalue[l->in] = c->dvalue[i];
        else
            c->dvalue[l->in] = arena_floats(a, c->n_batch * max_ticks(c, in->tier) * in->width);
    }
}

static void cut_tapes(struct chunk *c, struct arena *a)
{
    const struct plan *plan = &c->net->plan;
    size_t begin = a->used, end = begin;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        if (c->tape != TAPE_ALL)
            arena_reset(a, begin);
        layer_functions_of(l)->cut_tape(&c->inner[i], a, c->net, l, c->n_batch,
                                        max_ticks(c, tier_in(plan, l)), max_ticks(c, l->tier),
                                        c->tape != TAPE_NONE);
        if (a->used > end)
            end = a->used;
    }
    arena_alloc(a, end - a->used);
}

static size_t scratch_size(const struct chunk *c)
{
    const struct plan *plan = &c->net->plan;
    size_t most = 0;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        struct layer_scratch ignored;
        struct arena dry;
        arena_init_dry(&dry);
        layer_functions_of(l)->cut_scratch(&ignored, &dry, l, c->n_batch,
                                           max_ticks(c, tier_in(plan, l)), max_ticks(c, l->tier),
                                           c->tape != TAPE_NONE);
        if (dry.peak > most)
            most = dry.peak;
    }
    return most;
}

static void cut(struct chunk *c, struct arena *a)
{
    const struct plan *plan = &c->net->plan;
    cut_values(c, a);
    cut_tapes(c, a);
    c->scratch = arena_alloc(a, c->scratch_size);
    if (c->tape != TAPE_NONE) {
        cut_gradients(c, a);
        c->dcoef = arena_floats(a, c->net->coef_size);
        c->entering_state = arena_floats(a, c->n_batch * plan->state_size);
        c->scratch_state = arena_floats(a, c->n_batch * plan->state_size);
        c->scratch_dstate = arena_floats(a, c->n_batch * plan->state_size);
    }
}

static bool alloc_tables(struct chunk *c, struct net *net, int n_batch, int64_t max_time,
                         enum tape tape)
{
    size_t n = (size_t)net->plan.n_layers;
    *c = (struct chunk){.net = net, .tape = tape, .n_batch = n_batch, .max_time = max_time};
    c->inner = calloc(n, sizeof *c->inner);
    c->value = calloc(n, sizeof *c->value);
    c->dvalue = calloc(n, sizeof *c->dvalue);
    c->scratch_size = scratch_size(c);
    return c->inner && c->value && c->dvalue;
}

bool chunk_open(struct chunk *c, struct net *net, int n_batch, int64_t max_time, enum tape tape)
{
    struct backend *be = net->be;
    struct arena dry, arena;
    if (!alloc_tables(c, net, n_batch, max_time, tape)) {
        error_set("out of memory for a network's tables");
        goto fail;
    }
    arena_init_dry(&dry);
    cut(c, &dry);
    c->memory = backend_alloc(be, dry.peak);
    if (!c->memory || !backend_reserve(be, be->ops->workspace(be, &net->plan, n_batch, max_time,
                                                              tape != TAPE_NONE)))
        goto fail;
    arena_init(&arena, c->memory, dry.peak);
    cut(c, &arena);
    return true;
fail:
    chunk_close(c);
    return false;
}

void chunk_close(struct chunk *c)
{
    if (c->memory)
        backend_free(c->net->be, c->memory);
    free(c->inner);
    free(c->value);
    free(c->dvalue);
    *c = (struct chunk){0};
}

/* --- walks ----------------------------------------------------------------------------------- */

static struct layer_run layer_view(struct chunk *c, int i, float *state)
{
    struct net *net = c->net;
    const struct plan *plan = &net->plan;
    const struct layer *l = &plan->layers[i];
    struct arena scratch;
    struct layer_run r = {
        .chunk = c,
        .layer = l,
        .ops = net->be->ops,
        .be = net->be,
        .tape = &c->inner[i],
        .n_batch = c->n_batch,
        .n_in = plan_ticks(plan, tier_in(plan, l), c->n0, c->n_time),
        .n_out = plan_ticks(plan, l->tier, c->n0, c->n_time),
        .in = l->in < 0 ? NULL : c->value[l->in],
        .skip = l->skip < 0 ? NULL : c->value[l->skip],
        .out = c->value[i],
        .state = state + l->state_offset,
        .ld_state = plan->state_size,
        .coef = net->coef + net->coef_offset[i],
        .weights = net->weights,
    };
    arena_init(&scratch, c->scratch, c->scratch_size);
    layer_functions_of(l)->cut_scratch(&r.scratch, &scratch, l, c->n_batch, r.n_in, r.n_out,
                                       c->tape != TAPE_NONE);
    return r;
}

static size_t state_bytes(const struct chunk *c)
{
    return (size_t)c->n_batch * (size_t)c->net->plan.state_size * sizeof(float);
}

float *chunk_forward(struct chunk *c, struct state *state, const uint8_t *codes,
                     const int32_t *labels, int64_t n_time)
{
    const struct plan *plan = &c->net->plan;
    assert(n_time <= c->max_time && state->n_batch == c->n_batch);
    c->n0 = state->n;
    c->n_time = n_time;
    c->codes = codes;
    c->labels = labels;
    if (c->tape != TAPE_NONE)
        backend_copy(c->net->be, c->entering_state, state->data, state_bytes(c));
    for (int i = 0; i < plan->n_layers; i++) {
        struct layer_run r = layer_view(c, i, state->data);
        if (r.n_in > 0 || r.n_out > 0) /* a tier without a tick rests */
            layer_functions_of(r.layer)->forward(&r);
    }
    state->n += n_time;
    return c->value[plan->n_layers - 1];
}

void chunk_backward(struct chunk *c, const float *dlogits, float *dstate, float *grads)
{
    const struct plan *plan = &c->net->plan;
    struct backend *be = c->net->be;
    assert(c->tape != TAPE_NONE);
    backend_zero(be, c->dcoef, (size_t)c->net->coef_size * sizeof(float));
    if (!dstate) {
        dstate = c->scratch_dstate;
        backend_zero(be, dstate, state_bytes(c));
    }
    if (c->tape == TAPE_VALUES) /* each layer touches its own part alone: one copy serves all */
        backend_copy(be, c->scratch_state, c->entering_state, state_bytes(c));
    for (int i = plan->n_layers - 1; i >= 0; i--) {
        struct layer_run r = layer_view(c, i, c->scratch_state);
        const struct layer *l = r.layer;
        const struct layer_functions *f = layer_functions_of(l);
        if (r.n_in == 0 && r.n_out == 0)
            continue;
        if (c->tape == TAPE_VALUES) {
            float *out = r.out;
            r.out = NULL;
            f->forward(&r);
            r.out = out;
        }
        float *dout = i == plan->n_layers - 1 ? (float *)dlogits : c->dvalue[i];
        r.dout = dout;
        r.din = l->in < 0 ? NULL : c->dvalue[l->in];
        r.entering_state = c->entering_state + l->state_offset;
        r.dstate = dstate + l->state_offset;
        r.dcoef = c->dcoef + c->net->coef_offset[i];
        r.grads = grads;
        f->backward(&r);
    }
    net_coef_backward(c->net, grads, c->dcoef);
}

/* --- what several kinds of layers share ------------------------------------------------------ */

void run_norm(struct layer_run *r, float *y, bool rounded)
{
    r->ops->rmsnorm(r->be, &(struct norm_args){
                               .y = y,
                               .r = r->tape->norm_r,
                               .x = r->in,
                               .w = run_weight(r, PARAM_NORM),
                               .eps = r->chunk->net->plan.norm_eps,
                               .y_rounded = rounded,
                               .n_rows = r->n_batch * r->n_in,
                               .width = r->layer->width_in,
                           });
}

void run_norm_backward(struct layer_run *r, const float *dy)
{
    bool residual = keeps_shape(r->layer);
    r->ops->rmsnorm_backward(r->be, &(struct norm_backward_args){
                                        .dx = r->din,
                                        .dw = run_grad(r, PARAM_NORM),
                                        .dy = dy,
                                        .x = r->in,
                                        .r = r->tape->norm_r,
                                        .w = run_weight(r, PARAM_NORM),
                                        .add0 = residual ? r->dout : NULL,
                                        .add1 = r->layer->in_is_skip ? r->din : NULL,
                                        .n_rows = r->n_batch * r->n_in,
                                        .width = r->layer->width_in,
                                    });
}

/* The bias added where the matrix is applied; dt_proj's is added inside the scan. */
static enum param_role bias_of(enum param_role matrix)
{
    return matrix == PARAM_WEIGHT ? PARAM_BIAS : matrix == PARAM_OUT ? PARAM_OUT_BIAS : PARAM_ROLES;
}

void run_linear(struct layer_run *r, enum param_role matrix, int64_t n_time, struct linear_args a)
{
    const struct param *p = &r->chunk->net->plan.params[r->layer->param[matrix]];
    enum param_role bias = bias_of(matrix);
    a.w = run_weight(r, matrix);
    a.bias = bias == PARAM_ROLES ? NULL : run_weight(r, bias);
    a.n_out = (int)p->shape[0];
    a.n_in = (int)p->shape[1];
    a.ld_x = a.ld_x ? a.ld_x : a.n_in;
    a.ld_y = a.ld_y ? a.ld_y : a.n_out;
    a.n_batch = r->n_batch;
    a.n_time = n_time;
    r->ops->linear(r->be, &a);
}

void run_linear_backward(struct layer_run *r, enum param_role matrix, int64_t n_time,
                         struct linear_backward_args a)
{
    const struct param *p = &r->chunk->net->plan.params[r->layer->param[matrix]];
    enum param_role bias = bias_of(matrix);
    a.w = run_weight(r, matrix);
    a.dw = run_grad(r, matrix);
    a.dbias = bias == PARAM_ROLES ? NULL : run_grad(r, bias);
    a.n_out = (int)p->shape[0];
    a.n_in = (int)p->shape[1];
    a.ld_x = a.ld_x ? a.ld_x : a.n_in;
    a.ld_dx = a.ld_dx ? a.ld_dx : a.n_in;
    a.ld_dy = a.ld_dy ? a.ld_dy : a.n_out;
    a.n_batch = r->n_batch;
    a.n_time = n_time;
    r->ops->linear_backward(r->be, &a);
}
