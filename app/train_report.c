#include "app/size.h"
#include "app/training.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "kernels/ops.h"

#include <math.h>
#include <stdio.h>

static double hours_heard(const struct training *t)
{
    return (double)t->progress.heard / (double)t->s->sample_rate / 3600;
}

static double bits_of(const struct window *w)
{
    return w->n_targets > 0 ? w->nats / log(2) / (double)w->n_targets : NAN;
}

void report_status(const struct training *t, const struct train_result *result)
{
    const struct progress *p = &t->progress;
    const struct window *w = &t->window;
    char left[32], valid[32] = "";
    double a_step = w->seconds_a_step > 0 ? w->seconds_a_step : w->seconds / (double)w->n_steps;
    if (isfinite(t->valid_bits))
        snprintf(valid, sizeof(valid), "  valid %.4f", t->valid_bits);
    log_status(p->step == t->s->steps,
               "step %lld/%lld  %.4f bits%s  lr %.2g  gradient %.3g  heard %.2f h  %.3gk samples/s"
               "  %s left",
               (long long)p->step, (long long)t->s->steps, bits_of(w), valid, result->lr,
               result->grad_norm, hours_heard(t), (double)w->n_samples / w->seconds / 1e3,
               time_format(left, sizeof(left), a_step * (double)(t->s->steps - p->step)));
}

static void set_real(json_t *line, const char *key, double value)
{
    json_object_set_new(line, key, isfinite(value) ? json_real(value) : json_null());
}

bool report_log(struct training *t, const struct train_result *result)
{
    const struct progress *p = &t->progress;
    struct window *w = &t->window;
    json_t *line = json_pack("{s:I}", "step", (json_int_t)p->step);
    set_real(line, "bits", bits_of(w));
    if (t->validated)
        set_real(line, "valid_bits", t->valid_bits);
    set_real(line, "lr", result->lr);
    set_real(line, "grad_norm", result->grad_norm);
    set_real(line, "hours", hours_heard(t));
    set_real(line, "samples_per_s", (double)w->n_samples / w->seconds);
    json_object_set_new(line, "skipped", json_integer(p->skipped));
    if (t->s->carry > 1) {
        double window_s = (double)settings_clip(t->s) / (double)t->s->sample_rate;
        double clips = (double)w->n_steps * (double)t->s->batch;
        set_real(line, "carried_s", (double)w->n_carried / clips * window_s);
        set_real(line, "carried_most_s", (double)w->most_carried * window_s);
        json_object_set_new(line, "carried_most", json_integer(w->most_carried));
    }
    double a_step = w->seconds / (double)w->n_steps;
    *w = (struct window){
        .seconds_a_step = w->seconds_a_step > 0 ? 0.7 * w->seconds_a_step + 0.3 * a_step : a_step};
    return run_log(t->job->run, line);
}

void report_start(const struct training *t)
{
    const struct train_job *job = t->job;
    int n_threads = job->n_threads > 0 ? job->n_threads : thread_count_available();
    log_info("model: %.4g M weights, %d labels, %lld Hz; %s, %d thread%s; run %s",
             (double)t->net.plan.n_weights / 1e6, t->net.config.n_labels,
             (long long)t->s->sample_rate, t->backend->ops->name, n_threads,
             n_threads == 1 ? "" : "s", job->run->path);
    if (t->s->carry > 1) {
        char most[32];
        double window_s = (double)settings_clip(t->s) / (double)t->s->sample_rate;
        log_info("states go on over %lld windows of %lld samples, %s; gradients within each; "
                 "%.3g MiB of states",
                 (long long)t->s->carry, (long long)settings_clip(t->s),
                 length_format(most, sizeof(most), (double)t->s->carry * window_s),
                 (double)t->s->batch * (double)t->net.plan.state_size * 4 / (1 << 20));
    }
    if (t->progress.step > 0)
        log_info("resumed at step %lld", (long long)t->progress.step);
}

void report_end(const struct training *t)
{
    const struct progress *p = &t->progress;
    const char *path = t->job->run->path;
    if (p->skipped > 0)
        log_info("%lld steps had no finite gradient and were skipped", (long long)p->skipped);
    if (p->step < t->s->steps)
        log_info("stopped at step %lld; hiss train --run %s goes on%s", (long long)p->step, path,
                 p->step > t->saved_step ? " from an earlier one" : "");
    else
        log_info("done: %lld steps, best validation %.4f bits a sample; hiss generate %s",
                 (long long)p->step, p->best_bits, path);
}
