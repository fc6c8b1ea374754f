/*
 * When the steps of the decode engine run.
 *
 * A tier's tick is a list of steps: its input product, its blocks, the gathering for the next tier,
 * the emission of what that tier made up_shift frames ago, more blocks, its output product. The
 * outermost tier's list is run once a sample. A deeper tier's tick begins when its frame is full
 * and must be done when the frame it makes is first emitted: until then its steps may wait, and
 * are spread over the samples that are left. What a step computes does not depend on when it runs,
 * as long as ticks stay in order, one at a time.
 */
#include "kernels/cpu/decode.h"

/* --- lists of steps -------------------------------------------------------------------------- */

/* Cycles of a step, roughly: for sharing out, not for telling. A state of a channel takes about
   one, as do eight multiply-adds of a product. */
static int64_t step_cost(const struct unit *u, enum step_kind kind)
{
    enum { MACS_A_CYCLE = 8 };
    const struct layer *l = u->layer;
    int64_t macs = 0, states = 0;
    for (int p = 0; p < PARTS; p++) {
        const struct matrix *all[] = {&u->in[p], &u->x_proj[p], &u->dt[p], &u->out[p]};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            macs += (int64_t)all[i]->n_in * all[i]->n_out;
    }
    if (kind == STEP_MIXER || kind == STEP_S4D)
        states = (int64_t)l->inner * state_rows(l);
    if (kind == STEP_GATHER || kind == STEP_EMIT)
        macs = u->width;
    return macs / MACS_A_CYCLE + states + 1;
}

static enum step_kind block_kind(const struct layer *l)
{
    switch (l->kind) {
    case LAYER_EMBED:
        return STEP_EMBED;
    case LAYER_LABEL:
        return STEP_LABEL;
    case LAYER_MIXER:
        return l->mixer == MIXER_S4D ? STEP_S4D : STEP_MIXER;
    case LAYER_FF:
        return STEP_FF;
    default:
        return STEP_HEAD;
    }
}

static void tier_append(struct decoder *d, int tier, enum step_kind kind, int unit)
{
    struct tier_plan *t = &d->tiers[tier];
    t->steps[t->n_steps] =
        (struct step){.kind = kind, .unit = unit, .cost = step_cost(&d->units[unit], kind)};
    t->cost += t->steps[t->n_steps++].cost;
}

/* Fills d->tiers; d->steps has room for two steps a layer and tier. A pool's product belongs to the
   coarser tier, its ticks to the finer one; layers come in the order of execution, so each tier's
   steps do too. */
static void tiers_build(struct decoder *d)
{
    const struct plan *plan = d->plan;
    for (int k = 0; k < plan->n_tiers; k++)
        d->tiers[k].steps = d->steps + (int64_t)k * 2 * plan->n_layers;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        if (l->kind == LAYER_DOWN) {
            tier_append(d, l->tier - 1, STEP_GATHER, i);
            tier_append(d, l->tier, STEP_DOWN, i);
        } else if (l->kind == LAYER_UP) {
            tier_append(d, l->tier + 1, STEP_UP, i);
            tier_append(d, l->tier, STEP_EMIT, i);
        } else {
            tier_append(d, l->tier, block_kind(l), i);
        }
    }
}

/* --- running --------------------------------------------------------------------------------- */

static void tier_finish(struct hand *hand, int tier, int64_t ticks);

/* The next tick of a tier may run: its input is there. labels: of that tick. */
static void tier_begin(struct hand *hand, int tier, const int32_t *labels)
{
    struct tier_run *t = &hand->walker->tier[tier];
    const int rows = hand->walker->n_rows;
    const int64_t tick = atomic_load_explicit(&t->begun, memory_order_relaxed);
    const bool mine = tier >= hand->tier_begin && tier < hand->tier_end;
    if (mine) {
        tier_finish(hand, tier, tick);
        t->at = 0;
        t->left = hand->walker->decoder->tiers[tier].cost;
    }
    memcpy(t->labels + tick % FRAMES_AHEAD * rows, labels, (size_t)rows * sizeof *labels);
    atomic_store_explicit(&t->begun, tick + 1, memory_order_release);
    if (mine && tier > 0 && hand->at_once)
        tier_finish(hand, tier, tick + 1);
}

/* Runs the next step of the tick at work. */
static void tier_advance(struct hand *hand, int tier)
{
    struct walker *w = hand->walker;
    struct tier_run *t = &w->tier[tier];
    const struct decoder *d = w->decoder;
    const struct step *step = &d->tiers[tier].steps[t->at];
    const struct layer *l = d->units[step->unit].layer;
    const int64_t tick = atomic_load_explicit(&t->done, memory_order_relaxed);
    if (step->kind == STEP_EMIT && tick / l->pool >= l->up_shift)
        tier_finish(hand, tier + 1, tick / l->pool - l->up_shift + 1);
    step_run(hand, step, tick);
    t->left -= step->cost;
    t->at++;
    if (step->kind == STEP_GATHER && tick % l->pool == l->pool - 1)
        tier_begin(hand, tier + 1, t->labels + tick % FRAMES_AHEAD * w->n_rows);
    if (t->at == d->tiers[tier].n_steps) {
        t->at = 0;
        t->left = d->tiers[tier].cost; /* of the next one */
        atomic_store_explicit(&t->done, tick + 1, memory_order_release);
    }
}

/* Until `ticks` ticks of a tier are done: runs them, or waits for the hand that does. */
static void tier_finish(struct hand *hand, int tier, int64_t ticks)
{
    struct tier_run *t = &hand->walker->tier[tier];
    if (tier < hand->tier_begin || tier >= hand->tier_end) {
        spin_until(&t->done, ticks);
        return;
    }
    while (atomic_load_explicit(&t->done, memory_order_relaxed) < ticks)
        tier_advance(hand, tier);
}

static bool tier_pending(const struct tier_run *t)
{
    return atomic_load_explicit(&t->done, memory_order_relaxed) <
           atomic_load_explicit(&t->begun, memory_order_acquire);
}

/* Samples that may still share the work of a tier's tick, the one at work included. */
static int64_t tier_slots(const struct walker *w, int tier)
{
    const struct plan *plan = w->decoder->plan;
    const int64_t tick = atomic_load_explicit(&w->tier[tier].done, memory_order_relaxed);
    const int64_t rate = plan->rate[tier], finer = plan->rate[tier - 1];
    /* The tick of the finer tier that first needs this one begins with sample .. and, as its own
       work is spread too, comes to it later. */
    const int64_t needed = (tick + plan->layers[0].up_shift) * rate + finer - 1;
    /* The next tick cannot begin before. */
    const int64_t next = (tick + 2) * rate - 2;
    const int64_t last = needed < next ? needed : next;
    return last < w->n ? 1 : last - w->n + 1;
}

/* Runs this sample's share of what waits in the deeper tiers. */
static void tiers_spread(struct hand *hand)
{
    struct walker *w = hand->walker;
    for (int k = w->decoder->plan->n_tiers - 1; k >= 1; k--) {
        struct tier_run *t = &w->tier[k];
        if (k < hand->tier_begin || k >= hand->tier_end || !tier_pending(t))
            continue;
        const int64_t tick = atomic_load_explicit(&t->done, memory_order_relaxed);
        const int64_t share = t->left / tier_slots(w, k), until = t->left - share;
        while (t->left > until && atomic_load_explicit(&t->done, memory_order_relaxed) == tick)
            tier_advance(hand, k);
    }
}

/* Everything that waits, from the outermost tier in. */
static void tiers_flush(struct hand *hand)
{
    struct walker *w = hand->walker;
    for (int k = 1; k < w->decoder->plan->n_tiers; k++)
        tier_finish(hand, k, atomic_load_explicit(&w->tier[k].begun, memory_order_acquire));
}

/* The outermost tier's steps of one sample: logits are in the head's value afterwards. */
static void sample_walk(struct hand *hand)
{
    struct walker *w = hand->walker;
    struct tier_run *t = &w->tier[0];
    const struct tier_plan *steps = &w->decoder->tiers[0];
    const int64_t tick = w->n;
    tier_begin(hand, 0, w->labels);
    while (atomic_load_explicit(&t->done, memory_order_relaxed) == tick) {
        if (steps->steps[t->at].kind == STEP_EMIT && !hand->at_once)
            tiers_spread(hand);
        tier_advance(hand, 0);
    }
    w->n++;
}
