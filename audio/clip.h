/*
 * Training clips: clip number `index` of a data set's train split, index = step * batch + row.
 *
 * A clip is a function of (data set, its options, index) and nothing else: any thread, any order, a
 * resumed run, memory or temporary file give the same bytes.
 *
 *   whole   every epoch (as many clips as there are files) hears every file once, in an order drawn
 *           anew for each epoch: a keyed permutation of the file numbers, computed, not stored
 *   crop    file and offset are drawn for each clip, every second of sound being as likely
 *
 * With `carry` above 1 clips come in stays: a stay is `carry` windows of clip_samples, one after
 * the other in a recording that is drawn for it. Where a recording ends the next window begins
 * another one. A window is a function of (stay, window) and the data set; row j of step s is window
 * s mod carry of stay (s / carry) batch + j, which without carrying is clip s batch + j.
 *
 * Then, if asked for: speed (the sound resampled by a factor drawn from [1 - speed, 1 + speed]),
 * the level rule, gain (drawn in dB from [-gain_db, 0]), label dropout.
 *
 * A maker is scratch memory: one per thread. The data set must outlive it.
 */
#ifndef HISS_AUDIO_CLIP_H
#define HISS_AUDIO_CLIP_H

#include "audio/dataset.h"

struct clip_maker;

struct clip_maker *clip_maker_open(const struct dataset *d); /* NULL with error_text */
void clip_maker_close(struct clip_maker *m);                 /* NULL is fine */

/* Makes clip `index`. codes and mask: (clip_samples); mask is 1 where a sample is a target.
   label is NO_LABEL where there is none or it was dropped. False with error_text only if the
   temporary file cannot be read. */
bool clip_make(struct clip_maker *m, uint64_t index, uint8_t *codes, uint8_t *mask, int32_t *label);

/* Makes window `window` (below carry) of stay `stay`. *goes_on: 1 if it follows in the recording on
   the window before it, of which gain and label are the same. */
bool clip_make_window(struct clip_maker *m, uint64_t stay, int64_t window, uint8_t *codes,
                      uint8_t *mask, int32_t *label, uint8_t *goes_on);

/* How a clip was drawn: for listings and tests. */
struct clip_draw {
    int64_t item;   /* of the train split */
    int64_t from;   /* first sample, within the item */
    float speed;    /* factor, 1: none */
    float gain;     /* factor, 1: none */
    bool no_label;  /* dropped */
    int64_t before; /* windows of this recording before this one in the stay */
};
struct clip_draw clip_draw(const struct dataset *d, uint64_t index);
struct clip_draw clip_draw_window(const struct dataset *d, uint64_t stay, int64_t window);

/* Clips that make one epoch: every file once (whole), or the set's length over the clip's, rounded
   up (crop). At least 1. */
uint64_t dataset_clips_per_epoch(const struct dataset *d);

#endif
