/*
 * Sound out, now: a sound device (PortAudio), fed through a lock-free ring.
 *
 * One thread writes mono samples at the device's rate; PortAudio's callback copies them to all
 * channels. The callback allocates nothing, takes no lock, opens nothing and makes no system call:
 * it copies, fades and counts. Where samples are missing it fades out, waits until the ring holds
 * its target again, and fades in; each time is counted once.
 *
 * A device that disappears is noticed by the player's own thread (the keeper), which closes it and
 * tries to open it again, about once a second; meanwhile the ring is full and the writer waits.
 *
 * Built without PortAudio, player_open and player_devices fail with a line that says so.
 */
#ifndef HISS_AUDIO_PLAYER_H
#define HISS_AUDIO_PLAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct player;

enum {
    PLAYER_NAME_MAX = 128,
    PLAYER_CHANNELS_MAX = 64,
};

struct player_options {
    const char
        *device;     /* a number of player_devices, a name, or a part of one; NULL: the default */
    int rate;        /* Hz; 0: the device's own */
    int channels;    /* 0: two, or as many as the device has if fewer */
    double buffer_s; /* the ring's target: so much sound lies ready ahead of the device */
    int callback_frames; /* that the device asks for at once; 0: as it likes */
};

/* A device, as PortAudio gives it. */
struct player_device {
    int number;
    const char *name, *api;
    int n_out, n_in;  /* channels */
    double rate;      /* its own */
    double latency_s; /* of output, as it says itself, at its lowest */
    bool is_default, is_default_in;
};

/* Calls visit for every device. False with error_text: no PortAudio, or no device at all. */
bool player_devices(void (*visit)(void *arg, const struct player_device *d), void *arg);

enum player_state { PLAYER_STOPPED, PLAYER_PLAYING, PLAYER_LOST };

struct player_facts {
    enum player_state state;
    int64_t frames; /* asked for by the device */
    int64_t callbacks;
    int64_t underruns;         /* times that samples were missing while they were due */
    int64_t missing;           /* frames of silence or fade played instead */
    int64_t device_underflows; /* times the device said that the callback came too late */
    int64_t lost;              /* times the device went away */
    int callback_max;          /* the largest callback, in frames */
    double fill_s;             /* in the ring now */
    double target_s; /* of the ring: buffer_s, or more if the device asks for larger pieces */
    double device_s; /* latency behind the ring: as PortAudio gives it, or as far as the device
 asks ahead of the clock if that is more (a sound server's buffer) */
};

/* Opens the device, stopped. NULL with error_text: one line that names what was asked for and what
   there is. Control thread. */
struct player *player_open(const struct player_options *options);

/* Starts playing what is in the ring (fill it before), and the keeper. */
bool player_start(struct player *p);

/* Stops the device when what is in the ring was heard; what is left of it after `drain_s` seconds
   is faded out and dropped. */
void player_stop(struct player *p, double drain_s);
void player_close(struct player *p); /* NULL is fine */

int player_rate(const struct player *p);
int player_channels(const struct player *p);
const char *player_device(const struct player *p); /* "name (api)" */

/* The writer's: how many samples the ring lacks to its target, and writing them (returns how many
   there was room for). */
size_t player_wanted(const struct player *p);
size_t player_write(struct player *p, const float *x /* (n) */, size_t n);

/* The writer has sent its last: when that was given to the device, player_finished. Any thread. */
void player_finish(struct player *p);
bool player_finished(const struct player *p);

/* The writer will send nothing for a while, on purpose: an empty ring is no underrun. Any thread.
 */
void player_idle(struct player *p, bool idle);

/* Lock-free, any thread. */
void player_look(const struct player *p, struct player_facts *facts);

/* What there is to say since the last call: a device that went or came back. False: nothing.
   Control thread. */
bool player_message(struct player *p, char *text, size_t size);

#endif
