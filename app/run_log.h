/*
 * The log of a run, read back.
 *
 * Any thread.
 */
#ifndef HISS_APP_RUN_LOG_H
#define HISS_APP_RUN_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct run_log {
    int64_t n;         /* lines that name a step */
    double *heard;     /* (n) samples heard so far */
    double *bits;      /* (n) of training since the line before; NAN: none */
    double *valid;     /* (n) of validation; NAN: none at that step */
    double *lr;        /* (n) */
    int64_t last_step; /* of the last line */
    int rate;          /* Hz */
};

/* Reads log.ndjson and settings.ini of a run directory. A line torn by a crash, or being written
   just now, is passed over. False with error_text: no run, or nothing logged yet. */
bool run_log_load(struct run_log *log, const char *run);
void run_log_free(struct run_log *log); /* a zeroed one is fine */

#endif
