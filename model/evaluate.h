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
    int64_t max_time;
    struct state state;
    struct chunk chunk;      /* unless there is a decoder */
    struct decoder *decoder; /* hears the codes instead */
    uint8_t *in, *targets;   /* backend memory (max_time) */
    int32_t *label;          /* backend memory (1) */
    float *nats;             /* backend memory (max_time) */
    float *host_nats;        /* (max_time) */
    uint8_t *host_in;        /* (max_time) */
    float *each; /* the caller's; each code's -ln p goes there (n of evaluator_run), or NULL, as
                    with a decoder, which only gives sums */
};

/* Samples go through in chunks of at most max_time. engine: NULL for the chunk forward, or how
   the recurrent engine is opened, on one stream, which then hears the samples one by one: what is
   measured is what would sing. False with error_text. */
bool evaluator_open(struct evaluator *e, struct net *net, int64_t max_time,
                    const struct decoder_options *engine);
void evaluator_close(struct evaluator *e);

/* The sum of -ln p over the n codes of one piece of sound (host memory), from zero state and the
   start code. context > 0: state and start code anew every `context` samples. logits: called with
   each chunk's logits (host, (t,V)) in order, or NULL; returning false stops. False with
   error_text. */
bool evaluator_run(struct evaluator *e, const uint8_t *codes, int64_t n, int label, int64_t context,
                   double *nats, bool (*logits)(void *arg, const float *logits, int64_t t),
                   void *arg);

#endif
