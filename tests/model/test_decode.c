/*
 * The decode engine against the one forward: its logits are the chunk's to rounding (fp32) or to
 * the precision of its weights, and neither threads, nor waiting tiers, nor rows beside it, nor the
 * cuts between calls and engines change a single bit.
 */
#include "base/error.h"
#include "base/random.h"
#include "model/build.h"
#include "model/chunk.h"
#include "model/model_file.h"
#include "tests/device.h"
#include "tests/model/kinds.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_STREAMS = 5, N_TIME = 91, N_ROWS_MAX = 2 * N_STREAMS };

static const char *shipped_model; /* the bundled model's file */

struct fixture {
    const char *name;
    struct backend *be;
    struct net net;
    int n_labels;
    uint8_t codes[N_STREAMS * N_TIME]; /* (N_STREAMS, N_TIME) */
};

static void fixture_open(struct fixture *f, const struct kind *k)
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

static void fixture_close(struct fixture *f)
{
    net_close(&f->net);
    backend_close(f->be);
}

static int rows_of(const struct decoder_options *o)
{
    return o->n_streams * (o->guided ? 2 : 1);
}

static struct decoder *engine_open(struct fixture *f, struct decoder_options o)
{
    return net_decoder_open(&f->net, &o);
}

static struct decoder *engine(struct fixture *f, struct decoder_options o)
{
    struct decoder *d = engine_open(f, o);
    if (!d)
        fail_msg("%s: %s", f->name, error_text());
    return d;
}

static void engine_close(struct fixture *f, struct decoder *d)
{
    f->be->ops->decoder_close(d);
    if (!backend_sync(f->be))
        fail_msg("%s: %s", f->name, error_text());
}

/* Whether the backend's engine does this at all. */
static bool engine_fits(const struct fixture *f, const struct decoder_options *o)
{
    const struct ops *ops = f->be->ops;
    return !ops->decoder_fits || ops->decoder_fits(f->be, &f->net.plan, o);
}

static bool precision_fits(const struct fixture *f, int precision)
{
    const struct decoder_options o = {.n_streams = 1, .precision = (enum precision)precision};
    return engine_fits(f, &o);
}

/* The finest that the engine has. */
static enum precision finest(const struct fixture *f)
{
    int p = 0;
    while (!precision_fits(f, p))
        p++;
    return (enum precision)p;
}

/* What a run leaves. */
struct trace {
    float logits[N_ROWS_MAX * N_TIME * PLAN_CODES]; /* (rows, N_TIME, V) */
    uint8_t codes[N_STREAMS * N_TIME];
    double nats[N_STREAMS];
    float *state; /* (rows, plan.state_size) */
};

static struct trace *trace_new(const struct fixture *f)
{
    struct trace *t = calloc(1, sizeof *t);
    t->state = calloc(N_ROWS_MAX * (size_t)f->net.plan.state_size, sizeof *t->state);
    return t;
}

static void trace_free(struct trace *t)
{
    free(t->state);
    free(t);
}

/* The label of a row in the samples from t on: it changes on the way. */
static int32_t label_at(const struct fixture *f, const struct decoder_options *o, int row, int t)
{
    if (f->n_labels == 0 || row >= o->n_streams)
        return -1;
    return (row + (t >= N_TIME / 2)) % (f->n_labels + 1) - 1;
}

/* Samples [from, to) of a run on an engine that stands at `from`, in calls of at most `part`
   samples, none across the change of labels. */
static void run_part(struct fixture *f, struct decoder *d, const struct decoder_options *o,
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

static size_t state_bytes(const struct fixture *f, int rows)
{
    return (size_t)rows * (size_t)f->net.plan.state_size * sizeof(float);
}

/* The states of so many rows from host memory, and back to it. */
static void import_states(struct fixture *f, struct decoder *d, int rows, const float *states,
                          int64_t n, const uint8_t *inputs)
{
    float *there = backend_alloc(f->be, state_bytes(f, rows));
    assert_non_null(there);
    backend_upload(f->be, there, states, state_bytes(f, rows));
    f->be->ops->decoder_import(d, there, n, inputs);
    backend_free(f->be, there);
}

static void export_states(struct fixture *f, struct decoder *d, int rows, float *states)
{
    float *there = backend_alloc(f->be, state_bytes(f, rows));
    assert_non_null(there);
    f->be->ops->decoder_export(d, there);
    backend_download(f->be, states, there, state_bytes(f, rows));
    backend_free(f->be, there);
}

static void start(struct fixture *f, struct decoder *d, const struct decoder_options *o)
{
    uint8_t inputs[N_ROWS_MAX];
    float *zero = calloc(1, state_bytes(f, rows_of(o)));
    memset(inputs, PLAN_START_CODE, sizeof inputs);
    import_states(f, d, rows_of(o), zero, 0, inputs);
    free(zero);
}

/* A whole run from the beginning. */
static struct trace *run(struct fixture *f, struct decoder_options o, bool forced, int part)
{
    struct trace *trace = trace_new(f);
    struct decoder *d = engine(f, o);
    start(f, d, &o);
    run_part(f, d, &o, trace, forced, 0, N_TIME, part);
    export_states(f, d, rows_of(&o), trace->state);
    engine_close(f, d);
    return trace;
}

static void check_equal(const struct fixture *f, const char *what, const struct decoder_options *o,
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

/* --- against the chunk ----------------------------------------------------------------------- */

/* The chunk's logits of the codes of stream 0, and the state after them, without label. */
static void chunk_run(struct fixture *f, const uint8_t *codes, int n, float *logits, float *final)
{
    struct chunk chunk;
    struct state state;
    uint8_t *in = backend_alloc(f->be, (size_t)n);
    int32_t *label = backend_alloc(f->be, sizeof *label);
    const int32_t none = -1;
    const uint8_t first = PLAN_START_CODE;
    backend_upload(f->be, label, &none, sizeof none);
    backend_upload(f->be, in, &first, 1);
    backend_upload(f->be, in + 1, codes, (size_t)n - 1);
    assert_true(chunk_open(&chunk, &f->net, 1, n, TAPE_NONE));
    assert_true(state_open(&state, &f->net, 1));
    const float *made = chunk_forward(&chunk, &state, in, label, n);
    backend_download(f->be, logits, made, sizeof(float) * (size_t)n * PLAN_CODES);
    backend_download(f->be, final, state.data, state_bytes(f, 1));
    chunk_close(&chunk);
    state_close(&state, &f->net);
    backend_free(f->be, in);
    backend_free(f->be, label);
}

struct difference {
    double largest; /* of the largest entry */
    double db;      /* signal, without its mean a row, to error */
};

static struct difference compare(const float *a, const float *b, int64_t rows, int width)
{
    double signal = 0, error = 0, most = 0, worst = 0;
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0;
        for (int i = 0; i < width; i++)
            mean += (double)a[r * width + i] / width;
        for (int i = 0; i < width; i++) {
            double x = a[r * width + i], d = (double)b[r * width + i] - x;
            signal += (x - mean) * (x - mean);
            error += d * d;
            most = fmax(most, fabs(x));
            worst = isnan(d) ? d : fmax(worst, fabs(d));
        }
    }
    return (struct difference){worst / most, 10 * log10(signal / (error + 1e-300))};
}

/* Bounds of design 8 for the shipped model; small random networks of 5 to 10 channels are held to
   somewhat less in int8, where few channels share a scale. */
static void check_precision(const char *name, enum precision precision, struct difference d,
                            const double least_db[PRECISIONS])
{
    bool good = precision == PRECISION_FP32 ? d.largest <= 2e-4 : true;
    if (!good || !(d.db >= least_db[precision]))
        fail_msg("%s, %s: largest difference %g of the largest logit, %.1f dB", name,
                 precision_name(precision), d.largest, d.db);
}

/* Inputs of products rounded too: another result, and hardly a worse one. */
static void check_rounded(struct fixture *f, const float *logits, double least_db)
{
    struct decoder_options o = {.n_streams = 1, .precision = PRECISION_FP16};
    struct trace *plain = run(f, o, true, N_TIME);
    o.round_inputs = true;
    struct trace *rounded = run(f, o, true, N_TIME);
    const struct difference d = compare(logits, rounded->logits, N_TIME, PLAN_CODES);
    if (!(d.db >= least_db))
        fail_msg("%s, rounded inputs: %.1f dB", f->name, d.db);
    assert_memory_not_equal(plain->logits, rounded->logits, sizeof(float) * N_TIME * PLAN_CODES);
    trace_free(plain);
    trace_free(rounded);
}

static void test_chunk(void **unused)
{
    (void)unused;
    static const double least_db[PRECISIONS] = {100, 55, 25};
    static const struct decoder_options plain = {.n_streams = 1, .at_once = true};
    for (int k = 0; k < n_kinds; k++) {
        struct fixture f;
        fixture_open(&f, &kinds[k]);
        f.n_labels = 0; /* of the chunk here too */
        float *logits = malloc(sizeof(float) * N_TIME * PLAN_CODES);
        float *state = malloc(sizeof(float) * (size_t)f.net.plan.state_size);
        chunk_run(&f, f.codes, N_TIME, logits, state);
        for (int p = 0; p < PRECISIONS; p++) {
            struct decoder_options o = plain;
            if (!precision_fits(&f, p))
                continue;
            o.precision = (enum precision)p;
            struct trace *trace = run(&f, o, true, N_TIME);
            check_precision(f.name, o.precision, compare(logits, trace->logits, N_TIME, PLAN_CODES),
                            least_db);
            if (p == PRECISION_FP32 &&
                !(compare(state, trace->state, 1, (int)f.net.plan.state_size).largest <= 2e-5))
                fail_msg("%s: another state than the chunk's", f.name);
            trace_free(trace);
        }
        if (!device_asked())
            check_rounded(&f, logits, least_db[PRECISION_FP16]);
        free(logits);
        free(state);
        fixture_close(&f);
    }
}

/* 4096 teacher-forced samples of the shipped model. */
static void test_shipped(void **unused)
{
    (void)unused;
    enum { N = 4096 };
    static const double least_db[PRECISIONS] = {100, 60, 33};
    struct fixture f = {.name = "the shipped model"};
    struct model_file file;
    if (!model_file_load(&file, shipped_model))
        fail_msg("%s", error_text());
    f.be = device_open(2);
    if (!net_open(&f.net, &file.config, f.be))
        fail_msg("%s", error_text());
    net_set_weights(&f.net, file.weights);
    model_file_free(&file);
    struct decoder_options o = {.n_streams = 1, .threads = DECODE_ONE};
    uint8_t *codes = malloc(N);
    int32_t label = -1;
    float *logits = malloc(sizeof(float) * N * PLAN_CODES);
    float *decoded = malloc(sizeof(float) * N * PLAN_CODES);
    float *state = malloc(sizeof(float) * (size_t)f.net.plan.state_size);
    const int first = (int)finest(&f);
    for (int p = first; p < PRECISIONS; p++) {
        if (!precision_fits(&f, p))
            continue;
        o.precision = (enum precision)p;
        struct decoder *d = engine(&f, o);
        start(&f, d, &o);
        struct decode_args a = {
            .n_samples = N,
            .codes = codes,
            .forced = p > first ? codes : NULL, /* its own sound, made in the finest */
            .logits = decoded,
            .labels = &label,
            .sampling = {.seed = 1, .temperature = 1, .top_p = 1, .guidance = 1}};
        f.be->ops->decode(d, &a);
        if (p == first)
            chunk_run(&f, codes, N, logits, state);
        check_precision(f.name, o.precision, compare(logits, decoded, N, PLAN_CODES), least_db);
        engine_close(&f, d);
    }
    free(codes);
    free(logits);
    free(decoded);
    free(state);
    net_close(&f.net);
    backend_close(f.be);
}

/* --- bits ------------------------------------------------------------------------------------ */

static bool mode_fits(const struct fixture *f, const struct decoder_options *o)
{
    const int rows = rows_of(o);
    return engine_fits(f, o) && !(o->threads == DECODE_PIPELINE && f->net.plan.n_tiers < 2) &&
           !(o->threads == DECODE_ROWS && rows < 2);
}

static void for_each(void (*fn)(struct fixture *f, struct decoder_options o))
{
    static const struct {
        int n_streams;
        bool guided;
    } groups[] = {{1, false}, {1, true}, {N_STREAMS, false}, {3, true}};
    for (int k = 0; k < n_kinds; k++) {
        struct fixture f;
        fixture_open(&f, &kinds[k]);
        for (int p = 0; p < PRECISIONS; p++)
            for (size_t g = 0; precision_fits(&f, p) && g < sizeof groups / sizeof *groups; g++)
                fn(&f, (struct decoder_options){.n_streams = groups[g].n_streams,
                                                .guided = groups[g].guided,
                                                .precision = (enum precision)p,
                                                .at_once = true});
        fixture_close(&f);
    }
}

static void threads_and_waiting(struct fixture *f, struct decoder_options o)
{
    struct trace *plain = run(f, o, false, N_TIME);
    for (int mode = 0; mode < DECODE_THREADS; mode++)
        for (int at_once = 0; at_once < 2; at_once++) {
            struct decoder_options other = o;
            char what[64];
            other.threads = (enum decode_threads)mode;
            other.at_once = at_once;
            if (!mode_fits(f, &other))
                continue;
            snprintf(what, sizeof what, "%s, %s, %d streams%s%s", precision_name(o.precision),
                     decode_threads_name((enum decode_threads)mode), o.n_streams,
                     o.guided ? " guided" : "", at_once ? ", at once" : "");
            struct trace *trace = run(f, other, false, at_once ? N_TIME : 13);
            check_equal(f, what, &o, plain, trace);
            trace_free(trace);
        }
    trace_free(plain);
}

static void test_threads_and_waiting(void **unused)
{
    (void)unused;
    for_each(threads_and_waiting);
}

/* Each stream of a group sings what it sings alone. */
static void rows_alone(struct fixture *f, struct decoder_options o)
{
    struct trace *group = run(f, o, true, N_TIME);
    for (int i = 0; i < o.n_streams; i++) {
        struct decoder_options alone = o;
        struct fixture one = *f;
        alone.n_streams = 1;
        memcpy(one.codes, f->codes + i * N_TIME, N_TIME);
        if (f->n_labels > 0 && i > 0)
            continue; /* label_at speaks of rows */
        struct trace *trace = run(&one, alone, true, N_TIME);
        for (int half = 0; half < (o.guided ? 2 : 1); half++)
            if (memcmp(trace->logits + half * N_TIME * PLAN_CODES,
                       group->logits + (half * o.n_streams + i) * N_TIME * PLAN_CODES,
                       sizeof(float) * N_TIME * PLAN_CODES) != 0)
                fail_msg("%s, %s: stream %d of %d is not what it is alone", f->name,
                         precision_name(o.precision), i, o.n_streams);
        trace_free(trace);
    }
    trace_free(group);
}

static void test_rows_alone(void **unused)
{
    (void)unused;
    for_each(rows_alone);
}

/* From engine to engine, through the canonical state, at every phase of the tiers. */
static void hand_over(struct fixture *f, struct decoder_options o)
{
    struct trace *whole = run(f, o, false, N_TIME), *trace = trace_new(f);
    uint8_t inputs[N_ROWS_MAX];
    int from = 0;
    memset(inputs, PLAN_START_CODE, sizeof inputs);
    for (int step = 0; from < N_TIME; step++) {
        struct decoder_options other = o;
        other.threads = (enum decode_threads)(step % DECODE_THREADS);
        other.at_once = step % 2;
        if (!mode_fits(f, &other))
            other.threads = device_asked() ? DECODE_AUTO : DECODE_LOCKSTEP;
        struct decoder *d = engine(f, other);
        float *again = malloc(state_bytes(f, rows_of(&o)));
        import_states(f, d, rows_of(&o), trace->state, from, inputs);
        export_states(f, d, rows_of(&o), again);
        if (memcmp(again, trace->state, state_bytes(f, rows_of(&o))) != 0)
            fail_msg("%s: exported at %d, the state is not what was imported", f->name, from);
        free(again);
        int to = from + 1 + step * 3 % 8;
        to = to < N_TIME ? to : N_TIME;
        run_part(f, d, &o, trace, false, from, to, 5);
        export_states(f, d, rows_of(&o), trace->state);
        engine_close(f, d);
        for (int i = 0; i < o.n_streams; i++)
            inputs[i] = inputs[i + o.n_streams * o.guided] = trace->codes[i * N_TIME + to - 1];
        from = to;
    }
    check_equal(f, "handed over", &o, whole, trace);
    trace_free(whole);
    trace_free(trace);
}

static void test_hand_over(void **unused)
{
    (void)unused;
    for_each(hand_over);
}

/* The state a chunk leaves at any sample is one an engine goes on from. */
static void test_prefill(void **unused)
{
    (void)unused;
    for (int k = 0; k < n_kinds; k++) {
        struct fixture f;
        fixture_open(&f, &kinds[k]);
        f.n_labels = 0;
        const struct decoder_options o = {.n_streams = 1, .precision = finest(&f)};
        const double least_db = o.precision == PRECISION_FP32 ? 90 : 55;
        float *logits = malloc(sizeof(float) * N_TIME * PLAN_CODES);
        float *state = malloc(sizeof(float) * (size_t)f.net.plan.state_size);
        struct trace *whole = run(&f, o, true, N_TIME);
        for (int cut = 1; cut < 40;
             cut += device_asked() ? 5 : 1) { /* every fifth is fast enough */
            struct trace *trace = trace_new(&f);
            struct decoder *d = engine(&f, o);
            chunk_run(&f, f.codes, cut, logits, state);
            import_states(&f, d, 1, state, cut, &f.codes[cut - 1]);
            run_part(&f, d, &o, trace, true, cut, N_TIME, N_TIME);
            struct difference difference =
                compare(whole->logits + cut * PLAN_CODES, trace->logits + cut * PLAN_CODES,
                        N_TIME - cut, PLAN_CODES);
            bool good = o.precision == PRECISION_FP32 ? difference.largest <= 2e-5 : true;
            if (!good || !(difference.db >= least_db))
                fail_msg("%s: after a prompt of %d, logits differ by %g, %.1f dB", f.name, cut,
                         difference.largest, difference.db);
            engine_close(&f, d);
            trace_free(trace);
        }
        trace_free(whole);
        free(logits);
        free(state);
        fixture_close(&f);
    }
}

/* Codes of a long performance, in calls of `part` samples, and the state after it. */
static void perform(struct fixture *f, struct decoder_options o, uint8_t *codes, int n, int part,
                    float *state)
{
    const int32_t labels[2] = {f->n_labels > 0 ? 0 : -1, -1};
    struct decoder *d = engine(f, o);
    start(f, d, &o);
    for (int t = 0; t < n; t += 37)
        f->be->ops->decode(
            d,
            &(struct decode_args){
                .n_samples = n - t < 37 ? n - t : 37,
                .codes = codes + t,
                .labels = labels,
                .sampling = {.seed = 4, .temperature = 1, .top_p = 1, .guidance = o.guided ? 2 : 1},
                .noise_n = t});
    export_states(f, d, rows_of(&o), state);
    engine_close(f, d);
}

/* Left to itself, an engine tries one thread and two in turn: long enough for both, and a choice.
 */
static void test_pace(void **unused)
{
    (void)unused;
    enum { N = 1500 };
    for (int k = 0; k < n_kinds; k++)
        for (int guided = 0; guided < 2; guided++) {
            struct fixture f;
            fixture_open(&f, &kinds[k]);
            const size_t size = (size_t)f.net.plan.state_size * (guided ? 2 : 1);
            uint8_t one[N], two[N];
            float *state_one = calloc(size, sizeof *state_one);
            float *state_two = calloc(size, sizeof *state_two);
            struct decoder_options o = {
                .n_streams = 1, .guided = guided, .precision = finest(&f), .threads = DECODE_ONE};
            perform(&f, o, one, N, 37, state_one);
            o.threads = DECODE_AUTO;
            perform(&f, o, two, N, k % 2 ? 37 : N, state_two);
            if (memcmp(one, two, N) != 0)
                fail_msg("%s%s: other codes after a change of hands", f.name,
                         guided ? ", guided" : "");
            if (memcmp(state_one, state_two, size * sizeof *state_one) != 0)
                fail_msg("%s%s: another state after a change of hands", f.name,
                         guided ? ", guided" : "");
            free(state_one);
            free(state_two);
            fixture_close(&f);
        }
}

/* What the engine does not do, it says. */
static void refuse(struct fixture *f, struct decoder_options o, const char *word)
{
    assert_false(engine_fits(f, &o));
    assert_non_null(strstr(error_text(), word));
    assert_null(engine_open(f, o));
    assert_non_null(strstr(error_text(), word));
}

static void test_refusals(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_open(&f, &kinds[0]);
    if (device_asked()) {
        const struct decoder_options o = {.n_streams = 1, .precision = finest(&f)};
        struct decoder_options other = o;
        other.precision = PRECISION_INT8;
        refuse(&f, other, "int8");
        other = o;
        other.threads = DECODE_ROWS;
        refuse(&f, other, "rows");
        other.threads = DECODE_LOCKSTEP;
        refuse(&f, other, "lockstep");
        fixture_close(&f);
        return;
    }
    assert_null(engine_open(&f, (struct decoder_options){.n_streams = 1, .threads = DECODE_ROWS}));
    assert_non_null(strstr(error_text(), "one row"));
    fixture_close(&f);
    for (int k = 0; k < n_kinds; k++) {
        fixture_open(&f, &kinds[k]);
        if (f.net.plan.n_tiers == 1) {
            assert_null(engine_open(
                &f, (struct decoder_options){.n_streams = 1, .threads = DECODE_PIPELINE}));
            assert_non_null(strstr(error_text(), "one tier"));
        }
        fixture_close(&f);
    }
}

static int run_group(const char *isa, bool thorough)
{
    static const struct CMUnitTest quick[] = {
        cmocka_unit_test(test_chunk),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_prefill),
        cmocka_unit_test(test_refusals),
    };
    static const struct CMUnitTest long_ones[] = {
        cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_threads_and_waiting),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_hand_over),
    };
    return thorough ? cmocka_run_group_tests_name(isa, long_ones, NULL, NULL)
                    : cmocka_run_group_tests_name(isa, quick, NULL, NULL);
}

/* Once for each instruction set of this processor, or for the one HISS_ISA names.
   usage: test_decode MODEL quick|thorough */
int main(int argc, char **argv)
{
    static const char *const isas[] = {"base", "avx2", "avx512"};
    const char *asked = getenv("HISS_ISA");
    int failed = 0;
    if (argc != 3)
        return 2;
    shipped_model = argv[1];
    const bool thorough = strcmp(argv[2], "thorough") == 0;
    device_start();
    if (device_asked())
        return run_group(device_name(), thorough);
    if (asked && *asked)
        return run_group(asked, thorough);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        setenv("HISS_ISA", isas[i], 1);
        struct backend *be = backend_open("cpu", 1);
        if (!be) {
            print_message("this processor has no %s\n", isas[i]);
            continue;
        }
        backend_close(be);
        failed += run_group(isas[i], thorough);
    }
    return failed;
}
