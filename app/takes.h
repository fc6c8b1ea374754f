/*
 * Several takes at once: workers, each with a model of its own and one thread, make groups of takes
 * in turn. A single take has all threads for itself. What is written does not depend on their
 * number.
 *
 * takes_run: main thread, which shows how it goes; the workers end before it returns.
 */
#ifndef HISS_APP_TAKES_H
#define HISS_APP_TAKES_H

#include "app/take.h"

struct takes_job {
    const char *model_path, *backend, *precision;
    int n_threads; /* at least 1 */
    int64_t n_takes;
    struct take_job take; /* of take i the stream is i */
    /* Path of take i, and what stands in its text chunk (allocated; freed here). */
    void (*name)(void *arg, int64_t i, char *path, size_t size);
    char *(*comment)(void *arg, int64_t i);
    void *arg;
    int rate; /* Hz */
};

/* results (n_takes): of takes not begun when a signal came, n is 0. A take cut short by a signal is
   finalised as it is, unless nothing of it was made yet. False with error_text. */
bool takes_run(const struct takes_job *job, struct take_result *results);

#endif
