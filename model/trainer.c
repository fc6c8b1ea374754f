#include "model/trainer.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* t->outcome. */
enum { OUTCOME_NATS, OUTCOME_NORM_SQ, OUTCOMES };

static int64_t slice_length(const struct train_settings *s)
{
    return s->slice > 0 && s->slice < s->clip ? s->slice : s->clip;
}

static int64_t n_slices(const struct train_settings *s)
{
    int64_t length = slice_length(s);
    return (s->clip + length - 1) / length;
}

/* Of one stream's state. */
static size_t state_bytes(const struct trainer *t)
{
    return (size_t)t->net->plan.state_size * sizeof(float);
}

/* Neighbouring parameters that are updated alike become one range. The learning rates of a range
   are filled in each step. */
static bool make_ranges(struct trainer *t)
{
    const struct plan *plan = &t->net->plan;
    t->ranges = calloc((size_t)plan->n_params, sizeof *t->ranges);
    t->range_own_lr = calloc((size_t)plan->n_params, sizeof *t->range_own_lr);
    if (!t->ranges || !t->range_own_lr)
        return error_set("out of memory for %d parameters", plan->n_params);
    for (int i = 0; i < plan->n_params; i++) {
        const struct param *p = &plan->params[i];
        if (p->fixed)
            continue;
        float decay = p->decay ? (float)t->settings.weight_decay : 0;
        struct weight_range *last = t->n_ranges ? &t->ranges[t->n_ranges - 1] : NULL;
        int64_t end = p->offset + p->size;
        if (last && i > 0 && !plan->params[i - 1].fixed && last->decay == decay &&
            t->range_own_lr[t->n_ranges - 1] == (double)p->own_lr) {
            last->size = end - last->offset; /* the gap between them is zero and stays it */
            continue;
        }
        t->range_own_lr[t->n_ranges] = (double)p->own_lr;
        t->ranges[t->n_ranges++] =
            (struct weight_range){.offset = p->offset, .size = p->size, .decay = decay};
    }
    return true;
}

int64_t trainer_window_unit(const struct plan *plan)
{
    int64_t unit = plan->rate[plan->n_tiers - 1];
    for (int i = 0; i < plan->n_layers; i++)
        if (plan->layers[i].kind == LAYER_UP) /* its frames lie in turns, all pools alike */
            return unit * plan->layers[i].up_shift;
    return unit;
}

static bool alloc_carried(struct trainer *t)
{
    const size_t batch = (size_t)t->settings.batch;
    t->carried = backend_alloc(t->net->be, batch * state_bytes(t));
    t->windows = calloc(batch, sizeof *t->windows);
    t->last = calloc(batch, sizeof *t->last);
    t->broken = calloc(batch, sizeof *t->broken);
    t->posted_last = calloc(batch, sizeof *t->posted_last);
    t->posted_on = calloc(batch, sizeof *t->posted_on);
    if (!t->carried || !t->windows || !t->last || !t->broken || !t->posted_last || !t->posted_on)
        return false;
    for (size_t b = 0; b < batch; b++)
        t->broken[b] = true;
    return true;
}

/* Where in `block` the parts of a step's batch are; returns its bytes. */
static size_t batch_parts(const struct train_settings *s, char *block, float **scale,
                          int32_t **labels, uint8_t **codes, uint8_t **masks)
{
    const size_t batch = (size_t)s->batch, clip = (size_t)s->clip;
    struct arena a;
    arena_init(&a, block, block ? SIZE_MAX : 0);
    *scale = arena_alloc(&a, sizeof **scale);
    *labels = arena_alloc(&a, batch * sizeof **labels);
    *codes = arena_alloc(&a, batch * (1 + clip));
    *masks = arena_alloc(&a, batch * clip);
    return a.peak;
}

static bool alloc_batch(struct trainer *t)
{
    size_t bytes = batch_parts(&t->settings, NULL, &t->scale, &t->labels, &t->codes, &t->masks);
    t->posted_targets = -1;
    if (!(t->inlet = backend_inlet_open(t->net->be, bytes)) ||
        !(t->arrived = backend_alloc(t->net->be, bytes)))
        return false;
    batch_parts(&t->settings, t->arrived, &t->scale, &t->labels, &t->codes, &t->masks);
    return true;
}

static bool alloc_all(struct trainer *t)
{
    struct backend *be = t->net->be;
    const struct train_settings *s = &t->settings;
    size_t weights = (size_t)t->net->plan.weights_size * sizeof(float);
    size_t micro = (size_t)s->micro_batch;
    size_t slice = micro * (size_t)slice_length(s);
    size_t state = micro * state_bytes(t);
    return (t->grads = backend_alloc(be, weights)) && (t->m = backend_alloc(be, weights)) &&
           (t->v = backend_alloc(be, weights)) && (t->average = backend_alloc(be, weights)) &&
           alloc_batch(t) && (t->nats = backend_alloc(be, slice * sizeof(float))) &&
           (t->in = backend_alloc(be, slice)) && (t->targets = backend_alloc(be, slice)) &&
           (t->mask = backend_alloc(be, slice)) &&
           (t->outcome = backend_alloc(be, OUTCOMES * sizeof(double))) &&
           (t->slice_states = backend_alloc(be, (size_t)n_slices(s) * state)) &&
           (t->dstate = backend_alloc(be, state)) && (!s->carry || alloc_carried(t));
}

bool trainer_open(struct trainer *t, struct net *net, const struct train_settings *settings)
{
    *t = (struct trainer){.net = net, .settings = *settings};
    const struct train_settings *s = &t->settings;
    assert(s->batch % s->micro_batch == 0);
    assert(!s->carry || s->clip % trainer_window_unit(&net->plan) == 0);
    enum tape tape = s->recompute ? TAPE_VALUES : TAPE_ALL;
    if (!make_ranges(t) || !alloc_all(t) || !state_open(&t->state, net, s->micro_batch) ||
        !chunk_open(&t->chunk, net, s->micro_batch, slice_length(s), tape)) {
        error_prefix("training %d clips of %lld samples at once (lower train.micro_batch or "
                     "train.slice, or set train.recompute)",
                     s->micro_batch, (long long)s->clip);
        goto fail;
    }
    backend_copy(net->be, t->average, net->weights, (size_t)net->plan.weights_size * sizeof(float));
    return true;
fail:
    trainer_close(t);
    return false;
}

void trainer_close(struct trainer *t)
{
    if (!t->net)
        return;
    struct backend *be = t->net->be;
    if (t->average)
        trainer_use_average(t, false);
    chunk_close(&t->chunk);
    state_close(&t->state, t->net);
    backend_repeat_free(be, t->repeat);
    backend_inlet_close(be, t->inlet);
    void *const blocks[] = {t->grads,        t->m,      t->v,       t->average, t->arrived,
                            t->nats,         t->in,     t->targets, t->mask,    t->outcome,
                            t->slice_states, t->dstate, t->carried};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i])
            backend_free(be, blocks[i]);
    free(t->windows);
    free(t->last);
    free(t->broken);
    free(t->posted_last);
    free(t->posted_on);
    free(t->ranges);
    free(t->range_own_lr);
    *t = (struct trainer){0};
}

double trainer_lr(const struct train_settings *s, int64_t step)
{
    if (step < s->warmup)
        return s->lr * (double)(step + 1) / (double)s->warmup;
    if (step >= s->steps)
        return s->min_lr;
    double part = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    return s->min_lr + (s->lr - s->min_lr) * 0.5 * (1 + cos(3.141592653589793 * part));
}

/* Some clips of a step, one slice of them. */
struct micro {
    int first;             /* of the clips */
    int64_t begin, length; /* of the slice, in samples */
};

/* to (micro_batch, length) = the slice's part of the step's rows (batch, ld), of which `skip` bytes
   come before the clip's first. */
static void take_slice(struct trainer *t, uint8_t *to, const uint8_t *from, int64_t ld, int skip,
                       const struct micro *u)
{
    struct backend *be = t->net->be;
    be->ops->codes_slice(be, to, from + u->first * ld,
                         &(struct codes_range){.n_rows = t->settings.micro_batch,
                                               .clip = ld,
                                               .begin = u->begin + skip,
                                               .length = u->length});
}

static float *slice_forward(struct trainer *t, const struct micro *u)
{
    take_slice(t, t->in, t->codes, t->settings.clip + 1, 0, u);
    return chunk_forward(&t->chunk, &t->state, t->in, t->labels + u->first, u->length);
}

/* Forward and backward of one slice. */
static void slice_train(struct trainer *t, const struct micro *u)
{
    struct backend *be = t->net->be;
    int64_t rows = t->settings.micro_batch * u->length;
    float *logits = slice_forward(t, u);
    take_slice(t, t->targets, t->codes, t->settings.clip + 1, 1, u);
    take_slice(t, t->mask, t->masks, t->settings.clip, 0, u);
    be->ops->cross_entropy(be, &(struct cross_entropy_args){.nats = t->nats,
                                                            .dlogits = logits,
                                                            .logits = logits,
                                                            .targets = t->targets,
                                                            .mask = t->mask,
                                                            .scale = 1,
                                                            .scale_more = t->scale,
                                                            .n_rows = rows});
    be->ops->sum_add(be, t->outcome + OUTCOME_NATS, t->nats, rows);
    chunk_backward(&t->chunk, logits, t->dstate, t->grads);
}

/* One clip a row, whole: forward over the slices to learn the states that enter them, then the
   slices from the last to the first, each forward again with its tape, and backward. */
static void micro_train(struct trainer *t, int first)
{
    struct backend *be = t->net->be;
    const struct train_settings *s = &t->settings;
    size_t bytes = (size_t)s->micro_batch * state_bytes(t);
    int64_t length = slice_length(s), n = n_slices(s);
    char *carried = s->carry ? (char *)t->carried + (size_t)first * state_bytes(t) : NULL;
    state_reset(&t->state, t->net);
    if (carried) /* whole turns of all pools lie before: sample 0 stands for any of their ends */
        backend_copy(be, t->state.data, carried, bytes);
    backend_zero(be, t->dstate, bytes);
    for (int64_t i = 0; i + 1 < n; i++) {
        struct micro u = {first, i * length, length};
        backend_copy(be, (char *)t->slice_states + (size_t)i * bytes, t->state.data, bytes);
        slice_forward(t, &u);
    }
    backend_copy(be, (char *)t->slice_states + (size_t)(n - 1) * bytes, t->state.data, bytes);
    for (int64_t i = n - 1; i >= 0; i--) {
        struct micro u = {first, i * length, length};
        if (u.begin + u.length > s->clip)
            u.length = s->clip - u.begin;
        backend_copy(be, t->state.data, (char *)t->slice_states + (size_t)i * bytes, bytes);
        t->state.n = u.begin;
        slice_train(t, &u);
        if (carried && i == n - 1)
            backend_copy(be, carried, t->state.data, bytes);
    }
}

/* The step's gradients and outcome, of the clips on the backend. */
static void batch_train(struct trainer *t)
{
    struct backend *be = t->net->be;
    size_t weights = (size_t)t->net->plan.weights_size;
    if (!backend_repeat_begin(be, &t->repeat))
        return;
    backend_zero(be, t->grads, weights * sizeof(float));
    backend_zero(be, t->outcome, OUTCOMES * sizeof(double));
    for (int b = 0; b < t->settings.batch; b += t->settings.micro_batch)
        micro_train(t, b);
    be->ops->sum_squares(be, t->outcome + OUTCOME_NORM_SQ, t->grads, (int64_t)weights);
    backend_repeat_end(be, t->repeat);
}

/* Does nothing, on the backend, if the outcome is not finite. */
static void update(struct trainer *t, double lr)
{
    struct backend *be = t->net->be;
    const struct train_settings *s = &t->settings;
    double schedule = s->lr > 0 ? lr / s->lr : 0;
    for (int i = 0; i < t->n_ranges; i++)
        t->ranges[i].lr = (float)(t->range_own_lr[i] > 0 ? t->range_own_lr[i] * schedule : lr);
    double warm = (1.0 + (double)t->n_updates) / (10.0 + (double)t->n_updates);
    be->ops->adamw(be, &(struct adamw_args){
                           .w = t->net->weights,
                           .m = t->m,
                           .v = t->v,
                           .average = t->average,
                           .g = t->grads,
                           .grad_norm_sq = t->outcome + OUTCOME_NORM_SQ,
                           .loss = t->outcome + OUTCOME_NATS,
                           .clip = (float)s->clip_norm,
                           .beta1 = (float)s->beta1,
                           .beta2 = (float)s->beta2,
                           .eps = (float)s->eps,
                           .step = t->n_updates + 1,
                           .average_decay = (float)(warm < s->ema ? warm : s->ema),
                           .ranges = t->ranges,
                           .n_ranges = t->n_ranges,
                       });
    net_refresh(t->net);
}

/* --- a step ---------------------------------------------------------------------------------- */

void trainer_post(struct trainer *t, const uint8_t *codes, const uint8_t *mask,
                  const int32_t *labels, const uint8_t *goes_on)
{
    const struct train_settings *s = &t->settings;
    const size_t batch = (size_t)s->batch, clip = (size_t)s->clip;
    float *scale;
    int32_t *labels_to;
    uint8_t *to, *masks_to;
    batch_parts(s, backend_inlet_room(t->net->be, t->inlet), &scale, &labels_to, &to, &masks_to);
    t->posted_targets = 0;
    for (size_t i = 0; i < batch * clip; i++)
        t->posted_targets += mask[i];
    *scale = t->posted_targets > 0 ? (float)(1.0 / (double)t->posted_targets) : 0;
    memcpy(labels_to, labels, batch * sizeof *labels);
    memcpy(masks_to, mask, batch * clip);
    for (size_t b = 0; b < batch; b++, to += 1 + clip, codes += clip) {
        to[0] = PLAN_START_CODE;
        memcpy(to + 1, codes, clip);
        if (!s->carry)
            continue;
        t->posted_on[b] = goes_on && goes_on[b];
        t->posted_last[b] = codes[clip - 1];
        if (t->posted_on[b])
            to[0] = t->last[b];
    }
    backend_inlet_post(t->net->be, t->inlet);
}

/* Where each clip begins: with what was before it, or anew, as it must too where what was before
   is of no use: that was not known yet when the clip was posted. */
static void rows_begin(struct trainer *t)
{
    struct backend *be = t->net->be;
    const uint8_t start = PLAN_START_CODE;
    for (int b = 0; b < t->settings.batch; b++) {
        const bool on = t->posted_on[b] && !t->broken[b];
        if (!on)
            backend_zero(be, (char *)t->carried + (size_t)b * state_bytes(t), state_bytes(t));
        if (!on && t->posted_on[b])
            backend_upload(be, t->codes + b * (1 + t->settings.clip), &start, 1);
        t->windows[b] = on ? t->windows[b] + 1 : 0;
        t->last[b] = t->posted_last[b];
    }
}

void trainer_begin(struct trainer *t)
{
    assert(!t->averaged_in_use && t->posted_targets >= 0);
    backend_inlet_take(t->net->be, t->inlet, t->arrived);
    t->n_targets = t->posted_targets;
    t->posted_targets = -1;
    if (t->settings.carry)
        rows_begin(t);
    batch_train(t);
    update(t, trainer_lr(&t->settings, t->step));
}

bool trainer_end(struct trainer *t, struct train_result *result)
{
    struct backend *be = t->net->be;
    const struct train_settings *s = &t->settings;
    double outcome[OUTCOMES] = {NAN, NAN}; /* what a failed download leaves: no update */
    backend_download(be, outcome, t->outcome, sizeof outcome); /* the step's only wait */
    *result = (struct train_result){
        .nats = outcome[OUTCOME_NATS],
        .n_targets = t->n_targets,
        .grad_norm = sqrt(outcome[OUTCOME_NORM_SQ]),
        .lr = trainer_lr(s, t->step),
        .skipped = !isfinite(outcome[OUTCOME_NATS]) || !isfinite(outcome[OUTCOME_NORM_SQ]),
    };
    for (int b = 0; s->carry && b < s->batch; b++)
        t->broken[b] = result->skipped;
    t->n_updates += !result->skipped;
    t->step++;
    return backend_sync(be);
}

bool trainer_step(struct trainer *t, const uint8_t *codes, const uint8_t *mask,
                  const int32_t *labels, const uint8_t *goes_on, struct train_result *result)
{
    trainer_post(t, codes, mask, labels, goes_on);
    trainer_begin(t);
    return trainer_end(t, result);
}

void trainer_use_average(struct trainer *t, bool on)
{
    if (t->averaged_in_use == on)
        return;
    float *other = t->average; /* the two blocks change places: no copy is needed */
    t->average = t->net->weights;
    t->net->weights = other;
    t->averaged_in_use = on;
    net_refresh(t->net);
}
