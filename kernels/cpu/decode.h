/*
 * The decode engine from the inside: what the files kernels/cpu/decode*.c share. The contract is
 * that of ops->decoder_open and its neighbours in kernels/ops.h.
 *
 * A decoder holds the plan's layers as units, their matrices packed (decode_pack.c). A walker
 * carries the states of some rows through them: step by step (decode_step.c), tier by tier
 * (decode_tiers.c). A hand is a thread at work on a walker. One walker with one hand is the plain
 * case; two threads are two walkers that hold half of the channels each and exchange sums
 * (lockstep), two hands on different tiers of one walker (pipeline), or two walkers with rows of
 * their own.
 *
 * So that lockstep has the bits of one thread, every block's inner channels are in two parts,
 * whoever runs them: sums over inner channels are a sum of two sums.
 */
#ifndef HISS_KERNELS_CPU_DECODE_H
#define HISS_KERNELS_CPU_DECODE_H

#include "kernels/cpu/decode_product.h"
#include "kernels/cpu/scan.h"

#include <stdatomic.h>

enum {
    PARTS = 2,
    HANDS = 2,
    FRAMES_AHEAD = 3, /* frames of a down-pool: one being filled, the others waiting or read */
    LINE_FLOATS = 15, /* of an exchange line: with its number a cache line */
    TAPS_MAX = 16,    /* config's bound */
};

/* A layer, ready to run. Widths are padded to V_LANES; what is added is and stays 0. */
struct unit {
    const struct layer *layer;
    int width, width_in; /* padded */
    int channels[PARTS]; /* mixer, ff: inner channels of each part, padded */
    const float *norm;   /* (width_in) */
    const float *table;  /* embedding, labels: (rows, width) */
    /* By outputs. mixer: (2 channels, H), x then z; ff: (channels, H); pools and head: the whole
       matrix in two halves. Frames are slot after slot. */
    struct matrix in[PARTS];
    struct matrix x_proj[PARTS]; /* by inputs: (R+2N or R+4N, channels) */
    struct matrix dt[PARTS];     /* by outputs: (channels, R), always fp32 */
    struct matrix out[PARTS];    /* by inputs: (H, channels); s4d: (2 H, channels) */
    const float *in_bias[PARTS]; /* of `in`; ff, pools, head */
    const float *out_bias;       /* of `out`; ff, s4d */
    const float *conv[PARTS], *conv_bias[PARTS]; /* (K, channels), (channels) */
    const float *dt_bias[PARTS], *d[PARTS];      /* (channels) */
    const float *coef[PARTS];                    /* tiles of scan.h */
};

/* What a walker remembers of a layer. */
struct cell {
    float *ring[PARTS]; /* mixer: (rows, K-1, channels), input of tick t in slot t mod (K-1) */
    float *h[PARTS];    /* mixer: (rows, tiles, state rows, 8) */
    float *frames;      /* pools: (rows, n_frames, p, width); frame l in slot l mod n_frames */
    int n_frames;
    float *value; /* (rows, width): what the layer made last */
};

enum step_kind {
    STEP_EMBED,
    STEP_LABEL,
    STEP_MIXER,
    STEP_S4D,
    STEP_FF,
    STEP_GATHER, /* a down-pool's ticks, in the finer tier */
    STEP_DOWN,   /* its product, in the coarser one */
    STEP_EMIT,   /* an up-pool's ticks, in the finer tier */
    STEP_UP,     /* its product, in the coarser one */
    STEP_HEAD,
};

struct step {
    enum step_kind kind;
    int unit;
    int64_t cost; /* about cycles */
};

/* One tier's work a tick. Tiers other than the outermost may lag behind the samples. */
struct tier_plan {
    struct step *steps;
    int n_steps;
    int64_t cost;
};

/* Where a walker is in a tier. Ticks are run one after the other, in order. */
struct tier_run {
    _Atomic int64_t begun; /* ticks whose input is there */
    _Atomic int64_t done;  /* ticks finished: the tick at work has this number */
    int at;                /* its next step */
    int64_t left;          /* cost of its steps left */
    int32_t *labels;       /* (FRAMES_AHEAD, rows): of tick t at t mod FRAMES_AHEAD */
};

struct walker {
    _Alignas(64) const struct decoder *decoder; /* no cache line is two threads' to write */
    int n_rows;
    int n_streams;            /* rows i with their labels; if guided, rows n_streams + i without */
    int first_stream;         /* of the decoder's */
    int part_begin, part_end; /* of blocks */
    struct cell *cells;       /* one a unit */
    struct tier_run tier[PLAN_TIERS_MAX];
    int64_t n;       /* index of the sample at work */
    uint8_t *inputs; /* (rows): the next input codes */
    int32_t *labels; /* (rows) */
    int *rows;       /* (rows): which of the decoder's rows */
};

/* Lines of floats from one thread to another, each with the number of the exchange it belongs to.
 */
struct exchange_line {
    _Alignas(64) float x[LINE_FLOATS];
    _Atomic uint32_t number;
};

/* A thread at work on a walker: the tiers it runs, and its scratch. */
struct hand {
    _Alignas(64) struct walker *walker;
    int tier_begin, tier_end; /* it runs; others are run by the other hand */
    bool at_once;
    bool writes;                               /* what both hands know, one tells */
    struct exchange_line *mine[2], *theirs[2]; /* alternating; NULL unless two threads exchange */
    uint32_t n_exchanges;

    float *normed;         /* (rows, width) */
    float *wide[PARTS];    /* (rows, 2 channels) */
    float *x_dbl;          /* (rows, R+4N) */
    float *dt;             /* (rows, channels) */
    float *y[PARTS];       /* (rows, channels) */
    float *sum, *more;     /* (rows, widest output) */
    int8_t *q[PARTS];      /* (rows, widest input) */
    float *q_scale[PARTS]; /* (rows) */
    int64_t ld_q;
    float *rounded[PARTS]; /* (rows, ld_q), if inputs are rounded */
};

/* Two threads are faster than one, or on a busy machine far slower. As both make the same bits, the
   engine tries both now and then, and goes on with the faster one. */
enum pace_phase { PACE_TRY_ONE, PACE_TRY_TWO, PACE_KEEP };

struct pace {
    bool adapts;
    enum pace_phase phase;
    int64_t left;     /* samples until the next phase */
    double spent_s;   /* in this phase */
    int64_t n_made;   /* in this phase */
    double one_s;     /* a sample takes, on one thread */
    int64_t patience; /* samples to keep to a choice */
};

struct decoder {
    struct backend *be;
    const struct plan *plan;
    struct decoder_options options; /* threads: never DECODE_AUTO */
    int n_rows;
    struct unit *units; /* one a layer */
    void *weights;      /* what units point to */
    struct tier_plan tiers[PLAN_TIERS_MAX];
    struct step *steps; /* what tiers point to */
    bool two;           /* two hands are at work, as options.threads says; else one does it all */
    struct pace pace;   /* which of the two is faster, if it was left to the engine */
    int n_walkers, n_hands;
    struct walker walkers[HANDS];
    struct hand hands[HANDS];
    void *memory;                   /* what walkers and hands point to */
    const struct decode_args *args; /* of the call at work */
    int64_t begin, end;             /* its samples that are made now */
    atomic_bool quit;               /* pipeline: the outer hand has made all its samples */
};

/* Rows of a tile of h. */
static inline int state_rows(const struct layer *l)
{
    return scan_state_rows(l->complex_state, l->n_state);
}

/* Floats of a pool's frames, a row. */
static inline int64_t frames_size(const struct unit *u, const struct cell *cell)
{
    const int width = u->layer->kind == LAYER_DOWN ? u->width_in : u->width;
    return (int64_t)cell->n_frames * u->layer->pool * width;
}

/* Inner channels before part p: the first part takes whole tiles. */
static inline int part_first(const struct layer *l, int p)
{
    int half = (int)min_of(l->inner, blocks_of(l->inner, 2 * V_LANES) * V_LANES);
    return p == 0 ? 0 : half;
}

/* Inner channels of part p, without padding. */
static inline int part_channels(const struct layer *l, int p)
{
    return p == 0 ? part_first(l, 1) : l->inner - part_first(l, 1);
}

#endif
