/* A live session: opening and closing, and its worker. */
#define _GNU_SOURCE
#include "app/live_impl.h"

#include "app/stop.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    WAIT_MS = 1, /* the worker's, while the ring is full */
    POLL_MS = 2, /* the control thread's, while it waits for the worker */
    WORKER_NICE = -10,
    DRAIN_S = 1, /* at the end, beyond the ring's sound */
};

static const float level_s = 0.05f, bits_s = 0.5f; /* time constants */

static void wait_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL);
}

/* --- the worker ----------------------------------------------------------------------------------
 */

/* Out of the queue, into the performance. What it refuses is said. */
static void requests_do(struct live *l)
{
    struct request r;
    while (request_take(l, &r)) {
        if (r.save) {
            struct errand e = {.kind = ERRAND_SAVE,
                               .path = r.save,
                               .state_size = performance_state_size(l->performance)};
            r.save = NULL;
            e.state = malloc(e.state_size);
            if (!e.state || !performance_state(l->performance, e.state)) {
                say(l, "the state cannot be kept: %s", e.state ? error_text() : "out of memory");
                free(e.state);
                free(e.path);
            } else if (!errand_put(l, &e)) {
                say(l, "%s", error_text());
            }
        } else if (!performance_apply(l->performance, &r.action)) {
            say(l, "%s: %s", action_name(r.action.kind), error_text());
        }
        request_free(&r);
    }
}

static void facts_show(struct live *l)
{
    struct shown shown;
    memset(&shown, 0, sizeof(shown));
    shown.performance = performance_look(l->performance);
    shown.level_db = fmaxf(10 * log10f(l->level + 1e-12f), -120);
    shown.bits = l->bits;
    speed_read(&l->meter, &shown.speed_mean, &shown.speed_worst);
    shown.resampler_s = (float)resampler_held_s(l->resampler);
    board_write(&l->board, &shown, sizeof(shown));
}

/* n samples on their way to the ear. */
static void sound_send(struct live *l, const float *x, int n, int64_t at)
{
    float rate = (float)l->rate, share = 1 - expf(-1 / (level_s * rate));
    for (int i = 0; i < n; i++)
        l->level += share * (x[i] * x[i] - l->level);
    heard_note(l, x, n, at);
    l->n_resampled = resampler_run(l->resampler, l->resampled, x, n);
    l->n_resampled_used = 0;
}

/* Into the ring, as far as there is room. */
static void sound_write(struct live *l)
{
    l->n_resampled_used += (int64_t)player_write(l->player, l->resampled + l->n_resampled_used,
                                                 (size_t)(l->n_resampled - l->n_resampled_used));
}

/* The next block, if the performance makes one. False: it failed. */
static bool block_make(struct live *l)
{
    float x[PERFORMANCE_BLOCK];
    double begin = clock_s();
    int64_t at = performance_look(l->performance).at, most = l->options.n_samples;
    int n = performance_block(l->performance, x);
    if (n < 0)
        return false;
    if (n == 0) { /* paused: the ring may run empty */
        player_idle(l->player, l->idle = true);
        atomic_store(&l->ended, atomic_load(&l->stopping));
        return true;
    }
    speed_note(&l->meter, (double)n / l->rate, clock_s() - begin);
    double nats = performance_look(l->performance).nats;
    float share = 1 - expf(-(float)n / (bits_s * (float)l->rate));
    l->bits += share * ((float)(nats / M_LN2) - l->bits);
    if (most > 0 && at + n >= most) {
        n = (int)(most - at);
        atomic_store(&l->ended, true);
    }
    sound_send(l, x, n, at);
    return true;
}

static void *worker_main(void *arg)
{
    struct live *l = arg;
    bool ok = true, stopping = false;
    setpriority(PRIO_PROCESS, 0, WORKER_NICE); /* this thread alone; refused to most, no matter */
    while (ok && !atomic_load(&l->ended)) {
        requests_do(l);
        if (!stopping && atomic_load(&l->stopping)) {
            /* Fades, then performance_block makes nothing and the session has ended. */
            stopping = true;
            performance_apply(l->performance, &(struct action){.kind = ACTION_PAUSE, .on = true});
        }
        sound_write(l);
        bool full = player_wanted(l->player) == 0 || l->n_resampled_used < l->n_resampled;
        if (l->idle && full)
            player_idle(l->player, l->idle = false);
        if (full && !stopping) {
            facts_show(l);
            wait_ms(WAIT_MS);
            continue;
        }
        ok = block_make(l);
        facts_show(l);
        if (l->idle)
            wait_ms(WAIT_MS);
    }
    /* What the resampler holds back. The ring has room, unless the device is gone. */
    sound_write(l);
    l->n_resampled = resampler_run(l->resampler, l->resampled, NULL, 0);
    l->n_resampled_used = 0;
    sound_write(l);
    if (!ok) {
        say(l, "%s", error_text());
        atomic_store(&l->failed, true);
        atomic_store(&l->ended, true);
    }
    player_finish(l->player);
    return NULL;
}

/* --- open, start, stop
 * ---------------------------------------------------------------------------- */

static bool performance_begin(struct live *l)
{
    const struct live_options *o = &l->options;
    l->performance =
        performance_open(&(struct performance_options){.model = l->model,
                                                       .sampling = o->sampling,
                                                       .label = o->label,
                                                       .after_block = o->after_block,
                                                       .after_block_arg = o->after_block_arg,
                                                       .applied = event_note,
                                                       .applied_arg = l});
    if (!l->performance)
        return false;
    l->guided = performance_look(l->performance).guided;
    struct action begin = {
        .kind = ACTION_STATE, .number = o->label, .state = o->state, .state_size = o->state_size};
    if (o->n_prompt > 0)
        begin = (struct action){
            .kind = ACTION_PROMPT, .number = o->label, .codes = o->prompt, .n_codes = o->n_prompt};
    return (!o->state && o->n_prompt == 0) || performance_apply(l->performance, &begin);
}

static bool resampler_begin(struct live *l)
{
    l->resampler = resampler_open(l->rate, player_rate(l->player));
    if (!l->resampler)
        return false;
    size_t n = (size_t)resampler_room(l->resampler, PERFORMANCE_BLOCK);
    l->resampled = malloc(sizeof(*l->resampled) * n);
    return l->resampled || error_set("out of memory for resampled sound");
}

struct live *live_open(const struct live_options *options)
{
    struct live *l = calloc(1, sizeof(*l));
    if (!l) {
        error_set("out of memory for a session");
        return NULL;
    }
    l->options = *options;
    snprintf(l->model_path, sizeof(l->model_path), "%s", options->model_path);
    snprintf(l->backend, sizeof(l->backend), "%s", options->backend);
    snprintf(l->precision, sizeof(l->precision), "%s", options->precision);
    l->model = hiss_model_open(l->model_path, l->backend, options->n_threads);
    bool ok = l->model && hiss_model_set_decode(l->model, l->precision, "auto");
    if (ok) {
        l->rate = hiss_model_rate(l->model);
        ok = talk_open(l) && (l->player = player_open(&options->player)) != NULL &&
             performance_begin(l) && resampler_begin(l) && errands_open(l);
    }
    if (!ok) {
        live_close(l);
        return NULL;
    }
    facts_show(l);
    return l;
}

bool live_start(struct live *l)
{
    if (pthread_create(&l->worker, NULL, worker_main, l) != 0)
        return error_set("cannot start a thread");
    l->worker_runs = true;
    double total = l->options.player.buffer_s;
    while (!atomic_load(&l->ended) && !stop_requested() && player_wanted(l->player) > 0) {
        struct player_facts f;
        player_look(l->player, &f);
        if (total > 1)
            log_status(false, "making the first %.1f s: %.1f", total, f.fill_s);
        wait_ms(POLL_MS);
    }
    log_status_end();
    if (atomic_load(&l->failed)) {
        char text[LIVE_MESSAGE_MAX];
        return error_set("%s", live_message(l, text) ? text : "the worker failed");
    }
    return player_start(l->player);
}

void live_stop(struct live *l)
{
    if (!l->worker_runs)
        return;
    struct player_facts f;
    player_look(l->player, &f);
    atomic_store(&l->stopping, true);
    pthread_join(l->worker, NULL);
    l->worker_runs = false;
    /* A long ring is left in the middle, with a fade. */
    bool wait = f.state == PLAYER_PLAYING && f.fill_s < DRAIN_S;
    player_stop(l->player, wait ? f.fill_s + DRAIN_S : 0);
}

void live_close(struct live *l)
{
    if (!l)
        return;
    if (l->player)
        live_stop(l);
    if (l->rate > 0) { /* so far that it talks */
        errands_close(l);
        talk_close(l);
    }
    player_close(l->player);
    performance_close(l->performance);
    resampler_close(l->resampler);
    hiss_model_close(l->model);
    free(l->resampled);
    free(l);
}

bool live_ended(struct live *l, bool *ok)
{
    *ok = !atomic_load(&l->failed);
    return atomic_load(&l->ended) && (!*ok || player_finished(l->player));
}

const struct hiss_model *live_model(const struct live *l)
{
    return l->model;
}

const char *live_device(const struct live *l)
{
    return player_device(l->player);
}

void live_look(struct live *l, struct live_facts *f)
{
    struct shown shown;
    memset(f, 0, sizeof(*f));
    board_read(&l->board, &shown, sizeof(shown));
    player_look(l->player, &f->player);
    f->performance = shown.performance;
    f->level_db = shown.level_db;
    f->bits = shown.bits;
    f->speed_mean = shown.speed_mean;
    f->speed_worst = shown.speed_worst;
    f->resampler_ms = 1000 * shown.resampler_s;
    f->latency_ms = f->resampler_ms + (float)(1000.0 * (PERFORMANCE_BLOCK / (double)l->rate +
                                                        f->player.fill_s + f->player.device_s));
    f->errand = (enum live_errand)atomic_load(&l->errand);
    if (l->microphone) {
        f->errand = LIVE_LISTENING;
        f->listened_s = (float)microphone_heard_s(l->microphone);
    }
    f->tap_lost = atomic_load(&l->tap_lost);
    f->device_rate = player_rate(l->player);
    f->channels = player_channels(l->player);
}
