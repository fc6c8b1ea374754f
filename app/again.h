/*
 * Sound made again from what its file says of itself (app/provenance.h).
 *
 * Main thread.
 */
#ifndef HISS_APP_AGAIN_H
#define HISS_APP_AGAIN_H

#include "audio/writer.h"
#include "model/hiss.h"

#include <jansson.h>

/* A file to make again. */
struct again {
    const char *path;
    const json_t *said;       /* its provenance */
    struct hiss_model *model; /* opened, its precision set */
    int64_t n_samples;        /* that the file has */
    const char *prompt;       /* where the prompt is now; NULL: where it was */
};

/* A take of hiss generate. False with error_text: a prompt that is gone or another, ... */
bool again_take(const struct again *a, struct writer *w);

/* A recording of hiss live, from the event log beside it. False with error_text. */
bool again_live(const struct again *a, struct writer *w);

#endif
