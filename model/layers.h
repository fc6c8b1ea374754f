/*
 * The kinds of layers from the inside: what chunk.c's walks call. Each kind cuts its memory, runs
 * forward and runs backward; layer_functions_of finds them by the kind.
 *
 * Inside model/ only.
 */
#ifndef HISS_MODEL_LAYERS_H
#define HISS_MODEL_LAYERS_H

#include "model/chunk.h"

/* What a layer needs only while it works. Which fields it uses is its own business. */
struct layer_scratch {
    float *normed;  /* (M,H) */
    float *wide;    /* (M,2E), (M,F), (M,2H), (B,F,H*p): gradient of the widest thing inside */
    float *dgated;  /* (M,E) */
    float *du;      /* (M,E) */
    float *ddt_raw; /* (M,E) */
    float *dx_dbl;  /* (M,R+2N or R+4N) */
    float *dnormed; /* (M,H) */
};

/* One layer's view of the chunk being run. */
struct layer_run {
    struct chunk *chunk;
    const struct layer *layer;
    const struct ops *ops;
    struct backend *be;
    struct layer_tape *tape;
    struct layer_scratch scratch;
    int n_batch;
    int64_t n_in;         /* ticks of the value read */
    int64_t n_out;        /* ticks of the value made */
    const float *in;      /* (B, n_in, width_in); NULL for the first layer */
    const float *skip;    /* (B, n_out, width) to be added; or NULL */
    float *out;           /* (B, n_out, width) */
    float *state;         /* of stream 0; stream b's is ld_state further */
    int64_t ld_state;     /* floats */
    const float *coef;    /* of a mixer */
    const float *weights; /* the block of weights */
    /* backward only */
    const float *entering_state; /* as state, before the chunk */
    const float *dout;           /* (B, n_out, width) */
    float *din;                  /* (B, n_in, width_in): may be dout's own memory, where a layer
                                    keeps the shape of what it reads */
    float *dstate;
    float *dcoef;
    float *grads;
};

struct layer_functions {
    /* Cuts from the arena (dry or not) what forward fills and backward reads. */
    void (*cut_tape)(struct layer_tape *tape, struct arena *arena, const struct net *net,
                     const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                     bool with_backward);
    /* Cuts what forward and backward need only while they work. */
    void (*cut_scratch)(struct layer_scratch *scratch, struct arena *arena, const struct layer *l,
                        int n_batch, int64_t n_in, int64_t n_out, bool with_backward);
    /* out = f(in) + skip; fills the tape; state before becomes state after. With out NULL only the
       tape is filled again (recomputing for the backward). */
    void (*forward)(struct layer_run *r);
    /* Gradients: grads +=, dstate in place. din is set; where what the layer reads is a skip too
       (in_is_skip; for down always) the skip's part is there already, and is added to. dout stays
       as it is, but where it is din's memory. */
    void (*backward)(struct layer_run *r);
};

extern const struct layer_functions layer_embed, layer_label, layer_mamba, layer_s4d, layer_ff,
    layer_down, layer_up, layer_head;

const struct layer_functions *layer_functions_of(const struct layer *l);

/* The layer's parameter in the weights, and in the gradients. */
static inline const float *run_weight(const struct layer_run *r, enum param_role role)
{
    const struct plan *plan = &r->chunk->net->plan;
    return layer_param(plan, r->layer, role, (float *)r->weights);
}

static inline float *run_grad(const struct layer_run *r, enum param_role role)
{
    return layer_param(&r->chunk->net->plan, r->layer, role, r->grads);
}

static inline float *arena_floats(struct arena *a, int64_t n)
{
    return arena_alloc(a, (size_t)n * sizeof(float));
}

static inline float *arena_rounded(struct arena *a, struct backend *be, int64_t n)
{
    return arena_alloc(a, (size_t)n * backend_rounded_size(be));
}

/* The entry n further on in a rounded tensor. */
static inline float *rounded_entry(struct backend *be, const float *x, int64_t n)
{
    return (float *)((char *)x + (size_t)n * backend_rounded_size(be));
}

/* The rmsnorm before mixers and ffs: fills tape->norm_r; y (M,H), rounded or not, in scratch or
   tape. */
void run_norm(struct layer_run *r, float *y, bool rounded);
/* din [+]= gradient through the norm, and dout where the layer adds what it reads. */
void run_norm_backward(struct layer_run *r, const float *dy);

/* The product with one of the layer's matrices on n_time ticks of every stream. The caller gives
   the tensors, what is to be added, and row distances other than the matrix's own; sizes, weights
   and the bias that belongs to the matrix (PARAM_WEIGHT, PARAM_OUT) are filled in. */
void run_linear(struct layer_run *r, enum param_role matrix, int64_t n_time, struct linear_args a);
/* Likewise; the gradients of matrix and bias are filled in too. */
void run_linear_backward(struct layer_run *r, enum param_role matrix, int64_t n_time,
                         struct linear_backward_args a);

#endif
