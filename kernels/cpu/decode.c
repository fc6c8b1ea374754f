/* Opening the decode engine, and its loops over samples. */
#include "kernels/cpu/decode.h"

#include "base/clock.h"
#include "base/error.h"

#include <stdlib.h>

/* --- memory ---------------------------------------------------------------------------------- */

static void *cut(struct arena *a, int64_t n, size_t size)
{
    return arena_alloc(a, (size_t)n * size);
}

static float *cut_floats(struct arena *a, int64_t n)
{
    return cut(a, n, sizeof(float));
}

static void cut_cell(struct arena *a, const struct walker *w, const struct unit *u,
                     struct cell *cell)
{
    const struct layer *l = u->layer;
    const int64_t rows = w->n_rows;
    *cell = (struct cell){.value = cut_floats(a, rows * u->width)};
    for (int p = w->part_begin; p < w->part_end && l->kind == LAYER_MIXER; p++) {
        if (l->n_taps > 0)
            cell->ring[p] = cut_floats(a, rows * (l->n_taps - 1) * u->channels[p]);
        cell->h[p] = cut_floats(a, rows * u->channels[p] * state_rows(l));
    }
    if (l->kind == LAYER_DOWN || l->kind == LAYER_UP) {
        cell->n_frames = l->kind == LAYER_DOWN ? FRAMES_AHEAD : l->up_shift + 1;
        cell->frames = cut_floats(a, rows * cell->n_frames * l->pool *
                                         (l->kind == LAYER_DOWN ? u->width_in : u->width));
    }
}

static void cut_walker(struct arena *a, struct walker *w)
{
    const struct decoder *d = w->decoder;
    const int64_t rows = w->n_rows;
    struct cell ignored;
    w->cells = cut(a, d->plan->n_layers, sizeof *w->cells);
    for (int i = 0; i < d->plan->n_layers; i++)
        cut_cell(a, w, &d->units[i], w->cells ? &w->cells[i] : &ignored);
    for (int k = 0; k < d->plan->n_tiers; k++)
        w->tier[k].labels = cut(a, FRAMES_AHEAD * rows, sizeof *w->tier[k].labels);
    w->inputs = cut(a, rows, sizeof *w->inputs);
    w->labels = cut(a, rows, sizeof *w->labels);
    w->rows = cut(a, rows, sizeof *w->rows);
}

/* The widest things of any layer, in floats a row. */
struct widest {
    int64_t in, channels, x_dbl, sum, input, exchanged;
};

static int64_t larger_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct widest widest_of(const struct decoder *d)
{
    struct widest w = {.sum = PLAN_CODES, .exchanged = PLAN_CODES};
    for (int i = 0; i < d->plan->n_layers; i++) {
        const struct unit *u = &d->units[i];
        const struct layer *l = u->layer;
        const int64_t x_dbl = l->kind == LAYER_MIXER ? lanes_up(x_dbl_width(l)) : 0;
        w.in = larger_of(w.in, u->width_in);
        w.x_dbl = larger_of(w.x_dbl, x_dbl);
        w.sum = larger_of(w.sum, larger_of(x_dbl, 2 * (int64_t)u->width));
        for (int p = 0; p < PARTS; p++) {
            w.channels = larger_of(w.channels, u->channels[p]);
            w.input = larger_of(w.input, u->in[p].n_in);
            w.exchanged = larger_of(w.exchanged, u->in[p].n_out);
        }
    }
    w.input = larger_of(w.input, w.channels);
    w.exchanged = larger_of(w.exchanged, w.sum);
    return w;
}

static void cut_hand(struct arena *a, struct hand *hand, const struct widest *widest)
{
    const int64_t rows = hand->walker->n_rows;
    hand->normed = cut_floats(a, rows * widest->in);
    hand->x_dbl = cut_floats(a, rows * widest->x_dbl);
    hand->dt = cut_floats(a, rows * widest->channels);
    hand->sum = cut_floats(a, rows * widest->sum);
    hand->more = cut_floats(a, rows * widest->sum);
    hand->ld_q = lanes_up((int)widest->input);
    for (int p = 0; p < PARTS; p++) {
        hand->wide[p] = cut_floats(a, rows * 2 * widest->channels);
        hand->y[p] = cut_floats(a, rows * widest->channels);
        hand->q[p] = cut(a, rows * hand->ld_q, sizeof *hand->q[p]);
        hand->q_scale[p] = cut_floats(a, rows);
    }
}

static bool exchanges(const struct decoder *d)
{
    return d->options.threads == DECODE_LOCKSTEP ||
           (d->options.threads == DECODE_ROWS && d->options.n_streams == 1);
}

static void cut_all(struct decoder *d, struct arena *a)
{
    const struct widest widest = widest_of(d);
    for (int i = 0; i < d->n_walkers; i++)
        cut_walker(a, &d->walkers[i]);
    for (int i = 0; i < d->n_hands; i++)
        cut_hand(a, &d->hands[i], &widest);
    const int64_t lines = d->walkers[0].n_rows * blocks_of(widest.exchanged, LINE_FLOATS);
    for (int i = 0; i < HANDS && exchanges(d); i++)
        for (int k = 0; k < 2; k++) {
            d->hands[i].mine[k] = cut(a, lines, sizeof *d->hands[i].mine[k]);
            d->hands[1 - i].theirs[k] = d->hands[i].mine[k];
        }
}

/* --- who runs what --------------------------------------------------------------------------- */

static enum decode_threads threads_choose(const struct decoder *d, int n_threads)
{
    if (n_threads < 2)
        return DECODE_ONE;
    if (d->n_rows > 1)
        return DECODE_ROWS;
    if (d->plan->n_tiers > 1 && d->plan->layers[0].up_shift > 1)
        return DECODE_PIPELINE;
    return DECODE_LOCKSTEP;
}

static bool threads_check(const struct decoder *d, int n_threads)
{
    const enum decode_threads t = d->options.threads;
    if (t != DECODE_ONE && n_threads < 2)
        return error_set("decoding on two threads needs a backend with two, not %d", n_threads);
    if (t == DECODE_PIPELINE && d->plan->n_tiers < 2)
        return error_set("a network without pools has one tier: no second thread can run beside "
                         "it; decode on one thread or in lockstep");
    if (t == DECODE_ROWS && d->n_rows < 2)
        return error_set("one stream without guidance is one row: it cannot be shared out by rows");
    return true;
}

/* Rows, parts and tiers of walkers and hands; their memory is cut afterwards. */
static void hands_share(struct decoder *d)
{
    const enum decode_threads t = d->options.threads;
    const int n_streams = d->options.n_streams, per_stream = d->options.guided ? 2 : 1;
    const bool by_rows = t == DECODE_ROWS, lockstep = t == DECODE_LOCKSTEP;
    d->n_hands = t == DECODE_ONE ? 1 : HANDS;
    d->n_walkers = by_rows || lockstep ? HANDS : 1;
    for (int i = 0; i < d->n_walkers; i++) {
        struct walker *w = &d->walkers[i];
        *w = (struct walker){.decoder = d, .n_streams = n_streams, .part_end = PARTS};
        if (lockstep) {
            w->part_begin = i;
            w->part_end = i + 1;
        } else if (by_rows && n_streams > 1) {
            w->first_stream = i * (n_streams + 1) / 2;
            w->n_streams = i == 0 ? (n_streams + 1) / 2 : n_streams / 2;
        }
        w->n_rows = by_rows && n_streams == 1 ? 1 : w->n_streams * per_stream;
    }
    for (int i = 0; i < d->n_hands; i++)
        d->hands[i] = (struct hand){
            .walker = &d->walkers[d->n_walkers == 1 ? 0 : i],
            .tier_begin = t == DECODE_PIPELINE ? i : 0,
            .tier_end = t == DECODE_PIPELINE && i == 0 ? 1 : d->plan->n_tiers,
            .at_once = d->options.at_once,
            .writes = i == 0 || (by_rows && n_streams > 1),
        };
}

/* Which of the decoder's rows are a walker's: streams with label first, then those without. */
static void rows_number(struct decoder *d)
{
    for (int i = 0; i < d->n_walkers; i++) {
        struct walker *w = &d->walkers[i];
        for (int r = 0; r < w->n_rows; r++)
            w->rows[r] = r < w->n_streams
                             ? w->first_stream + r
                             : d->options.n_streams + w->first_stream + r - w->n_streams;
        if (exchanges(d) && d->options.threads == DECODE_ROWS)
            w->rows[0] = i;
    }
}

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
    struct packer packer = {.arena = &dry, .net = net, .precision = d->options.precision};
    packer.dense = malloc((size_t)dense_size(d->plan) * sizeof *packer.dense);
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
    hands_share(d);
    arena_init_dry(&dry);
    cut_all(d, &dry);
    d->memory = backend_alloc(d->be, dry.peak);
    if (!d->memory)
        return false;
    arena_init(&arena, d->memory, dry.peak);
    cut_all(d, &arena);
    rows_number(d);
    return true;
}

static struct decoder *op_decoder_open(struct backend *be, const struct decoder_net *net,
                                       const struct decoder_options *o)
{
    const int n_threads = pool_n_threads(cpu_of(be)->pool);
    struct decoder *d = calloc(1, sizeof *d);
    if (!d) {
        error_set("out of memory for a decode engine");
        return NULL;
    }
    *d = (struct decoder){.be = be, .plan = net->plan, .options = *o};
    d->n_rows = o->n_streams * (o->guided ? 2 : 1);
    if (o->threads == DECODE_AUTO)
        d->options.threads = threads_choose(d, n_threads);
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
    const bool shared = d->options.threads == DECODE_ROWS && hand->mine[0];
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
    for (int64_t t = 0; t < a->n_samples; t++) {
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

static void op_decode(struct decoder *d, const struct decode_args *a)
{
    d->args = a;
    atomic_store(&d->quit, false);
    hands_run(d, hand_run);
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
