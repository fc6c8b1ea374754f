#define _GNU_SOURCE
#include "app/settings.h"

#include "app/setting_value.h"
#include "audio/normalize.h"
#include "base/error.h"
#include "base/quantizer.h"

#include <assert.h>
#include <string.h>

void settings_init(struct settings *s)
{
    assert(n_settings <= SETTINGS_MAX);
    memset(s, 0, sizeof(*s));
    for (int i = 0; i < n_settings; i++)
        snprintf(s->source[i].text, SETTING_TEXT_MAX, "%s", setting_table[i].preset);
}

static bool value_error(const struct setting *t, const char *text, const char *origin)
{
    char expected[EXPECTED_MAX];
    setting_expected(expected, t);
    return error_set("%s: %s.%s = %.60s: expected %s", origin, t->section, t->key, text, expected);
}

static bool unknown_error(const char *name, const char *origin)
{
    char list[800] = "";
    size_t used = 0, section = strcspn(name, ".");
    for (int i = 0; i < n_settings; i++) {
        const struct setting *t = &setting_table[i];
        if (strlen(t->section) == section && strncmp(t->section, name, section) == 0)
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
                                     t->key);
    }
    if (used)
        return error_set("%s: there is no setting %.60s; [%.*s] has %s", origin, name, (int)section,
                         name, list);
    return error_set(
        "%s: there is no section [%.*s]; sections are audio, model, data, train, sample", origin,
        (int)(section > 60 ? 60 : section), name);
}

bool settings_set(struct settings *s, const char *name, const char *text, const char *origin)
{
    for (int i = 0; i < n_settings; i++) {
        const struct setting *t = &setting_table[i];
        size_t section = strlen(t->section);
        if (strncmp(t->section, name, section) != 0 || name[section] != '.' ||
            strcmp(t->key, name + section + 1) != 0)
            continue;
        /* The sample rate may still change: here times are only checked. */
        if (strlen(text) >= SETTING_TEXT_MAX || !setting_read(s, t, text, 16000))
            return value_error(t, text, origin);
        snprintf(s->source[i].text, SETTING_TEXT_MAX, "%s", text);
        snprintf(s->source[i].origin, SETTING_ORIGIN_MAX, "%s", origin);
        return true;
    }
    return unknown_error(name, origin);
}

bool settings_any(const struct settings *s)
{
    for (int i = 0; i < n_settings; i++)
        if (s->source[i].origin[0])
            return true;
    return false;
}

bool settings_set_pair(struct settings *s, const char *pair)
{
    char name[SETTING_TEXT_MAX];
    size_t length = strcspn(pair, "=");
    if (!pair[length] || length == 0 || length >= sizeof(name) || !memchr(pair, '.', length))
        return error_set("--set %.100s: expected section.key=value", pair);
    snprintf(name, sizeof(name), "%.*s", (int)length, pair);
    return settings_set(s, name, pair + length + 1, "--set");
}

static const char *origin_of(const struct settings *s, const char *section, const char *key)
{
    for (int i = 0; i < n_settings; i++)
        if (strcmp(setting_table[i].section, section) == 0 &&
            strcmp(setting_table[i].key, key) == 0 && s->source[i].origin[0])
            return s->source[i].origin;
    return "settings";
}

/* One value serves all tiers. */
static bool list_spread(const struct settings *s, struct setting_list *list, const char *key)
{
    int n_tiers = s->pool.n + 1;
    if (list->n != 1 && list->n != n_tiers)
        return error_set("%s: model.%s has %d values: expected 1, or %d (a tier each; pool has %d)",
                         origin_of(s, "model", key), key, list->n, n_tiers, s->pool.n);
    for (int i = list->n; i < n_tiers; i++)
        list->value[i] = list->value[0];
    list->n = n_tiers;
    return true;
}

/* Windows must follow each other without a seam, and the pools stand alike in each. */
static bool carry_check(const struct settings *s)
{
    int64_t unit = s->pool.n > 0 ? s->up_shift : 1;
    const char *why = s->clip != CLIP_CROP               ? "audio.clip = crop"
                      : s->speed > 0                     ? "data.speed = 0"
                      : s->normalize == NORMALIZE_MINMAX ? "audio.normalize = none or peak"
                                                         : NULL;
    if (s->carry <= 1)
        return true;
    if (why)
        return error_set("%s: train.carry = %lld needs %s", origin_of(s, "train", "carry"),
                         (long long)s->carry, why);
    for (int i = 0; i < s->pool.n; i++)
        unit *= s->pool.value[i];
    return settings_clip(s) % unit == 0 ||
           error_set("%s: train.carry = %lld needs clips of a multiple of %lld samples (the pools "
                     "and up_shift), not of %lld",
                     origin_of(s, "train", "carry"), (long long)s->carry, (long long)unit,
                     (long long)settings_clip(s));
}

bool settings_resolve(struct settings *s)
{
    for (int pass = 0; pass < 2; pass++) /* the second knows the sample rate */
        for (int i = 0; i < n_settings; i++)
            if (!setting_read(s, &setting_table[i], s->source[i].text, (double)s->sample_rate) &&
                pass == 1)
                return value_error(&setting_table[i], s->source[i].text,
                                   s->source[i].origin[0] ? s->source[i].origin : "settings");
    if (s->pool.n >= PLAN_TIERS_MAX)
        return error_set("%s: model.pool has %d values: expected at most %d",
                         origin_of(s, "model", "pool"), s->pool.n, PLAN_TIERS_MAX - 1);
    struct setting_list *lists[] = {&s->layers, &s->mixer,        &s->state, &s->d_state,
                                    &s->d_conv, &s->mixer_expand, &s->ff};
    const char *keys[] = {"layers", "mixer", "state", "d_state", "d_conv", "mixer_expand", "ff"};
    for (int i = 0; i < 7; i++)
        if (!list_spread(s, lists[i], keys[i]))
            return false;
    if (s->micro_batch && s->batch % s->micro_batch != 0)
        return error_set("%s: train.micro_batch = %lld does not divide train.batch = %lld",
                         origin_of(s, "train", "micro_batch"), (long long)s->micro_batch,
                         (long long)s->batch);
    if (s->min_lr > s->lr)
        return error_set("%s: train.min_lr = %g is above train.lr = %g",
                         origin_of(s, "train", "min_lr"), s->min_lr, s->lr);
    if (!carry_check(s))
        return false;
    for (int i = 0; i < n_settings; i++)
        setting_write(s, &setting_table[i], s->source[i].text);
    return true;
}

bool settings_config(const struct settings *s, struct config *config)
{
    memset(config, 0, sizeof(*config));
    config->sample_rate = (int)s->sample_rate;
    snprintf(config->quantizer, CONFIG_NAME_MAX, "%s",
             quantizer_name((enum quantizer)s->quantizer));
    static const char *const normalize[] = {"none", "peak", "minmax"};
    snprintf(config->normalize, CONFIG_NAME_MAX, "%s", normalize[s->normalize]);
    config->clip_mode = (enum clip_mode)s->clip;
    config->clip_samples = s->clip_samples;
    config->layout = (enum layout)s->layout;
    config->d_model = (int)s->d_model;
    config->expand = (int)s->expand;
    config->n_pools = s->pool.n;
    for (int i = 0; i < s->pool.n; i++)
        config->pool[i] = (int)s->pool.value[i];
    config->up_shift = (int)s->up_shift;
    config->norm_eps = (float)s->norm_eps;
    config->embedding = (enum embedding)s->embedding;
    for (int k = 0; k <= s->pool.n; k++)
        config->tier[k] = (struct tier_config){
            .layers = (int)s->layers.value[k],
            .mixer = (enum mixer_kind)s->mixer.value[k],
            .complex_state = s->state.value[k] == 1,
            .d_state = (int)s->d_state.value[k],
            .d_conv = (int)s->d_conv.value[k],
            .mixer_expand = (int)s->mixer_expand.value[k],
            .ff = (int)s->ff.value[k],
        };
    return config_check(config) || error_prefix("%s: [model]", origin_of(s, "model", "d_model"));
}

int64_t settings_clip(const struct settings *s)
{
    return s->train_samples > 0 && s->train_samples < s->clip_samples ? s->train_samples
                                                                      : s->clip_samples;
}

struct train_settings settings_train(const struct settings *s)
{
    return (struct train_settings){
        .batch = (int)s->batch,
        .micro_batch = (int)(s->micro_batch ? s->micro_batch : s->batch),
        .clip = settings_clip(s),
        .slice = s->slice < settings_clip(s) ? s->slice : 0,
        .recompute = s->recompute != 0,
        .carry = s->carry > 1,
        .steps = s->steps,
        .warmup = s->warmup,
        .lr = s->lr,
        .min_lr = s->min_lr,
        .beta1 = s->beta1,
        .beta2 = s->beta2,
        .eps = s->eps,
        .weight_decay = s->weight_decay,
        .clip_norm = s->clip_norm,
        .ema = s->ema,
    };
}

const struct setting *settings_difference(const struct settings *a, const struct settings *b)
{
    for (int i = 0; i < n_settings; i++)
        if (!setting_table[i].may_change && strcmp(a->source[i].text, b->source[i].text) != 0)
            return &setting_table[i];
    return NULL;
}

const char *settings_text(const struct settings *s, const struct setting *setting)
{
    return s->source[setting - setting_table].text;
}

bool settings_write(const struct settings *s, FILE *file)
{
    const char *section = "";
    for (int i = 0; i < n_settings; i++) {
        const struct setting *t = &setting_table[i];
        if (strcmp(t->section, section) != 0)
            fprintf(file, "%s[%s]\n", *section ? "\n" : "", t->section);
        section = t->section;
        fprintf(file, "; %s\n%s = %s\n", t->help, t->key, s->source[i].text);
    }
    return !ferror(file);
}
