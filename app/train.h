/*
 * The training run, once its settings, its directory and its data set are there.
 *
 * Main thread.
 */
#ifndef HISS_APP_TRAIN_H
#define HISS_APP_TRAIN_H

#include "app/checkpoint.h"
#include "audio/dataset.h"

struct train_job {
    struct run *run;
    const struct settings *settings;
    const struct dataset *data;
    const char *data_name;
    const char *backend;
    int n_threads; /* 0: all */
    /* Called when the run is known to go on: only now may its folder be written to. */
    bool (*restored)(void *arg);
    void *arg;
};

/* Trains to the last step, or until a signal comes; resumes if the run has a checkpoint. False with
   error_text. */
bool train_run(const struct train_job *job);

#endif
