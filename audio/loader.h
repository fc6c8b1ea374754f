/*
 * The loader: a thread that makes training batches before they are needed.
 *
 * Row j of step s is clip s * batch + j (or a window of a stay: clip.h), whatever the timing. The
 * training loop calls loader_next; the loader thread (with helpers of its own, if n_threads is
 * above 1) fills a ring of `ahead` batches, allocated once. An error there comes out of
 * loader_next.
 *
 * One consumer thread. The data set must outlive the loader and is only read.
 */
#ifndef HISS_AUDIO_LOADER_H
#define HISS_AUDIO_LOADER_H

#include "audio/dataset.h"

struct loader;

struct loader_options {
    int batch;          /* clips of a whole optimiser step */
    int first_row;      /* the rows delivered: [first_row, first_row + n_rows) of each step; */
    int n_rows;         /* 0: all. For training on several machines or processes */
    int ahead;          /* batches kept ready, at least 1 */
    int n_threads;      /* at least 1 */
    int64_t first_step; /* where to begin: a resumed run's next step */
};

struct batch {
    int64_t step;
    int n_rows;             /* B */
    int64_t n_samples;      /* T = clip_samples */
    const uint8_t *codes;   /* (B,T) targets */
    const uint8_t *mask;    /* (B,T) 1: counts in the loss */
    const int32_t *labels;  /* (B) NO_LABEL: none */
    const uint8_t *goes_on; /* (B) 1: follows in the recording on this row of the step before */
    int64_t n_targets;      /* ones in mask */
};

struct loader *loader_open(const struct dataset *d, const struct loader_options *o);
void loader_close(
    struct loader *l); /* stops at once, even in the middle of a batch; NULL is fine */

/* Waits for the next batch and returns it; steps come in order from first_step. The batch belongs
   to the loader and stays valid until the next call. NULL with error_text. */
const struct batch *loader_next(struct loader *l);

#endif
