/*
 * The one forward, and its backward (design 2): a chunk of samples goes in with the state before
 * it, logits come out with the state after it. Training, prefill and single steps are chunks of
 * different lengths.
 *
 * Memory is sized when the chunk is opened and holds B streams times up to max_time samples.
 *
 * One thread at a time.
 */
#ifndef HISS_MODEL_CHUNK_H
#define HISS_MODEL_CHUNK_H

#include "base/arena.h"
#include "model/net.h"

/* State of B streams: plan.state_size floats each, in plan order (design 2, canonical). */
struct state {
    float *data; /* backend memory (B, plan.state_size) */
    int n_batch;
    int64_t n; /* index of the next sample, the same for all streams */
};

bool state_open(struct state *s, struct net *net, int n_batch); /* zero */
void state_close(struct state *s, struct net *net);
void state_reset(struct state *s, struct net *net);

/* What a forward keeps for the backward. */
enum tape {
    TAPE_NONE,   /* nothing: there will be no backward */
    TAPE_VALUES, /* what flows between layers; what is inside is computed again (recompute) */
    TAPE_ALL,    /* everything */
};

/* What a layer keeps inside. Which fields it uses is its own business; NULL: not used. */
struct layer_tape {
    float *norm_r;    /* (M) rmsnorm's 1/rms */
    float *normed;    /* mixer: (M,H), if it is small: else it is made again */
    float *projected; /* mixer: in_proj's output (M,2E); s4d: (M,2H) before GLU; ff: (M,F) before
                         GELU */
    float *u;         /* mixer: after the convolution (M,E); s4d: the normed input (M,H) */
    float *x_dbl;     /* selective: x_proj's output (M, R+2N or R+4N) */
    float *dt_raw;    /* selective: (M,E) */
    float *entering;  /* the scan's kept states */
    float *gated;     /* mixer: the scan's output (M,E); s4d: (M,H) */
    float *frames;    /* pools: (B,F,H*p) */
};

struct chunk {
    struct net *net;
    enum tape tape;
    int n_batch;
    int64_t max_time;

    void *memory;             /* all of the backend memory below */
    struct layer_tape *inner; /* of each layer; without TAPE_ALL they share memory */
    float **value;            /* of each layer: what it made, (B, ticks, width) */
    float **dvalue;           /* of each layer: gradient of it; several may share memory */
    float *dcoef;             /* net->coef_size */
    float *entering_state;    /* (B, plan.state_size): the state before this chunk */
    float *scratch_state;     /* the same, for recomputing */
    float *scratch_dstate;    /* the same, where the caller has none */
    void *scratch;            /* a layer's own while it works */
    size_t scratch_size;

    /* the chunk being run */
    int64_t n0, n_time;
    const uint8_t *codes;
    const int32_t *labels;
};

/* False with error_text that says how much memory was asked for. */
bool chunk_open(struct chunk *c, struct net *net, int n_batch, int64_t max_time, enum tape tape);
void chunk_close(struct chunk *c);

/* Runs n_time <= max_time samples. codes (B,n_time): inputs, that is codes shifted by one, the
   first being the previous sample or PLAN_START_CODE; labels (B), -1 none; both backend memory and
   kept until the backward. state: before; becomes after. Returns the logits (B,n_time,V), which
   stay until the next call. */
float *chunk_forward(struct chunk *c, struct state *state, const uint8_t *codes,
                     const int32_t *labels, int64_t n_time);

/* Backward of the last forward. dlogits (B,n_time,V). dstate (B, plan.state_size): gradient of the
   state after, becomes gradient of the state before; NULL: zero, and not wanted. grads (laid out as
   the weights) += gradient of the parameters. */
void chunk_backward(struct chunk *c, const float *dlogits, float *dstate, float *grads);

#endif
