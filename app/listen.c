#include "app/plot.h"
#include "app/take.h"
#include "app/training.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>

/* step-N.png beside step-N.wav. */
static void sample_draw(const struct training *t, const char *folder, const char *sound)
{
    char path[FILE_PATH_MAX], name[64], title[64];
    snprintf(name, sizeof(name), "step-%lld.png", (long long)t->progress.step);
    snprintf(title, sizeof(title), "Sample at step %lld", (long long)t->progress.step);
    if (plot_possible() &&
        !(path_join(path, folder, name) &&
          plot_sounds(path, &(struct plot_sounds){.paths = &sound, .n = 1, .title = title})))
        log_warn("no picture of the sample: %s", error_text());
}

void training_draw(const struct training *t)
{
    char path[FILE_PATH_MAX];
    const char *run = t->job->run->path;
    if (plot_possible() && !(path_join(path, run, "curve.png") && plot_runs(path, &run, 1)))
        log_warn("no picture of the training: %s", error_text());
}

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
    bool whole = ok && result.n == job.n_samples;
    if (whole)
        ok = writer_close(writer);
    else
        writer_discard(writer);
    if (ok && whole)
        sample_draw(t, folder, path);
    hiss_model_close(model);
    char why[ERROR_TEXT_MAX];
    snprintf(why, sizeof(why), "%s", error_text());
    path_remove(model_path);
    return ok || error_set("%s", why);
}
