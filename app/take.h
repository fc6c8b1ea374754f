/*
 * A take: one performance of a model, from its first sample to its last, into a file.
 *
 * What a take is follows from the model, the job and the number of its stream; never from threads
 * or from other takes. Any thread, each with a model of its own.
 */
#ifndef HISS_APP_TAKE_H
#define HISS_APP_TAKE_H

#include "audio/writer.h"
#include "model/hiss.h"

#include <stdatomic.h>

struct take_job {
    int64_t n_samples; /* new ones, without the prompt */
    const int *labels; /* (n_labels), one a clip, in turn; n_labels 0: none */
    int n_labels;
    const uint8_t *prompt; /* (n_prompt) codes */
    int64_t n_prompt;
    bool with_prompt; /* write the prompt first */
    struct hiss_sampling sampling;
    uint32_t stream; /* which noise of the seed */
};

struct take_result {
    int64_t n;        /* samples made: fewer than asked for if a signal came */
    double nats;      /* -ln p of those scored */
    int64_t n_scored; /* without the padding at the ends of clips */
};

/* Makes a take, and writes it as it is made, in constant memory. made: grows by the samples made,
   for a status line. False with error_text; what was written stays in the writer. */
bool take_make(struct hiss_model *m, const struct take_job *job, struct writer *w,
               _Atomic int64_t *made, struct take_result *result);

/* Bits a sample; 0 if nothing was scored. */
double take_bits(const struct take_result *r);

#endif
