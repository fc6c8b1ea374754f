#define _GNU_SOURCE
#include "model/config.h"

#include "base/error.h"
#include "base/quantizer.h"

#include <assert.h>
#include <jansson.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, JSON_BYTES_MAX = 1 << 20, POOL_PRODUCT_MAX = 1 << 20 };

static const double weights_max = 0x1p31;

/* Names of enumerators. */

static const char *const layout_names[] = {[LAYOUT_UNET] = "unet", [LAYOUT_PLAIN] = "plain"};
static const char *const embedding_names[] = {
    [EMBEDDING_LEARNED] = "learned", [EMBEDDING_SINUSOIDAL] = "sinusoidal"};
static const char *const mixer_names[] = {
    [MIXER_SELECTIVE] = "selective", [MIXER_LTI] = "lti", [MIXER_S4D] = "s4d"};
static const char *const state_names[] = {"real", "complex"}; /* indexed by complex_state */
static const char *const normalize_names[] = {"none", "peak", "minmax"};

static int name_find(const char *const names[], int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

const char *layout_name(enum layout l)
{
    assert(l < LAYOUTS);
    return layout_names[l];
}

const char *embedding_name(enum embedding e)
{
    assert(e < EMBEDDINGS);
    return embedding_names[e];
}

const char *mixer_name(enum mixer_kind m)
{
    assert(m < MIXER_KINDS);
    return mixer_names[m];
}

bool layout_from_name(enum layout *l, const char *name)
{
    int i = name_find(layout_names, LAYOUTS, name);
    *l = i < 0 ? LAYOUT_UNET : (enum layout)i;
    return i >= 0;
}

bool embedding_from_name(enum embedding *e, const char *name)
{
    int i = name_find(embedding_names, EMBEDDINGS, name);
    *e = i < 0 ? EMBEDDING_LEARNED : (enum embedding)i;
    return i >= 0;
}

bool mixer_from_name(enum mixer_kind *m, const char *name)
{
    int i = name_find(mixer_names, MIXER_KINDS, name);
    *m = i < 0 ? MIXER_SELECTIVE : (enum mixer_kind)i;
    return i >= 0;
}

/* Checking. */

static bool range_check(const char *key, int64_t value, int64_t min, int64_t max)
{
    if (value >= min && value <= max)
        return true;
    return error_set("%s is %lld, which is not in %lld to %lld", key, (long long)value,
                     (long long)min, (long long)max);
}

/* Whether bytes are UTF-8 text: no overlong forms, no surrogates. */
static bool utf8_check(const char *text)
{
    json_t *string = json_string(text); /* NULL unless UTF-8, or memory ran out */
    json_decref(string);
    return string != NULL;
}

static bool label_check(const struct config *c, int i)
{
    const char *label = c->label[i];
    if (!label[0] || !memchr(label, 0, CONFIG_NAME_MAX))
        return error_set("labels[%d] must have 1 to %d bytes", i, CONFIG_NAME_MAX - 1);
    if (!utf8_check(label))
        return error_set("labels[%d] is not UTF-8 text", i);
    for (const char *s = label; *s; s++)
        if ((unsigned char)*s < 32 || *s == 127 || *s == '/')
            return error_set("labels[%d] '%s' holds a slash or a control character", i, label);
    for (int j = 0; j < i; j++)
        if (strcmp(c->label[j], label) == 0)
            return error_set("labels[%d] and labels[%d] are both '%s'", j, i, label);
    return true;
}

static bool tier_check(const struct tier_config *t, int k)
{
    const struct {
        const char *key;
        int value, min, max;
    } ranges[] = {
        {"layers", t->layers, 1, 256}, {"d_state", t->d_state, 1, 256},
        {"d_conv", t->d_conv, 2, 16},  {"mixer_expand", t->mixer_expand, 1, 8},
        {"ff", t->ff, 0, 8},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!range_check(ranges[i].key, ranges[i].value, ranges[i].min, ranges[i].max))
            return error_prefix("tiers[%d]", k);
    if ((unsigned)t->mixer >= MIXER_KINDS)
        return error_set("tiers[%d]: mixer is unknown", k);
    if (t->mixer == MIXER_S4D && !t->complex_state)
        return error_set("tiers[%d]: mixer s4d needs state complex", k);
    return true;
}

/* Roughly how many weights the plan will have, never fewer: in double, so that nothing overflows
   before it is refused. plan_build has the exact numbers. */
static double weights_estimate(const struct config *c)
{
    double total = 2.0 * PLAN_CODES * c->d_model + PLAN_CODES + c->d_model;
    for (int k = 0; k <= c->n_pools; k++) {
        const struct tier_config *t = &c->tier[k];
        double h = c->d_model * pow(c->expand, k), n = t->d_state;
        double e = t->mixer_expand * h, r = h / 16 + 1, f = t->ff * h;
        double mixer = h + e * (3 * h + 2 * r + 7 * n + t->d_conv + 8) + 2 * h * h;
        double ff = t->ff ? h + f * (2 * h + 1) + h : 0;
        double pools = 0;
        if (k < c->n_pools)
            pools = c->pool[k] * h * (2 * h * c->expand + 1) + h * c->expand;
        int sides = k < c->n_pools ? 2 : 1;
        total += sides * (t->layers * (mixer + ff) + c->n_labels * h) + pools;
    }
    return total;
}

enum {
    SINUSOIDAL_WIDTH_MAX = 2048, /* 2^(column/2) must be a number */
    SUBLAYERS_MAX = 1024,        /* so that a training state's header fits its bound */
};

bool config_check(const struct config *c)
{
    if (!range_check("sample_rate", c->sample_rate, 1000, 384000) ||
        !range_check("clip.samples", c->clip_samples, 1, (int64_t)1 << 31) ||
        !range_check("d_model", c->d_model, 1, 4096) || !range_check("expand", c->expand, 1, 8) ||
        !range_check("up_shift", c->up_shift, 1, 2) ||
        !range_check("the number of pools", c->n_pools, 0, PLAN_TIERS_MAX - 1) ||
        !range_check("the number of labels", c->n_labels, 0, CONFIG_LABELS_MAX))
        return false;
    enum quantizer quantizer;
    if (!memchr(c->quantizer, 0, CONFIG_NAME_MAX) || !quantizer_from_name(&quantizer, c->quantizer))
        return error_set("quantizer '%.*s' is unknown; known are %s and %s", CONFIG_NAME_MAX,
                         c->quantizer, quantizer_name(QUANTIZER_MU_LAW_256),
                         quantizer_name(QUANTIZER_S4_MU_LAW_256));
    if (!memchr(c->normalize, 0, CONFIG_NAME_MAX) ||
        name_find(normalize_names, 3, c->normalize) < 0)
        return error_set("normalize '%.*s' is unknown; known are none, peak and minmax",
                         CONFIG_NAME_MAX, c->normalize);
    if ((unsigned)c->clip_mode >= CLIP_MODES || (unsigned)c->layout >= LAYOUTS ||
        (unsigned)c->embedding >= EMBEDDINGS)
        return error_set("clip.mode, layout or embedding is unknown");
    if (!(c->norm_eps > 0 && c->norm_eps <= 0.1f))
        return error_set("norm_eps is %g, which is not above 0 and at most 0.1",
                         (double)c->norm_eps);
    if (c->embedding == EMBEDDING_SINUSOIDAL && c->d_model > SINUSOIDAL_WIDTH_MAX)
        return error_set("embedding sinusoidal needs a d_model of at most %d, not %d",
                         SINUSOIDAL_WIDTH_MAX, c->d_model);
    int64_t product = 1;
    for (int k = 0; k < c->n_pools; k++) {
        if (!range_check("pool", c->pool[k], 2, 1024))
            return false;
        product *= c->pool[k];
        if (product > POOL_PRODUCT_MAX)
            return error_set("pool multiplies to more than %d", POOL_PRODUCT_MAX);
    }
    for (int k = 0; k <= c->n_pools; k++)
        if (!tier_check(&c->tier[k], k))
            return false;
    for (int i = 0; i < c->n_labels; i++)
        if (!label_check(c, i))
            return false;
    int64_t n_sublayers = 0;
    for (int k = 0; k <= c->n_pools; k++)
        n_sublayers +=
            (int64_t)c->tier[k].layers * (k < c->n_pools ? 2 : 1) * (c->tier[k].ff ? 2 : 1);
    if (n_sublayers > SUBLAYERS_MAX)
        return error_set("the model would have %lld layers; at most %d are allowed",
                         (long long)n_sublayers, SUBLAYERS_MAX);
    double n_weights = weights_estimate(c);
    if (n_weights > weights_max)
        return error_set("the model would have about %.3g weights; at most %.3g are allowed, "
                         "lower d_model, expand or layers",
                         n_weights, weights_max);
    return true;
}

int config_find_label(const struct config *c, const char *name)
{
    for (int i = 0; i < c->n_labels; i++)
        if (strcmp(c->label[i], name) == 0)
            return i;
    if (c->n_labels == 0) {
        error_set("there is no label '%s': this model was trained without labels", name);
        return -1;
    }
    char list[ERROR_TEXT_MAX];
    size_t used = 0;
    for (int i = 0; i < c->n_labels && used < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", c->label[i]);
    error_set("there is no label '%.100s'; this model knows %s", name, list);
    return -1;
}

/* Reading. The getters name the key; `where` is "" or the enclosing object with a dot. */

static const json_t *get(const json_t *o, const char *where, const char *key, json_type type,
                         const char *wanted)
{
    const json_t *value = json_object_get(o, key);
    if (!value)
        error_set("the key '%s%s' is missing", where, key);
    else if (json_typeof(value) == type)
        return value;
    else
        error_set("the key '%s%s' must be %s", where, key, wanted);
    return NULL;
}

static bool integer_read(int *out, const json_t *value, const char *where, const char *key)
{
    json_int_t i = json_integer_value(value);
    if (i < INT_MIN || i > INT_MAX)
        return error_set("the key '%s%s' is %lld, which is out of range", where, key, (long long)i);
    *out = (int)i;
    return true;
}

static bool get_int(int *out, const json_t *o, const char *where, const char *key)
{
    const json_t *value = get(o, where, key, JSON_INTEGER, "a whole number");
    return value && integer_read(out, value, where, key);
}

static bool name_read(char out[CONFIG_NAME_MAX], const json_t *value, const char *where,
                      const char *key)
{
    size_t n = json_string_length(value);
    if (n >= CONFIG_NAME_MAX)
        return error_set("the key '%s%s' holds '%.20s...', longer than %d bytes", where, key,
                         json_string_value(value), CONFIG_NAME_MAX - 1);
    memcpy(out, json_string_value(value), n + 1);
    return true;
}

static bool get_name(char out[CONFIG_NAME_MAX], const json_t *o, const char *where, const char *key)
{
    const json_t *value = get(o, where, key, JSON_STRING, "a string");
    return value && name_read(out, value, where, key);
}

/* An enumerator by its name. */
static bool get_choice(int *out, const json_t *o, const char *where, const char *key,
                       const char *const names[], int n)
{
    char name[CONFIG_NAME_MAX], list[128] = "";
    if (!get_name(name, o, where, key))
        return false;
    *out = name_find(names, n, name);
    if (*out >= 0)
        return true;
    for (int i = 0, used = 0; i < n; i++)
        used += snprintf(list + used, sizeof list - (size_t)used, "%s%s", i ? ", " : "", names[i]);
    return error_set("the key '%s%s' is '%s', which is none of: %s", where, key, name, list);
}

static bool keys_check(const json_t *o, const char *where, const char *const known[], int n)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o, key, value)
    {
        if (name_find(known, n, key) < 0)
            return error_set("the key '%s%.100s' is unknown", where, key);
    }
    return true;
}

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static bool tier_parse(struct tier_config *t, const json_t *o, int k)
{
    static const char *const known[] = {"layers", "mixer",        "state", "d_state",
                                        "d_conv", "mixer_expand", "ff"};
    char where[32];
    snprintf(where, sizeof where, "tiers[%d].", k);
    if (!json_is_object(o))
        return error_set("the key 'tiers[%d]' must be an object", k);
    int mixer, state;
    if (!keys_check(o, where, known, COUNT(known)) || !get_int(&t->layers, o, where, "layers") ||
        !get_choice(&mixer, o, where, "mixer", mixer_names, MIXER_KINDS) ||
        !get_choice(&state, o, where, "state", state_names, 2) ||
        !get_int(&t->d_state, o, where, "d_state") || !get_int(&t->d_conv, o, where, "d_conv") ||
        !get_int(&t->mixer_expand, o, where, "mixer_expand"))
        return false;
    t->mixer = (enum mixer_kind)mixer;
    t->complex_state = state;
    return !json_object_get(o, "ff") || get_int(&t->ff, o, where, "ff");
}

static bool clip_parse(struct config *c, const json_t *root)
{
    static const char *const known[] = {"mode", "samples"};
    const json_t *clip = get(root, "", "clip", JSON_OBJECT, "an object");
    char mode[CONFIG_NAME_MAX];
    if (!clip || !keys_check(clip, "clip.", known, COUNT(known)) ||
        !get_name(mode, clip, "clip.", "mode"))
        return false;
    if (!clip_mode_from_name(&c->clip_mode, mode))
        return error_set("the key 'clip.mode' is '%s', which is none of: %s, %s", mode,
                         clip_mode_name(CLIP_WHOLE), clip_mode_name(CLIP_CROP));
    const json_t *samples = get(clip, "clip.", "samples", JSON_INTEGER, "a whole number");
    c->clip_samples = json_integer_value(samples);
    return samples != NULL;
}

static bool lists_parse(struct config *c, const json_t *root)
{
    const json_t *pool = get(root, "", "pool", JSON_ARRAY, "a list");
    const json_t *labels = pool ? get(root, "", "labels", JSON_ARRAY, "a list") : NULL;
    const json_t *tiers = labels ? get(root, "", "tiers", JSON_ARRAY, "a list") : NULL;
    if (!tiers)
        return false;
    if (json_array_size(pool) >= PLAN_TIERS_MAX)
        return error_set("the key 'pool' holds more than %d numbers", PLAN_TIERS_MAX - 1);
    if (json_array_size(labels) > CONFIG_LABELS_MAX)
        return error_set("the key 'labels' holds more than %d names", CONFIG_LABELS_MAX);
    if (json_array_size(tiers) != json_array_size(pool) + 1)
        return error_set("the key 'tiers' holds %zu tiers, but %zu pools make %zu",
                         json_array_size(tiers), json_array_size(pool), json_array_size(pool) + 1);
    c->n_pools = (int)json_array_size(pool);
    c->n_labels = (int)json_array_size(labels);
    for (int k = 0; k < c->n_pools; k++) {
        const json_t *value = json_array_get(pool, (size_t)k);
        if (!json_is_integer(value))
            return error_set("the key 'pool' must hold whole numbers");
        if (!integer_read(&c->pool[k], value, "", "pool"))
            return false;
    }
    for (int i = 0; i < c->n_labels; i++) {
        const json_t *value = json_array_get(labels, (size_t)i);
        if (!json_is_string(value))
            return error_set("the key 'labels' must hold strings");
        if (!name_read(c->label[i], value, "", "labels"))
            return false;
    }
    for (int k = 0; k <= c->n_pools; k++)
        if (!tier_parse(&c->tier[k], json_array_get(tiers, (size_t)k), k))
            return false;
    return true;
}

static bool root_parse(struct config *c, const json_t *root)
{
    static const char *const known[] = {
        "format", "sample_rate", "quantizer", "normalize", "clip",      "layout", "d_model",
        "expand", "pool",        "up_shift",  "norm_eps",  "embedding", "labels", "tiers"};
    if (!json_is_object(root))
        return error_set("it must be a JSON object");
    int format, layout, embedding = EMBEDDING_LEARNED;
    if (!get_int(&format, root, "", "format"))
        return false;
    if (format != FORMAT)
        return error_set("the key 'format' is %d, but this program reads %d: "
                         "the model may need a newer version",
                         format, FORMAT);
    if (!keys_check(root, "", known, COUNT(known)) ||
        !get_int(&c->sample_rate, root, "", "sample_rate") ||
        !get_name(c->quantizer, root, "", "quantizer") ||
        !get_name(c->normalize, root, "", "normalize") || !clip_parse(c, root) ||
        !get_choice(&layout, root, "", "layout", layout_names, LAYOUTS) ||
        !get_int(&c->d_model, root, "", "d_model") || !get_int(&c->expand, root, "", "expand") ||
        !lists_parse(c, root))
        return false;
    c->layout = (enum layout)layout;
    const json_t *eps = json_object_get(root, "norm_eps");
    if (!json_is_number(eps))
        return error_set("the key 'norm_eps' %s", eps ? "must be a number" : "is missing");
    c->norm_eps = (float)json_number_value(eps);
    c->up_shift = 1;
    if (json_object_get(root, "up_shift") && !get_int(&c->up_shift, root, "", "up_shift"))
        return false;
    if (json_object_get(root, "embedding") &&
        !get_choice(&embedding, root, "", "embedding", embedding_names, EMBEDDINGS))
        return false;
    c->embedding = (enum embedding)embedding;
    return true;
}

bool config_parse(struct config *c, const char *json)
{
    memset(c, 0, sizeof *c);
    size_t length = strnlen(json, JSON_BYTES_MAX + 1);
    if (length > JSON_BYTES_MAX)
        return error_set("it is longer than %d bytes", JSON_BYTES_MAX);
    json_error_t error;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return error_set("it is not valid JSON: %s", error.text);
    bool ok = root_parse(c, root) && config_check(c);
    json_decref(root);
    return ok;
}

/* Writing. By hand: the bytes are part of a model's identity and must not change with a library's
   version. */

static void label_print(FILE *out, const char *label)
{
    fputc('"', out);
    for (const char *s = label; *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

/* The shortest digits that read back as the same float. */
static void float_print(FILE *out, float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if ((float)strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

static void config_print(FILE *out, const struct config *c)
{
    fprintf(out, "{\"format\":%d,\"sample_rate\":%d,\"quantizer\":\"%s\",\"normalize\":\"%s\"",
            FORMAT, c->sample_rate, c->quantizer, c->normalize);
    fprintf(out, ",\"clip\":{\"mode\":\"%s\",\"samples\":%lld}", clip_mode_name(c->clip_mode),
            (long long)c->clip_samples);
    fprintf(out, ",\"layout\":\"%s\",\"d_model\":%d,\"expand\":%d,\"pool\":[",
            layout_name(c->layout), c->d_model, c->expand);
    for (int k = 0; k < c->n_pools; k++)
        fprintf(out, "%s%d", k ? "," : "", c->pool[k]);
    fprintf(out, "],\"up_shift\":%d,\"norm_eps\":", c->up_shift);
    float_print(out, c->norm_eps);
    fprintf(out, ",\"embedding\":\"%s\",\"labels\":[", embedding_name(c->embedding));
    for (int i = 0; i < c->n_labels; i++) {
        fputs(i ? "," : "", out);
        label_print(out, c->label[i]);
    }
    fputs("],\"tiers\":[", out);
    for (int k = 0; k <= c->n_pools; k++) {
        const struct tier_config *t = &c->tier[k];
        fprintf(out, "%s{\"layers\":%d,\"mixer\":\"%s\",\"state\":\"%s\",\"d_state\":%d",
                k ? "," : "", t->layers, mixer_name(t->mixer), state_names[t->complex_state],
                t->d_state);
        fprintf(out, ",\"d_conv\":%d,\"mixer_expand\":%d,\"ff\":%d}", t->d_conv, t->mixer_expand,
                t->ff);
    }
    fputs("]}", out);
}

char *config_format(const struct config *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    /* A program that uses the library may have a locale with decimal commas. */
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    bool ok = out && plain;
    if (ok) {
        locale_t before = uselocale(plain);
        config_print(out, c);
        uselocale(before);
        ok = !ferror(out);
    }
    if (plain)
        freelocale(plain);
    if (out && fclose(out) != 0)
        ok = false;
    if (ok)
        return text;
    free(text);
    error_set("out of memory while writing a configuration");
    return NULL;
}
