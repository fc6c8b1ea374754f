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
/* The same of n samples in memory at the model's rate; x is levelled in place. *silent: they were
   too quiet to be levelled. Any thread. */
bool prompt_encode(struct prompt *p, float *x /* (n) */, int64_t n, const struct hiss_model *m,
                   bool *silent);
void prompt_free(struct prompt *p);

#endif
