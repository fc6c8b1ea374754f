#include "app/take.h"

#include "app/stop.h"
#include "base/error.h"

#include <math.h>
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

static bool write_codes(struct hiss_model *m, struct writer *w, const uint8_t *codes, int64_t n)
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

static bool take_begin(struct hiss_stream *s, const struct take_job *job)
{
    return hiss_stream_set_sampling(s, &job->sampling) &&
           hiss_stream_set_label(s, 0, job->n_labels > 0 ? job->labels[0] : -1) &&
           prompt_hear(s, job->prompt, job->n_prompt);
}

bool take_make(struct hiss_model *m, const struct take_job *job, struct writer *w,
               _Atomic int64_t *made, struct take_result *result)
{
    int64_t clip = hiss_model_clip(m), in_clip = job->n_prompt, n_clips = 1;
    struct take_result held = {0};
    memset(result, 0, sizeof(*result));
    struct hiss_stream *s = hiss_stream_open(m, 1, job->stream, job->sampling.guidance != 1);
    bool ok =
        s && take_begin(s, job) &&
        (!job->with_prompt || stop_requested() || write_codes(m, w, job->prompt, job->n_prompt));
    while (ok && result->n < job->n_samples && !stop_requested()) {
        if (clip > 0 && in_clip == clip) {
            hiss_stream_restart(s);
            int label = job->n_labels > 0 ? job->labels[n_clips++ % job->n_labels] : -1;
            ok = hiss_stream_set_label(s, 0, label);
            memset(&held, 0, sizeof(held));
            in_clip = 0;
            continue;
        }
        uint8_t codes[BLOCK];
        double nats = 0;
        int64_t n = job->n_samples - result->n < BLOCK ? job->n_samples - result->n : BLOCK;
        if (clip > 0 && n > clip - in_clip)
            n = clip - in_clip;
        ok = hiss_stream_generate(s, codes, n, &nats) && write_codes(m, w, codes, n);
        if (!ok)
            break;
        score_block(result, &held, codes, n, nats);
        result->n += n;
        in_clip += n;
        atomic_fetch_add(made, n);
    }
    if (s)
        hiss_stream_close(s);
    return ok;
}
