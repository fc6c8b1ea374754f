#include "app/take.h"
#include "app/training.h"
#include "base/error.h"

#include <stdio.h>

bool training_listen(struct training *t)
{
    char folder[FILE_PATH_MAX], model_path[FILE_PATH_MAX], path[FILE_PATH_MAX], name[64];
    char comment[64];
    int labels[CONFIG_LABELS_MAX], n_labels = t->net.config.n_labels;
    for (int i = 0; i < n_labels; i++)
        labels[i] = (int)((t->progress.step / t->s->sample_every + i) % n_labels);
    struct take_job job = {
        .n_samples = (int64_t)(t->s->seconds * (double)t->s->sample_rate),
        .labels = labels,
        .n_labels = n_labels,
        .sampling = {.seed = (uint64_t)t->s->seed,
                     .temperature = (float)t->s->temperature,
                     .top_p = (float)t->s->top_p,
                     .guidance = n_labels > 0 ? (float)t->s->guidance : 1},
    };
    if (job.n_samples == 0)
        job.n_samples = t->s->clip == CLIP_WHOLE ? t->s->clip_samples : 10 * t->s->sample_rate;
    snprintf(name, sizeof(name), "step-%lld.wav", (long long)t->progress.step);
    snprintf(comment, sizeof(comment), "step %lld, seed %lld", (long long)t->progress.step,
             (long long)t->s->seed);
    struct writer_options options = {
        .rate = (int)t->s->sample_rate, .software = HISS_VERSION, .comment = comment};
    struct hiss_model *model = NULL;
    struct writer *writer = NULL;
    struct take_result result;
    _Atomic int64_t made = 0;
    bool ok = path_join(folder, t->job->run->path, "samples") && folder_make(folder) &&
              path_join(path, folder, name) &&
              path_join(model_path, folder, ".model.safetensors") &&
              model_write(model_path, &t->trainer, &t->progress, &t->from) &&
              /* not the run's backend: single samples are the CPU's strength */
              (model = hiss_model_open(model_path, "auto", t->job->n_threads)) &&
              (writer = writer_open(path, &options)) &&
              takes_make(model, &job, 1, &writer, &made, &result);
    if (ok && result.n == job.n_samples)
        ok = writer_close(writer);
    else
        writer_discard(writer);
    hiss_model_close(model);
    char why[ERROR_TEXT_MAX];
    snprintf(why, sizeof(why), "%s", error_text());
    path_remove(model_path);
    return ok || error_set("%s", why);
}
