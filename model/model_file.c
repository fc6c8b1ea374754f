#include "model/model_file.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "model/build.h"
#include "model/safetensors.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPE_TEXT_MAX = 192, STEP_DIGITS_MAX = 18 };

static const char config_key[] = "hiss.config", sampling_key[] = "hiss.sampling";
static const char file_name[] = "model.safetensors";
static const double temperature_max = 100, guidance_max = 100; /* either sign */

/* Where the file is. */

/* The number N of a folder's name step-N, else -1. */
static long long step_number(const char *name)
{
    if (strncmp(name, "step-", 5) != 0)
        return -1;
    const char *digits = name + 5;
    size_t n = strspn(digits, "0123456789");
    return n >= 1 && n <= STEP_DIGITS_MAX && !digits[n] ? strtoll(digits, NULL, 10) : -1;
}

/* folder/name/model.safetensors, if it is there. */
static bool checkpoint_find(char out[FILE_PATH_MAX], const char *folder, const char *name)
{
    char checkpoint[FILE_PATH_MAX];
    return path_join(checkpoint, folder, name) && path_join(out, checkpoint, file_name) &&
           path_exists(out);
}

/* The highest step-N of a run directory that holds a model. */
static bool latest_find(char out[FILE_PATH_MAX], const char *folder)
{
    char candidate[FILE_PATH_MAX];
    long long highest = -1;
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        long long step = step_number(entry->d_name);
        if (step > highest && checkpoint_find(candidate, folder, entry->d_name)) {
            highest = step;
            memcpy(out, candidate, sizeof candidate);
        }
    }
    if (dir)
        closedir(dir);
    return highest >= 0;
}

static bool file_find(char out[FILE_PATH_MAX], const char *path)
{
    if (!path_is_folder(path)) {
        if (snprintf(out, FILE_PATH_MAX, "%s", path) < FILE_PATH_MAX)
            return true;
        return error_set("the path %.100s... is longer than %d bytes", path, FILE_PATH_MAX - 1);
    }
    if (!path_join(out, path, file_name))
        return false;
    if (path_exists(out) || checkpoint_find(out, path, "best") || latest_find(out, path))
        return true;
    return error_set("%s: the folder holds no model: neither %s nor a checkpoint best or step-N",
                     path, file_name);
}

/* Identity. */

bool model_file_id(char id[MODEL_ID_MAX], const struct config *config, const struct plan *plan,
                   const float *weights)
{
    char *text = config_format(config);
    if (!text)
        return false;
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)text, strlen(text));
    for (int i = 0; i < plan->n_params; i++) {
        const struct param *p = &plan->params[i];
        SHA256Update(&sha, (const uint8_t *)(weights + p->offset), (size_t)p->size * sizeof(float));
    }
    SHA256End(&sha, id);
    free(text);
    return true;
}

/* Reading. Messages name the tensor or key; model_file_load puts the file's name in front. */

static void shape_format(char out[SHAPE_TEXT_MAX], const int64_t *shape, int n_dims)
{
    size_t used = (size_t)snprintf(out, SHAPE_TEXT_MAX, "(");
    for (int d = 0; d < n_dims && used < SHAPE_TEXT_MAX; d++)
        used += (size_t)snprintf(out + used, SHAPE_TEXT_MAX - used, "%s%lld", d ? ", " : "",
                                 (long long)shape[d]);
    if (used < SHAPE_TEXT_MAX)
        snprintf(out + used, SHAPE_TEXT_MAX - used, ")");
}

static bool tensor_check(const struct tensor_entry *t, const struct param *p)
{
    bool same = t->n_dims == p->n_dims;
    for (int d = 0; same && d < p->n_dims; d++)
        same = t->shape[d] == p->shape[d];
    if (!same) {
        char found[SHAPE_TEXT_MAX], expected[SHAPE_TEXT_MAX];
        shape_format(found, t->shape, t->n_dims);
        shape_format(expected, p->shape, p->n_dims);
        return error_set("tensor %s has the shape %s; its configuration expects %s", p->name, found,
                         expected);
    }
    if (t->type == TENSOR_OTHER)
        return error_set("tensor %s must be F32 or BF16", p->name);
    return true;
}

/* Whether the file has the plan's tensors and no others. entries: plan->n_params of them, in plan
   order. */
static bool tensors_match(const struct tensor_entry **entries, const struct safetensors *st,
                          const struct plan *plan)
{
    for (int i = 0; i < plan->n_params; i++) {
        const struct param *p = &plan->params[i];
        entries[i] = safetensors_find(st, p->name);
        if (!entries[i]) {
            char expected[SHAPE_TEXT_MAX];
            shape_format(expected, p->shape, p->n_dims);
            return error_set("tensor %s of shape %s is missing", p->name, expected);
        }
        if (!tensor_check(entries[i], p))
            return false;
    }
    if (st->n_tensors == plan->n_params)
        return true;
    bool *known = calloc((size_t)st->n_tensors, sizeof *known);
    if (!known)
        return error_set("out of memory");
    for (int i = 0; i < plan->n_params; i++)
        known[entries[i] - st->tensors] = true;
    int extra = 0;
    while (known[extra])
        extra++;
    free(known);
    return error_set("tensor %.100s is unknown: its configuration expects no such tensor",
                     st->tensors[extra].name);
}

static bool values_check(const struct param *p, const float *values)
{
    for (int64_t i = 0; i < p->size; i++)
        if (!isfinite(values[i]))
            return error_set("tensor %s holds %s at entry %lld; all must be finite", p->name,
                             isnan(values[i]) ? "NaN" : "infinity", (long long)i);
    return true;
}

static bool weights_read(struct model_file *m, const struct safetensors *st)
{
    const struct plan *plan = &m->plan;
    const struct tensor_entry **entries = calloc((size_t)plan->n_params, sizeof *entries);
    bool ok = entries ? tensors_match(entries, st, plan) : error_set("out of memory");
    if (ok) {
        size_t bytes = (size_t)plan->weights_size * sizeof(float);
        bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
        m->weights = aligned_alloc(ARENA_ALIGN, bytes);
        if (m->weights)
            memset(m->weights, 0, bytes);
        else
            ok = error_set("no memory for its %lld weights", (long long)plan->n_weights);
    }
    for (int i = 0; ok && i < plan->n_params; i++) {
        float *values = m->weights + plan->params[i].offset;
        tensor_to_float(values, entries[i]);
        ok = values_check(&plan->params[i], values);
    }
    free(entries);
    return ok;
}

/* A number of hiss.sampling, `otherwise` if it is not there; takes the key away. */
static bool number_take(float *out, json_t *o, const char *key, double min, double max,
                        double otherwise)
{
    const json_t *value = json_object_get(o, key);
    double number = value ? json_number_value(value) : otherwise;
    if ((value && !json_is_number(value)) || !(number >= min && number <= max))
        return error_set("%s: %s must be a number from %g to %g", sampling_key, key, min, max);
    *out = (float)number;
    json_object_del(o, key);
    return true;
}

static bool sampling_parse(struct model_file *m, const char *text)
{
    json_error_t error;
    json_t *o = json_loads(text ? text : "{}", JSON_REJECT_DUPLICATES, &error);
    bool ok = json_is_object(o) ? true
                                : error_set("%s: it is not a valid JSON object: %s", sampling_key,
                                            o ? "something else" : error.text);
    ok = ok && number_take(&m->temperature, o, "temperature", 0, temperature_max, 1) &&
         number_take(&m->top_p, o, "top_p", 0, 1, 1) &&
         number_take(&m->guidance, o, "guidance", -guidance_max, guidance_max, 1);
    if (ok && m->top_p <= 0)
        ok = error_set("%s: top_p must be above 0", sampling_key);
    if (ok && json_object_size(o) > 0)
        ok = error_set("%s: the key '%.100s' is unknown", sampling_key,
                       json_object_iter_key(json_object_iter(o)));
    json_decref(o);
    return ok;
}

/* Moves all metadata but the configuration from the file to the model. */
static bool metadata_take(struct model_file *m, struct safetensors *st)
{
    m->metadata = calloc(2 * (size_t)st->n_metadata, sizeof *m->metadata);
    if (!m->metadata)
        return error_set("out of memory");
    for (int i = 0; i < st->n_metadata; i++) {
        char **pair = &st->metadata[2 * i];
        if (strcmp(pair[0], config_key) == 0)
            continue;
        memcpy(&m->metadata[2 * m->n_metadata++], pair, 2 * sizeof *pair);
        pair[0] = pair[1] = NULL;
    }
    return true;
}

static bool model_read(struct model_file *m, struct safetensors *st)
{
    const char *config = safetensors_metadata(st, config_key);
    if (!config)
        return error_set("its metadata has no %s: this is not a model of hiss", config_key);
    if (!config_parse(&m->config, config))
        return error_prefix("%s", config_key);
    return plan_build(&m->plan, &m->config) && weights_read(m, st) &&
           sampling_parse(m, safetensors_metadata(st, sampling_key)) &&
           model_file_id(m->id, &m->config, &m->plan, m->weights) && metadata_take(m, st);
}

bool model_file_load(struct model_file *m, const char *path)
{
    memset(m, 0, sizeof *m);
    char file[FILE_PATH_MAX];
    struct safetensors st;
    if (!file_find(file, path) || !safetensors_open(&st, file))
        return false;
    bool ok = model_read(m, &st);
    if (!ok) {
        error_prefix("%s", file);
        model_file_free(m);
    }
    safetensors_close(&st);
    return ok;
}

const char *model_file_metadata(const struct model_file *m, const char *key)
{
    for (int i = 0; i < m->n_metadata; i++)
        if (strcmp(m->metadata[2 * i], key) == 0)
            return m->metadata[2 * i + 1];
    return NULL;
}

void model_file_free(struct model_file *m)
{
    for (int i = 0; i < 2 * m->n_metadata; i++)
        free(m->metadata[i]);
    free(m->metadata);
    free(m->weights);
    plan_free(&m->plan);
    memset(m, 0, sizeof *m);
}

/* Writing. */

static bool model_write(const char *path, const char *config, const struct plan *plan,
                        const float *weights, const char *const *metadata, int n_metadata)
{
    size_t n_strings = 2 * (size_t)n_metadata;
    struct tensor_out *tensors = calloc((size_t)plan->n_params, sizeof *tensors);
    const char **strings = calloc(n_strings + 2, sizeof *strings);
    bool ok = tensors && strings;
    if (!ok)
        error_set("out of memory while writing %s", path);
    for (int i = 0; ok && i < plan->n_params; i++) {
        const struct param *p = &plan->params[i];
        tensors[i] = (struct tensor_out){p->name, p->n_dims, p->shape, weights + p->offset};
        ok = values_check(p, tensors[i].data);
        if (!ok)
            error_prefix("cannot write %s", path);
    }
    if (ok) {
        strings[0] = config_key;
        strings[1] = config;
        for (size_t i = 0; i < n_strings; i++)
            strings[2 + i] = metadata[i];
        ok = safetensors_write(path, tensors, plan->n_params, strings, n_metadata + 1);
    }
    free(strings);
    free(tensors);
    return ok;
}

bool model_file_save(const char *path, const struct config *config, const struct plan *plan,
                     const float *weights, const char *const *metadata, int n_metadata)
{
    char *text = config_format(config);
    if (!text)
        return false;
    bool ok = model_write(path, text, plan, weights, metadata, n_metadata);
    free(text);
    return ok;
}
