/*
 * Settings: everything a training run is made of, as presets hold it.
 *
 * One table (setting_table.c) gives each setting's name, kind, default, range and meaning. Settings
 * are gathered as text, each overwriting the one before: the table's defaults, a preset, --config
 * files, --set and options. Then settings_resolve reads all of them into numbers. The text
 * remembers where it came from, so that a message can say so.
 *
 * Main thread.
 */
#ifndef HISS_APP_SETTINGS_H
#define HISS_APP_SETTINGS_H

#include "model/config.h"
#include "model/trainer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    SETTING_TEXT_MAX = 180,   /* bytes of a value: with its key it fits in a line that inih reads */
    SETTING_ORIGIN_MAX = 160, /* "presets/tiny.ini:12" */
    SETTINGS_MAX = 64,
};

enum setting_kind {
    SETTING_TEXT,    /* char [SETTING_TEXT_MAX]; no ';', which begins a comment */
    SETTING_COUNT,   /* int64_t; 16k */
    SETTING_SAMPLES, /* int64_t; 16k, or a time at the sample rate: 2s */
    SETTING_REAL,    /* double */
    SETTING_TIME,    /* double, seconds; 500ms */
    SETTING_CHOICE,  /* int64_t: the number of the word in `choices` */
    SETTING_COUNTS,  /* struct setting_list, of tiers or pools */
    SETTING_CHOICES, /* struct setting_list */
};

struct setting {
    const char *section, *key;
    enum setting_kind kind;
    size_t offset;       /* in struct settings */
    const char *preset;  /* the default, as text */
    double min, max;     /* of each number, both included */
    const char *choices; /* "whole|crop", in the order of the enumerators */
    bool may_change;     /* when a run is resumed */
    const char *help;    /* one line, with the unit */
};

extern const struct setting setting_table[];
extern const int n_settings;

struct setting_list {
    int n;
    int64_t value[PLAN_TIERS_MAX];
};

struct setting_source {
    char text[SETTING_TEXT_MAX];
    char origin[SETTING_ORIGIN_MAX]; /* "": the table's default */
};

struct settings {
    struct setting_source source[SETTINGS_MAX]; /* as setting_table */

    /* What settings_resolve makes of it. */
    char summary[SETTING_TEXT_MAX];
    /* [audio] */
    int64_t sample_rate, quantizer, normalize, clip, clip_samples;
    /* [model] */
    int64_t layout, d_model, expand, up_shift, embedding;
    double norm_eps;
    struct setting_list pool;                                                    /* a pool */
    struct setting_list layers, mixer, state, d_state, d_conv, mixer_expand, ff; /* a tier */
    /* [data] */
    int64_t labels, pad_loss, cache;
    double label_dropout, speed, gain_db;
    char license[SETTING_TEXT_MAX], card[SETTING_TEXT_MAX];
    /* [train] */
    int64_t seed, batch, micro_batch, train_samples, slice, recompute, carry, steps, warmup;
    int64_t products; /* enum products */
    double lr, min_lr, beta1, beta2, eps, weight_decay, clip_norm, ema;
    int64_t valid_every, valid_clips, sample_every, checkpoint_every, keep, log_every, max_skipped;
    /* [sample] */
    double temperature, top_p, guidance, seconds;
};

/* The table's defaults. */
void settings_init(struct settings *s);

/* Reads an .ini file over what is there. False with error_text that names file, line, key and what
   was expected. */
bool settings_load(struct settings *s, const char *path);

/* Sets one value. `name` is "section.key"; origin says where it came from ("--set"). False with
   error_text. */
bool settings_set(struct settings *s, const char *name, const char *text, const char *origin);

/* Was any value set, or are all the table's defaults? */
bool settings_any(const struct settings *s);

/* The same from "section.key=value", the argument of --set. */
bool settings_set_pair(struct settings *s, const char *pair);

/* Reads the texts into the fields, checks them against each other, and makes the texts canonical:
   equal settings have equal texts. False with error_text. */
bool settings_resolve(struct settings *s);

/* The model's configuration, without labels' names, checked; and the optimiser's settings. After
   settings_resolve. */
bool settings_config(const struct settings *s, struct config *config);
struct train_settings settings_train(const struct settings *s);

/* Samples of a clip that training and validation see. */
int64_t settings_clip(const struct settings *s);

/* The first setting in which two resolved runs differ and that may not change; NULL: none. */
const struct setting *settings_difference(const struct settings *a, const struct settings *b);

/* Writes all of them as an .ini that can be read back, each with its meaning. */
bool settings_write(const struct settings *s, FILE *file);

/* The text of a setting: "train", "steps". */
const char *settings_text(const struct settings *s, const struct setting *setting);

#endif
