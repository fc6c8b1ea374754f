/*
 * Checkpoints: a directory step-N/ with the model (averaged weights, complete in itself), the whole
 * state of training, and how far it had come. It is built as step-N.part and renamed when whole.
 *
 * Main thread.
 */
#ifndef HISS_APP_CHECKPOINT_H
#define HISS_APP_CHECKPOINT_H

#include "app/run.h"
#include "app/settings.h"
#include "model/trainer.h"

/* How far training has come, beside what the trainer knows. */
struct progress {
    int64_t step;           /* steps done */
    int64_t heard;          /* samples that were targets */
    int64_t skipped;        /* steps without a finite gradient */
    int64_t skipped_in_row; /* the last ones */
    double best_bits;       /* of a validation; INFINITY: none yet */
    char *stats;            /* hiss.stats of the last validation, allocated; NULL: none yet */
};

/* What a model file says of itself. */
struct provenance {
    const struct settings *settings;
    const char *data; /* "digits: 2565 files, 0.31 h" */
};

/* Writes the averaged weights as a model file. */
bool model_write(const char *path, struct trainer *t, const struct progress *p,
                 const struct provenance *from);

/* Writes step-N/, unless it is there. On failure nothing of it stays. False with error_text. */
bool checkpoint_save(const struct run *r, struct trainer *t, const struct progress *p,
                     const struct provenance *from);

/* Restores the run's last checkpoint: training goes on exactly as if it had never stopped. *step:
   the checkpoint's, or -1: there is none, and all stays as it is. False with error_text, also if
   the checkpoint's configuration is not `t->net->config` (other labels, say). */
bool checkpoint_load(const struct run *r, struct trainer *t, struct progress *p, int64_t *step);

#endif
