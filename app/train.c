#define _GNU_SOURCE
#include "app/stop.h"
#include "app/text.h"
#include "app/training.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "model/build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES_AHEAD = 3 };

/* Names that --label could not say, or that no model can hold. */
static bool label_check(const char *name)
{
    if (strchr(name, ','))
        return error_set("the label folder %s has a comma in its name, which stands between labels "
                         "in generate --label: rename it",
                         name);
    if (strlen(name) >= CONFIG_NAME_MAX)
        return error_set("the label folder %s has a name of more than %d bytes: rename it", name,
                         CONFIG_NAME_MAX - 1);
    if (text_is_utf8(name))
        return true;
    char *shown = text_escape(name);
    error_set("the label folder %s has a name that is not UTF-8 text: rename it",
              shown ? shown : "");
    free(shown);
    return false;
}

static bool labels_copy(struct config *config, const struct dataset *data)
{
    int n = dataset_n_labels(data);
    if (n > CONFIG_LABELS_MAX)
        return error_set("the data has %d label folders: at most %d are possible; --set "
                         "data.labels=none trains without",
                         n, CONFIG_LABELS_MAX);
    for (int i = 0; i < n; i++) {
        if (!label_check(dataset_label(data, i)))
            return false;
        snprintf(config->label[i], CONFIG_NAME_MAX, "%s", dataset_label(data, i));
    }
    config->n_labels = n;
    return config_check(config);
}

static bool weights_init(struct net *net, uint64_t seed)
{
    float *weights = malloc((size_t)net->plan.weights_size * sizeof(*weights));
    if (!weights)
        return error_set("out of memory for the weights");
    plan_init_weights(&net->plan, weights, seed);
    net_set_weights(net, weights);
    free(weights);
    return true;
}

/* auto: where the training is fastest. */
static struct backend *backend_open_for_training(const struct train_job *job)
{
    const char *name = job->backend;
    if (strcmp(name, "auto") == 0) {
        struct gpu_facts gpu;
        backend_gpu_facts(&gpu);
        name = gpu.usable ? "cuda" : "cpu";
    }
    struct backend *be = backend_open(name, job->n_threads);
    if (be)
        backend_set_products(be, (enum products)job->settings->products);
    return be;
}

/* The model with its first weights, and the optimiser; or both as the last checkpoint left them. */
static bool training_restore(struct training *t)
{
    struct train_settings settings = settings_train(t->s);
    struct config config;
    if (!settings_config(t->s, &config) || !labels_copy(&config, t->job->data))
        return false;
    t->backend = backend_open_for_training(t->job);
    if (!t->backend || !net_open(&t->net, &config, t->backend) ||
        !weights_init(&t->net, (uint64_t)t->s->seed) ||
        !trainer_open(&t->trainer, &t->net, &settings))
        return false;
    return checkpoint_load(t->job->run, &t->trainer, &t->progress, &t->saved_step);
}

static bool training_open(struct training *t, const struct train_job *job)
{
    memset(t, 0, sizeof(*t));
    t->job = job;
    t->s = job->settings;
    t->progress.best_bits = INFINITY;
    t->valid_bits = NAN;
    struct dataset_counts counts = dataset_counts(job->data, SPLIT_TRAIN);
    snprintf(t->from_data, sizeof(t->from_data), "%.200s: %lld files, %.2f h", job->data_name,
             (long long)counts.n_used, counts.dur_s / 3600);
    t->from = (struct provenance){.settings = t->s, .data = t->from_data};
    if (!training_restore(t) || !job->restored(job->arg))
        return false;
    int n_threads = job->n_threads > 0 ? job->n_threads : thread_count_available();
    struct loader_options loader = {.batch = (int)t->s->batch,
                                    .ahead = BATCHES_AHEAD,
                                    .n_threads = n_threads > 4 ? n_threads / 4 : 1,
                                    .first_step = t->progress.step};
    t->loader = loader_open(job->data, &loader);
    return t->loader && valid_open(&t->valid, job->data, &t->net, t->s->valid_clips) &&
           run_open_log(job->run, t->progress.step);
}

static void training_close(struct training *t)
{
    loader_close(t->loader);
    valid_close(&t->valid);
    trainer_close(&t->trainer);
    if (t->net.be)
        net_close(&t->net);
    if (t->backend)
        backend_close(t->backend);
    free(t->progress.stats);
}

static bool due(const struct training *t, int64_t every)
{
    return t->progress.step % every == 0 || t->progress.step == t->s->steps;
}

/* For how many windows before this step's the states were carried. */
static void count_carried(struct training *t)
{
    struct window *w = &t->window;
    for (int b = 0; t->trainer.windows && b < t->s->batch; b++) {
        int64_t n = t->trainer.windows[b];
        w->n_carried += n;
        w->most_carried = n > w->most_carried ? n : w->most_carried;
    }
}

/* The batch of the next step goes to where it is computed. */
static bool post_next(struct training *t)
{
    const struct batch *batch = loader_next(t->loader);
    if (!batch)
        return false;
    trainer_post(&t->trainer, batch->codes, batch->mask, batch->labels, batch->goes_on);
    t->posted_samples = batch->n_rows * batch->n_samples;
    return true;
}

/* Takes one optimiser step, and posts the batch of the next while it is computed; counts what came
   of it. */
static bool train_one(struct training *t, struct train_result *result)
{
    double start = clock_s();
    if (!t->posted_samples && !post_next(t))
        return false;
    struct progress *p = &t->progress;
    struct window *w = &t->window;
    const int64_t n_samples = t->posted_samples;
    trainer_begin(&t->trainer);
    bool posted = p->step + 1 == t->s->steps || post_next(t);
    if (!trainer_end(&t->trainer, result) || !posted)
        return false;
    p->step++;
    p->heard += result->n_targets;
    p->skipped += result->skipped;
    p->skipped_in_row = result->skipped ? p->skipped_in_row + 1 : 0;
    t->validated = false;
    w->seconds += clock_s() - start;
    w->n_steps++;
    w->n_samples += n_samples;
    count_carried(t);
    if (!result->skipped) {
        w->nats += result->nats;
        w->n_targets += result->n_targets;
    }
    if (p->skipped_in_row == t->s->max_skipped)
        return error_set("%lld steps in a row had no finite gradient, up to step %lld; what %s has "
                         "is from before them; try a lower train.lr",
                         (long long)p->skipped_in_row, (long long)p->step, t->job->run->path);
    return true;
}

/* Validation bits of the averaged weights; a new best is kept as a checkpoint of its own. */
static bool validate(struct training *t)
{
    bool stopped;
    double bits;
    trainer_use_average(&t->trainer, true);
    bool ok = valid_run(&t->valid, &bits, &stopped);
    trainer_use_average(&t->trainer, false);
    if (!ok || stopped)
        return ok;
    char *stats = valid_stats(&t->valid);
    if (!stats)
        return false;
    free(t->progress.stats);
    t->progress.stats = stats;
    t->valid_bits = bits;
    t->validated = true;
    return true;
}

/* A checkpoint that cannot be written is said and tried again at the next: the run goes on, and
   the checkpoints before it stay. */
static bool save(struct training *t)
{
    if (!checkpoint_save(t->job->run, &t->trainer, &t->progress, &t->from))
        return false;
    t->saved_step = t->progress.step;
    if (t->validated && t->progress.best_bits == t->valid_bits &&
        !run_set_best(t->job->run, t->saved_step))
        return false;
    run_prune(t->job->run, t->s->keep);
    return true;
}

/* What is due after a step. Trouble with files is no reason to lose the training. */
static bool after_step(struct training *t, const struct train_result *result)
{
    struct progress *p = &t->progress;
    report_status(t, result);
    if (due(t, t->s->valid_every) && !validate(t))
        return false;
    double best_before = p->best_bits;
    bool best = t->validated && t->valid_bits < best_before;
    if (best)
        p->best_bits = t->valid_bits;
    if ((due(t, t->s->log_every) || t->validated) && !report_log(t, result))
        log_warn("%s", error_text());
    if (t->validated)
        training_draw(t);
    /* In a row of skipped steps the weights may be spoilt already: what is there stays. */
    bool keeps = best || (due(t, t->s->checkpoint_every) && p->skipped_in_row == 0);
    if (keeps && !save(t)) {
        if (p->step == t->s->steps)
            return false;
        p->best_bits = best_before;
        log_warn("no checkpoint at step %lld, training goes on: %s", (long long)p->step,
                 error_text());
    }
    if (due(t, t->s->sample_every) && !training_listen(t))
        log_warn("no sound sample at step %lld: %s", (long long)p->step, error_text());
    return true;
}

bool train_run(const struct train_job *job)
{
    struct training t;
    bool ok = training_open(&t, job);
    if (ok)
        report_start(&t);
    while (ok && t.progress.step < t.s->steps && !stop_requested()) {
        struct train_result result;
        ok = train_one(&t, &result) && after_step(&t, &result);
    }
    log_status_end();
    if (ok && t.progress.step > t.saved_step && t.progress.skipped_in_row == 0)
        ok = save(&t);
    if (ok)
        report_end(&t);
    training_close(&t);
    return ok;
}
