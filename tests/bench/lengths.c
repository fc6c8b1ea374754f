/*
 * What one length costs: lengths MODEL train|prefill|decode SAMPLES THREADS
 * Prints seconds and bytes, of a training step on one clip (everything inside layers computed
 * twice), of hearing that many samples in chunks of 1024, or of making them one by one in half
 * precision. Bytes: by how much the process grew. lengths.py runs it in turns.
 */
#define _GNU_SOURCE
#include "app/processor.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "model/model_file.h"
#include "model/trainer.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEARD_AT_ONCE = 1024, MADE_AT_ONCE = 256, STREAMS = 1 };
static const double least_s = 0.3; /* shorter work is done again until so much was measured */

struct subject {
    struct net net;
    int64_t n;
    uint8_t *codes, *mask;
    struct trainer trainer;
    struct chunk chunk;
    struct state state;
    uint8_t *heard;
    int32_t *label;
    struct decoder *decoder;
    float *zero;
};

/* --- training --------------------------------------------------------------------------------- */

static bool train_open(struct subject *s)
{
    const struct train_settings settings = {.batch = 1,
                                            .micro_batch = 1,
                                            .clip = s->n,
                                            .recompute = true,
                                            .steps = 1000,
                                            .lr = 1e-5,
                                            .min_lr = 1e-5,
                                            .beta1 = 0.9,
                                            .beta2 = 0.95,
                                            .eps = 1e-8,
                                            .clip_norm = 1,
                                            .ema = 0.999};
    return trainer_open(&s->trainer, &s->net, &settings);
}

static bool train_run(struct subject *s)
{
    const int32_t label = -1;
    struct train_result result;
    return trainer_step(&s->trainer, s->codes, s->mask, &label, NULL, &result) && !result.skipped;
}

/* --- a prompt --------------------------------------------------------------------------------- */

static bool prefill_open(struct subject *s)
{
    const int32_t label = -1;
    struct backend *be = s->net.be;
    if (!state_open(&s->state, &s->net, STREAMS) ||
        !chunk_open(&s->chunk, &s->net, STREAMS, HEARD_AT_ONCE, TAPE_NONE) ||
        !(s->heard = backend_alloc(be, HEARD_AT_ONCE)) ||
        !(s->label = backend_alloc(be, sizeof label)))
        return false;
    backend_upload(be, s->label, &label, sizeof label);
    return true;
}

static bool prefill_run(struct subject *s)
{
    state_reset(&s->state, &s->net);
    for (int64_t t = 0; t < s->n; t += HEARD_AT_ONCE) {
        int64_t n = s->n - t < HEARD_AT_ONCE ? s->n - t : HEARD_AT_ONCE;
        backend_upload(s->net.be, s->heard, s->codes + t, (size_t)n);
        chunk_forward(&s->chunk, &s->state, s->heard, s->label, n);
    }
    return backend_sync(s->net.be);
}

/* --- samples one by one ----------------------------------------------------------------------- */

static bool decode_open(struct subject *s)
{
    size_t bytes = (size_t)s->net.plan.state_size * sizeof *s->zero;
    s->decoder = net_decoder_open(&s->net, &(struct decoder_options){.n_streams = STREAMS,
                                                                     .precision = PRECISION_FP16,
                                                                     .threads = DECODE_ONE});
    s->zero = backend_alloc(s->net.be, bytes);
    if (!s->decoder || !s->zero)
        return false;
    backend_zero(s->net.be, s->zero, bytes);
    return true;
}

static bool decode_run(struct subject *s)
{
    const uint8_t start = PLAN_START_CODE;
    const int32_t label = -1;
    const struct ops *ops = s->net.be->ops;
    ops->decoder_import(s->decoder, s->zero, 0, &start);
    for (int64_t t = 0; t < s->n; t += MADE_AT_ONCE) {
        int64_t n = s->n - t < MADE_AT_ONCE ? s->n - t : MADE_AT_ONCE;
        ops->decode(s->decoder,
                    &(struct decode_args){
                        .n_samples = n,
                        .codes = s->codes,
                        .labels = &label,
                        .sampling = {.seed = 1, .temperature = 1, .top_p = 1, .guidance = 1},
                        .noise_n = t});
    }
    return backend_sync(s->net.be);
}

static const struct work {
    const char *name;
    bool (*open)(struct subject *s);
    bool (*run)(struct subject *s);
} works[] = {{"train", train_open, train_run},
             {"prefill", prefill_open, prefill_run},
             {"decode", decode_open, decode_run}};

static bool measure(const struct work *w, struct subject *s)
{
    double before, start;
    int64_t times = 0;
    malloc_trim(0); /* or what loading left would be used again and count for nothing */
    before = memory_resident();
    if (!w->open(s) || !w->run(s)) /* once without the clock: memory is new, caches are cold */
        return false;
    start = clock_s();
    do {
        if (!w->run(s))
            return false;
        times++;
    } while (clock_s() - start < least_s);
    printf("%.9g %.0f\n", (clock_s() - start) / (double)times, memory_resident() - before);
    return true;
}

int main(int argc, char **argv)
{
    struct subject s = {0};
    struct model_file m;
    size_t at = 0, n_works = sizeof works / sizeof *works;
    while (argc == 5 && at < n_works && strcmp(works[at].name, argv[2]) != 0)
        at++;
    if (argc != 5 || at == n_works || (s.n = strtoll(argv[3], NULL, 10)) <= 0) {
        fprintf(stderr, "usage: %s MODEL train|prefill|decode SAMPLES THREADS\n", argv[0]);
        return 2;
    }
    struct backend *be = backend_open("cpu", atoi(argv[4]));
    bool ok = be && model_file_load(&m, argv[1]) && net_open(&s.net, &m.config, be);
    if (ok)
        net_set_weights(&s.net, m.weights);
    ok = ok && (s.codes = malloc((size_t)s.n)) && (s.mask = malloc((size_t)s.n));
    for (int64_t t = 0; ok && t < s.n; t++) {
        s.codes[t] = (uint8_t)random_word(1, (uint64_t)t, 0, RANDOM_CROP, 0);
        s.mask[t] = 1;
    }
    if (ok && measure(&works[at], &s))
        return 0;
    fprintf(stderr, "%s\n", error_text());
    return 1;
}
