/*
 * A model's configuration: everything that must be known to run it, nothing about training.
 * It travels as JSON inside the model file (`hiss.config`) and comes from a preset's [audio] and
 * [model] sections.
 *
 * Plain data, copied by assignment; any thread.
 */
#ifndef HISS_MODEL_CONFIG_H
#define HISS_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clip_mode.h"
#include "kernels/plan.h"

enum {
    CONFIG_LABELS_MAX = 1000,
    CONFIG_NAME_MAX = 64, /* bytes in a label or other name, 0 included */
};

enum layout { LAYOUT_UNET, LAYOUT_PLAIN, LAYOUTS };
enum embedding { EMBEDDING_LEARNED, EMBEDDING_SINUSOIDAL, EMBEDDINGS };

struct tier_config {
    int layers;
    enum mixer_kind mixer;
    bool complex_state; /* "state": "real" or "complex" */
    int d_state;
    int d_conv;
    int mixer_expand;
    int ff; /* 0: none; else the factor F / H */
};

struct config {
    int sample_rate;                 /* Hz */
    char quantizer[CONFIG_NAME_MAX]; /* names of base/quantizer.h; its meaning is the audio's */
    char normalize[CONFIG_NAME_MAX]; /* "none", "peak", "minmax"; likewise */
    enum clip_mode clip_mode;
    int64_t clip_samples;
    enum layout layout;
    int d_model;
    int expand;
    int n_pools;
    int pool[PLAN_TIERS_MAX - 1]; /* outermost first */
    int up_shift;
    float norm_eps;
    enum embedding embedding;
    int n_labels;
    char label[CONFIG_LABELS_MAX][CONFIG_NAME_MAX];
    struct tier_config tier[PLAN_TIERS_MAX]; /* n_pools + 1, outermost first */
};

/* The names of enumerators, for JSON, presets and messages. */
const char *layout_name(enum layout l);
const char *embedding_name(enum embedding e);
const char *mixer_name(enum mixer_kind m);
bool layout_from_name(enum layout *l, const char *name);
bool embedding_from_name(enum embedding *e, const char *name);
bool mixer_from_name(enum mixer_kind *m, const char *name);

/* Whether the values are possible and of a size this program handles. False with error_text. */
bool config_check(const struct config *c);

/* Reads the JSON text; every key is required but up_shift, embedding and ff, unknown keys and wrong
   types are refused, and config_check is applied. False with error_text, which names the key; *c is
   then of no use. */
bool config_parse(struct config *c, const char *json);

/* The JSON text, compact, keys in a fixed order: equal configurations give equal bytes, whatever
   the locale. *c must have passed config_check. The caller frees the text. NULL with error_text if
   memory runs out. */
char *config_format(const struct config *c);

/* The index of a label's name, or -1 with error_text, which lists the names. */
int config_find_label(const struct config *c, const char *name);

#endif
