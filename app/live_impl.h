/*
 * What the files live*.c share: the session and its worker (live.c), what goes between threads
 * (live_talk.c), what is done beside the music (live_errand.c). Who may touch what is said here.
 */
#ifndef HISS_APP_LIVE_IMPL_H
#define HISS_APP_LIVE_IMPL_H

#include "app/live.h"
#include "app/live_board.h"
#include "app/live_speed.h"
#include "audio/microphone.h"
#include "audio/resample.h"
#include "audio/ring.h"
#include "base/file.h"

#include <pthread.h>
#include <stdatomic.h>

enum { QUEUE_MAX = 256, MESSAGES_MAX = 32, ERRANDS_MAX = 16 };

/* What the worker finds in its queue: an action, or the wish for the state (save: its path). */
struct request {
    struct action action; /* its codes and state are the queue's copies */
    char *save;
};

struct errand {
    enum { ERRAND_PROMPT, ERRAND_PROMPT_FILE, ERRAND_PROMPT_SOUND, ERRAND_SAVE } kind;
    char *path;
    uint8_t *codes; /* (n) */
    float *x;       /* (n) at `rate` */
    int64_t n;
    int rate;
    void *state; /* (state_size) */
    size_t state_size;
};

struct event_link {
    struct live_event event;
    struct event_link *next;
};

struct live {
    struct live_options options;
    char model_path[FILE_PATH_MAX], backend[64], precision[16];
    struct hiss_model *model;
    struct player *player;
    int rate;
    bool guided;

    /* The worker's. */
    pthread_t worker;
    bool worker_runs; /* the control thread's */
    struct performance *performance;
    struct resampler *resampler;
    float *resampled; /* (n_resampled_max) */
    int64_t n_resampled, n_resampled_used;
    struct speed_meter meter;
    float level; /* mean square, smoothed */
    float bits;
    bool idle;
    atomic_bool stopping, ended, failed;

    /* Seen by all. */
    struct board board; /* struct shown */
    _Atomic float recent[LIVE_RECENT];
    _Atomic int64_t recent_at; /* position behind the last */
    struct ring tap;           /* records: position (two floats), a block */
    atomic_bool tap_open;
    _Atomic int64_t tap_lost;
    float tap_block[PERFORMANCE_BLOCK]; /* the tap reader's: begun */
    int64_t tap_at;
    int tap_used;

    pthread_mutex_t lock; /* of what follows: held for copies only */
    struct request queue[QUEUE_MAX];
    int queue_first;
    atomic_int queue_used; /* looked at without the lock */
    char messages[MESSAGES_MAX][LIVE_MESSAGE_MAX];
    int messages_first, messages_used;
    struct event_link *events, *events_last;
    struct errand errands[ERRANDS_MAX];
    int errands_first, errands_used;
    bool errands_quit;
    pthread_cond_t errands_wake;

    /* The errand thread's. */
    pthread_t errand_thread;
    bool errand_runs; /* the control thread's */
    struct hiss_model *errand_model;
    atomic_int errand; /* enum live_errand */

    struct microphone *microphone; /* the control thread's */
};

/* What the worker shows. */
struct shown {
    struct performance_facts performance;
    float level_db, bits, speed_mean, speed_worst, resampler_s;
};

/* live_talk.c. */
bool talk_open(struct live *l);
void talk_close(struct live *l);
/* Any thread. */
void say(struct live *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes over what the request points to, also if it fails. */
bool request_put(struct live *l, const struct request *r);
/* The worker. */
bool request_take(struct live *l, struct request *r);
void request_free(struct request *r);
void event_note(void *arg, const struct action *a, int64_t at);
void heard_note(struct live *l, const float *x, int n, int64_t at);

/* live_errand.c. */
bool errands_open(struct live *l);
void errands_close(struct live *l);
/* Any thread. Takes over what the errand points to, also if it fails. */
bool errand_put(struct live *l, const struct errand *e);

#endif
