/* What a live session does beside the music: hearing prompts, reading and writing files. */
#include "app/live_impl.h"

#include "app/prompt.h"
#include "audio/reader.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_S_MAX = 120 };

static void errand_free(struct errand *e)
{
    free(e->path);
    free(e->codes);
    free(e->x);
    free(e->state);
    memset(e, 0, sizeof(*e));
}

bool errand_put(struct live *l, const struct errand *e)
{
    pthread_mutex_lock(&l->lock);
    bool room = l->errands_used < ERRANDS_MAX;
    if (room) {
        l->errands[(l->errands_first + l->errands_used++) % ERRANDS_MAX] = *e;
        pthread_cond_signal(&l->errands_wake);
    }
    pthread_mutex_unlock(&l->lock);
    if (room)
        return true;
    struct errand mine = *e;
    errand_free(&mine);
    return error_set("%d errands wait already", ERRANDS_MAX);
}

/* A model of its own: a model and its streams belong to one thread. */
static bool model_open(struct live *l)
{
    if (l->errand_model)
        return true;
    l->errand_model = hiss_model_open(l->model_path, l->backend, 1);
    return l->errand_model && hiss_model_set_decode(l->errand_model, l->precision, "one");
}

/* Models that sing clips leave room for the answer: half a clip is heard at most. */
static int64_t prompt_length(struct live *l, int64_t n)
{
    int64_t clip = hiss_model_clip(l->errand_model), most = clip > 0 ? clip / 2 : n;
    if (n > most)
        say(l, "the first %.2f s are heard: this model's clips have %.2f s", (double)most / l->rate,
            (double)clip / l->rate);
    return n < most ? n : most;
}

/* The codes have been heard, then the sound goes on from there. */
static bool prompt_hear(struct live *l, const uint8_t *codes, int64_t n)
{
    struct shown shown;
    board_read(&l->board, &shown, sizeof(shown));
    int label = shown.performance.label;
    n = prompt_length(l, n);
    struct request r = {.action = {.kind = ACTION_PROMPT, .number = label, .n_codes = n}};
    r.action.state =
        performance_prompt_state(l->errand_model, l->guided, label, codes, n, &r.action.state_size);
    if (!r.action.state)
        return false;
    uint8_t *copy = malloc((size_t)n);
    if (!copy) {
        request_free(&r);
        return error_set("out of memory for a prompt");
    }
    memcpy(copy, codes, (size_t)n);
    r.action.codes = copy;
    return request_put(l, &r);
}

static bool prompt_sound(struct live *l, float *x, int64_t n)
{
    struct prompt prompt;
    bool silent;
    if (!prompt_encode(&prompt, x, n, l->errand_model, &silent))
        return false;
    if (silent)
        say(l, "the prompt is nearly silent");
    bool ok = prompt_hear(l, prompt.codes, prompt.n);
    prompt_free(&prompt);
    return ok;
}

static bool prompt_file(struct live *l, const char *path)
{
    struct sound sound;
    if (!sound_load(&sound, path, l->rate, (int64_t)PROMPT_S_MAX * l->rate))
        return false;
    bool ok = prompt_sound(l, sound.x, sound.n);
    sound_free(&sound);
    return ok;
}

/* What the microphone heard, at its own rate. */
static bool prompt_heard(struct live *l, const struct errand *e)
{
    struct resampler *r = resampler_open(e->rate, l->rate);
    float *x = NULL;
    int64_t n = 0;
    if (r && (x = malloc(sizeof(*x) * (size_t)(resampler_room(r, e->n) + resampler_room(r, 0))))) {
        n = resampler_run(r, x, e->x, e->n);
        n += resampler_run(r, x + n, NULL, 0);
    } else if (r) {
        error_set("out of memory for what the microphone heard");
    }
    bool ok = x && (n > 0 || error_set("the microphone heard nothing")) && prompt_sound(l, x, n);
    free(x);
    resampler_close(r);
    return ok;
}

static bool state_save(const struct errand *e)
{
    struct file_writer w;
    bool ok = file_create(&w, e->path);
    if (ok && fwrite(e->state, 1, e->state_size, w.file) != e->state_size)
        ok = error_set("cannot write %s: is the disk full?", w.part);
    ok = ok && file_commit(&w);
    file_discard(&w);
    return ok;
}

static void errand_do(struct live *l, struct errand *e)
{
    bool ok = false;
    atomic_store(&l->errand, e->kind == ERRAND_SAVE ? LIVE_SAVING : LIVE_PREFILL);
    switch (e->kind) {
    case ERRAND_PROMPT:
        ok = model_open(l) && prompt_hear(l, e->codes, e->n);
        break;
    case ERRAND_PROMPT_FILE:
        ok = model_open(l) && prompt_file(l, e->path);
        break;
    case ERRAND_PROMPT_SOUND:
        ok = model_open(l) && prompt_heard(l, e);
        break;
    case ERRAND_SAVE:
        ok = state_save(e);
        if (ok)
            say(l, "the state is in %s", e->path);
        break;
    }
    if (!ok)
        say(l, "%s", error_text());
    atomic_store(&l->errand, LIVE_NO_ERRAND);
}

static void *errands_main(void *arg)
{
    struct live *l = arg;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        while (l->errands_used == 0 && !l->errands_quit)
            pthread_cond_wait(&l->errands_wake, &l->lock);
        struct errand e = l->errands[l->errands_first];
        bool any = l->errands_used > 0;
        if (any) {
            l->errands_first = (l->errands_first + 1) % ERRANDS_MAX;
            l->errands_used--;
        }
        pthread_mutex_unlock(&l->lock);
        if (!any)
            return NULL;
        errand_do(l, &e);
        errand_free(&e);
    }
}

bool errands_open(struct live *l)
{
    if (pthread_create(&l->errand_thread, NULL, errands_main, l) != 0)
        return error_set("cannot start a thread");
    l->errand_runs = true;
    return true;
}

/* What was begun or waits is done first: it may be a file. */
void errands_close(struct live *l)
{
    if (l->errand_runs) {
        pthread_mutex_lock(&l->lock);
        l->errands_quit = true;
        pthread_cond_signal(&l->errands_wake);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->errand_thread, NULL);
        l->errand_runs = false;
    }
    hiss_model_close(l->errand_model);
    l->errand_model = NULL;
    microphone_close(l->microphone);
    l->microphone = NULL;
}

bool live_prompt_file(struct live *l, const char *path)
{
    struct errand e = {.kind = ERRAND_PROMPT_FILE, .path = strdup(path)};
    return e.path ? errand_put(l, &e) : error_set("out of memory for a path");
}

bool live_listen(struct live *l, bool on)
{
    if (on == (l->microphone != NULL))
        return error_set(on ? "the microphone listens already" : "the microphone is off");
    if (on)
        return (l->microphone = microphone_open(NULL, LIVE_LISTEN_S)) != NULL;
    struct errand e = {.kind = ERRAND_PROMPT_SOUND};
    e.x = microphone_take(l->microphone, &e.n, &e.rate);
    microphone_close(l->microphone);
    l->microphone = NULL;
    return e.x && errand_put(l, &e);
}
