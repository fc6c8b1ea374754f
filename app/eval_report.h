/*
 * What hiss eval prints.
 *
 * Main thread.
 */
#ifndef HISS_APP_EVAL_REPORT_H
#define HISS_APP_EVAL_REPORT_H

#include "app/score.h"
#include "model/config.h"

struct eval_report {
    const struct scores *scores;
    const struct config *config; /* for the labels' names */
    const char *id, *backend, *label_use;
    bool per_label, per_file;
};

/* To standard output: one JSON object, or text. False with error_text (memory). */
bool eval_print_json(const struct eval_report *e);
bool eval_print_text(const struct eval_report *e);

#endif
