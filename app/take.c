#include "app/take.h"

#include "app/stop.h"
#include "app/watch.h"
#include "base/error.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Samples made at once. Padding is recognised by whole blocks, and blocks are counted from the
   start of a clip, so the score does not depend on anything else. */
enum { BLOCK = 256, PADDING_CODE = 128 };

/* Samples of a prompt heard between two looks for a signal: whole chunks of hiss_stream_prompt, so
   that the parts make the same bits as the whole. */
enum { HEARD_AT_ONCE = 1 << 16 };

double take_bits(const struct take_result *r)
{
    return r->n_scored > 0 ? r->nats / log(2) / (double)r->n_scored : 0;
}

bool labels_read(int labels[TAKE_LABELS_MAX], int *n, const char *names, const struct hiss_model *m)
{
    *n = 0;
    for (const char *rest = names; rest;) {
        char name[256];
        size_t length = strcspn(rest, ",");
        snprintf(name, sizeof(name), "%.*s", (int)length, rest);
        rest = rest[length] ? rest + length + 1 : NULL;
        if (*n == TAKE_LABELS_MAX)
            return error_set("--label names more than %d labels", TAKE_LABELS_MAX);
        int label = hiss_model_find_label(m, name);
        if (label < 0)
            return false;
        labels[(*n)++] = label;
    }
    return *n < 2 || hiss_model_clip(m) > 0 ||
           error_set("--label %s: this model does not sing in clips, so it takes one label", names);
}

bool take_write(struct hiss_model *m, struct writer *w, const uint8_t *codes, int64_t n)
{
    float x[BLOCK];
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t part = n - at < BLOCK ? n - at : BLOCK;
        for (int64_t i = 0; i < part; i++)
            x[i] = hiss_model_decode(m, codes[at + i]);
        if (!writer_write(w, x, part))
            return false;
    }
    return true;
}

static bool is_padding(const uint8_t *codes, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (codes[i] != PADDING_CODE)
            return false;
    return true;
}

/* Counts a block, unless all that follows it in the clip is padding too: then `held` is dropped. */
static void score_block(struct take_result *r, struct take_result *held, const uint8_t *codes,
                        int64_t n, double nats)
{
    held->nats += nats;
    held->n_scored += n;
    if (is_padding(codes, n))
        return;
    r->nats += held->nats;
    r->n_scored += held->n_scored;
    memset(held, 0, sizeof(*held));
}

static bool prompt_hear(struct hiss_stream *s, const uint8_t *codes, int64_t n)
{
    bool ok = true;
    for (int64_t at = 0; ok && at < n && !stop_requested(); at += HEARD_AT_ONCE)
        ok = hiss_stream_prompt(s, codes + at, n - at < HEARD_AT_ONCE ? n - at : HEARD_AT_ONCE);
    return ok;
}

/* The takes of one call. */
struct takes {
    struct hiss_model *model;
    struct hiss_stream *stream;
    const struct take_job *job;
    int n;
    struct writer *const *writers;
    struct take_result *results;
    struct take_result held[TAKES_AT_ONCE]; /* blocks that may turn out to be padding */
    int64_t in_clip, n_clips;
    struct watch *watch; /* of the only take, or NULL */
};

static bool labels_set(struct takes *t)
{
    const struct take_job *job = t->job;
    int label = job->n_labels > 0 ? job->labels[t->n_clips++ % job->n_labels] : -1;
    for (int i = 0; i < t->n; i++)
        if (!hiss_stream_set_label(t->stream, i, label))
            return false;
    return true;
}

static bool prompt_write(struct takes *t)
{
    const struct take_job *job = t->job;
    for (int i = 0; i < t->n && job->with_prompt && !stop_requested(); i++)
        if (!take_write(t->model, t->writers[i], job->prompt, job->n_prompt))
            return false;
    return true;
}

static bool clip_begin(struct takes *t)
{
    hiss_stream_restart(t->stream);
    memset(t->held, 0, sizeof(t->held));
    t->in_clip = 0;
    return labels_set(t) && (!t->watch || watch_clip(t->watch));
}

static struct take_point point_of(const struct takes *t)
{
    return (struct take_point){t->results[0], t->held[0], t->in_clip, t->n_clips};
}

/* The take is made; was it on the road? */
static bool block_watch(struct takes *t, const uint8_t *codes, int64_t n, double nats)
{
    struct take_point point = point_of(t);
    bool ok = watch_hear(t->watch, codes, n, nats, &point);
    t->results[0] = point.result;
    t->held[0] = point.held;
    t->in_clip = point.in_clip;
    t->n_clips = point.n_clips;
    return ok;
}

/* The next n samples of every take. */
static bool block_make(struct takes *t, int64_t n)
{
    uint8_t codes[TAKES_AT_ONCE * BLOCK];
    double nats[TAKES_AT_ONCE] = {0};
    struct take_point point = point_of(t);
    if (t->watch && !watch_mark(t->watch, &point))
        return false;
    if (!hiss_stream_generate(t->stream, codes, n, nats))
        return false;
    for (int i = 0; i < t->n; i++) {
        if (!t->watch && !take_write(t->model, t->writers[i], codes + i * n, n))
            return false;
        score_block(&t->results[i], &t->held[i], codes + i * n, n, nats[i]);
        t->results[i].n += n;
    }
    t->in_clip += n;
    return !t->watch || block_watch(t, codes, n, nats[0]);
}

bool takes_make(struct hiss_model *m, const struct take_job *job, int n,
                struct writer *const *writers, _Atomic int64_t *made, struct take_result *results)
{
    struct takes t = {.model = m,
                      .job = job,
                      .n = n,
                      .writers = writers,
                      .results = results,
                      .in_clip = job->n_prompt};
    const int64_t clip = hiss_model_clip(m);
    assert(n == 1 || !job->guard);
    memset(results, 0, (size_t)n * sizeof(*results));
    t.stream = hiss_stream_open(m, n, job->stream, job->sampling.guidance != 1);
    bool ok = t.stream && hiss_stream_set_sampling(t.stream, &job->sampling) && labels_set(&t) &&
              prompt_hear(t.stream, job->prompt, job->n_prompt) && prompt_write(&t) &&
              (!job->guard || (t.watch = watch_open(m, t.stream, job, writers[0])));
    while (ok && results->n < job->n_samples && !stop_requested()) {
        if (clip > 0 && t.in_clip == clip) {
            ok = clip_begin(&t);
            continue;
        }
        int64_t part = job->n_samples - results->n < BLOCK ? job->n_samples - results->n : BLOCK;
        if (clip > 0 && part > clip - t.in_clip)
            part = clip - t.in_clip;
        int64_t before = results->n;
        ok = block_make(&t, part);
        atomic_fetch_add(made, (results->n - before) * n);
    }
    /* What is held is part of the take, however it ended. */
    if (t.watch && !watch_finish(t.watch))
        ok = false;
    watch_close(t.watch);
    hiss_stream_close(t.stream);
    return ok;
}
