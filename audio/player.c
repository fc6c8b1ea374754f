/* The control side: the device, the keeper, open, start and stop. */
#define _GNU_SOURCE
#include "audio/player_impl.h"

#include "audio/device.h"
#include "base/clock.h"
#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WATCH_MS = 50,   /* between two looks of the keeper */
    STALL_MS = 2000, /* a device that asks for nothing for so long is gone */
    RETRY_MS = 1000, /* between two tries to open it again */
    STOP_POLL_NS = 2000000,
    KEEPER_S = 2,       /* it ends in, unless the device hangs */
    LATENCY_MIN_MS = 5, /* of the device: asked for, at least */
    LATENCY_MAX_S = 60, /* what is more is no latency */
};

static const float fade_s = 0.005f;  /* in, after a gap */
static const float decay_s = 0.002f; /* out: what the last sample becomes, a time constant */
#define LEAVE_S 1.5 /* for the last fade, and for what is under way in the device */

/* --- the device ---------------------------------------------------------------------------------
 */

/* As much latency as the buffer, as far as the device can be asked for it. */
static double latency_choose(const struct player *p, const PaDeviceInfo *info)
{
    double low = fmax(info->defaultLowOutputLatency, LATENCY_MIN_MS / 1000.0);
    double high = fmax(info->defaultHighOutputLatency, low);
    return fmin(fmax(p->options.buffer_s, low), high);
}

/* Under device_lock. */
static bool stream_open(struct player *p)
{
    int device = device_find(p->options.device, false);
    if (device < 0)
        return false;
    const PaDeviceInfo *info = Pa_GetDeviceInfo(device);
    if (p->rate == 0)
        p->rate = p->options.rate > 0 ? p->options.rate : (int)lround(info->defaultSampleRate);
    if (p->channels == 0)
        p->channels =
            p->options.channels > 0 ? p->options.channels : (info->maxOutputChannels < 2 ? 1 : 2);
    snprintf(p->opened, sizeof(p->opened), "%s (%s)", info->name,
             Pa_GetHostApiInfo(info->hostApi)->name);
    PaStreamParameters parameters = {.device = device,
                                     .channelCount = p->channels,
                                     .sampleFormat = paFloat32,
                                     .suggestedLatency = latency_choose(p, info)};
    PaError error = Pa_OpenStream(&p->stream, NULL, &parameters, p->rate,
                                  (unsigned long)p->options.callback_frames,
                                  paClipOff | paDitherOff, player_callback, p);
    if (error != paNoError) {
        p->stream = NULL;
        return error_set("%s does not play %d Hz in %d channel%s: %s (--rate and --channels choose "
                         "others, --device another device)",
                         p->opened, p->rate, p->channels, p->channels == 1 ? "" : "s",
                         Pa_GetErrorText(error));
    }
    const PaStreamInfo *stream_info = Pa_GetStreamInfo(p->stream);
    double latency = stream_info ? stream_info->outputLatency : 0;
    /* For a JACK client without latency PortAudio takes a period from 0, without a sign. */
    atomic_store(&p->device_s, latency < LATENCY_MAX_S ? latency : 0);
    return true;
}

static void stream_close(struct player *p)
{
    device_lock();
    if (p->stream) {
        Pa_AbortStream(p->stream);
        Pa_CloseStream(p->stream);
    }
    p->stream = NULL;
    device_unlock();
}

static bool stream_start(struct player *p)
{
    PaError error = Pa_StartStream(p->stream);
    return error == paNoError ||
           error_set("%s does not start: %s", p->opened, Pa_GetErrorText(error));
}

/* --- the keeper: watches the device, and opens it again -----------------------------------------
 */

static void say(struct player *p, const char *what)
{
    pthread_mutex_lock(&p->lock);
    snprintf(p->message, sizeof(p->message), "%.100s %s", p->opened, what);
    pthread_mutex_unlock(&p->lock);
}

/* False: it is time to quit. */
static bool keeper_wait(struct player *p, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + (int64_t)ms * 1000000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&p->lock);
    while (!p->quit && pthread_cond_timedwait(&p->wake, &p->lock, &until) == 0)
        continue;
    bool go_on = !p->quit;
    pthread_mutex_unlock(&p->lock);
    return go_on;
}

/* Devices are looked for anew: PortAudio is closed and opened in between. */
static bool device_retry(struct player *p)
{
    if (p->begun)
        device_end();
    p->begun = device_begin();
    if (!p->begun)
        return false;
    device_lock();
    bool ok = stream_open(p);
    device_unlock();
    p->flowing = p->settled = false;
    p->n_unsettled = p->n_given = p->n_silent = 0;
    if (ok && !stream_start(p)) {
        stream_close(p);
        ok = false;
    }
    return ok;
}

static void *keeper(void *arg)
{
    struct player *p = arg;
    int64_t seen = 0;
    double seen_at = clock_s();
    while (keeper_wait(p, p->stream ? WATCH_MS : RETRY_MS)) {
        if (!p->stream) {
            if (!device_retry(p))
                continue;
            atomic_store(&p->state, PLAYER_PLAYING);
            say(p, "is back");
            seen_at = clock_s();
            continue;
        }
        int64_t now = atomic_load(&p->callbacks);
        if (now != seen) {
            seen = now;
            seen_at = clock_s();
        }
        bool stalled = clock_s() - seen_at > STALL_MS / 1000.0;
        if (atomic_load(&p->drained) || (Pa_IsStreamActive(p->stream) == 1 && !stalled))
            continue;
        atomic_store(&p->state, PLAYER_LOST);
        atomic_fetch_add(&p->lost, 1);
        say(p, "went away: the music waits, and looks for it every second");
        stream_close(p);
    }
    return NULL;
}

/* --- open, start, stop --------------------------------------------------------------------------
 */

struct player *player_open(const struct player_options *options)
{
    struct player *p = calloc(1, sizeof(*p));
    if (!p) {
        error_set("out of memory for a player");
        return NULL;
    }
    p->options = *options;
    if (options->device) {
        snprintf(p->device, sizeof(p->device), "%s", options->device);
        p->options.device = p->device;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &clock);
    pthread_condattr_destroy(&clock);
    p->begun = device_begin();
    bool opened = false;
    if (p->begun) {
        device_lock();
        opened = stream_open(p);
        device_unlock();
    }
    if (opened) {
        snprintf(p->name, sizeof(p->name), "%s", p->opened);
        p->buffer = (size_t)llround(options->buffer_s * p->rate);
        p->flowing = true;
        p->gain = 1;
        p->gain_step = 1 / (fade_s * (float)p->rate);
        p->decay = expf(-1 / (decay_s * (float)p->rate));
        opened = ring_init(&p->ring, 2 * p->buffer + (size_t)p->rate);
    }
    if (!opened) {
        player_close(p);
        return NULL;
    }
    return p;
}

bool player_start(struct player *p)
{
    if (!stream_start(p))
        return false;
    atomic_store(&p->state, PLAYER_PLAYING);
    if (pthread_create(&p->keeper, NULL, keeper, p) != 0) {
        stream_close(p);
        return error_set("cannot start a thread for the sound device");
    }
    p->keeper_runs = true;
    return true;
}

void player_finish(struct player *p)
{
    atomic_store(&p->draining, true);
}

bool player_finished(const struct player *p)
{
    return atomic_load(&p->drained);
}

/* Waits for the callback to have given its last. */
static void drained_wait(struct player *p, double seconds)
{
    double until = clock_s() + seconds;
    while (clock_s() < until && atomic_load(&p->state) == PLAYER_PLAYING &&
           !atomic_load(&p->drained))
        nanosleep(&(struct timespec){.tv_nsec = STOP_POLL_NS}, NULL);
}

/* False: it hangs in the device. */
static bool keeper_join(struct player *p)
{
    struct timespec patience;
    clock_gettime(CLOCK_REALTIME, &patience);
    patience.tv_sec += KEEPER_S;
    return pthread_timedjoin_np(p->keeper, NULL, &patience) == 0;
}

void player_stop(struct player *p, double drain_s)
{
    player_finish(p);
    if (p->keeper_runs) {
        drained_wait(p, drain_s);
        atomic_store(&p->leaving, true);
        drained_wait(p, LEAVE_S);
        pthread_mutex_lock(&p->lock);
        p->quit = true;
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
        p->keeper_runs = false;
        p->hung = !keeper_join(p);
    }
    if (p->hung)
        return;
    stream_close(p);
    atomic_store(&p->state, PLAYER_STOPPED);
}

void player_close(struct player *p)
{
    if (!p)
        return;
    player_stop(p, 0);
    if (p->hung && !keeper_join(p)) /* what it may still touch is left to it */
        return;
    stream_close(p);
    if (p->begun)
        device_end();
    ring_free(&p->ring);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int player_rate(const struct player *p)
{
    return p->rate;
}

int player_channels(const struct player *p)
{
    return p->channels;
}

const char *player_device(const struct player *p)
{
    return p->name;
}

size_t player_wanted(const struct player *p)
{
    size_t ready = ring_n_ready(&p->ring), goal = player_target(p);
    return ready < goal ? goal - ready : 0;
}

size_t player_write(struct player *p, const float *x, size_t n)
{
    return ring_write(&p->ring, x, n);
}

void player_idle(struct player *p, bool idle)
{
    atomic_store(&p->idle, idle);
}

void player_look(const struct player *p, struct player_facts *f)
{
    *f = (struct player_facts){
        .state = (enum player_state)atomic_load(&p->state),
        .frames = atomic_load(&p->frames),
        .callbacks = atomic_load(&p->callbacks),
        .underruns = atomic_load(&p->underruns),
        .missing = atomic_load(&p->missing),
        .device_underflows = atomic_load(&p->device_underflows),
        .lost = atomic_load(&p->lost),
        .callback_max = atomic_load(&p->callback_max),
        .fill_s = (double)ring_n_ready(&p->ring) / p->rate,
        .target_s = (double)player_target(p) / p->rate,
        .device_s = fmax(atomic_load(&p->device_s), atomic_load(&p->ahead_s)),
    };
}

bool player_message(struct player *p, char *text, size_t size)
{
    pthread_mutex_lock(&p->lock);
    bool any = p->message[0] != 0;
    snprintf(text, size, "%s", p->message);
    p->message[0] = 0;
    pthread_mutex_unlock(&p->lock);
    return any;
}
