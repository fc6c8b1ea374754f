/* Canonical states (design: "State") into the decode engine's own layout, and back. */
#include "kernels/cuda/decode.h"

/* A layer's part of a row's state. */
struct decode_piece {
    enum layer_kind kind;
    int64_t canonical;    /* where it begins in a canonical state */
    int size;             /* floats there */
    int ring_state, ring; /* as in struct decode_step; mixer */
    int state, blocks, n_state, kept, conv_size, parts;
    int n_frames, frame, pool, up_shift, width, padded; /* pools */
    unsigned rate;                                      /* of the tier that is asked for its tick */
};

/* All arguments of a copy. */
struct decode_move {
    const struct decode_piece *pieces;
    float *canonical; /* (n_rows, canonical_size) */
    float *memory;    /* (n_rows, row_size) */
    int64_t canonical_size, row_size;
    unsigned n; /* index of the next sample, modulo what indices are taken modulo */
    bool to_canonical;
};

/* Where float i of a piece is in a row's memory; -1: nowhere, and 0. */
CUDA_DEV int64_t decode_own(const struct decode_piece &p, unsigned n, int i)
{
    const unsigned tick = n / p.rate;
    if (p.kind == LAYER_DOWN) { /* the frame being filled: ticks that were */
        const int s = i / p.width, h = i % p.width;
        if (s >= (int)(tick % (unsigned)p.pool))
            return -1;
        return p.state + tick / (unsigned)p.pool % (unsigned)p.n_frames * (int64_t)p.frame +
               s * p.padded + h;
    }
    if (p.kind == LAYER_UP) { /* the last frames, frame l in slot l mod up_shift */
        const int slot = i / (p.pool * p.width), s = i / p.width % p.pool, h = i % p.width;
        const unsigned shift = (unsigned)p.up_shift, frames = (unsigned)p.n_frames;
        unsigned l = tick + frames * shift - shift;
        while (l % shift != (unsigned)slot)
            l++;
        return p.state + l % frames * (int64_t)p.frame + s * p.padded + h;
    }
    if (i < p.conv_size)
        return p.ring_state + i / p.kept * p.ring + i % p.kept;
    const int at = i - p.conv_size, part = at % p.parts, state = at / p.parts % p.n_state;
    const int e = at / p.parts / p.n_state;
    const int64_t block = (int64_t)(e / DECODE_TILE) * p.blocks + state / DECODE_STATES;
    return p.state + (block * p.parts + part) * DECODE_TILE * DECODE_STATES +
           e % DECODE_TILE * DECODE_STATES + state % DECODE_STATES;
}

/* A block a piece and row. */
static __global__ void __launch_bounds__(ENTRY_THREADS) decode_move_kernel(struct decode_move m)
{
    const struct decode_piece p = m.pieces[blockIdx.x];
    float *canonical = m.canonical + blockIdx.y * m.canonical_size + p.canonical;
    float *memory = m.memory + blockIdx.y * m.row_size;
    for (int i = (int)threadIdx.x; i < p.size; i += ENTRY_THREADS) {
        const int64_t own = decode_own(p, m.n, i);
        if (m.to_canonical)
            canonical[i] = own < 0 ? 0.0f : memory[own];
        else if (own >= 0)
            memory[own] = canonical[i];
    }
}

/* The piece of a layer; its step is the one that keeps its state. */
static struct decode_piece piece_of(const struct plan *plan, const struct layer *l,
                                    const struct decode_step *s)
{
    struct decode_piece p = {};
    p.kind = l->kind;
    p.canonical = l->state_offset;
    p.size = (int)l->state_size;
    p.ring_state = s->ring_state;
    p.ring = s->ring;
    p.state = s->state;
    p.blocks = s->blocks;
    p.n_state = l->n_state;
    p.kept = l->n_taps > 0 ? l->n_taps - 1 : 0;
    p.conv_size = l->inner * p.kept;
    p.parts = l->complex_state ? 2 : 1;
    p.n_frames = s->n_frames;
    p.frame = s->frame;
    p.pool = l->pool;
    p.up_shift = l->up_shift;
    p.width = l->kind == LAYER_DOWN ? l->width_in : l->width;
    p.padded = decode_padded(p.width);
    const int tier = l->kind == LAYER_DOWN ? l->tier - 1 : l->kind == LAYER_UP ? l->tier + 1 : 0;
    p.rate = (unsigned)plan->rate[tier];
    return p;
}
