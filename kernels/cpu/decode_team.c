/* The decode engine's walkers and hands: their memory, and who runs what. */
#include "kernels/cpu/decode.h"

#include "base/error.h"

/* --- memory ---------------------------------------------------------------------------------- */

static void *cut(struct arena *a, int64_t n, size_t size)
{
    return arena_alloc(a, (size_t)n * size);
}

static float *cut_floats(struct arena *a, int64_t n)
{
    return cut(a, n, sizeof(float));
}

/* What changes within a sample, and a pool's frames. */
static void cut_cell(struct arena *a, int64_t rows, const struct unit *u, struct cell *cell)
{
    const struct layer *l = u->layer;
    *cell = (struct cell){.value = cut_floats(a, rows * u->width)};
    if (l->kind == LAYER_DOWN || l->kind == LAYER_UP) {
        cell->n_frames = l->kind == LAYER_DOWN ? FRAMES_AHEAD : l->up_shift + 1;
        cell->frames = cut_floats(a, rows * frames_size(u, cell));
    }
}

/* What a block remembers: both parts. */
static void cut_memories(struct arena *a, int64_t rows, const struct unit *u, struct cell *cell)
{
    const struct layer *l = u->layer;
    for (int p = 0; p < PARTS && l->kind == LAYER_MIXER; p++) {
        if (l->n_taps > 0)
            cell->ring[p] = cut_floats(a, rows * (l->n_taps - 1) * u->channels[p]);
        cell->h[p] = cut_floats(a, rows * u->channels[p] * state_rows(l));
    }
}

/* Memory of a walker with so many rows. In lockstep the second has values and frames of its own;
   of what blocks remember both know both parts. */
static void cut_walker(struct arena *a, struct walker *w, int64_t rows, const struct walker *first)
{
    const struct decoder *d = w->decoder;
    struct cell ignored;
    w->cells = cut(a, d->plan->n_layers, sizeof *w->cells);
    for (int i = 0; i < d->plan->n_layers; i++) {
        struct cell *cell = w->cells ? &w->cells[i] : &ignored;
        cut_cell(a, rows, &d->units[i], cell);
        if (!first)
            cut_memories(a, rows, &d->units[i], cell);
        for (int p = 0; p < PARTS && first && first->cells; p++) {
            cell->ring[p] = first->cells[i].ring[p];
            cell->h[p] = first->cells[i].h[p];
        }
    }
    for (int k = 0; k < d->plan->n_tiers; k++)
        w->tier[k].labels = cut(a, FRAMES_AHEAD * rows, sizeof *w->tier[k].labels);
    w->inputs = cut(a, rows, sizeof *w->inputs);
    w->labels = cut(a, rows, sizeof *w->labels);
    w->rows = cut(a, rows, sizeof *w->rows);
}

/* The second walker's memory is the first one's second row. */
static void view_row(struct arena *a, struct walker *w, const struct walker *first)
{
    const struct decoder *d = w->decoder;
    w->cells = cut(a, d->plan->n_layers, sizeof *w->cells);
    for (int k = 0; k < d->plan->n_tiers; k++)
        w->tier[k].labels = cut(a, FRAMES_AHEAD, sizeof *w->tier[k].labels);
    w->labels = cut(a, 1, sizeof *w->labels);
    w->rows = cut(a, 1, sizeof *w->rows);
    w->inputs = first->inputs ? first->inputs + 1 : NULL;
    for (int i = 0; w->cells && i < d->plan->n_layers; i++) {
        const struct unit *u = &d->units[i];
        struct cell *cell = &w->cells[i];
        *cell = first->cells[i];
        cell->value += u->width;
        if (cell->frames)
            cell->frames += frames_size(u, cell);
        for (int p = 0; p < PARTS; p++) {
            if (cell->ring[p])
                cell->ring[p] += (u->layer->n_taps - 1) * u->channels[p];
            if (cell->h[p])
                cell->h[p] += (int64_t)u->channels[p] * state_rows(u->layer);
        }
    }
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
        const int64_t x_dbl = l->kind == LAYER_MIXER ? lanes_up(layer_x_dbl_width(l)) : 0;
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

static void cut_hand(struct arena *a, struct hand *hand, int64_t rows, const struct widest *widest,
                     bool round_inputs)
{
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
        hand->rounded[p] = round_inputs ? cut_floats(a, rows * hand->ld_q) : NULL;
    }
}

/* Each thread has a group of whole streams: they never wait for each other. */
static bool by_streams(const struct decoder *d)
{
    return d->options.threads == DECODE_ROWS && d->options.n_streams > 1;
}

/* The two rows of a guided stream are two threads', which draw its codes together. */
static bool by_guidance(const struct decoder *d)
{
    return d->options.threads == DECODE_ROWS && d->options.n_streams == 1;
}

/* Streams of the first walker. */
static int first_streams(const struct decoder *d)
{
    return by_streams(d) ? (d->options.n_streams + 1) / 2 : d->options.n_streams;
}

static void cut_all(struct decoder *d, struct arena *a)
{
    const struct widest widest = widest_of(d);
    const int per_stream = d->options.guided ? 2 : 1;
    struct walker *w = d->walkers;
    for (int i = 0; i < HANDS; i++)
        w[i].decoder = d;
    cut_walker(a, &w[0], first_streams(d) * per_stream, NULL);
    if (by_streams(d))
        cut_walker(a, &w[1], (d->options.n_streams - first_streams(d)) * per_stream, NULL);
    else if (by_guidance(d))
        view_row(a, &w[1], &w[0]);
    else if (d->options.threads == DECODE_LOCKSTEP)
        cut_walker(a, &w[1], d->n_rows, &w[0]);
    const int n_hands = d->options.threads == DECODE_ONE ? 1 : HANDS;
    for (int i = 0; i < n_hands; i++)
        cut_hand(a, &d->hands[i], first_streams(d) * per_stream, &widest, d->options.round_inputs);
    const int64_t lines = d->n_rows * (blocks_of(widest.exchanged, LINE_FLOATS) + 1);
    for (int i = 0; i < HANDS && (by_guidance(d) || d->options.threads == DECODE_LOCKSTEP); i++)
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

/* Which of the decoder's rows are a walker's: streams with label first, then those without. */
static void rows_number(struct walker *w, int first_row)
{
    for (int r = 0; r < w->n_rows; r++)
        w->rows[r] = first_row + (r < w->n_streams ? w->first_stream + r
                                                   : w->decoder->options.n_streams +
                                                         w->first_stream + r - w->n_streams);
}

/* Shares rows, parts and tiers out to two hands, or gives all to one. Nothing may be waiting. */
static void hands_share(struct decoder *d, bool two)
{
    const enum decode_threads t = d->options.threads;
    const int per_stream = d->options.guided ? 2 : 1, before = first_streams(d);
    const bool lockstep = two && t == DECODE_LOCKSTEP, pipeline = two && t == DECODE_PIPELINE;
    d->two = two;
    d->n_hands = two ? HANDS : 1;
    d->n_walkers = two && !pipeline ? HANDS : 1;
    for (int i = 0; i < d->n_walkers; i++) {
        struct walker *w = &d->walkers[i];
        const bool row = two && by_guidance(d);
        w->part_begin = lockstep ? i : 0;
        w->part_end = lockstep ? i + 1 : PARTS;
        w->first_stream = by_streams(d) ? i * before : 0;
        w->n_streams = by_streams(d) && i == 1 ? d->options.n_streams - before : before;
        w->n_rows = row ? 1 : w->n_streams * per_stream;
        rows_number(w, row ? i : 0);
    }
    for (int i = 0; i < d->n_hands; i++) {
        struct hand *hand = &d->hands[i];
        hand->walker = &d->walkers[d->n_walkers == 1 ? 0 : i];
        hand->tier_begin = pipeline ? i : 0;
        hand->tier_end = pipeline && i == 0 ? 1 : d->plan->n_tiers;
        hand->at_once = d->options.at_once;
        hand->writes = i == 0 || by_streams(d);
    }
}

/* The second walker takes over where the first one is. Nothing waits. */
static void walker_follow(struct walker *w, const struct walker *first)
{
    const struct decoder *d = w->decoder;
    w->n = first->n;
    for (int k = 0; k < d->plan->n_tiers; k++) {
        atomic_store(&w->tier[k].begun, atomic_load(&first->tier[k].begun));
        atomic_store(&w->tier[k].done, atomic_load(&first->tier[k].done));
        w->tier[k].at = 0;
        w->tier[k].left = d->tiers[k].cost;
    }
    if (d->options.threads != DECODE_LOCKSTEP)
        return;
    memcpy(w->inputs, first->inputs, (size_t)w->n_rows * sizeof *w->inputs);
    for (int i = 0; i < d->plan->n_layers; i++) {
        const struct cell *from = &first->cells[i];
        if (from->frames)
            memcpy(w->cells[i].frames, from->frames,
                   (size_t)(w->n_rows * frames_size(&d->units[i], from)) * sizeof(float));
    }
}
