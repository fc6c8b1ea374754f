/*
 * Takes: a take is one performance of a model, from its first sample to its last, into a file.
 *
 * What a take is follows from the model, the job and the number of its stream; never from threads
 * or from other takes. Any thread, each with a model of its own.
 */
#ifndef HISS_APP_TAKE_H
#define HISS_APP_TAKE_H

#include "app/guard.h"
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
    uint32_t stream; /* which noise of the seed; of several takes, the first one's */
    const struct guard_limits *guard; /* NULL: none. Under guard takes are made one at a time: where
                                         one goes back the others would have to wait */
};

enum { TAKES_AT_ONCE = 8 }; /* more together gain nothing */

struct take_result {
    int64_t n;         /* samples made: fewer than asked for if a signal came */
    double nats;       /* -ln p of those scored */
    int64_t n_scored;  /* without the padding at the ends of clips */
    int64_t n_guarded; /* how often the guard stepped in */
};

/* Makes n takes (1 to TAKES_AT_ONCE; 1 under guard) side by side, which costs less than one after
   the other and makes the same bits, and writes each as it is made, in constant memory. Take i has
   noise job->stream + i, writers[i] and results[i]. made: grows by the samples made, for a status
   line. False with error_text; what was written stays in the writers. */
bool takes_make(struct hiss_model *m, const struct take_job *job, int n,
                struct writer *const *writers, _Atomic int64_t *made, struct take_result *results);

/* "three,two,one" or NULL as numbers, at most TAKE_LABELS_MAX. False with error_text: a label that
   the model does not know, or several for one that does not sing in clips. */
enum { TAKE_LABELS_MAX = 256 };
bool labels_read(int labels[TAKE_LABELS_MAX], int *n, const char *names,
                 const struct hiss_model *m);

/* Writes codes as sound. False with error_text. */
bool take_write(struct hiss_model *m, struct writer *w, const uint8_t *codes /* (n) */, int64_t n);

/* Bits a sample; 0 if nothing was scored. */
double take_bits(const struct take_result *r);

#endif
