/*
 * The decode engine on the GPU: what the files kernels/cuda/decode* share. The contract is that of
 * ops->decoder_open and its neighbours in kernels/ops.h; the CPU's engine is the readable
 * definition of what is computed.
 *
 * Rows (streams, and with guidance the same again without label) are in groups of at most
 * DECODE_GROUP. A group is the work of one block, or of several that run side by side, each on
 * tiers of its own and handing frames to the next through flags in memory. A launch makes many
 * samples; between launches everything a row remembers is in global memory. After short calls it
 * stays a while and takes the next as an order through host memory (decode_order.h).
 *
 * A block walks through a list of steps a tick. Products are those of the tensor cores, weights and
 * inputs in half precision, sums in float: 16 outputs, 16 inputs, and the group's rows as the 8
 * columns, which do not touch each other: a row's result is the same wherever it is.
 * A warp owns 16 s inner channels of every block of layers and keeps them from the input product to
 * the output product, so that a mixer has but four barriers: its inputs, sums of x_proj over warps,
 * their total, sums of out_proj over warps. Weights are on their way before they are needed, in the
 * order of their use: those of the common mixers through shared memory (decode_tape.h), the first
 * of other steps straight into registers, while the step before is at work.
 *
 * Rounding to half precision happens to weights (with the gain of the norm before them), and to
 * what a product reads: a block's input before it is scaled by its norm, u, y, frames. Residuals,
 * states, convolution, dt, decay, sums and logits are float.
 */
#ifndef HISS_KERNELS_CUDA_DECODE_H
#define HISS_KERNELS_CUDA_DECODE_H

#include "kernels/cuda/scan.h"

enum {
    DECODE_WARPS = 8,
    DECODE_BLOCK = DECODE_WARPS * 32,
    DECODE_GROUP = 8,   /* of a group at most: columns of a product */
    DECODE_TILE = 16,   /* outputs, and inputs, of a fragment */
    DECODE_STATES = 16, /* of a channel at once: two lanes, eight each */
    DECODE_LANE_STATES = 8,
    DECODE_CODES = 32,   /* samples whose codes are written at once */
    DECODE_DEPTH = 8,    /* fragments of a tile: a power of two to here, then a multiple */
    DECODE_DEPTH_IN = 4, /* of a step's first product at least */
    DECODE_CHUNK = 4,    /* fragments of a tape that are asked for at once */
    DECODE_RING = 5,     /* chunks of a tape on their way to a warp, at most */
    /* fragments a warp has on their way for a step's products */
    DECODE_AHEAD_IN = 8,
    DECODE_AHEAD_MID = 4,
    DECODE_AHEAD_OUT = 4,
    /* of the multiprocessor's clock: a launch that stays waits so long for an order, and takes none
       after so long; at 2 GHz 17 ms and 0.27 s */
    DECODE_WAITS = 1 << 25,
    DECODE_STAYS = 1 << 29,
};

#define DECODE_ENDS 0xffffffffu

enum decode_kind {
    DECODE_EMBED,
    DECODE_LABEL,
    DECODE_GATHER, /* a down-pool's ticks, in the finer tier */
    DECODE_EMIT,   /* an up-pool's ticks, in the finer tier */
    DECODE_MIXER,  /* from here on: steps with products */
    DECODE_S4D,
    DECODE_FF,
    DECODE_DOWN, /* a down-pool's product, in the coarser tier */
    DECODE_UP,   /* an up-pool's product, in the coarser tier */
    DECODE_HEAD,
};

/* A matrix as fragments: 32 lanes of 16 bytes, as gpu_mma_f16 takes them. Each warp's are one
   after the other, tile after tile. */
struct decode_product {
    int first; /* of warp 0, in fragments */
    int warps; /* that take part */
    int n;     /* fragments a warp */
    int tiles; /* of outputs, a warp */
    int depth; /* fragments a tile */
};

/* Offsets of vectors are in floats. */
struct decode_step {
    int kind;            /* enum decode_kind */
    int next;            /* as first_product, the next of the tick; -1: there is none */
    int width, width_in; /* rounded up to tiles */
    int true_width;      /* mean square is over so many */
    int unit;            /* ceil(2^24 / width): rows of entries without a division */
    int skip;            /* the slot whose value is added; -1: none */
    int keep;            /* the slot that takes this step's value; -1: none */
    struct decode_product in, mid, out;
    /* mixers that decode_fast.h does */
    int fast;         /* the width; else 0 */
    int run;          /* of the first of a run: steps of it; else 0 */
    int next_run;     /* the first step of the next run of the tick; -1: there is none */
    int tape, tape_n; /* of a run: the first fragment of warp 0's tape, fragments a warp */
    int n_out;        /* of the first product; not a mixer's */
    int channels;     /* of a warp: whole tiles */
    int warps;        /* that have channels */
    /* mixer */
    int selective, is_complex;
    int n_taps, ring; /* conv inputs kept, and floats they take: a multiple of 4 */
    int blocks;       /* of DECODE_STATES states a channel */
    int dt_rank;      /* rounded up to 4 */
    int n_sums;       /* outputs of mid, rounded up to tiles */
    int sums_unit;    /* as unit, for n_sums */
    int conv, conv_bias, dt, dt_bias, d, coef;
    int in_bias, out_bias; /* ff, s4d; pools and head: in_bias */
    int norm;              /* s4d: the gain; elsewhere it is in the weights */
    int table;             /* embedding, labels */
    int ring_state, state; /* in a row's memory: conv inputs; h, or frames */
    /* pools */
    int pool, up_shift, n_frames;
    int frame; /* floats of a frame */
};

struct decode_tier {
    int first, n;      /* steps of a tick */
    int first_product; /* the first that has products, decode_fast.h's apart */
    int first_run;     /* -1: there is none */
    int pool;          /* ticks to a tick of the next tier; 0: there is none */
    unsigned rate;     /* samples a tick */
};

/* Where things are in shared memory, in bytes. */
struct decode_shared {
    int x;      /* (8, ld_x) floats: the value at work */
    int x_half; /* (8, ld_half): what products read, in the order of fragments */
    int raw;    /* (rows, ld_raw) floats: outputs of the first product, warp after warp */
    int own;    /* (warps, 8, ld_own): what a warp's own products read */
    int part;   /* (warps, rows, n_out + 4) floats: sums over a warp's channels */
    int sums;   /* (rows, n_sums) floats */
    int keep;   /* (slots, rows, ld_keep) floats */
    int logits; /* (rows, V) floats */
    int noise;  /* (rows, V) floats */
    int codes;  /* (rows, DECODE_CODES) made, then (rows) inputs and labels as int */
    int board;
    int steps;
    int tape; /* (warps, DECODE_RING, DECODE_CHUNK) fragments */
    int size;
    int ld_x, ld_half, ld_raw, ld_own, ld_keep;
};

/* Samples that are made alike. */
struct decode_order {
    uint64_t noise_n;
    struct sampling sampling;
    unsigned from; /* samples of the launch before them */
    int n_samples; /* 0: the launch is to end */
    uint32_t first_stream;
    uint32_t number; /* from 0 on, of the orders of a launch */
};

/* What a block has of its orders, in shared memory. */
struct decode_board {
    struct decode_order order; /* at work */
    long long begun;           /* by the clock: the launch */
    unsigned open;             /* orders that are there, or DECODE_ENDS */
};

/* Host memory: what the host and a launch that stays tell each other. Counts are of orders since
   the launch's begin; the first is posted before it. */
struct decode_mail {
    unsigned posted, made;
    struct decode_order order;
};

/* All pointers are device memory; codes and mail* the host's as the device sees it. */
struct decode_launch {
    const struct decode_step *steps;
    int n_steps, n_tiers;
    struct decode_tier tiers[PLAN_TIERS_MAX];
    int n_parts; /* blocks a group; block p runs tiers part[p] to part[p + 1] - 1 */
    int part[PLAN_TIERS_MAX + 1];
    struct decode_shared shared;
    const uint4 *fragments;
    const float *vectors;
    float *memory; /* (n_rows, row_size) */
    int64_t row_size;
    int n_streams, group; /* streams of all groups, of each but the last */
    int guided;
    float eps;
    uint8_t *inputs;           /* (n_rows): the next inputs */
    const int32_t *labels;     /* (n_rows) */
    unsigned *flags;           /* (groups, tiers, 2): frames gathered, ticks done, in this launch */
    unsigned start;            /* index of the first sample, modulo what indices are taken modulo */
    struct decode_order order; /* without mail: the only one */
    struct decode_mail *mail;  /* NULL, unless the launch stays for more */
    const int32_t *mail_labels; /* (n_rows): as labels, of the order in the mail */
    double *mail_nats;          /* (n_streams): before an order, and after it */
    unsigned *relay;       /* orders there are, or DECODE_ENDS; (blocks) taken, (blocks) made */
    uint8_t *codes;        /* (n_streams, ld_codes) */
    const uint8_t *forced; /* (n_streams, n_samples) or NULL */
    int ld_codes;
    double *nats;      /* (n_streams) += ; or NULL */
    float *logits;     /* (n_rows, n_samples, V) or NULL */
    long long *clocks; /* (n_samples + 1): the launch's begin, when each was made; or NULL */
};

static_assert(sizeof(struct decode_launch) <= 4000, "a kernel's arguments");

static inline int decode_tiles(int n)
{
    return (n + DECODE_TILE - 1) / DECODE_TILE;
}

static inline int decode_padded(int n)
{
    return decode_tiles(n) * DECODE_TILE;
}

#endif
