#include "app/performance_impl.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool performance_sampling_set(struct performance *p)
{
    struct hiss_sampling s = p->sampling;
    if (p->label_heard < 0) /* with and without label are the same then */
        s.guidance = 1;
    return hiss_stream_set_sampling(p->stream, &s);
}

/* The next n samples of the stream, clip after clip. */
static bool stream_make(struct performance *p, uint8_t *codes, float *x, int n, double *nats)
{
    for (int done = 0; done < n;) {
        int64_t left = n - done;
        if (p->clip > 0) {
            if (hiss_stream_position(p->stream) == p->clip) {
                hiss_stream_restart(p->stream);
                p->label_heard = p->label;
                if (!hiss_stream_set_label(p->stream, 0, p->label) || !performance_sampling_set(p))
                    return false;
            }
            int64_t in_clip = p->clip - hiss_stream_position(p->stream);
            left = left < in_clip ? left : in_clip;
        }
        if (!hiss_stream_generate(p->stream, codes + done, left, nats))
            return false;
        done += (int)left;
    }
    for (int i = 0; i < n; i++)
        x[i] = hiss_model_decode(p->model, codes[i]);
    p->line_at += n;
    return true;
}

static void loop_make(struct performance *p, float *x, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = p->loop[p->loop_at];
        p->loop_at = p->loop_at + 1 < p->n_loop ? p->loop_at + 1 : 0;
    }
}

/* Puts what is left of the tail under x. */
static void tail_add(struct performance *p, float *x, int n)
{
    for (int i = 0; i < n && p->tail_at < p->n_fade; i++, p->tail_at++)
        x[i] =
            x[i] * p->fade[p->tail_at] + p->tail[p->tail_at] * p->fade[p->n_fade - 1 - p->tail_at];
}

/* n samples of what sounds, before mute and pause. made: of the stream; its n is 0 in a loop. */
static bool sound_make(struct performance *p, uint8_t *codes, float *raw, float *x, int n,
                       struct performance_made *made)
{
    *made = (struct performance_made){.codes = codes, .x = raw};
    if (p->frozen) {
        loop_make(p, x, n);
    } else {
        if (!stream_make(p, codes, raw, n, &made->nats))
            return false;
        memcpy(x, raw, sizeof(*x) * (size_t)n);
        made->n = n;
    }
    tail_add(p, x, n);
    return true;
}

bool performance_jump(struct performance *p)
{
    uint8_t codes[PERFORMANCE_BLOCK];
    float raw[PERFORMANCE_BLOCK];
    struct performance_made made;
    if (p->at == 0 || (p->pause && p->gain == 0)) { /* nothing is heard */
        p->tail_at = p->n_fade;
        return true;
    }
    /* The old tail is used up before the new one is written over it: it is never ahead. */
    float *tail = p->tail;
    for (int done = 0; done < p->n_fade; done += PERFORMANCE_BLOCK) {
        int n = p->n_fade - done;
        n = n < PERFORMANCE_BLOCK ? n : PERFORMANCE_BLOCK;
        float x[PERFORMANCE_BLOCK];
        if (!sound_make(p, codes, raw, x, n, &made))
            return false;
        memcpy(tail + done, x, sizeof(*x) * (size_t)n);
    }
    p->tail_at = 0;
    return true;
}

/* Mute and pause: the gain goes to its goal; at 1 the samples are left as they are. */
static void gain_apply(struct performance *p, float *x, int n)
{
    float goal = p->mute || p->pause ? 0 : 1, step = 1 / (float)p->n_fade;
    for (int i = 0; i < n; i++) {
        if (p->gain < goal)
            p->gain = fminf(p->gain + step, goal);
        else if (p->gain > goal)
            p->gain = fmaxf(p->gain - step, goal);
        if (p->gain != 1)
            x[i] *= p->gain;
    }
}

int performance_block(struct performance *p, float x[PERFORMANCE_BLOCK])
{
    uint8_t codes[PERFORMANCE_BLOCK];
    float raw[PERFORMANCE_BLOCK];
    struct performance_made made;
    if (p->pause && p->gain == 0)
        return 0;
    if (!history_note(p) || !sound_make(p, codes, raw, x, PERFORMANCE_BLOCK, &made))
        return -1;
    for (int i = 0; i < PERFORMANCE_BLOCK; i++)
        p->recent[p->n_heard++ % p->n_recent] = x[i];
    gain_apply(p, x, PERFORMANCE_BLOCK);
    p->at += PERFORMANCE_BLOCK;
    if (made.n > 0)
        p->nats = made.nats / made.n;
    if (p->options.after_block)
        p->options.after_block(p->options.after_block_arg, p, &made);
    return PERFORMANCE_BLOCK;
}

struct performance_facts performance_look(const struct performance *p)
{
    struct performance_facts f = {.at = p->at,
                                  .clip_at = hiss_stream_position(p->stream),
                                  .sampling = p->sampling,
                                  .label = p->label,
                                  .label_heard = p->label_heard,
                                  .mute = p->mute,
                                  .paused = p->pause,
                                  .frozen = p->frozen,
                                  .guided = p->guided,
                                  .threads = hiss_stream_threads(p->stream),
                                  .rewind_s = history_s(p),
                                  .nats = p->nats};
    for (int i = 1; i <= PERFORMANCE_SLOTS; i++)
        f.slots |= p->slot[i].state ? 1U << i : 0;
    return f;
}

static bool memory_open(struct performance *p)
{
    p->n_fade = (int)lroundf(PERFORMANCE_FADE_S * (float)p->rate);
    p->n_fade = p->n_fade > 1 ? p->n_fade : 2;
    p->tail_at = p->n_fade;
    p->n_recent = PERFORMANCE_LOOP_S * p->rate + p->n_fade;
    p->tail = calloc((size_t)p->n_fade, sizeof(*p->tail));
    p->fade = calloc((size_t)p->n_fade, sizeof(*p->fade));
    p->recent = calloc((size_t)p->n_recent, sizeof(*p->recent));
    p->loop = calloc((size_t)p->n_recent, sizeof(*p->loop));
    if (!p->tail || !p->fade || !p->recent || !p->loop)
        return error_set("out of memory for a performance");
    for (int i = 0; i < p->n_fade; i++)
        p->fade[i] = sinf((float)M_PI_2 * ((float)i + 0.5f) / (float)p->n_fade);
    return history_open(p);
}

struct performance *performance_open(const struct performance_options *options)
{
    struct performance *p = calloc(1, sizeof(*p));
    if (!p) {
        error_set("out of memory for a performance");
        return NULL;
    }
    p->options = *options;
    p->model = options->model;
    p->rate = hiss_model_rate(p->model);
    p->clip = hiss_model_clip(p->model);
    p->sampling = options->sampling;
    p->label = p->label_heard = options->label;
    p->gain = 1;
    p->guided = options->sampling.guidance != 1 && hiss_model_n_labels(p->model) > 0;
    if (!p->guided)
        p->sampling.guidance = 1;
    p->stream = hiss_stream_open(p->model, 1, options->stream, p->guided);
    if (p->stream)
        p->state_size = hiss_stream_state_size(p->stream);
    if (!p->stream || !hiss_stream_set_label(p->stream, 0, p->label) ||
        !performance_sampling_set(p) || !memory_open(p)) {
        performance_close(p);
        return NULL;
    }
    return p;
}

void performance_close(struct performance *p)
{
    if (!p)
        return;
    hiss_stream_close(p->stream);
    history_close(p);
    for (int i = 1; i <= PERFORMANCE_SLOTS; i++)
        free(p->slot[i].state);
    free(p->tail);
    free(p->fade);
    free(p->recent);
    free(p->loop);
    free(p);
}

size_t performance_state_size(const struct performance *p)
{
    return p->state_size;
}

bool performance_state(const struct performance *p, void *bytes)
{
    return hiss_stream_save(p->stream, bytes);
}
