/*
 * Training: what one optimiser step is. The loop around it, files and screens are app's.
 *
 * Main thread.
 */
#ifndef HISS_MODEL_TRAINER_H
#define HISS_MODEL_TRAINER_H

#include "model/chunk.h"

struct train_settings {
    int batch;       /* clips an optimiser step */
    int micro_batch; /* clips at once, divides batch; less memory, the same gradient */
    int64_t clip;    /* samples a clip */
    int64_t slice;   /* samples of a clip whose tape is kept at once; 0: all. Less memory for long
                        clips: states entering the slices are kept, the rest computed again */
    bool recompute;  /* keep only what flows between layers */
    bool carry;      /* clips may go on from the state in which those before them ended; clip is a
                        multiple of trainer_window_unit */
    int64_t steps;
    int64_t warmup; /* steps of linear warm-up, then cosine to min_lr */
    double lr, min_lr;
    double beta1, beta2, eps;
    double weight_decay;
    double clip_norm; /* global norm of the gradient; 0: no clipping */
    double ema;       /* decay of the averaged weights */
};

struct trainer {
    struct net *net;
    struct train_settings settings;
    int64_t step;                   /* optimiser steps asked for so far, skipped ones included */
    int64_t n_updates;              /* those that changed the weights */
    float *grads, *m, *v, *average; /* backend memory, laid out as the weights */
    struct backend_inlet *inlet;    /* what comes from the host for a step: */
    void *arrived;                  /* backend memory, in which lie */
    float *scale;                   /* of the loss, 1 / the step's targets */
    int32_t *labels;                /* (batch) */
    uint8_t *codes;                 /* (batch, 1 + clip): each clip behind the code before it */
    uint8_t *masks;                 /* (batch, clip) */
    int64_t posted_targets;         /* of the batch that was posted last; -1: its step has begun */
    int64_t n_targets;              /* of the step that was begun last */
    float *nats;                    /* backend memory (micro_batch, slice or clip) */
    uint8_t *in, *targets, *mask;   /* likewise */
    double *outcome;                /* backend memory: loss, squared norm of the gradient */
    struct backend_repeat *repeat;  /* forward and backward of a step */
    float *slice_states;            /* backend memory: states entering the slices */
    float *dstate;
    float *carried;       /* with carry: backend memory (batch, state_size), the states in which
                             the last step's clips ended */
    int64_t *windows;     /* (batch) windows before the last step's clip in whose state it began */
    uint8_t *last;        /* (batch) its last code */
    bool *broken;         /* (batch) the state is of no use: the next clip begins anew */
    uint8_t *posted_last; /* (batch) last, of the clips that were posted last */
    bool *posted_on;      /* (batch) whether they go on from those before them */
    struct state state;
    struct chunk chunk;
    struct weight_range *ranges; /* parameters that are updated alike */
    double *range_own_lr;        /* of each range: param.own_lr */
    int n_ranges;
    bool averaged_in_use;
};

/* One optimiser step's outcome. */
struct train_result {
    double nats; /* sum over the targets */
    int64_t n_targets;
    double grad_norm; /* before clipping */
    double lr;
    bool skipped; /* loss or gradient was not finite: the weights did not change */
};

/* Starts with the net's present weights, zero moments. False with error_text. */
bool trainer_open(struct trainer *t, struct net *net, const struct train_settings *settings);
void trainer_close(struct trainer *t);

/* One optimiser step is three calls: post its batch, begin it, end it. Between begin and end, while
   a device computes, the batch of the next may be posted, and is on its way beside the work.

   post: host memory, the caller's again on return. codes (batch, clip), the targets; mask (batch,
   clip), 1 counts; labels (batch), -1 none; goes_on (batch), with settings.carry: the clip is what
   follows in the recording on the row's clip of the step before. Then it begins with the state in
   which that one ended and with its last code, unless that step was skipped; the gradient stays
   within the clip (truncated back-propagation through time). NULL, and every other clip: zero state
   and the start code.
   end: waits. False with error_text only if the backend failed. */
void trainer_post(struct trainer *t, const uint8_t *codes, const uint8_t *mask,
                  const int32_t *labels, const uint8_t *goes_on);
void trainer_begin(struct trainer *t);
bool trainer_end(struct trainer *t, struct train_result *result);

/* All three. */
bool trainer_step(struct trainer *t, const uint8_t *codes, const uint8_t *mask,
                  const int32_t *labels, const uint8_t *goes_on, struct train_result *result);

/* What the length of clips must be a multiple of for the state to be carried: then the pools stand
   at the beginning and at the end of a clip alike. */
int64_t trainer_window_unit(const struct plan *plan);

/* Learning rate of optimiser step `step` (0 first): linear warm-up, cosine to min_lr. */
double trainer_lr(const struct train_settings *s, int64_t step);

/* While on, the net holds the averaged weights (for validation and samples). Off before the next
   step, trainer_save and trainer_load. */
void trainer_use_average(struct trainer *t, bool on);

/* The whole state of training as one file beside the model: raw and averaged weights, moments,
   counters. trainer_load is exact: training goes on as if never stopped. */
bool trainer_save(struct trainer *t, const char *path);
bool trainer_load(struct trainer *t, const char *path);

#endif
