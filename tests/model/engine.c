#include "tests/model/engine.h"

#include "base/error.h"
#include "base/random.h"
#include "tests/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void fixture_open(struct fixture *f, const struct kind *k)
{
    struct config config;
    kind_config(&config, k);
    *f = (struct fixture){.name = k->name, .n_labels = config.n_labels};
    f->be = device_open(2);
    if (!net_open(&f->net, &config, f->be))
        fail_msg("%s", error_text());
    float *weights = calloc((size_t)f->net.plan.weights_size, sizeof *weights);
    plan_init_weights(&f->net.plan, weights, 7);
    net_set_weights(&f->net, weights);
    free(weights);
    for (int i = 0; i < N_STREAMS * N_TIME; i++)
        f->codes[i] = (uint8_t)random_word(1, (uint64_t)i, 0, RANDOM_CROP, 0);
}

void fixture_close(struct fixture *f)
{
    net_close(&f->net);
    backend_close(f->be);
}

int rows_of(const struct decoder_options *o)
{
    return o->n_streams * (o->guided ? 2 : 1);
}

struct decoder *engine_open(struct fixture *f, struct decoder_options o)
{
    return net_decoder_open(&f->net, &o);
}

struct decoder *engine(struct fixture *f, struct decoder_options o)
{
    struct decoder *d = engine_open(f, o);
    if (!d)
        fail_msg("%s: %s", f->name, error_text());
    return d;
}

void engine_close(struct fixture *f, struct decoder *d)
{
    f->be->ops->decoder_close(d);
    if (!backend_sync(f->be))
        fail_msg("%s: %s", f->name, error_text());
}

bool engine_fits(const struct fixture *f, const struct decoder_options *o)
{
    const struct ops *ops = f->be->ops;
    return !ops->decoder_fits || ops->decoder_fits(f->be, &f->net.plan, o);
}

bool precision_fits(const struct fixture *f, int precision)
{
    const struct decoder_options o = {.n_streams = 1, .precision = (enum precision)precision};
    return engine_fits(f, &o);
}

enum precision finest(const struct fixture *f)
{
    int p = 0;
    while (!precision_fits(f, p))
        p++;
    return (enum precision)p;
}

struct trace *trace_new(const struct fixture *f)
{
    struct trace *t = calloc(1, sizeof *t);
    t->state = calloc(N_ROWS_MAX * (size_t)f->net.plan.state_size, sizeof *t->state);
    return t;
}

void trace_free(struct trace *t)
{
    free(t->state);
    free(t);
}

int32_t label_at(const struct fixture *f, const struct decoder_options *o, int row, int t)
{
    if (f->n_labels == 0 || row >= o->n_streams)
        return -1;
    return (row + (t >= N_TIME / 2)) % (f->n_labels + 1) - 1;
}

void run_part(struct fixture *f, struct decoder *d, const struct decoder_options *o,
              struct trace *trace, bool forced, int from, int to, int part)
{
    const int rows = rows_of(o);
    for (int t = from; t < to;) {
        int n = to - t < part ? to - t : part;
        if (t < N_TIME / 2 && t + n > N_TIME / 2)
            n = N_TIME / 2 - t;
        float *logits = malloc(sizeof(float) * (size_t)(rows * n) * PLAN_CODES);
        uint8_t made[N_STREAMS * N_TIME], given[N_STREAMS * N_TIME];
        int32_t labels[N_ROWS_MAX];
        for (int r = 0; r < rows; r++)
            labels[r] = label_at(f, o, r, t);
        for (int i = 0; i < o->n_streams; i++)
            memcpy(given + i * n, f->codes + i * N_TIME + t, (size_t)n);
        f->be->ops->decode(d, &(struct decode_args){
                                  .n_samples = n,
                                  .codes = made,
                                  .forced = forced ? given : NULL,
                                  .nats = trace->nats,
                                  .logits = logits,
                                  .labels = labels,
                                  .sampling = {.seed = 3,
                                               .temperature = 1,
                                               .top_p = 0.9f,
                                               .guidance = o->guided ? 1.5f : 1.0f},
                                  .noise_n = t,
                              });
        for (int r = 0; r < rows; r++)
            memcpy(trace->logits + (r * N_TIME + t) * PLAN_CODES, logits + r * n * PLAN_CODES,
                   sizeof(float) * (size_t)n * PLAN_CODES);
        for (int i = 0; i < o->n_streams; i++)
            memcpy(trace->codes + i * N_TIME + t, made + i * n, (size_t)n);
        free(logits);
        t += n;
    }
}

size_t state_bytes(const struct fixture *f, int rows)
{
    return (size_t)rows * (size_t)f->net.plan.state_size * sizeof(float);
}

void import_states(struct fixture *f, struct decoder *d, int rows, const float *states, int64_t n,
                   const uint8_t *inputs)
{
    float *there = backend_alloc(f->be, state_bytes(f, rows));
    assert_non_null(there);
    backend_upload(f->be, there, states, state_bytes(f, rows));
    f->be->ops->decoder_import(d, there, n, inputs);
    backend_free(f->be, there);
}

void export_states(struct fixture *f, struct decoder *d, int rows, float *states)
{
    float *there = backend_alloc(f->be, state_bytes(f, rows));
    assert_non_null(there);
    f->be->ops->decoder_export(d, there);
    backend_download(f->be, states, there, state_bytes(f, rows));
    backend_free(f->be, there);
}

void start(struct fixture *f, struct decoder *d, const struct decoder_options *o)
{
    uint8_t inputs[N_ROWS_MAX];
    float *zero = calloc(1, state_bytes(f, rows_of(o)));
    memset(inputs, PLAN_START_CODE, sizeof inputs);
    import_states(f, d, rows_of(o), zero, 0, inputs);
    free(zero);
}

struct trace *run(struct fixture *f, struct decoder_options o, bool forced, int part)
{
    struct trace *trace = trace_new(f);
    struct decoder *d = engine(f, o);
    start(f, d, &o);
    run_part(f, d, &o, trace, forced, 0, N_TIME, part);
    export_states(f, d, rows_of(&o), trace->state);
    engine_close(f, d);
    return trace;
}

void check_equal(const struct fixture *f, const char *what, const struct decoder_options *o,
                 const struct trace *a, const struct trace *b)
{
    const size_t rows = (size_t)rows_of(o);
    if (memcmp(a->logits, b->logits, sizeof(float) * rows * N_TIME * PLAN_CODES) != 0)
        fail_msg("%s, %s: other logits", f->name, what);
    if (memcmp(a->codes, b->codes, (size_t)o->n_streams * N_TIME) != 0)
        fail_msg("%s, %s: other codes", f->name, what);
    if (memcmp(a->nats, b->nats, (size_t)o->n_streams * sizeof *a->nats) != 0)
        fail_msg("%s, %s: other likelihoods", f->name, what);
    if (memcmp(a->state, b->state, state_bytes(f, rows_of(o))) != 0)
        fail_msg("%s, %s: another state", f->name, what);
}

int on_each_isa(int (*group)(const char *isa, bool thorough), bool thorough)
{
    static const char *const isas[] = {"base", "avx2", "avx512"};
    const char *asked = getenv("HISS_ISA");
    int failed = 0;
    device_start();
    if (device_asked())
        return group(device_name(), thorough);
    if (asked && *asked)
        return group(asked, thorough);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        setenv("HISS_ISA", isas[i], 1);
        struct backend *be = backend_open("cpu", 1);
        if (!be) {
            print_message("this processor has no %s\n", isas[i]);
            continue;
        }
        backend_close(be);
        failed += group(isas[i], thorough);
    }
    return failed;
}
