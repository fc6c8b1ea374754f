/*
 * The model file: one .safetensors file that holds a configuration, its weights and where they
 * came from (design: "Model file"). A checkpoint directory step-N/ holds one too, so every path
 * below may name a file, a step-N directory, or a run directory (its best, else its latest
 * checkpoint).
 *
 * Any thread; no shared state.
 */
#ifndef HISS_MODEL_MODEL_FILE_H
#define HISS_MODEL_MODEL_FILE_H

#include "model/config.h"

enum { MODEL_ID_MAX = 65 }; /* SHA-256 in hex, 0 included */

/* A model in host memory. */
struct model_file {
    struct config config;
    struct plan plan;
    float *weights;           /* plan.weights_size floats, gaps 0, aligned to ARENA_ALIGN */
    char id[MODEL_ID_MAX];    /* SHA-256 of config_format's bytes and the F32 bytes in plan order */
    float temperature, top_p; /* hiss.sampling, or 1, 1, 1 */
    float guidance;
    int n_metadata;  /* all of __metadata__ but hiss.config, foreign keys too */
    char **metadata; /* key, value, ... */
};

/* Reads and checks everything. False with error_text naming file, tensor and what was expected. */
bool model_file_load(struct model_file *m, const char *path);

/* Writes `path` whole or not at all. weights: plan.weights_size floats. metadata: 2 n_metadata
   strings, without hiss.config, no key twice. Weights that are not finite are refused. */
bool model_file_save(const char *path, const struct config *config, const struct plan *plan,
                     const float *weights, const char *const *metadata, int n_metadata);

/* The identity of these weights under this configuration. */
bool model_file_id(char id[MODEL_ID_MAX], const struct config *config, const struct plan *plan,
                   const float *weights);

/* The value of a metadata key, or NULL. */
const char *model_file_metadata(const struct model_file *m, const char *key);

void model_file_free(struct model_file *m);

#endif
