/*
 * The plan: a network as plain data. model/build.c fills it from a configuration; forward,
 * backward, initialiser, optimiser, model file, `hiss info`, the tests and the decode engines read
 * it. The architecture is written nowhere else.
 *
 * A plan is a straight line of layers. Layer i reads the value made by layer `in` (for the first
 * layer: the codes), adds the value made by layer `skip` if there is one, and makes value i. A
 * value of tier k is a tensor (B, ticks of tier k, width). Layers come in the order of execution,
 * and both the parameters and the states lie in that order.
 *
 * Read-only once built: any thread.
 */
#ifndef HISS_KERNELS_PLAN_H
#define HISS_KERNELS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PLAN_CODES = 256,      /* V: what a sample can be */
    PLAN_START_CODE = 128, /* the input before the first sample, and the padding */
    PLAN_TIERS_MAX = 8,
    PLAN_NAME_MAX = 64, /* bytes in a parameter's name, 0 included */
};

enum layer_kind {
    LAYER_EMBED, /* codes -> x: a row of the embedding a code */
    LAYER_LABEL, /* x + a row of the label table (nothing for label -1) */
    LAYER_MIXER, /* x + mixer(rmsnorm(x)) */
    LAYER_FF,    /* x + ff(rmsnorm(x)) */
    LAYER_DOWN,  /* p ticks of width H -> one tick of width H' */
    LAYER_UP,    /* one tick of width H' -> p ticks of width H, up_shift frames late */
    LAYER_HEAD,  /* rmsnorm, then logits (B,T,V) */
    LAYER_KINDS
};

enum mixer_kind { MIXER_SELECTIVE, MIXER_LTI, MIXER_S4D, MIXER_KINDS };

/* Which parameter of a layer; a layer has some of them, each an index into plan.params, or -1. */
enum param_role {
    PARAM_WEIGHT,  /* embedding, label table, pools, head, ff.in */
    PARAM_BIAS,    /* pools, head, ff.in */
    PARAM_NORM,    /* rmsnorm gain */
    PARAM_IN_PROJ, /* mixer, as everything below but the ff's */
    PARAM_CONV,
    PARAM_CONV_BIAS,
    PARAM_X_PROJ,
    PARAM_DT_PROJ,
    PARAM_DT_BIAS, /* dt_proj.bias, lti's dt_bias; s4d's log_dt */
    PARAM_A_LOG,
    PARAM_A_IMAG,
    PARAM_B,
    PARAM_C,
    PARAM_D,
    PARAM_OUT, /* out_proj, s4d's out.weight, ff.out.weight */
    PARAM_OUT_BIAS,
    PARAM_ROLES
};

struct layer {
    enum layer_kind kind;
    int tier;        /* of the value made; DOWN reads tier-1, UP reads tier+1 */
    int in;          /* the layer whose value is read; -1: the codes */
    int skip;        /* the layer whose value is added to this one's; -1: none */
    bool in_is_skip; /* value `in` is some later layer's skip too: its gradient has two sources */
    int width;       /* H of the value made (head: V) */
    int width_in;    /* of the value read */
    /* mixer and ff */
    enum mixer_kind mixer;
    bool complex_state;
    int inner;   /* E; s4d: H; ff: F */
    int n_state; /* N */
    int n_taps;  /* K; s4d: 0 */
    int dt_rank; /* R; 0 unless selective */
    /* pools */
    int pool;     /* p */
    int up_shift; /* frames an UP is late */

    int param[PARAM_ROLES];
    int64_t state_offset; /* floats, in a stream's state */
    int64_t state_size;
};

enum param_init {
    INIT_ONES,
    INIT_UNIFORM,    /* U(-init_scale, init_scale) */
    INIT_NORMAL,     /* N(0, init_scale^2) */
    INIT_SINUSOIDAL, /* the fixed embedding */
    INIT_A_LOG_REAL, /* ln(n+1) */
    INIT_A_LOG_HALF, /* ln 1/2 */
    INIT_A_IMAG,     /* pi n */
    INIT_DT_BIAS,    /* inverse softplus of dt log-uniform in [1e-3, 0.1] */
    INIT_LOG_DT,     /* ln of the same */
    INIT_B_COMPLEX,  /* 1 + 0i */
};

struct param {
    char name[PLAN_NAME_MAX]; /* as in the model file */
    int n_dims;
    int64_t shape[3];
    int64_t size;   /* entries */
    int64_t offset; /* floats, in the block of weights; a multiple of 16 */
    enum param_init init;
    float init_scale;
    bool fixed;   /* never trained (sinusoidal embedding) */
    bool decay;   /* weight decay applies */
    float own_lr; /* > 0: this learning rate instead of the run's, on the run's schedule */
};

struct plan {
    int n_tiers;                  /* pools + 1 */
    int64_t rate[PLAN_TIERS_MAX]; /* P_k: samples a tick of tier k */
    int width[PLAN_TIERS_MAX];    /* H_k */
    float norm_eps;
    int n_labels;
    int n_layers;
    struct layer *layers;
    int n_params;
    struct param *params;
    int64_t n_weights;    /* entries of all parameters, gaps not counted */
    int64_t weights_size; /* floats in the block of weights */
    int64_t state_size;   /* floats in one stream's state, without n, code and label */
};

/* Ticks of tier k in a chunk of n_time samples that begins with sample n0. */
static inline int64_t plan_ticks(const struct plan *plan, int tier, int64_t n0, int64_t n_time)
{
    return (n0 + n_time) / plan->rate[tier] - n0 / plan->rate[tier];
}

/* Of a selective mixer's row after x_proj: dt (R), then B and C together. */
static inline int layer_x_dbl_width(const struct layer *l)
{
    return l->dt_rank + 2 * l->n_state * (l->complex_state ? 2 : 1);
}

/* In what form a decode engine holds the weights of matrices; sums, residuals and states are fp32.
 */
enum precision { PRECISION_FP32, PRECISION_FP16, PRECISION_INT8, PRECISIONS };

/* How a decode engine uses processors. Each makes the same bits. */
enum decode_threads {
    DECODE_ONE,      /* one thread */
    DECODE_LOCKSTEP, /* two threads, half of the channels of every block each */
    DECODE_PIPELINE, /* two threads, the outer tier and the deeper ones */
    DECODE_ROWS,     /* two threads, half of the rows each */
    DECODE_AUTO,     /* what suits the plan, the rows and the threads there are */
    DECODE_THREADS
};

/* Their names, as users write them; false for any other. */
const char *precision_name(enum precision precision);
bool precision_from_name(enum precision *precision, const char *name);
const char *decode_threads_name(enum decode_threads mode);
bool decode_threads_from_name(enum decode_threads *mode, const char *name);

/* How a stream chooses its next code. */
struct sampling {
    uint64_t seed;
    float temperature; /* 0: the likeliest code */
    float top_p;       /* in (0, 1]; 1: no code is left out */
    float guidance;    /* 1: logits as they are; w: without + w (with - without) */
};

#ifdef __cplusplus
}
#endif

#endif
