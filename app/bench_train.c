/* Whole optimiser steps, and a prompt's way through the network. */
#define _GNU_SOURCE
#include "app/bench.h"
#include "app/processor.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "model/trainer.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFILL_TIME = 1024 };

bool bench_net_open(struct net *net, const struct bench_net *n, struct backend *be)
{
    if (!net_open(net, &n->config, be))
        return false;
    net_set_weights(net, n->weights);
    return true;
}

/* n codes that no model foresees. */
static void codes_fill(uint8_t *codes, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        codes[i] = (uint8_t)random_word(1, (uint64_t)i, 0, RANDOM_CROP, 0);
}

/* --- training --------------------------------------------------------------------------------- */

struct training_case {
    struct net net;
    struct trainer trainer;
    uint8_t *codes, *mask;
    int32_t *labels;
    bool failed;
    double bytes; /* the memory that it took: of a device, or of this process */
};

static void step_run(void *arg, int64_t times)
{
    struct training_case *t = arg;
    struct train_result result;
    for (int64_t i = 0; i < times; i++)
        t->failed |= !trainer_step(&t->trainer, t->codes, t->mask, t->labels, NULL, &result);
}

/* In use where the backend computes: by whoever is on the device, or by this process. */
static double used_bytes(const struct backend *be)
{
    struct gpu_facts gpu;
    if (!bench_is_device(be))
        return memory_resident();
    backend_gpu_facts(&gpu);
    return (double)gpu.memory - (double)gpu.memory_free;
}

static bool training_open(struct training_case *t, const struct bench *b, const struct bench_net *n,
                          struct backend *be)
{
    struct train_settings settings = {
        .batch = b->batch,
        .micro_batch = b->batch,
        .clip = b->clip,
        .slice = n->slice < b->clip ? n->slice : 0,
        .recompute = n->recompute,
        .steps = 1 << 20,
        .lr = 1e-4,
        .min_lr = 1e-4,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .eps = 1e-8,
        .weight_decay = 0.1,
        .clip_norm = 1,
        .ema = 0.999,
    };
    int64_t samples = b->batch * b->clip;
    t->codes = malloc((size_t)samples);
    t->mask = malloc((size_t)samples);
    t->labels = malloc((size_t)b->batch * sizeof(*t->labels));
    if (!t->codes || !t->mask || !t->labels)
        return error_set("out of memory for %d clips of %lld samples", b->batch,
                         (long long)b->clip);
    codes_fill(t->codes, samples);
    memset(t->mask, 1, (size_t)samples);
    for (int i = 0; i < b->batch; i++)
        t->labels[i] = -1;
    malloc_trim(0); /* or what was freed before would be used again and count for nothing */
    double before = used_bytes(be);
    backend_set_products(be, n->products);
    if (!bench_net_open(&t->net, n, be) || !trainer_open(&t->trainer, &t->net, &settings))
        return false;
    step_run(t, bench_is_device(be) ? 2 : 1); /* a device records the second */
    t->bytes = used_bytes(be) - before;       /* nothing was given back: the most there was */
    return !t->failed;
}

static void training_close(struct training_case *t)
{
    if (t->trainer.net)
        trainer_close(&t->trainer);
    if (t->net.be) {
        backend_set_products(t->net.be, PRODUCTS_FP32); /* what else is measured rounds nothing */
        net_close(&t->net);
    }
    free(t->codes);
    free(t->mask);
    free(t->labels);
}

bool bench_train(struct bench *b, const struct bench_net *n)
{
    struct training_case training[BENCH_BACKENDS] = {0};
    struct bench_case cases[BENCH_BACKENDS] = {0};
    char section[BENCH_ROW_MAX], note[100];
    bool ok = true;
    log_status(false, "%s: measuring training", n->name);
    for (int i = 0; ok && i < b->n_backends; i++) {
        ok = training_open(&training[i], b, n, b->backend[i]);
        cases[i] = (struct bench_case){.run = step_run, .arg = &training[i], .be = b->backend[i]};
    }
    ok = ok && bench_measure(b, cases, b->n_backends, 1);
    snprintf(section, sizeof(section), "%s: training", n->name);
    snprintf(note, sizeof(note), "whole optimiser steps, %d clip%s of %lld samples each", b->batch,
             b->batch > 1 ? "s" : "", (long long)b->clip);
    for (int i = 0; ok && i < b->n_backends; i++) {
        const char *row = b->backend_row[i];
        ok = !training[i].failed;
        report_add(&b->report, section, row, "samples/s",
                   b->batch * (double)b->clip / cases[i].median_s);
        report_add(&b->report, section, row, "ms", cases[i].median_s * 1e3);
        report_add(&b->report, section, row, "MiB", training[i].bytes / (1 << 20));
    }
    report_note(&b->report, section, note);
    for (int i = 0; i < BENCH_BACKENDS; i++)
        training_close(&training[i]);
    return ok;
}

/* --- prefill ---------------------------------------------------------------------------------- */

struct prefill_case {
    struct net net;
    struct chunk chunk;
    struct state state;
    uint8_t *codes;  /* backend memory (PREFILL_TIME) */
    int32_t *labels; /* backend memory (1) */
};

static void prefill_run(void *arg, int64_t times)
{
    struct prefill_case *p = arg;
    for (int64_t i = 0; i < times; i++)
        chunk_forward(&p->chunk, &p->state, p->codes, p->labels, PREFILL_TIME);
}

static bool prefill_open(struct prefill_case *p, const struct bench_net *n, struct backend *be)
{
    uint8_t codes[PREFILL_TIME];
    const int32_t label = -1;
    if (!bench_net_open(&p->net, n, be) || !state_open(&p->state, &p->net, 1) ||
        !chunk_open(&p->chunk, &p->net, 1, PREFILL_TIME, TAPE_NONE) ||
        !(p->codes = backend_alloc(be, PREFILL_TIME)) ||
        !(p->labels = backend_alloc(be, sizeof(label))))
        return false;
    codes_fill(codes, PREFILL_TIME);
    backend_upload(be, p->codes, codes, sizeof(codes));
    backend_upload(be, p->labels, &label, sizeof(label));
    return true;
}

static void prefill_close(struct prefill_case *p)
{
    if (!p->net.be)
        return;
    if (p->codes)
        backend_free(p->net.be, p->codes);
    if (p->labels)
        backend_free(p->net.be, p->labels);
    if (p->chunk.net)
        chunk_close(&p->chunk);
    state_close(&p->state, &p->net);
    net_close(&p->net);
}

bool bench_prefill(struct bench *b, const struct bench_net *n)
{
    struct prefill_case prefill[BENCH_BACKENDS] = {0};
    struct bench_case cases[BENCH_BACKENDS] = {0};
    char section[BENCH_ROW_MAX], note[100];
    bool ok = true;
    log_status(false, "%s: measuring prefill", n->name);
    for (int i = 0; ok && i < b->n_backends; i++) {
        ok = prefill_open(&prefill[i], n, b->backend[i]);
        cases[i] = (struct bench_case){.run = prefill_run, .arg = &prefill[i], .be = b->backend[i]};
    }
    ok = ok && bench_measure(b, cases, b->n_backends, 0.5);
    snprintf(section, sizeof(section), "%s: prefill", n->name);
    snprintf(note, sizeof(note), "chunks of %d samples, state kept", PREFILL_TIME);
    for (int i = 0; ok && i < b->n_backends; i++) {
        ok = backend_sync(b->backend[i]);
        report_add(&b->report, section, b->backend_row[i], "us/sample",
                   cases[i].median_s / PREFILL_TIME * 1e6);
    }
    report_note(&b->report, section, note);
    for (int i = 0; i < BENCH_BACKENDS; i++)
        prefill_close(&prefill[i]);
    return ok;
}
