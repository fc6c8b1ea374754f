/* One sample after the other: the engine of ops->decode in every precision and on one and two
   threads, beside the generic walk. */
#define _GNU_SOURCE
#include "app/bench.h"
#include "app/stop.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "model/build.h"
#include "model/chunk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 256, /* samples between two turns, or the next multiple of the period */
    DEVICE_CHUNK = 1024,
    WALK_PERIODS = 4, /* on a device, where the walk takes long */
    LANES = 8,        /* streams of the rows that make several */
    STREAMS_MAX = 256,
    CASES_MAX = 40,
    KEPT_MAX = 1 << 16, /* times of single samples that are kept of a case */
    ROUNDS_MIN = 3,
    INT8_RATE = 4, /* products of 8 bits that fit where one of 32 does */
};

/* Ways to run the engine of a processor, each in every precision. */
static const struct way {
    const char *name;
    enum decode_threads threads;
    bool at_once, guided;
    int n_streams;
} ways[] = {
    {"at once", DECODE_ONE, true, false, 1},
    {"spread out", DECODE_ONE, false, false, 1},
    {"lockstep", DECODE_LOCKSTEP, true, false, 1},
    {"pipeline", DECODE_PIPELINE, false, false, 1},
    {"guided", DECODE_ONE, false, true, 1},
    {"guided by rows", DECODE_ROWS, false, true, 1},
    {"8 streams", DECODE_ONE, false, false, LANES},
    {"8 streams by rows", DECODE_ROWS, false, false, LANES},
};
enum { N_WAYS = sizeof(ways) / sizeof(ways[0]) };

/* Many streams, as whoever has them would ask for: in half precision, threads or blocks as the
   engine chooses. The generic walk makes the same numbers of them on a device. */
static const struct way crowds[] = {
    {"1 stream", DECODE_AUTO, false, false, 1},
    {"guided", DECODE_AUTO, false, true, 1},
    {"8 streams", DECODE_AUTO, false, false, 8},
    {"64 streams", DECODE_AUTO, false, false, 64},
    {"256 streams", DECODE_AUTO, false, false, STREAMS_MAX},
};
enum { N_CROWDS = sizeof(crowds) / sizeof(crowds[0]) };

/* The generic walk: a chunk of one sample, and `sample`. */
struct walk {
    struct chunk chunk;
    struct state state;
    uint8_t *codes;  /* backend memory (n_streams) */
    int32_t *labels; /* backend memory (n_streams) */
    float *nats;     /* backend memory (n_streams) */
};

struct decode_case {
    char name[BENCH_ROW_MAX];
    const struct way *way;
    bool walks; /* the generic walk; else the engine */
    enum precision precision;
    struct backend *be;
    struct net *net;
    struct decoder *decoder;
    struct walk walk;
    int64_t n;        /* samples made so far */
    double *mean_s;   /* of each turn, from clock to clock */
    double *sample_s; /* of single samples */
    int64_t n_kept;
};

struct decode_bench {
    struct bench *b;
    struct net nets[BENCH_BACKENDS];
    struct decode_case cases[CASES_MAX];
    int n_cases;
    int64_t period; /* samples in which every tier ticks */
    int64_t chunk;  /* samples of a turn */
    int n_rounds;
};

/* --- opening ---------------------------------------------------------------------------------- */

static bool case_alloc(struct decode_case *c)
{
    c->mean_s = calloc(KEPT_MAX / CHUNK, sizeof(*c->mean_s));
    c->sample_s = calloc(KEPT_MAX, sizeof(*c->sample_s));
    return (c->mean_s && c->sample_s) || error_set("out of memory for times");
}

static bool engine_open(struct decode_case *c)
{
    const struct ops *ops = c->be->ops;
    const struct way *w = c->way;
    struct decoder_options o = {.n_streams = w->n_streams,
                                .guided = w->guided,
                                .precision = c->precision,
                                .threads = w->threads,
                                .at_once = w->at_once};
    struct state state = {0};
    uint8_t inputs[2 * STREAMS_MAX];
    snprintf(c->name, sizeof(c->name), "%s %s", precision_name(c->precision), w->name);
    memset(inputs, PLAN_START_CODE, sizeof(inputs));
    c->decoder = net_decoder_open(c->net, &o);
    if (!c->decoder || !state_open(&state, c->net, w->n_streams * (w->guided ? 2 : 1)))
        return error_prefix("%s", c->name);
    ops->decoder_import(c->decoder, state.data, 0, inputs);
    state_close(&state, c->net);
    return case_alloc(c);
}

static bool walk_open(struct decode_case *c)
{
    struct walk *w = &c->walk;
    int n = c->way->n_streams;
    uint8_t codes[STREAMS_MAX];
    int32_t labels[STREAMS_MAX];
    if (bench_is_device(c->be))
        snprintf(c->name, sizeof(c->name), "walk %s", c->way->name);
    else
        snprintf(c->name, sizeof(c->name), "generic walk");
    for (int i = 0; i < n; i++) {
        codes[i] = PLAN_START_CODE;
        labels[i] = -1;
    }
    if (!chunk_open(&w->chunk, c->net, n, 1, TAPE_NONE) || !state_open(&w->state, c->net, n) ||
        !(w->codes = backend_alloc(c->be, (size_t)n)) ||
        !(w->labels = backend_alloc(c->be, (size_t)n * sizeof(*labels))) ||
        !(w->nats = backend_alloc(c->be, (size_t)n * sizeof(*w->nats))))
        return false;
    backend_upload(c->be, w->codes, codes, (size_t)n);
    backend_upload(c->be, w->labels, labels, (size_t)n * sizeof(*labels));
    return case_alloc(c);
}

static void case_close(struct decode_case *c)
{
    struct walk *w = &c->walk;
    void *const blocks[] = {w->codes, w->labels, w->nats};
    if (c->decoder)
        c->be->ops->decoder_close(c->decoder);
    for (int i = 0; i < 3; i++)
        if (blocks[i])
            backend_free(c->be, blocks[i]);
    state_close(&w->state, c->net);
    if (w->chunk.net)
        chunk_close(&w->chunk);
    free(c->mean_s);
    free(c->sample_s);
}

/* The next case; those of more than one thread belong to the second backend, if there is one. */
static struct decode_case *case_add(struct decode_bench *d, const struct way *way,
                                    enum precision precision)
{
    int i = way->threads != DECODE_ONE && d->b->n_backends > 1;
    struct decode_case *c = &d->cases[d->n_cases++];
    *c = (struct decode_case){
        .way = way, .precision = precision, .be = d->b->backend[i], .net = &d->nets[i]};
    return c;
}

static bool walk_add(struct decode_bench *d, const struct way *way)
{
    struct decode_case *c = case_add(d, way, PRECISION_FP32);
    c->walks = true;
    return walk_open(c);
}

/* On a processor the streams of `ways` are enough to know the others by. */
static bool crowds_open(struct decode_bench *d)
{
    bool device = bench_is_device(d->b->backend[0]);
    for (int i = 0; i < N_CROWDS; i++) {
        const struct way *w = &crowds[i];
        if (w->n_streams > d->b->n_streams)
            continue;
        if (device && !w->guided && !walk_add(d, w))
            return false;
        if (d->b->backend[0]->ops->decoder_open && (device || w->n_streams > LANES) &&
            !(d->b->quick && !device) && !engine_open(case_add(d, w, PRECISION_FP16)))
            return false;
    }
    return true;
}

static bool cases_open(struct decode_bench *d)
{
    const struct bench *b = d->b;
    static const struct way one = {"", DECODE_ONE, true, false, 1};
    bool device = bench_is_device(b->backend[0]);
    for (int p = 0; !device && p < PRECISIONS; p++)
        for (int i = 0; i < N_WAYS; i++) {
            bool two = ways[i].threads != DECODE_ONE;
            bool fits = ways[i].threads != DECODE_PIPELINE || d->nets[0].plan.n_tiers > 1;
            if ((two && b->n_backends < 2) || !fits)
                continue;
            if (!engine_open(case_add(d, &ways[i], (enum precision)p)))
                return false;
        }
    return crowds_open(d) && (device || walk_add(d, &one));
}

/* --- running ---------------------------------------------------------------------------------- */

/* Makes n samples; seconds (n), or NULL: what each took. */
static void case_run(struct decode_case *c, int64_t n, float *seconds, uint8_t *codes)
{
    static int32_t labels[2 * STREAMS_MAX];
    const struct ops *ops = c->be->ops;
    struct sampling sampling = {.seed = 1, .temperature = 1, .top_p = 1, .guidance = 1};
    for (int i = 0; i < 2 * STREAMS_MAX; i++)
        labels[i] = -1;
    if (c->decoder) {
        sampling.guidance = c->way->guided ? 2 : 1;
        ops->decode(c->decoder, &(struct decode_args){.n_samples = n,
                                                      .codes = codes,
                                                      .labels = labels,
                                                      .seconds = seconds,
                                                      .sampling = sampling,
                                                      .noise_n = c->n});
    }
    for (int64_t t = 0; !c->decoder && t < n; t++) {
        double start = clock_s();
        const float *logits =
            chunk_forward(&c->walk.chunk, &c->walk.state, c->walk.codes, c->walk.labels, 1);
        ops->sample(c->be, &(struct sample_args){.codes = c->walk.codes,
                                                 .nats = c->walk.nats,
                                                 .logits = logits,
                                                 .sampling = sampling,
                                                 .n = c->n + t,
                                                 .n_batch = c->way->n_streams});
        backend_download(c->be, codes, c->walk.codes, (size_t)c->way->n_streams);
        if (seconds)
            seconds[t] = (float)(clock_s() - start);
    }
    c->n += n;
}

/* A turn: two periods to find its weights again and wake its threads, then the chunk that counts.
   A device that is asked what each sample takes does not do its best. */
static void case_turn(const struct decode_bench *d, struct decode_case *c, float *seconds,
                      uint8_t *codes)
{
    bool device = bench_is_device(c->be);
    int64_t n = device && c->walks ? WALK_PERIODS * d->period : d->chunk;
    case_run(c, 2 * d->period, seconds, codes);
    double start = clock_s();
    case_run(c, n, device ? NULL : seconds, codes);
    c->mean_s[d->n_rounds] = (clock_s() - start) / (double)n;
    if (device)
        case_run(c, n, seconds, codes);
    for (int64_t t = 0; t < n && c->n_kept < KEPT_MAX; t++)
        c->sample_s[c->n_kept++] = (double)seconds[t];
}

static bool cases_run(struct decode_bench *d)
{
    size_t longest =
        (size_t)(d->chunk > WALK_PERIODS * d->period ? d->chunk : WALK_PERIODS * d->period);
    float *seconds = malloc(longest * sizeof(*seconds));
    uint8_t *codes = malloc(longest * STREAMS_MAX);
    bool ok = (seconds && codes) || error_set("out of memory for codes");
    double end = clock_s() + d->n_cases * (d->b->quick ? 0.03 : 0.3);
    while (ok && (d->n_rounds < ROUNDS_MIN ||
                  (clock_s() < end && (d->n_rounds + 1) * d->chunk <= KEPT_MAX))) {
        for (int i = 0; ok && i < d->n_cases; i++) {
            case_turn(d, &d->cases[i], seconds, codes);
            ok = !stop_requested() || error_set("interrupted");
        }
        d->n_rounds++;
    }
    free(seconds);
    free(codes);
    return ok && backend_sync(d->b->backend[0]);
}

/* --- figures ---------------------------------------------------------------------------------- */

/* The largest of the medians of the places in a period: what the dearest sample costs, however
   often something else disturbs. */
static double phase_s(const struct decode_bench *d, const struct decode_case *c)
{
    double worst = 0, *place = malloc((size_t)(c->n_kept / d->period + 1) * sizeof(*place));
    for (int64_t phase = 0; place && phase < d->period; phase++) {
        int64_t n = 0;
        for (int64_t t = phase; t < c->n_kept; t += d->period)
            place[n++] = c->sample_s[t];
        double median = n > 0 ? bench_quantile(place, n, 0.5) : 0;
        worst = median > worst ? median : worst;
    }
    free(place);
    return worst;
}

/* Seconds a sample that the machine's limits allow: products at the peak of fp32 multiply-adds
   (four times that in int8), or weights and states at the rate at which as much is read again and
   again, whichever is longer. */
static double limit_s(struct decode_bench *d, const struct decode_case *c, double *rate)
{
    const struct plan *plan = &c->net->plan;
    int two = c->be != d->b->backend[0];
    int n_threads = two ? 2 : 1;
    int rows = c->way->n_streams * (c->way->guided ? 2 : 1);
    int weight_bytes = c->precision == PRECISION_FP32 ? 4 : c->precision == PRECISION_FP16 ? 2 : 1;
    double state_bytes = rows * (double)plan->state_size * sizeof(float);
    double all_bytes = (double)plan->n_weights * weight_bytes + state_bytes;
    struct plan_cost cost;
    plan_cost(plan, &cost);
    double products = cost.products / (c->precision == PRECISION_INT8 ? INT8_RATE : 1);
    double multiply_s =
        rows * (products + cost.scan + cost.conv) / (d->b->multiply_rate[0] * n_threads);
    if (*rate == 0)
        *rate = bench_read_rate(d->b, n_threads, all_bytes / n_threads);
    double read_s = *rate > 0 ? (cost.weights * weight_bytes / 4 + rows * cost.state) / *rate : 0;
    return multiply_s > read_s ? multiply_s : read_s;
}

static bool case_report(struct decode_bench *d, struct decode_case *c, const char *section)
{
    struct report *r = &d->b->report;
    double mean = bench_quantile(c->mean_s, d->n_rounds, 0.5), phase = phase_s(d, c), rate = 0;
    double streams = c->way->n_streams, model_rate = c->net->config.sample_rate;
    report_add(r, section, c->name, "mean_us", mean * 1e6);
    report_add(r, section, c->name, "p50_us", bench_quantile(c->sample_s, c->n_kept, 0.5) * 1e6);
    report_add(r, section, c->name, "p99.9_us",
               bench_quantile_sorted(c->sample_s, c->n_kept, 0.999) * 1e6);
    report_add(r, section, c->name, "worst_us",
               bench_quantile_sorted(c->sample_s, c->n_kept, 1) * 1e6);
    report_add(r, section, c->name, "phase_us", phase * 1e6);
    report_add(r, section, c->name, "x_real_time", streams / (mean * model_rate));
    report_add(r, section, c->name, "x_16kHz", streams / (mean * 16000));
    if (d->b->multiply_rate[0] > 0 && !bench_is_device(c->be)) {
        double limit = limit_s(d, c, &rate);
        if (rate == 0)
            return false;
        report_add(r, section, c->name, "of_limit", limit / mean);
    }
    return true;
}

bool bench_decode(struct bench *b, const struct bench_net *n)
{
    struct decode_bench *d = calloc(1, sizeof(*d));
    char section[BENCH_ROW_MAX], note[300];
    struct plan_cost cost;
    bool ok = d || error_set("out of memory");
    log_status(false, "%s: measuring decode", n->name);
    plan_cost(&n->plan, &cost);
    snprintf(section, sizeof(section), "%s: decode", n->name);
    snprintf(note, sizeof(note),
             "a sample of all streams; phase: the median of the dearest place in a period; %.4g M "
             "multiply-adds a sample%s",
             (cost.products + cost.scan + cost.conv) / 1e6,
             bench_is_device(b->backend[0])
                 ? ""
                 : "; limit: multiply-adds at the peak, products of int8 at 4 times it, or weights "
                   "and states at the rate at which they are read");
    report_note(&b->report, section, note);
    if (ok) {
        d->b = b;
        d->period = n->plan.rate[n->plan.n_tiers - 1];
        bool long_turns = bench_is_device(b->backend[0]) && !b->quick;
        int64_t chunk = long_turns ? DEVICE_CHUNK : CHUNK;
        d->chunk = (chunk + d->period - 1) / d->period * d->period;
    }
    for (int i = 0; ok && i < b->n_backends; i++)
        ok = bench_net_open(&d->nets[i], n, b->backend[i]);
    ok = ok && cases_open(d) && cases_run(d);
    for (int i = 0; ok && i < d->n_cases; i++)
        ok = case_report(d, &d->cases[i], section);
    for (int i = 0; d && i < d->n_cases; i++)
        case_close(&d->cases[i]);
    for (int i = 0; d && i < b->n_backends; i++)
        if (d->nets[i].be)
            net_close(&d->nets[i]);
    free(d);
    return ok;
}
