/*
 * Exact likelihood of given sound under a net, and its logits.
 *
 * One thread at a time per evaluator.
 */
#ifndef HISS_MODEL_EVALUATE_H
#define HISS_MODEL_EVALUATE_H

#include "model/chunk.h"

struct evaluator {
    struct net *net;
    struct chunk chunk;
    struct state state;
    uint8_t *in, *targets; /* backend memory (chunk.max_time) */
    int32_t *label;        /* backend memory (1) */
    float *nats;           /* backend memory (chunk.max_time) */
    float *host_nats;      /* (chunk.max_time) */
    uint8_t *host_in;      /* (chunk.max_time) */
};

/* Samples go through in chunks of at most max_time. False with error_text. */
bool evaluator_open(struct evaluator *e, struct net *net, int64_t max_time);
void evaluator_close(struct evaluator *e);

/* The sum of -ln p over the n codes of one piece of sound (host memory), from zero state and the
   start code. context > 0: state and start code anew every `context` samples. nats_of (n), host: of
   each sample, or NULL. logits: called with each chunk's logits (host, (t,V)) in order, or NULL;
   returning false stops. False with error_text. */
bool evaluator_run(struct evaluator *e, const uint8_t *codes, int64_t n, int label, int64_t context,
                   double *nats, float *nats_of,
                   bool (*logits)(void *arg, const float *logits, int64_t t), void *arg);

#endif
