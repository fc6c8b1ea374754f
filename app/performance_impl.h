/*
 * What the files performance*.c share: how it sounds (performance.c), the actions
 * (performance_action.c), what is kept for going back (performance_keep.c).
 */
#ifndef HISS_APP_PERFORMANCE_IMPL_H
#define HISS_APP_PERFORMANCE_IMPL_H

#include "app/performance.h"

enum {
    HISTORY_MAX = 240,            /* states: a minute */
    HISTORY_BYTES_MAX = 64 << 20, /* of them together; of larger states there are fewer */
};

/* A stream as it was: its state and how it chose. */
struct moment {
    void *state; /* (state_size) */
    struct hiss_sampling sampling;
    int label, label_heard;
    int64_t line_at; /* where on its line it was kept */
};

struct performance {
    struct performance_options options;
    struct hiss_model *model;
    struct hiss_stream *stream;
    bool guided;
    int rate;
    int64_t clip;
    struct hiss_sampling sampling;
    int label, label_heard;
    int64_t at;      /* samples heard */
    int64_t line_at; /* samples of the line of music under way: a rewind goes back on it */
    double nats;     /* a sample, of the last block */

    /* Fades. A jump leaves a tail: the sound as it would have gone on, faded out under the new. */
    int n_fade;
    float *tail; /* (n_fade) */
    int tail_at; /* n_fade: there is none */
    float *fade; /* (n_fade): sine of a quarter turn, both gains */
    float gain;  /* of mute and pause: moves by 1 / n_fade a sample */
    bool mute, pause;

    /* The loop, and what was heard lately (before mute and pause), from which it is cut. */
    float *recent; /* (n_recent) ring: sample i in slot i mod n_recent */
    int n_recent;
    int64_t n_heard; /* samples ever put into recent */
    float *loop;     /* (n_loop of at most n_recent) */
    int n_loop, loop_at;
    bool frozen;

    size_t state_size;
    struct moment slot[PERFORMANCE_SLOTS + 1]; /* 1 to 9; state NULL: empty */
    struct moment history[HISTORY_MAX];        /* ring of n_history */
    char *history_bytes;
    int n_history, history_first, history_used;
    int history_step; /* samples between two */
};

/* The stream's sampling follows from the performance's; guidance is 1 where no label is heard. */
bool performance_sampling_set(struct performance *p);

/* Renders a tail of what is heard now: the caller then changes the source. False with error_text.
 */
bool performance_jump(struct performance *p);

bool moment_keep(struct performance *p, struct moment *m);
bool moment_become(struct performance *p, const struct moment *m);

bool history_open(struct performance *p);
void history_close(struct performance *p);
/* Keeps the present if it is time. */
bool history_note(struct performance *p);
/* How far back it goes, in seconds. */
float history_s(const struct performance *p);
/* Becomes what was at least `seconds` ago, or the oldest; later states are forgotten. */
bool history_rewind(struct performance *p, float seconds);

/* Cuts the last `seconds` of sound to a loop whose end meets its beginning. False with error_text.
 */
bool loop_cut(struct performance *p, float seconds);

#endif
