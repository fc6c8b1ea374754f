/*
 * The guard: notices when a performance has run away, into noise or into silence, and says how to
 * bring it back. Long autoregressive takes do that: a sample off the road makes the next one worse.
 *
 * Noise: over a window the model's surprise (bits a sample) and the spectral flatness are both
 * above anything the validation windows showed, and it lasts. Silence: nothing moves for longer
 * than a rest; models that sing in clips are allowed to be silent after a word, and start anew by
 * themselves, so there only noise counts. Both hold against the statistics that train stored in
 * the model file (hiss.stats, "windows").
 *
 * The answer is to go back to a state from before, with other noise and, after noise, at a lower
 * temperature for a while; further back and cooler if that does not help, for longer if the trouble
 * comes back with the temperature; and after GUARD_TRIES times in a row to let it be for some
 * seconds, so that a take comes to its end at any setting. All of it is a function of the samples
 * heard: the same take has the same troubles.
 *
 * A guard belongs to one thread at a time; guard_window_* may be called from any.
 */
#ifndef HISS_APP_GUARD_H
#define HISS_APP_GUARD_H

#include "app/measure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    GUARD_TRIES = 4,   /* in a row */
    GUARD_WINDOW = 4,  /* hops */
    GUARD_BACK_S = 8,  /* at most; keep states and samples for so long */
    GUARD_LONG_S = 20, /* takes from here on are guarded unless told otherwise */
};

/* Samples between two judgements: about an eighth of a second, a multiple of 256. */
int64_t guard_hop(int rate);

/* A window, GUARD_WINDOW hops long, as it is measured in training and here. */
struct guard_window {
    double bits;     /* the model's, a sample */
    double level_db; /* of what moves */
    double flatness;
};
struct guard_window guard_window_measure(const float *x /* (n) */, int64_t n, double nats);

/* The quantiles of n windows as JSON: for hiss.stats. Flatness counts in the louder half alone: a
   pause is flat and no noise. NULL: out of memory. */

json_t *guard_windows_json(const struct guard_window *w /* (n) */, int64_t n);

struct guard_limits {
    double bits, flatness; /* above both: noise */
    double level_db;       /* below: silence */
};

/* From a model's hiss.stats. False (no error_text) if it says nothing of windows. */
bool guard_limits_read(struct guard_limits *l, const char *stats);

enum guard_verdict { GUARD_WELL, GUARD_NOISE, GUARD_SILENCE };

struct guard; /* of one performance */

/* clips: the model sings in clips. NULL with error_text. */
struct guard *guard_open(const struct guard_limits *limits, int rate, bool clips);
void guard_close(struct guard *g); /* NULL is fine */

/* Hears the next n samples and their -ln p. The verdict is on the last window. */
enum guard_verdict guard_hear(struct guard *g, const float *x /* (n) */, int64_t n, double nats);

/* What comes next does not follow from what was heard: a jump, a new clip. */
void guard_forget(struct guard *g);

/* What to do about a verdict other than GUARD_WELL. */
struct guard_answer {
    double back_s; /* to a state so old, or the oldest there is */
    uint64_t seed; /* the noise from there on */
};

/* Decides and counts. seed: the performance's own, in the beginning. */
struct guard_answer guard_answer(struct guard *g, enum guard_verdict verdict, uint64_t seed);

/* By what to multiply the temperature now; 1: all is well. */
float guard_cooling(const struct guard *g);

/* How often it answered so far. */
int64_t guard_count(const struct guard *g);

const char *guard_verdict_name(enum guard_verdict v); /* "noise", ... */

#endif
