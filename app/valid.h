/*
 * Validation while training: exact bits of a fixed selection of clips of the valid split, each from
 * zero state, padding not counted; and what these clips are like (hiss.stats).
 *
 * Main thread.
 */
#ifndef HISS_APP_VALID_H
#define HISS_APP_VALID_H

#include "app/guard.h"
#include "audio/dataset.h"
#include "model/evaluate.h"

#include <stdbool.h>

struct valid {
    const struct dataset *data;
    struct evaluator evaluator;
    int64_t n_clips, n_windows; /* clip i is window i n_windows / n_clips */
    int64_t clip_samples;
    uint8_t *codes, *mask;              /* (clip_samples) */
    float *x, *each_nats;               /* (clip_samples) */
    double *bits, *level_db, *flatness; /* (n_clips) */
    struct guard_window *windows;       /* (n_guard of at most n_clips guard_a_clip) */
    int64_t n_guard, guard_a_clip;
};

/* Clips spread evenly over the split, at most max_clips. False with error_text. */
bool valid_open(struct valid *v, const struct dataset *data, struct net *net, int64_t max_clips);
void valid_close(struct valid *v);

/* Bits a sample under the net's present weights. *stopped: a signal came and there is no result.
   False with error_text. */
bool valid_run(struct valid *v, double *bits, bool *stopped);

/* The last result as hiss.stats: JSON with quantiles over clips. The caller frees it. NULL with
   error_text. */
char *valid_stats(const struct valid *v);

#endif
