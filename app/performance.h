/*
 * A performance: one stream of a model with hands on it, from the first sample to the last.
 *
 * It makes blocks of sound at the model's rate. Between two blocks actions are applied: sampling,
 * labels, snapshots, rewinds, loops, prompts. What is heard is a function of the model, the
 * options and the actions with their positions, and of nothing else: not of threads, clocks or
 * devices. So a take is made again by applying the same actions at the same positions, and without
 * any action the sound is that of `hiss generate` with the same seed, sample for sample.
 *
 * Clips: a model that sings in clips starts anew after each, the noise goes on, and the label set
 * last is heard from there on (generate: "--label a,b" takes labels in turn).
 *
 * Where the sound jumps (recall, rewind, morph, prompt, restart, the ends of a loop) the old stream
 * goes on for PERFORMANCE_FADE_S while the new one comes in: a crossfade of equal power.
 *
 * One thread at a time, the model's: live's worker, or whoever makes a take again.
 */
#ifndef HISS_APP_PERFORMANCE_H
#define HISS_APP_PERFORMANCE_H

#include "model/hiss.h"

struct performance;

enum {
    PERFORMANCE_BLOCK = 32,  /* samples made at once; actions fall on its multiples */
    PERFORMANCE_SLOTS = 9,   /* snapshots, numbered 1 to 9 */
    PERFORMANCE_LOOP_S = 10, /* the longest loop that can be frozen */
};

#define PERFORMANCE_FADE_S 0.02f
#define PERFORMANCE_HISTORY_S 0.25f /* between the states kept for rewinding */

enum action_kind {
    ACTION_TEMPERATURE, /* value */
    ACTION_TOP_P,       /* value */
    ACTION_GUIDANCE,    /* value; refused unless the performance is guided or it is 1 */
    ACTION_LABEL,       /* number: the label, -1 none; in clips from the next one on */
    ACTION_SEED,        /* seed; the noise's position goes on */
    ACTION_MUTE,        /* on; the model goes on, unheard; fades */
    ACTION_PAUSE,       /* on; fades, then the performance stands still (performance_paused) */
    ACTION_SNAPSHOT,    /* slot: keeps state, noise position, sampling and label */
    ACTION_RECALL,      /* slot: becomes it; what follows is what followed then, bit for bit */
    ACTION_REWIND,      /* value: seconds back; seed: the new one. To the nearest state kept that is
                           at least so old, or the oldest */
    ACTION_FREEZE,      /* on: the last `value` seconds go round, the model stands still; off: it
                           goes on where it stood */
    ACTION_MORPH,       /* slot, other, value 0 to 1: a mix of two snapshots (experimental); the
                           sampling and label of the nearer one */
    ACTION_PROMPT,      /* codes, n_codes: a new clip begins that has heard them */
    ACTION_STATE,       /* state: a saved one (performance_state), sampling and label stay */
    ACTION_RESTART,     /* a new clip begins now; the noise goes on */
    ACTION_KINDS
};

/* Plain data; unused fields are 0. */
struct action {
    enum action_kind kind;
    bool on;
    int slot, other; /* 1 to PERFORMANCE_SLOTS */
    int number;
    float value;
    uint64_t seed;
    /* Who applies, queues or copies an action owns neither: they must outlive the call. */
    const uint8_t *codes; /* (n_codes) */
    int64_t n_codes;
    const void *state; /* (state_size) */
    size_t state_size;
};

/* "temperature", "recall", ...: for logs and messages. */
const char *action_name(enum action_kind kind);
/* False, no error_text: unknown. */
bool action_from_name(enum action_kind *kind, const char *name);

/* A block as it was made, before loops, fades and mutes. */
struct performance_made {
    const uint8_t *codes; /* (n) */
    const float *x;       /* (n) */
    int n;                /* PERFORMANCE_BLOCK, or 0: the model stood still (frozen, paused) */
    double nats;          /* -ln p of these codes, untempered, untruncated, unguided */
};

struct performance_options {
    struct hiss_model *model; /* stays the caller's; its decode settings are set before */
    struct hiss_sampling sampling;
    int label;       /* -1: none */
    uint32_t stream; /* which noise of the seed; generate's first take has 0 */
    /* Called after each block, on the same thread; may look, and may apply actions, which take
       effect from the next block on: the guard against runaways. NULL: nobody. */
    void (*after_block)(void *arg, struct performance *p, const struct performance_made *made);
    void *after_block_arg;
    /* Called with each action that took effect (also with the guard's), and its position: for the
       event log. NULL: nobody. */
    void (*applied)(void *arg, const struct action *a, int64_t at);
    void *applied_arg;
};

/* What it is doing now. */
struct performance_facts {
    int64_t at;      /* samples heard since the beginning: the position of actions */
    int64_t clip_at; /* samples of the stream since its last start, prompt included */
    struct hiss_sampling sampling;
    int label;       /* as set; in clips it may not be heard yet */
    int label_heard; /* of the clip under way */
    bool mute, paused, frozen;
    bool guided;         /* guidance other than 1 can be set */
    const char *threads; /* as hiss_stream_threads */
    unsigned slots;      /* bit i: slot i holds a snapshot (bits 1 to PERFORMANCE_SLOTS) */
    float rewind_s;      /* how far back a rewind can go now */
    double nats;         /* of the last block made, a sample */
};

/* Opens it at its beginning. Guided if the sampling's guidance is not 1 and the model has labels
   (costs a second state and its work). NULL with error_text. */
struct performance *performance_open(const struct performance_options *options);
void performance_close(struct performance *p); /* NULL is fine */

/* Takes effect at once: before the next block. False with error_text if it makes no sense (an empty
   slot, a value out of bounds); nothing has changed then. */
bool performance_apply(struct performance *p, const struct action *a);

/* The next PERFORMANCE_BLOCK samples, at the model's rate. While paused, after the fade, nothing is
   made: returns 0 and x is left alone; else PERFORMANCE_BLOCK. -1 with error_text. */
int performance_block(struct performance *p, float x[PERFORMANCE_BLOCK]);

struct performance_facts performance_look(const struct performance *p);

/* The state of the stream as bytes (hiss_stream_save): for a file, and for ACTION_STATE. */
size_t performance_state_size(const struct performance *p);
bool performance_state(const struct performance *p, void *bytes);

/* The state of a stream that has heard `codes` from a clip's beginning with this label, as bytes
   for ACTION_STATE of a performance of the same model and guidedness. A model of its own on a
   thread of its own makes it beside a performance: the bits are the same. Allocated; NULL with
   error_text. */
void *performance_prompt_state(struct hiss_model *m, bool guided, int label, const uint8_t *codes,
                               int64_t n_codes, size_t *size);

#endif
