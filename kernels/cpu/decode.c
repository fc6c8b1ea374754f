/* Opening the decode engine, and its loops over samples. */
#include "kernels/cpu/decode.h"

#include "base/clock.h"
#include "base/error.h"

#include <stdlib.h>

enum {
    PACE_PART = 256,         /* samples between two looks at the clock */
    PACE_TRIAL = 512,        /* samples of a try */
    PACE_PATIENCE = 1 << 15, /* samples between tries */
};

/* --- opening --------------------------------------------------------------------------------- */

static void decoder_close(struct decoder *d)
{
    if (!d)
        return;
    if (d->weights)
        backend_free(d->be, d->weights);
    if (d->memory)
        backend_free(d->be, d->memory);
    free(d->units);
    free(d->steps);
    free(d);
}

static void units_pack(struct decoder *d, struct packer *p)
{
    for (int i = 0; i < d->plan->n_layers; i++)
        unit_pack(p, &d->units[i], &d->plan->layers[i]);
}

static bool weights_open(struct decoder *d, const struct decoder_net *net)
{
    struct arena dry, arena;
    struct packer packer = {.arena = &dry,
                            .net = net,
                            .precision = d->options.precision,
                            .dense_size = dense_size(d->plan)};
    packer.dense = malloc((size_t)packer.dense_size * sizeof *packer.dense);
    if (!packer.dense)
        return error_set("out of memory for packing a network");
    arena_init_dry(&dry);
    units_pack(d, &packer);
    d->weights = backend_alloc(d->be, dry.peak);
    if (d->weights) {
        arena_init(&arena, d->weights, dry.peak);
        packer.arena = &arena;
        units_pack(d, &packer);
    }
    free(packer.dense);
    return d->weights != NULL;
}

static bool memory_open(struct decoder *d)
{
    struct arena dry, arena;
    arena_init_dry(&dry);
    cut_all(d, &dry);
    d->memory = backend_alloc(d->be, dry.peak);
    if (!d->memory)
        return false;
    arena_init(&arena, d->memory, dry.peak);
    cut_all(d, &arena);
    hands_share(d, d->options.threads != DECODE_ONE);
    return true;
}

static struct decoder *op_decoder_open(struct backend *be, const struct decoder_net *net,
                                       const struct decoder_options *o)
{
    const int n_threads = pool_n_threads(cpu_of(be)->pool);
    struct decoder *d = aligned_alloc(_Alignof(struct decoder), sizeof *d);
    if (!d) {
        error_set("out of memory for a decode engine");
        return NULL;
    }
    *d = (struct decoder){.be = be, .plan = net->plan, .options = *o};
    d->n_rows = o->n_streams * (o->guided ? 2 : 1);
    if (o->threads == DECODE_AUTO) {
        d->options.threads = threads_choose(d, n_threads);
        d->pace = (struct pace){.adapts = d->options.threads != DECODE_ONE && !by_streams(d),
                                .left = PACE_TRIAL,
                                .patience = PACE_PATIENCE};
    }
    d->units = calloc((size_t)d->plan->n_layers, sizeof *d->units);
    d->steps = calloc((size_t)d->plan->n_tiers * 2 * (size_t)d->plan->n_layers, sizeof *d->steps);
    if (!d->units || !d->steps) {
        error_set("out of memory for a decode engine");
        goto fail;
    }
    if (!threads_check(d, n_threads) || !weights_open(d, net))
        goto fail;
    tiers_build(d);
    if (!memory_open(d))
        goto fail;
    if (d->pace.adapts) /* the first try */
        hands_share(d, false);
    return d;
fail:
    decoder_close(d);
    return NULL;
}

static enum decode_threads op_decoder_threads(const struct decoder *d)
{
    return d->options.threads;
}

static void op_decoder_import(struct decoder *d, const float *state, int64_t n,
                              const uint8_t *inputs)
{
    for (int i = 0; i < d->n_walkers; i++)
        walker_import(&d->walkers[i], state, n, inputs);
}

/* --- samples --------------------------------------------------------------------------------- */

static const float *logits_of(const struct walker *w, int row)
{
    return w->cells[w->decoder->plan->n_layers - 1].value + (int64_t)row * PLAN_CODES;
}

/* The next code of stream i of the walker, sample t of the call. */
static void stream_take(struct hand *hand, const float *with, const float *without, int i,
                        int64_t t)
{
    struct walker *w = hand->walker;
    const struct decoder *d = w->decoder;
    const struct decode_args *a = d->args;
    const int64_t at = (w->first_stream + i) * a->n_samples + t;
    const int code = a->forced ? a->forced[at]
                               : code_draw(with, a->sampling.guidance != 1.0f ? without : NULL,
                                           &a->sampling, (uint64_t)(a->noise_n + t),
                                           a->first_stream + (uint32_t)(w->first_stream + i));
    for (int r = i; r < w->n_rows; r += w->n_streams)
        w->inputs[r] = (uint8_t)code;
    if (!hand->writes)
        return;
    if (a->codes)
        a->codes[at] = (uint8_t)code;
    if (a->nats)
        a->nats[w->first_stream + i] += (double)code_nats(with, code);
}

/* Codes of all the walker's streams. A guided stream whose rows are two threads' is drawn by both
   alike. */
static void codes_take(struct hand *hand, int64_t t)
{
    struct walker *w = hand->walker;
    const struct decoder *d = w->decoder;
    const struct decode_args *a = d->args;
    const bool shared = d->two && by_guidance(d);
    if (shared) {
        exchange(hand, logits_of(w, 0), hand->more, PLAN_CODES, 1, PLAN_CODES, PLAN_CODES);
        const float *pair[2] = {logits_of(w, 0), hand->more};
        const int first = w->rows[0];
        stream_take(hand, pair[first], pair[1 - first], 0, t);
    } else {
        for (int i = 0; i < w->n_streams; i++)
            stream_take(hand, logits_of(w, i),
                        d->options.guided ? logits_of(w, w->n_streams + i) : NULL, i, t);
    }
    if (a->logits && (hand->writes || shared))
        for (int r = 0; r < w->n_rows; r++)
            memcpy(a->logits + (w->rows[r] * a->n_samples + t) * PLAN_CODES, logits_of(w, r),
                   PLAN_CODES * sizeof(float));
}

/* A hand that runs the outermost tier. */
static void samples_make(struct hand *hand)
{
    struct walker *w = hand->walker;
    const struct decode_args *a = w->decoder->args;
    const bool timed = a->seconds && hand == &w->decoder->hands[0];
    for (int r = 0; r < w->n_rows; r++)
        w->labels[r] = a->labels[w->rows[r]];
    for (int64_t t = w->decoder->begin; t < w->decoder->end; t++) {
        const double begin = timed ? clock_s() : 0;
        sample_walk(hand);
        codes_take(hand, t);
        if (timed)
            a->seconds[t] = (float)(clock_s() - begin);
    }
}

/* A hand that runs the deeper tiers beside one that runs the outermost: until that has made its
   samples, and nothing waits any more. */
static void tiers_serve(struct hand *hand, atomic_bool *quit)
{
    struct walker *w = hand->walker;
    for (int spins = 0;;) {
        const bool last = atomic_load_explicit(quit, memory_order_acquire);
        int k = hand->tier_begin;
        while (k < hand->tier_end && !tier_pending(&w->tier[k]))
            k++;
        if (k < hand->tier_end) {
            tier_advance(hand, k);
            spins = 0;
        } else if (last) {
            return;
        } else {
            spin_pause(&spins);
        }
    }
}

static void hand_run(void *arg, int64_t i, int thread)
{
    (void)thread;
    struct decoder *d = arg;
    struct hand *hand = &d->hands[i];
    if (hand->tier_begin > 0) {
        tiers_serve(hand, &d->quit);
        return;
    }
    samples_make(hand);
    if (d->options.threads == DECODE_PIPELINE)
        atomic_store_explicit(&d->quit, true, memory_order_release);
}

static void hand_flush(void *arg, int64_t i, int thread)
{
    (void)thread;
    struct decoder *d = arg;
    tiers_flush(&d->hands[i]);
}

/* fn for every hand, each on a thread of its own. */
static void hands_run(struct decoder *d, void (*fn)(void *, int64_t, int))
{
    if (d->n_hands == 1)
        fn(d, 0, 0);
    else
        pool_run(cpu_of(d->be)->pool, fn, d, d->n_hands);
}

/* Changes between one hand and two, between samples. */
static void hands_change(struct decoder *d, bool two)
{
    if (two == d->two)
        return;
    hands_run(d, hand_flush);
    hands_share(d, two);
    if (d->n_walkers > 1)
        walker_follow(&d->walkers[1], &d->walkers[0]);
}

static void pace_enter(struct pace *pace, enum pace_phase phase, int64_t left)
{
    pace->phase = phase;
    pace->left = left;
    pace->spent_s = 0;
    pace->n_made = 0;
}

/* n samples took so long: one hand, or two, from now on? */
static void pace_judge(struct decoder *d, int64_t n, double seconds)
{
    struct pace *pace = &d->pace;
    pace->spent_s += seconds;
    pace->n_made += n;
    pace->left -= n;
    const double mean_s = pace->spent_s / (double)pace->n_made;
    if (pace->phase == PACE_KEEP && d->two && seconds > 2 * pace->one_s * (double)n + 1e-3) {
        hands_change(d, false); /* the machine has become busy */
        pace_enter(pace, PACE_KEEP, pace->patience);
    } else if (pace->left <= 0 && pace->phase == PACE_TRY_ONE) {
        pace->one_s = mean_s;
        hands_change(d, true);
        pace_enter(pace, PACE_TRY_TWO, PACE_TRIAL);
    } else if (pace->left <= 0 && pace->phase == PACE_TRY_TWO) {
        hands_change(d, mean_s < pace->one_s);
        pace_enter(pace, PACE_KEEP, pace->patience);
    } else if (pace->left <= 0) {
        hands_change(d, false);
        pace_enter(pace, PACE_TRY_ONE, PACE_TRIAL);
    }
}

static void op_decode(struct decoder *d, const struct decode_args *a)
{
    const int64_t part = d->pace.adapts ? PACE_PART : a->n_samples;
    d->args = a;
    for (int64_t t = 0; t < a->n_samples; t += part) {
        const double begin = clock_s();
        d->begin = t;
        d->end = min_of(t + part, a->n_samples);
        atomic_store(&d->quit, false);
        hands_run(d, hand_run);
        if (d->pace.adapts)
            pace_judge(d, d->end - d->begin, clock_s() - begin);
    }
    d->args = NULL;
}

static void op_decoder_export(struct decoder *d, float *state)
{
    hands_run(d, hand_flush);
    for (int i = 0; i < d->n_walkers; i++) {
        const struct walker *w = &d->walkers[i];
        for (int r = 0; r < w->n_rows; r++)
            row_state(STATE_EXPORT, w, r, w->n, state + w->rows[r] * d->plan->state_size);
    }
}
