#define _GNU_SOURCE
#include "app/checkpoint.h"

#include "base/error.h"
#include "model/model_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { METADATA_MAX = 7 };

static char *sampling_format(const struct settings *s)
{
    json_t *sampling = json_pack("{s:f, s:f, s:f}", "temperature", s->temperature, "top_p",
                                 s->top_p, "guidance", s->guidance);
    char *text = sampling ? json_dumps(sampling, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    json_decref(sampling);
    return text;
}

bool model_write(const char *path, struct trainer *t, const struct progress *p,
                 const struct provenance *from)
{
    const struct net *net = t->net;
    const struct settings *s = from->settings;
    char steps[32];
    float *weights = malloc((size_t)net->plan.weights_size * sizeof(*weights));
    char *sampling = sampling_format(s);
    bool ok = weights && sampling;
    if (!ok) {
        error_set("out of memory for a copy of the weights");
        goto out;
    }
    snprintf(steps, sizeof(steps), "%lld", (long long)p->step);
    const char *metadata[2 * METADATA_MAX] = {
        "hiss.version", HISS_VERSION, "hiss.steps",    steps,
        "hiss.data",    from->data,   "hiss.sampling", sampling,
    };
    int n = 4;
    const char *optional[][2] = {
        {"hiss.license", s->license}, {"hiss.card", s->card}, {"hiss.stats", p->stats}};
    for (int i = 0; i < 3; i++)
        if (optional[i][1] && optional[i][1][0]) {
            metadata[2 * n] = optional[i][0];
            metadata[2 * n++ + 1] = optional[i][1];
        }
    trainer_use_average(t, true);
    net_get_weights(net, weights);
    trainer_use_average(t, false);
    ok = model_file_save(path, &net->config, &net->plan, weights, metadata, n);
out:
    free(weights);
    free(sampling);
    return ok;
}

static bool progress_write(const char *path, const struct progress *p)
{
    json_t *object = json_pack("{s:I, s:I, s:I, s:I}", "step", (json_int_t)p->step, "heard",
                               (json_int_t)p->heard, "skipped", (json_int_t)p->skipped,
                               "skipped_in_row", (json_int_t)p->skipped_in_row);
    if (isfinite(p->best_bits))
        json_object_set_new(object, "best_bits", json_real(p->best_bits));
    if (p->stats)
        json_object_set_new(object, "stats", json_string(p->stats));
    struct file_writer w;
    bool ok = object != NULL;
    if (!ok)
        error_set("out of memory while writing %s", path);
    ok = ok && file_create(&w, path);
    if (ok) {
        json_dumpf(object, w.file, JSON_INDENT(1));
        fputc('\n', w.file);
        ok = file_commit(&w);
    }
    json_decref(object);
    return ok;
}

static bool progress_read(const char *path, struct progress *p)
{
    size_t size;
    char *bytes = file_read(path, &size);
    if (!bytes)
        return false;
    json_error_t error;
    json_int_t step, heard, skipped, in_row;
    double best = INFINITY;
    const char *stats = NULL;
    json_t *object = json_loadb(bytes, size, 0, &error);
    bool ok =
        object && json_unpack_ex(object, &error, 0, "{s:I, s:I, s:I, s:I, s?F, s?s}", "step", &step,
                                 "heard", &heard, "skipped", &skipped, "skipped_in_row", &in_row,
                                 "best_bits", &best, "stats", &stats) == 0;
    if (ok) {
        free(p->stats);
        *p = (struct progress){.step = step,
                               .heard = heard,
                               .skipped = skipped,
                               .skipped_in_row = in_row,
                               .best_bits = best,
                               .stats = stats ? strdup(stats) : NULL};
    } else {
        error_set("%s: %s", path, error.text);
    }
    json_decref(object);
    free(bytes);
    return ok;
}

bool checkpoint_save(const struct run *r, struct trainer *t, const struct progress *p,
                     const struct provenance *from)
{
    char name[64], path[FILE_PATH_MAX], part[FILE_PATH_MAX], file[FILE_PATH_MAX];
    snprintf(name, sizeof(name), "step-%lld", (long long)p->step);
    if (!path_join(path, r->path, name))
        return false;
    if (path_exists(path))
        return true;
    strcat(name, ".part");
    bool ok = path_join(part, r->path, name) && path_remove(part) && folder_make(part) &&
              path_join(file, part, "model.safetensors") && model_write(file, t, p, from) &&
              path_join(file, part, "train.safetensors") && trainer_save(t, file) &&
              path_join(file, part, "progress.json") && progress_write(file, p) &&
              folder_sync(part);
    if (ok && rename(part, path) != 0)
        ok = error_set("cannot rename %s to %s", part, path);
    if (ok)
        return folder_sync(r->path);
    char why[ERROR_TEXT_MAX];
    snprintf(why, sizeof(why), "%s", error_text());
    path_remove(part);
    return error_set("%s", why);
}

/* The labels are part of the configuration: a data folder that has others now is another run. */
static bool labels_match(const char *path, const struct config *then, const struct config *now)
{
    int i = 0;
    while (i < then->n_labels && i < now->n_labels && strcmp(then->label[i], now->label[i]) == 0)
        i++;
    if (i == then->n_labels && i == now->n_labels)
        return true;
    bool was =
        i < then->n_labels && (i >= now->n_labels || strcmp(then->label[i], now->label[i]) < 0);
    return error_set("%s was trained with %d labels, the data has %d now: label %s is %s; restore "
                     "the folders, or name another --run",
                     path, then->n_labels, now->n_labels, was ? then->label[i] : now->label[i],
                     was ? "gone" : "new");
}

static bool config_matches(const char *path, const struct config *config_then,
                           const struct config *config_now)
{
    char *then = config_format(config_then), *now = config_format(config_now);
    bool ok = then && now;
    if (ok && strcmp(then, now) != 0) /* labels apart, only by a hand that changed the files */
        ok = labels_match(path, config_then, config_now) &&
             error_set("%s was trained with another [model] configuration: restore settings.ini, "
                       "or name another --run",
                       path);
    free(then);
    free(now);
    return ok;
}

static bool state_load(const char *path, struct trainer *t, struct progress *p)
{
    char file[FILE_PATH_MAX];
    if (!path_join(file, path, "train.safetensors") || !trainer_load(t, file) ||
        !path_join(file, path, "progress.json") || !progress_read(file, p))
        return false;
    return p->step == t->step ||
           error_set("%s: progress.json is of step %lld, train.safetensors of step %lld", path,
                     (long long)p->step, (long long)t->step);
}

bool checkpoint_load(const struct run *r, struct trainer *t, struct progress *p, int64_t *step)
{
    char path[FILE_PATH_MAX], file[FILE_PATH_MAX];
    struct model_file m;
    *step = run_latest(r, path);
    if (*step < 0)
        return true;
    bool whole = path_join(file, path, "model.safetensors") && model_file_load(&m, file);
    if (whole) {
        bool same = config_matches(path, &m.config, &t->net->config);
        model_file_free(&m);
        if (!same)
            return false;
    }
    if (whole && state_load(path, t, p))
        return true;
    if (run_n_checkpoints(r) > 1)
        error_set("%s; without %s training goes on from the checkpoint before it", error_text(),
                  path);
    return false;
}
