#include "app/watch.h"

#include "base/error.h"
#include "base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOMENTS_A_SECOND = 2,
    MOMENTS = GUARD_BACK_S * MOMENTS_A_SECOND + 1,
    BLOCK_MAX = 4096, /* samples of a block at most */
};

struct moment {
    void *state; /* (state_size) */
    struct take_point point;
};

struct watch {
    struct hiss_model *model;
    struct hiss_stream *stream;
    struct writer *writer;
    const struct take_job *job;
    struct guard *guard;
    struct hiss_sampling sampling; /* seed and temperature as the guard left them */
    size_t state_size;
    char *state_bytes;
    struct moment moments[MOMENTS]; /* ring of n_moments from `first` */
    int first, n_moments;
    int64_t step;   /* samples between two */
    uint8_t *codes; /* (n_codes of codes_size) not yet written: from the oldest moment on */
    int64_t n_codes, codes_size;
};

static struct moment *moment_at(struct watch *w, int i)
{
    return &w->moments[(w->first + i) % MOMENTS];
}

struct watch *watch_open(struct hiss_model *m, struct hiss_stream *stream,
                         const struct take_job *job, struct writer *writer)
{
    int rate = hiss_model_rate(m);
    struct watch *w = calloc(1, sizeof(*w));
    if (!w) {
        error_set("out of memory for a guard");
        return NULL;
    }
    w->model = m;
    w->stream = stream;
    w->writer = writer;
    w->job = job;
    w->sampling = job->sampling;
    w->step = rate / MOMENTS_A_SECOND > 0 ? rate / MOMENTS_A_SECOND : 1;
    w->codes_size = (MOMENTS + 1) * (w->step + BLOCK_MAX);
    w->codes = malloc((size_t)w->codes_size);
    w->state_size = hiss_stream_state_size(stream);
    w->state_bytes = malloc(MOMENTS * w->state_size);
    w->guard = guard_open(job->guard, rate, hiss_model_clip(m) > 0);
    if (!w->codes || !w->state_bytes || !w->guard) {
        error_set("out of memory for a guard");
        watch_close(w);
        return NULL;
    }
    for (int i = 0; i < MOMENTS; i++)
        w->moments[i].state = w->state_bytes + (size_t)i * w->state_size;
    return w;
}

void watch_close(struct watch *w)
{
    if (!w)
        return;
    guard_close(w->guard);
    free(w->state_bytes);
    free(w->codes);
    free(w);
}

static bool codes_write(struct watch *w, int64_t n)
{
    bool ok = take_write(w->model, w->writer, w->codes, n);
    w->n_codes -= n;
    memmove(w->codes, w->codes + n, (size_t)w->n_codes);
    return ok;
}

bool watch_mark(struct watch *w, const struct take_point *now)
{
    bool ok = true;
    if (w->n_moments > 0 &&
        now->result.n - moment_at(w, w->n_moments - 1)->point.result.n < w->step)
        return true;
    if (w->n_moments == MOMENTS) {
        ok = codes_write(w, moment_at(w, 1)->point.result.n - moment_at(w, 0)->point.result.n);
        w->first = (w->first + 1) % MOMENTS;
        w->n_moments--;
    }
    struct moment *m = moment_at(w, w->n_moments++);
    m->point = *now;
    return ok && hiss_stream_save(w->stream, m->state);
}

bool watch_finish(struct watch *w)
{
    w->n_moments = 0;
    return codes_write(w, w->n_codes);
}

bool watch_clip(struct watch *w)
{
    guard_forget(w->guard);
    return watch_finish(w);
}

static bool sampling_set(struct watch *w)
{
    w->sampling.temperature = w->job->sampling.temperature * guard_cooling(w->guard);
    return hiss_stream_set_sampling(w->stream, &w->sampling);
}

/* Takes back what was made since the newest moment that is old enough, or the oldest one. */
static bool go_back(struct watch *w, enum guard_verdict verdict, struct take_point *now)
{
    double rate = hiss_model_rate(w->model);
    struct guard_answer answer = guard_answer(w->guard, verdict, w->job->sampling.seed);
    int64_t goal = now->result.n - (int64_t)(answer.back_s * rate), at = now->result.n;
    int i = w->n_moments - 1;
    while (i > 0 && moment_at(w, i)->point.result.n > goal)
        i--;
    const struct moment *m = moment_at(w, i);
    w->n_moments = i + 1;
    w->n_codes -= at - m->point.result.n;
    *now = m->point;
    w->sampling.seed = answer.seed;
    if (!hiss_stream_load(w->stream, m->state, w->state_size) || !sampling_set(w))
        return false;
    char cooler[64] = "";
    if (guard_cooling(w->guard) != 1)
        snprintf(cooler, sizeof(cooler), ", for a while at temperature %.3g",
                 (double)w->sampling.temperature);
    log_warn("take %u, %.1f s: %s; it goes on from %.1f s, otherwise%s", w->job->stream,
             (double)at / rate, guard_verdict_name(verdict), (double)now->result.n / rate, cooler);
    return true;
}

bool watch_hear(struct watch *w, const uint8_t *codes, int64_t n, double nats,
                struct take_point *now)
{
    float x[BLOCK_MAX];
    assert(n <= BLOCK_MAX && w->n_codes + n <= w->codes_size);
    memcpy(w->codes + w->n_codes, codes, (size_t)n);
    w->n_codes += n;
    for (int64_t i = 0; i < n; i++)
        x[i] = hiss_model_decode(w->model, codes[i]);
    float cooling = guard_cooling(w->guard);
    enum guard_verdict verdict = guard_hear(w->guard, x, n, nats);
    bool ok = true;
    if (verdict != GUARD_WELL)
        ok = go_back(w, verdict, now);
    else if (guard_cooling(w->guard) != cooling)
        ok = sampling_set(w);
    now->result.n_guarded = guard_count(w->guard);
    return ok;
}
