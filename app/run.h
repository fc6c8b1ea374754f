/*
 * A run directory: where a training run keeps all it is and makes.
 *
 *     settings.ini   the effective settings       data -> the data folder
 *     log.ndjson     a line a logged step         index.ndjson   a line a file of the data set
 *     step-N/        the last checkpoints         best -> the one with the best validation
 *     samples/       what it sounded like         lock           so that two runs do not meet
 *     curve.png      its log as a picture
 *
 * Main thread.
 */
#ifndef HISS_APP_RUN_H
#define HISS_APP_RUN_H

#include "base/file.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct run {
    char path[FILE_PATH_MAX];
    bool resumed; /* settings.ini was there */
    int lock;
    FILE *log;
};

/* Makes the directory if it is not there and locks it. A folder that holds other things is refused.
   False with error_text. */
bool run_open(struct run *r, const char *path);
void run_close(struct run *r);

/* Does `path` hold a run? */
bool run_exists(const char *path);

/* The folder its data lies in: kept as a link, so that the path may have any length. */
bool run_get_data(const struct run *r, char path[FILE_PATH_MAX]);
bool run_set_data(const struct run *r, const char *path);

/* Refuses a run directory inside its own data, whose samples would be found as data. `path` need
   not be there yet; `data` is resolved. */
bool run_check_apart(const char *path, const char *data);

/* The latest whole checkpoint: its step, or -1 if there is none. */
int64_t run_latest(const struct run *r, char path[FILE_PATH_MAX]);

/* How many whole checkpoints there are. */
int run_n_checkpoints(const struct run *r);

/* Removes all checkpoints but the last `keep` and the best. */
void run_prune(const struct run *r, int64_t keep);

/* Makes best point at step-N. */
bool run_set_best(const struct run *r, int64_t step);

/* Opens the log, dropping lines of steps after `step`, which a resumed run makes again. */
bool run_open_log(struct run *r, int64_t step);

/* Appends a line and frees the object. */
bool run_log(struct run *r, json_t *line);

#endif
