/*
 * A prompt: given sound as a model's codes, levelled by the model's own rule.
 *
 * Main thread.
 */
#ifndef HISS_APP_PROMPT_H
#define HISS_APP_PROMPT_H

#include "model/hiss.h"

struct prompt {
    uint8_t *codes; /* (n) */
    int64_t n;
};

/* Reads a sound file of any format and rate. What was wrong with it, but not fatal, is said as a
   warning. False with error_text. */
bool prompt_load(struct prompt *p, const char *path, const struct hiss_model *m);
void prompt_free(struct prompt *p);

#endif
