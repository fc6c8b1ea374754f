/*
 * What the files player*.c share: the player, and which thread may touch what. Real time, in
 * PortAudio's callback: player_callback.c. The device, the keeper and the control thread: player.c.
 */
#ifndef HISS_AUDIO_PLAYER_IMPL_H
#define HISS_AUDIO_PLAYER_IMPL_H

#include "audio/player.h"
#include "audio/ring.h"

#include <portaudio.h>
#include <pthread.h>
#include <stdatomic.h>

struct player {
    struct player_options options; /* device is our own copy */
    char device[PLAYER_NAME_MAX];
    char name[2 * PLAYER_NAME_MAX];   /* as it was first opened */
    char opened[2 * PLAYER_NAME_MAX]; /* as it is open; the keeper's once it runs */
    bool begun;                       /* PortAudio */
    bool hung;                        /* the keeper does not come back from the device */
    int rate, channels;
    size_t buffer; /* samples */
    struct ring ring;
    PaStream *stream; /* NULL: lost */
    _Atomic double device_s, ahead_s;

    /* The callback's own. */
    bool settled;
    double asked_at, paced_since; /* seconds, PortAudio's clock */
    int64_t n_unsettled, burst;
    double begun_at; /* the same clock */
    int64_t n_given, n_silent;
    bool flowing;
    float gain, gain_step, last, decay;
    /* Between the callback and others. */
    atomic_bool idle, draining, drained, leaving;
    _Atomic int64_t frames, callbacks, underruns, missing, device_underflows;
    atomic_int callback_max, burst_max;

    /* The keeper. */
    pthread_t keeper;
    bool keeper_runs;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool quit;
    char message[256];
    atomic_int state; /* enum player_state */
    _Atomic int64_t lost;
};

/* player_callback.c. */

/* Samples that the ring should hold: the buffer, or what the device asks for at once if that is
   more. Any thread. */
size_t player_target(const struct player *p);

/* PortAudio's, on its thread, with the player as `arg`. Copies, fades and counts; nothing else. */
int player_callback(const void *in, void *out, unsigned long frames,
                    const PaStreamCallbackTimeInfo *time, PaStreamCallbackFlags flags, void *arg);

#endif
