/* Canonical states (design: "State") into the engine's own layout, and back. */
#include "kernels/cpu/decode.h"

/* How a walk over a stream's state treats each number: a row's canonical floats here, the engine's
   there. */
enum direction { STATE_IMPORT, STATE_EXPORT };

static void state_move(enum direction direction, float *canonical, float *own, int n)
{
    if (direction == STATE_IMPORT)
        memcpy(own, canonical, (size_t)n * sizeof *own);
    else
        memcpy(canonical, own, (size_t)n * sizeof *own);
}

/* Conv inputs (E,K-1), oldest first, and h (E,N[,2]), of the walker's parts; `tick` is the tier's
   next. */
static void mixer_state(enum direction direction, const struct walker *w, int unit, int row,
                        int64_t tick, float *state)
{
    const struct unit *u = &w->decoder->units[unit];
    const struct cell *cell = &w->cells[unit];
    const struct layer *l = u->layer;
    const int kept = l->n_taps > 0 ? l->n_taps - 1 : 0, rows = state_rows(l);
    float *h = state + (int64_t)l->inner * kept;
    for (int p = w->part_begin; p < w->part_end; p++) {
        const int padded = u->channels[p], n = part_channels(l, p), first = part_first(l, p);
        for (int k = 0; k < kept; k++) {
            float *slot = cell->ring[p] + ((int64_t)row * kept + (tick + k) % kept) * padded;
            for (int e = 0; e < n; e++)
                state_move(direction, state + (int64_t)(first + e) * kept + k, slot + e, 1);
        }
        float *tiles = cell->h[p] + (int64_t)row * padded * rows;
        for (int e = 0; e < n; e += V_LANES) {
            float *canonical = h + (int64_t)(first + e) * rows;
            if (direction == STATE_IMPORT)
                tile_gather(tiles + (int64_t)e * rows, canonical, rows, tile_lanes(n, e));
            else
                tile_scatter(canonical, tiles + (int64_t)e * rows, rows, tile_lanes(n, e));
        }
    }
}

/* The frame being filled, (p,H): slots of ticks that were, the rest 0. `tick`: the finer tier's
   next. */
static void down_state(enum direction direction, const struct unit *u, const struct cell *cell,
                       int row, int64_t tick, float *state)
{
    const int pool = u->layer->pool, width = u->layer->width_in;
    float *frames = cell->frames + (int64_t)row * cell->n_frames * pool * u->width_in;
    float *frame = frames + tick / pool % cell->n_frames * pool * u->width_in;
    if (direction == STATE_EXPORT)
        memset(state, 0, (size_t)(pool * width) * sizeof *state);
    for (int s = 0; s < tick % pool; s++)
        state_move(direction, state + s * width, frame + s * u->width_in, width);
}

/* The last up_shift whole frames, frame l in slot l mod up_shift; `tick`: the coarser tier's next.
   Of frames before the first all slots are 0, here and there. */
static void up_state(enum direction direction, const struct unit *u, const struct cell *cell,
                     int row, int64_t tick, float *state)
{
    const int pool = u->layer->pool, width = u->layer->width, shift = u->layer->up_shift;
    float *frames = cell->frames + (int64_t)row * cell->n_frames * pool * u->width;
    for (int64_t l = tick + cell->n_frames * shift - shift, i = 0; i < shift; i++, l++) {
        float *own = frames + l % cell->n_frames * pool * u->width;
        float *canonical = state + l % shift * pool * width;
        for (int s = 0; s < pool; s++)
            state_move(direction, canonical + s * width, own + s * u->width, width);
    }
}

/* All layers of one row; every tier has done the ticks of n samples. state: (plan.state_size). */
static void row_state(enum direction direction, const struct walker *w, int row, int64_t n,
                      float *state)
{
    const struct decoder *d = w->decoder;
    for (int i = 0; i < d->plan->n_layers; i++) {
        const struct layer *l = &d->plan->layers[i];
        float *own = state + l->state_offset;
        switch (l->kind) {
        case LAYER_MIXER:
            mixer_state(direction, w, i, row, n / d->plan->rate[l->tier], own);
            break;
        case LAYER_DOWN:
            down_state(direction, &d->units[i], &w->cells[i], row, n / d->plan->rate[l->tier - 1],
                       own);
            break;
        case LAYER_UP:
            up_state(direction, &d->units[i], &w->cells[i], row, n / d->plan->rate[l->tier + 1],
                     own);
            break;
        default:
            break;
        }
    }
}

/* Zeroes what a walker remembers, lanes of padding included. */
static void walker_clear(struct walker *w)
{
    const struct decoder *d = w->decoder;
    for (int i = 0; i < d->plan->n_layers; i++) {
        const struct unit *u = &d->units[i];
        const struct cell *cell = &w->cells[i];
        const struct layer *l = u->layer;
        for (int p = w->part_begin; p < w->part_end; p++) {
            const size_t floats = (size_t)w->n_rows * (size_t)u->channels[p];
            if (cell->ring[p])
                memset(cell->ring[p], 0, floats * (size_t)(l->n_taps - 1) * sizeof(float));
            if (cell->h[p])
                memset(cell->h[p], 0, floats * (size_t)state_rows(l) * sizeof(float));
        }
        if (cell->frames)
            memset(cell->frames, 0, (size_t)(w->n_rows * frames_size(u, cell)) * sizeof(float));
    }
}

static void walker_import(struct walker *w, const float *state, int64_t n, const uint8_t *inputs)
{
    const struct plan *plan = w->decoder->plan;
    walker_clear(w);
    w->n = n;
    for (int k = 0; k < plan->n_tiers; k++) {
        struct tier_run *t = &w->tier[k];
        atomic_store(&t->begun, n / plan->rate[k]);
        atomic_store(&t->done, n / plan->rate[k]);
        t->at = 0;
        t->left = w->decoder->tiers[k].cost;
    }
    for (int r = 0; r < w->n_rows; r++) {
        const int row = w->rows[r];
        row_state(STATE_IMPORT, w, r, n, (float *)state + row * plan->state_size);
        w->inputs[r] = inputs[row];
    }
}
