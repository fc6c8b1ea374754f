/*
 * What stands in the text chunk of a sound file that hiss made: a JSON object with all it takes to
 * make it again (app/command_again.c), but the model itself, which is named by its identity.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_PROVENANCE_H
#define HISS_APP_PROVENANCE_H

#include "model/hiss.h"

#include <jansson.h>

/* How it is written: short, and floats come back as they were. */
#define PROVENANCE_DUMP (JSON_COMPACT | JSON_REAL_PRECISION(9))

enum { PROVENANCE_HASH_MAX = 65 };

/* A new object: version, the model's identity and path, backend (with its instruction set),
   precision, seed, temperature, top_p, guidance. NULL: out of memory. */
json_t *provenance_begin(const struct hiss_model *m, const char *model_path, const char *precision,
                         const struct hiss_sampling *sampling);

/* The other way: false with error_text if it is not all there. */
bool provenance_sampling(const json_t *object, struct hiss_sampling *sampling);

/* SHA-256 of a prompt's codes, in hex. */
void provenance_hash(char hash[PROVENANCE_HASH_MAX], const uint8_t *codes /* (n) */, int64_t n);

#endif
