/*
 * A live session: a performance (app/performance.h) made by a worker thread and heard on a sound
 * device.
 *
 * Threads. The control thread (main: keys, screen, recorder) opens and closes the session, posts
 * actions and looks. The worker applies actions between two blocks, makes sound, resamples it to
 * the device's rate and writes it into the player's ring. The player's callback copies from there.
 * The errand thread does what takes long beside the music (hearing a prompt, files). They meet
 * in rings, atomics, a queue of actions and one of messages. The callback never meets a lock.
 *
 * Every function below is the control thread's, unless it says otherwise; none of them waits for
 * sound, except live_open (which measures nothing, but primes no ring either), live_start (which
 * primes the ring) and live_close.
 */
#ifndef HISS_APP_LIVE_H
#define HISS_APP_LIVE_H

#include "app/performance.h"
#include "audio/player.h"

struct live;

struct live_options {
    const char *model_path, *backend, *precision;
    int n_threads; /* 0: all */
    struct hiss_sampling sampling;
    int label;
    const void *state; /* begins with this saved state; NULL: at the beginning */
    size_t state_size;
    const uint8_t *prompt; /* (n_prompt) codes: begins having heard them */
    int64_t n_prompt;
    int64_t n_samples; /* ends after so many (the model's rate); 0: never */
    struct player_options player;
    /* As in performance_options; on the worker. The guard. */
    void (*after_block)(void *arg, struct performance *p, const struct performance_made *made);
    void *after_block_arg;
};

/* Opens model, performance and device, and starts nothing yet. NULL with error_text: no model, no
   device. */
struct live *live_open(const struct live_options *options);

/* Starts the worker, waits until the ring is primed, and starts the device. False with
   error_text. */
bool live_start(struct live *l);

/* Fades out if `fade` and a sound is heard, stops device and threads, frees all. NULL is fine.
   Drain the tap first (live_stop, then live_tap_read until it gives nothing) to finish a
   recording. */
void live_close(struct live *l);

/* Ends the sound with a fade; after it no more samples reach the tap. Waits for the worker, at most
   some tens of milliseconds of sound. live_close does the same if it was not done. */
void live_stop(struct live *l);

/* Has the session ended by itself? Its samples were all heard, or the worker failed: then *ok is
   false and live_message has the reason. */
bool live_ended(struct live *l, bool *ok);

/* The model, for its names and numbers alone (rate, labels, metadata, encode): the worker uses it.
 */
const struct hiss_model *live_model(const struct live *l);

/* "name (api)" of the device, as it was opened. */
const char *live_device(const struct live *l);

/* --- hands on it --- */

/* Queues an action for the next block. Data it points to is copied. False if the queue is full
   (hundreds wait) or out of memory. A refusal by the performance becomes a message. ACTION_PROMPT:
   the errand thread hears the codes beside the music, then the sound crosses over. */
bool live_act(struct live *l, const struct action *a);

/* Errands, done beside the music one after the other; each ends in a message. */
bool live_prompt_file(struct live *l, const char *path); /* any sound file becomes the prompt */
bool live_save_state(struct live *l, const char *path);  /* the state as it is now, for --from */

/* The microphone: `on` starts listening (at most LIVE_LISTEN_S), off makes what was heard the
   prompt. False with error_text: no microphone. */
bool live_listen(struct live *l, bool on);
enum { LIVE_LISTEN_S = 30 };

/* --- looking --- */

enum live_errand { LIVE_NO_ERRAND, LIVE_PREFILL, LIVE_LISTENING, LIVE_SAVING };

struct live_facts {
    struct performance_facts performance; /* as of the last block made */
    float level_db; /* root mean square of the last 50 ms, below full scale, at least -120 */
    float bits;     /* the model's bits a sample, smoothed over about half a second */
    /* Seconds of sound made in a second of the worker's work: mean of the last some seconds, and
       the slowest 50 ms of them. Above 1: faster than real time. */
    float speed_mean, speed_worst;
    struct player_facts player; /* device, ring fill, underruns, gaps, latency parts */
    float resampler_ms;         /* delay of the resampler */
    float latency_ms;           /* key to ear: block + resampler + ring + device, as of now */
    enum live_errand errand;
    float listened_s;          /* while LIVE_LISTENING */
    int device_rate, channels; /* Hz; as the device plays */
    int64_t tap_lost;          /* samples that the tap's reader was too late for */
};

/* Lock-free. The facts of the performance are those of the last block made. */
void live_look(struct live *l, struct live_facts *facts);

/* The latest n samples sent to the device (the model's rate), oldest first, 0 before the beginning;
   n at most LIVE_RECENT. *at: the position behind the last one. Lock-free. */
enum { LIVE_RECENT = 16384 };
void live_recent(const struct live *l, float *x /* (n) */, int n, int64_t *at);

/* The next message for the user (one line: a refusal, an errand's end, a device that went away or
   came back), oldest first. False: there is none. */
enum { LIVE_MESSAGE_MAX = 256 };
bool live_message(struct live *l, char text[LIVE_MESSAGE_MAX]);

/* --- recording: what is heard, and why --- */

/* An action that took effect before sample `at` of the performance. Everything in order. */
struct live_event {
    int64_t at;
    struct action action; /* its codes and state are the event's: live_event_free */
};

/* The next event. They are kept from the beginning of the session on, until read, whether or not
   the tap is open: a take that begins later is made again from the beginning and cut. False: none.
   */
bool live_event_read(struct live *l, struct live_event *e);
void live_event_free(struct live_event *e);

/* The tap: samples as they are sent to the device, at the model's rate, after fades and mutes;
   while paused there are none. Opened and closed by the control thread; read by one thread, any, at
   least every some seconds (it holds LIVE_TAP_S). Returns how many; *at: the position of the first
   (gaps only if facts.tap_lost grew). */
enum { LIVE_TAP_S = 20 };
void live_tap(struct live *l, bool open);
int64_t live_tap_read(struct live *l, float *x /* (n) */, int64_t n, int64_t *at);

#endif
