/*
 * A training run in progress: what train.c drives, train_report.c tells, and listen.c makes
 * audible.
 *
 * Main thread.
 */
#ifndef HISS_APP_TRAINING_H
#define HISS_APP_TRAINING_H

#include "app/train.h"
#include "app/valid.h"
#include "audio/loader.h"

/* What has happened since the last line of the log. */
struct window {
    double nats, seconds;
    int64_t n_targets, n_samples, n_steps;
    int64_t n_carried; /* windows heard before the clips with their states carried, all of them */
    int64_t most_carried;  /* before one clip */
    double seconds_a_step; /* of the last windows, for the time that is left */
};

struct training {
    const struct train_job *job;
    const struct settings *s;
    struct backend *backend;
    struct net net;
    struct trainer trainer;
    struct loader *loader;
    int64_t posted_samples; /* of the batch that the next step takes; 0: none was posted yet */
    struct valid valid;
    struct progress progress;
    struct provenance from;
    char from_data[FILE_PATH_MAX];
    struct window window;
    double valid_bits;  /* NAN: none yet */
    bool validated;     /* at this very step */
    int64_t saved_step; /* of the last checkpoint */
};

/* The status line; a line of the log, which begins a new window; the first and last words. */
void report_status(const struct training *t, const struct train_result *result);
bool report_log(struct training *t, const struct train_result *result);
void report_start(const struct training *t);
void report_end(const struct training *t);

/* Writes samples/step-N.wav and, where hiss has pictures, its spectrogram beside it: what the model
   sounds like now, always with the same noise, going through the labels. False with error_text. */
bool training_listen(struct training *t);

/* Draws curve.png: the run's log so far. Nothing where hiss has no pictures; trouble is said in a
   warning and no reason to end a training. */
void training_draw(const struct training *t);

#endif
