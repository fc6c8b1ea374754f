/*
 * The contract of every operation: what a backend must implement. model/ is written against this
 * page and never mentions a device.
 *
 * Letters, here and everywhere: B batch, T time (ticks of the layer's tier), M = B*T rows, H tier
 * width, E inner width, N states, K taps, p pool, F frames, V codes. Tensors are row-major float
 * unless said otherwise; `ld_x` is the number of floats between rows of x where it is not the
 * width. `state` of stream b begins at state + b * ld_state.
 *
 * A tensor that products read and nobody needs to know better than they do may be rounded: its
 * entries are bf16 where that is what products round to (backend_rounded_size), else float. Of a
 * rounded tensor a pointer is to its memory, whatever its type, and row distances count entries.
 * Which tensors of an operation are rounded is for the caller to say; none is by itself.
 *
 * Rules for every operation:
 *  - all pointers are backend memory; outputs do not overlap inputs unless said so;
 *  - gradients of parameters are added to (+=), gradients of activations are set (=), except where
 *    said so; a gradient of a state is replaced in place: gradient of the leaving state in,
 * gradient of the entering state out;
 *  - T may be 0: then nothing happens;
 *  - every sum has one order, fixed by the sizes: the same bits for every number of threads;
 *  - with T = 1 the result of a stream depends on that stream alone, not on B (a batch of streams
 *    sings what each would alone);
 *  - nothing fails visibly: a backend keeps its first error until backend_sync.
 * The CPU files are the readable definition.
 */
#ifndef HISS_KERNELS_OPS_H
#define HISS_KERNELS_OPS_H

#include "kernels/backend.h"
#include "kernels/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x W^T + bias + add0 + add1. bias, add0, add1 may be NULL; add0, add1 have y's shape and
   row distance n_out, and may be y itself. */
struct linear_args {
    float *y;          /* (B*T, n_out), ld_y */
    const float *x;    /* (B*T, n_in), ld_x */
    const float *w;    /* (n_out, n_in) */
    const float *bias; /* (n_out) */
    const float *add0; /* (B*T, n_out) */
    const float *add1; /* (B*T, n_out) */
    int64_t ld_x, ld_y;
    bool x_rounded;
    bool y_rounded; /* with a rounded x, without bias, add0 and add1 */
    int n_batch;
    int64_t n_time;
    int n_in, n_out;
};

/* dx = dy W (or dx += dy W), dw += dy^T x, dbias += column sums of dy. Each may be NULL. */
struct linear_backward_args {
    float *dx;       /* (B*T, n_in), ld_dx */
    float *dw;       /* (n_out, n_in) */
    float *dbias;    /* (n_out) */
    const float *dy; /* (B*T, n_out), ld_dy */
    const float *x;  /* (B*T, n_in), ld_x */
    const float *w;  /* (n_out, n_in) */
    bool add_to_dx;
    bool dy_rounded; /* without dbias */
    bool x_rounded;
    bool dx_rounded; /* with a rounded x or dy, without add_to_dx */
    int64_t ld_dx, ld_dy, ld_x;
    int n_batch;
    int64_t n_time;
    int n_in, n_out;
};

struct norm_args {
    float *y;       /* (M,H) */
    float *r;       /* (M); or NULL */
    const float *x; /* (M,H) */
    const float *w; /* (H) */
    float eps;
    bool y_rounded;
    int64_t n_rows;
    int width;
};

/* y = x r w, r = 1/sqrt(mean x^2 + eps) a row: dx = add0 + add1 + its gradient, dw +=. add0, add1
   may be NULL, or dx itself; y is not needed. */
struct norm_backward_args {
    float *dx;         /* (M,H) */
    float *dw;         /* (H) */
    const float *dy;   /* (M,H) */
    const float *x;    /* (M,H) */
    const float *r;    /* (M), of the forward */
    const float *w;    /* (H) */
    const float *add0; /* (M,H) */
    const float *add1; /* (M,H) */
    int64_t n_rows;
    int width;
};

/* u = silu(c), c_t = bias + sum_k w[k] x_{t-K+1+k}; inputs before the chunk come from the state,
   (E, K-1), oldest first, which is left holding the last K-1 inputs. Mamba, Gu & Dao 2023. */
struct conv_args {
    float *u;          /* (B,T,E) */
    const float *x;    /* (B,T,E), ld_x */
    const float *w;    /* (E,K) */
    const float *bias; /* (E) */
    float *state;      /* (E,K-1) a stream */
    bool x_rounded;
    int64_t ld_x, ld_state;
    int n_batch;
    int64_t n_time;
    int inner, n_taps;
};

/* The state given is the one that ENTERED the chunk. c is computed again, not kept. */
struct conv_backward_args {
    float *dx;       /* (B,T,E), ld_dx */
    float *dw;       /* (E,K) */
    float *dbias;    /* (E) */
    float *dstate;   /* (E,K-1) a stream, in place */
    const float *du; /* (B,T,E) */
    const float *x;  /* (B,T,E), ld_x */
    const float *w, *bias;
    const float *state; /* (E,K-1) a stream, entering */
    bool dx_rounded, x_rounded;
    int64_t ld_dx, ld_x, ld_state; /* ld_state serves dstate too */
    int n_batch;
    int64_t n_time;
    int inner, n_taps;
};

/* What a mixer's recurrence needs of its parameters, computed once a change of weights.
     selective: A = -exp(A_log) (+ i A_imag)
     lti:       dt = softplus(dt_bias), decay exp(dt A), input dt B, output C
     s4d:       dt = exp(log_dt),       decay exp(dt A), input B (exp(dt A) - 1)/A, output C
   The layout of coef is the backend's own (coef_size floats). */
struct coef_args {
    enum mixer_kind mixer;
    bool complex_state;
    int inner, n_state;
    const float *a_log;  /* (E,N) */
    const float *a_imag; /* (E,N); NULL if real */
    const float *dt;     /* (E) lti: dt_bias, s4d: log_dt; NULL if selective */
    const float *b, *c;  /* (E,N[,2]); NULL if selective */
    float *coef;
    /* backward only: gradient of coef in, gradients of the parameters out (+=) */
    const float *dcoef;
    float *da_log, *da_imag, *ddt, *db, *dc;
};

/* The recurrence, gate included. selective (model-spec 2.1; mamba_ssm's selective_scan):
     dt = softplus(dt_raw + dt_bias), h = exp(dt A) h + dt B_t u, s = sum_n C_t h + D u
   lti and s4d: h = decay h + input u, s = sum_n C h + D u. Complex state: s = 2 Re(sum C h) + D u.
   y = s silu(z); without z, y = s.
   `bc` holds B_t then C_t: (2N), or Re B, Im B, Re C, Im C: (4N). */
struct scan_args {
    enum mixer_kind mixer;
    bool complex_state;
    int n_batch;
    int64_t n_time;
    int inner, n_state;
    float *y;             /* (B,T,E) */
    const float *u;       /* (B,T,E) */
    const float *z;       /* (B,T,E), ld_z; or NULL */
    const float *dt_raw;  /* (B,T,E); selective only, as dt_bias and bc */
    const float *dt_bias; /* (E) */
    const float *bc;      /* (B,T,2N or 4N), ld_bc */
    const float *coef;
    const float *d;  /* (E) */
    float *state;    /* h (E,N[,2]) a stream */
    float *entering; /* scan_entering_size floats, the states entering each chunk of the
                        backend's own length, for the backward; NULL if there is none */
    bool rounded;    /* y and z, and of the backward dy and dz */
    int64_t ld_z, ld_bc, ld_state;
};

/* Needs `entering` of the forward, and nothing else of size L N. */
struct scan_backward_args {
    struct scan_args forward; /* y and state are not looked at */
    const float *dy;          /* (B,T,E) */
    float *du;                /* (B,T,E) */
    float *dz;                /* (B,T,E), ld_dz; if there is a z */
    float *ddt_raw;           /* (B,T,E) selective */
    float *dbc;               /* (B,T,2N or 4N), ld_dbc; selective; set, not added to */
    float *ddt_bias;          /* (E) += ; selective */
    float *dcoef;             /* += , in coef's layout */
    float *dd;                /* (E) += */
    float *dstate;            /* (E,N[,2]) a stream, in place */
    int64_t ld_dz, ld_dbc;
};

/* Pools see time as frames of p ticks; f0 is the absolute index of the chunk's first fine tick, so
   frame l holds ticks l*p .. l*p+p-1. F = (f0+T)/p - f0/p frames end inside the chunk. */
struct frames_args {
    float *frames;    /* (B,F,H*p), feature h*p+s, s = 0 oldest */
    float *x;         /* (B,T,H) */
    const float *add; /* (B,T,H) added to x by emit; or NULL */
    float *state;     /* gather: (p,H); emit: (up_shift,p,H); a stream */
    int64_t ld_state;
    int n_batch;
    int64_t f0, n_time; /* in fine ticks */
    int width, pool, up_shift;
};

/* Loss of each row in nats, and its gradient. */
struct cross_entropy_args {
    float *nats;            /* (M): -ln softmax(logits)[target]; 0 where masked */
    float *dlogits;         /* (M,V) = scale (softmax - onehot), 0 where masked; may be logits;
                               NULL: not wanted */
    const float *logits;    /* (M,V) */
    const uint8_t *targets; /* (M) */
    const uint8_t *mask;    /* (M) 1 counts, 0 does not; NULL: all count */
    float scale;
    const float *scale_more; /* one number, which multiplies scale; NULL: 1 */
    int64_t n_rows;
};

/* A part of each of some rows of bytes. */
struct codes_range {
    int64_t n_rows, clip, begin, length;
    uint8_t before;
};

/* The next code of each stream: design "Sampling". Stream i of the batch draws the noise of stream
   `first_stream + i`. */
struct sample_args {
    uint8_t *codes;             /* (B) */
    float *nats;                /* (B): -ln p(code), untempered, untruncated, without guidance */
    const float *logits;        /* (B,V) */
    const float *without_label; /* (B,V) for guidance; NULL: none */
    struct sampling sampling;
    int64_t n; /* index of the sample to be made */
    uint32_t first_stream;
    int n_batch;
};

/* A range of weights that is updated alike. */
struct weight_range {
    int64_t offset, size;
    float lr;    /* of this step */
    float decay; /* weight decay, decoupled */
};

/* AdamW (Loshchilov & Hutter 2019) with the gradient scaled to a global norm of at most `clip`,
   and the moving average of the weights. If *grad_norm_sq or *loss is not finite, nothing changes:
   so nobody has to wait for them before asking for an update. */
struct adamw_args {
    float *w, *m, *v, *average; /* weights, moments, averaged weights (NULL: none) */
    const float *g;
    const double *grad_norm_sq; /* one number, from sum_squares */
    const double *loss;         /* one number; or NULL */
    float clip;                 /* 0: no clipping */
    float beta1, beta2, eps;
    int64_t step; /* 1 for the first update: bias correction */
    float average_decay;
    const struct weight_range *ranges; /* host memory */
    int n_ranges;
};

/* --- the recurrent engine (design 6) -------------------------------------------------------- */

/* A network as an engine reads it: backend memory that stays as it is while the engine is open. */
struct decoder_net {
    const struct plan *plan;
    const float *weights;
    const float *coef;          /* what ops->coef made */
    const int64_t *coef_offset; /* of each layer, in coef; host memory */
};

struct decoder_options {
    int n_streams;
    bool guided; /* a second row a stream, without label: rows n_streams.. */
    enum precision precision;
    enum decode_threads threads;
    bool round_inputs; /* what products read is rounded to half precision too, but for dt: as the
                          CUDA engine always does. CPU: to measure what that costs */
    bool at_once;      /* run every tier when it ticks; else deeper tiers' work is spread over the
                          samples that may wait for it: the same bits, a flatter cost */
};

/* All pointers are host memory. */
struct decode_args {
    int64_t n_samples;
    uint8_t *codes;        /* (n_streams, n_samples): made */
    const uint8_t *forced; /* (n_streams, n_samples): heard instead of drawn (codes may then be
                              NULL); NULL: drawn */
    double *nats;          /* (n_streams) += -ln p of the codes, untempered, untruncated, without
                              guidance; or NULL */
    float *logits;         /* (n_rows, n_samples, V); or NULL */
    const int32_t *labels; /* (n_rows), from the first of these samples on */
    float *seconds;        /* (n_samples): what each took; or NULL */
    struct sampling sampling;
    int64_t noise_n; /* index of the first sample's noise */
    uint32_t first_stream;
};

struct decoder;

struct ops {
    const char *name; /* "cpu avx2", ... for `hiss info` and logs */
    int scan_chunk;   /* ticks between the states a forward scan keeps */

    /* Bytes of scratch that the operations of this plan need for chunks of n_time samples or any
       fewer, for backend_reserve. */
    size_t (*workspace)(struct backend *be, const struct plan *plan, int n_batch, int64_t n_time,
                        bool backward);
    /* Floats in a layer's coef, 0 if it is no mixer. */
    int64_t (*coef_size)(const struct layer *layer);

    /* y[m] = w[codes[m]]; backward: dw[codes[m]] += dy[m]. */
    void (*embed)(struct backend *be, float *y, const float *w, const uint8_t *codes,
                  int64_t n_rows, int width);
    void (*embed_backward)(struct backend *be, float *dw, const float *dy, const uint8_t *codes,
                           int64_t n_rows, int width);
    /* to (n_rows, length) = bytes begin .. begin+length-1 of the rows of from (n_rows, clip), in
       backend memory both. begin may be -1: the byte before a row is `before`. */
    void (*codes_slice)(struct backend *be, uint8_t *to, const uint8_t *from,
                        const struct codes_range *range);
    /* y[b,t] = x[b,t] + table[labels[b]], y = x for label -1; y may be x.
       backward: dtable[labels[b]] += sum_t dy[b,t]. */
    void (*label_add)(struct backend *be, float *y, const float *x, const float *table,
                      const int32_t *labels, int n_batch, int64_t n_time, int width);
    void (*label_add_backward)(struct backend *be, float *dtable, const float *dy,
                               const int32_t *labels, int n_batch, int64_t n_time, int width);

    /* y = x r w, r = 1/sqrt(mean x^2 + eps) a row, kept (M) for the backward (r may be NULL). Zhang
       & Sennrich 2019. */
    void (*rmsnorm)(struct backend *be, const struct norm_args *a);
    void (*rmsnorm_backward)(struct backend *be, const struct norm_backward_args *a);

    void (*linear)(struct backend *be, const struct linear_args *a);
    void (*linear_backward)(struct backend *be, const struct linear_backward_args *a);
    void (*conv_silu)(struct backend *be, const struct conv_args *a);
    void (*conv_silu_backward)(struct backend *be, const struct conv_backward_args *a);
    void (*coef)(struct backend *be, const struct coef_args *a);
    void (*coef_backward)(struct backend *be, const struct coef_args *a);
    void (*scan)(struct backend *be, const struct scan_args *a);
    void (*scan_backward)(struct backend *be, const struct scan_backward_args *a);

    /* y = gelu(x), the erf form; backward dx = dy gelu'(x), dx may be dy. n entries. */
    void (*gelu)(struct backend *be, float *y, const float *x, int64_t n);
    void (*gelu_backward)(struct backend *be, float *dx, const float *dy, const float *x,
                          int64_t n);
    /* y = a sigmoid(g) + add0 + add1 for x = [a | g] (M, 2 width); add0, add1 may be NULL, or y.
       backward: dx (M, 2 width). */
    void (*glu)(struct backend *be, float *y, const float *x, const float *add0, const float *add1,
                int64_t n_rows, int width);
    void (*glu_backward)(struct backend *be, float *dx, const float *dy, const float *x,
                         int64_t n_rows, int width);
    /* y += x. n entries. */
    void (*add)(struct backend *be, float *y, const float *x, int64_t n);

    /* gather: collects x into frames; the unfinished frame stays in the state, its dead slots 0.
       backward: x holds dx (set), frames dframes, state dstate (in place). */
    void (*frames_gather)(struct backend *be, const struct frames_args *a);
    void (*frames_gather_backward)(struct backend *be, const struct frames_args *a);
    /* emit: x at tick f = tick f mod p of frame f/p - up_shift (+ add), read before a frame that
       ends at f is stored; frames before the first are 0. backward: x holds dx (read), frames
       dframes (set), state dstate (in place). SaShiMi, Goel et al. 2022. */
    void (*frames_emit)(struct backend *be, const struct frames_args *a);
    void (*frames_emit_backward)(struct backend *be, const struct frames_args *a);

    void (*cross_entropy)(struct backend *be, const struct cross_entropy_args *a);
    void (*sample)(struct backend *be, const struct sample_args *a);

    /* Whether the backend's engine can do what is asked of it: false with error_text, and the
       generic walk serves. NULL: it can do everything. */
    bool (*decoder_fits)(struct backend *be, const struct plan *plan,
                         const struct decoder_options *o);
    /* An engine that makes one sample after the other: the forward with T = 1 and `sample`, to
       rounding (fp32) or to the precision asked for, for any plan. Its rows do not depend on each
       other. Closing it leaves the net. NULL with error_text; a backend without an engine has NULL
       here, and the generic walk serves. */
    struct decoder *(*decoder_open)(struct backend *be, const struct decoder_net *net,
                                    const struct decoder_options *o);
    void (*decoder_close)(struct decoder *d);
    /* The state before sample n: canonical (n_rows, plan.state_size) in backend memory, and the
       next input code of each row (host). Exporting what was imported gives the same bits. */
    void (*decoder_import)(struct decoder *d, const float *state, int64_t n, const uint8_t *inputs);
    void (*decoder_export)(struct decoder *d, float *state);
    void (*decode)(struct decoder *d, const struct decode_args *a);
    /* How the engine uses processors: what DECODE_AUTO became. */
    enum decode_threads (*decoder_threads)(const struct decoder *d);

    /* *sum = sum of x^2 in double. n entries. */
    void (*sum_squares)(struct backend *be, double *sum, const float *x, int64_t n);
    /* *sum += sum of x in double. n entries. */
    void (*sum_add)(struct backend *be, double *sum, const float *x, int64_t n);
    void (*adamw)(struct backend *be, const struct adamw_args *a);

    /* The plainest work this code can do, to be timed: the limits that the operations are measured
       against. On the calling thread; any number of threads at once, each with its own data. NULL
       in a backend that does not compute on the calling thread. The results only keep the compiler
       from leaving the work out. */
    /* n multiply-adds from registers, in independent chains; n is a multiple of LIMIT_ROUND. */
    float (*limit_multiply)(int64_t n);
    /* n exponentials as the scan makes them, a multiple of LIMIT_ROUND. */
    float (*limit_exp)(int64_t n);
    /* Reads n floats (a multiple of LIMIT_ROUND) `times` over. */
    float (*limit_read)(const float *x, int64_t n, int64_t times);
    /* What the decode engine spends its time in, alone: `times` products of a packed matrix
       (limit_product_outputs(precision), LIMIT_INPUTS), whose weights fill LIMIT_WEIGHTS bytes,
       with one vector; `times` ticks of LIMIT_CHANNELS selective channels of LIMIT_STATES real
       states. memory: LIMIT_MEMORY bytes of backend memory, which a call with 0 `times` fills. */
    float (*limit_product)(enum precision precision, void *memory, int64_t times);
    float (*limit_state)(void *memory, int64_t times);
    /* The same of a device, all of it, which the call only begins; NULL where the calling thread
       computes. At least n multiply-adds, or exponentials; returns how many. */
    int64_t (*limit_device_multiply)(struct backend *be, int64_t n);
    int64_t (*limit_device_exp)(struct backend *be, int64_t n);
};

enum {
    LIMIT_ROUND = 192,
    LIMIT_INPUTS = 256,
    LIMIT_WEIGHTS = 256 << 10, /* too many for the first cache, few enough for the second */
    LIMIT_CHANNELS = 512,
    LIMIT_STATES = 16,
    LIMIT_MEMORY = 4 << 20,
};

static inline int limit_product_outputs(enum precision precision)
{
    const int bytes = precision == PRECISION_FP32 ? 4 : precision == PRECISION_FP16 ? 2 : 1;
    return LIMIT_WEIGHTS / (bytes * LIMIT_INPUTS);
}

/* Floats of scan_args.entering. */
static inline int64_t scan_entering_size(const struct ops *ops, const struct layer *layer,
                                         int n_batch, int64_t n_time)
{
    int64_t chunks = (n_time + ops->scan_chunk - 1) / ops->scan_chunk;
    return n_batch * chunks * layer->inner * layer->n_state * (layer->complex_state ? 2 : 1);
}

#ifdef __cplusplus
}
#endif

#endif
