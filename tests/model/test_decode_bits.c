/*
 * The bits of the decode engine: neither threads, nor waiting tiers, nor rows beside it, nor the
 * cuts between calls and engines, nor the time between calls change a single one.
 */
#include "base/error.h"
#include "tests/device.h"
#include "tests/model/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

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

/* --- playing live ---------------------------------------------------------------------------- */

enum { LIVE_BLOCK = 8, LIVE_BLOCKS = 11, LIVE_STALL_MS = 60 };

_Static_assert(LIVE_BLOCK *LIVE_BLOCKS <= N_TIME, "a trace has room for it");

/* Of tests/cuda_on_cpu, where the executable is linked with it. */
extern uint64_t cuda_on_cpu_launches(void) __attribute__((weak));

/* How block b is made: something changes at each, one thing after the other. */
static struct sampling live_sampling(const struct decoder_options *o, int b)
{
    static const float temperatures[] = {1, 0.6f, 0, 1.3f}, masses[] = {1, 0.8f, 1};
    return (struct sampling){.seed = 3 + (uint64_t)(b / 8),
                             .temperature = temperatures[b / 2 % 4],
                             .top_p = masses[b % 3],
                             .guidance = o->guided ? 1 + (float)(b % 2) : 1};
}

/* Blocks of a performance. logits: they are asked for, and a device does then a launch a call;
   stalls: the ear is late now and then, later than a launch waits. `middle`: the state then is
   looked at, as for a snapshot. */
static struct trace *live_run(struct fixture *f, struct decoder_options o, bool logits, bool stalls,
                              bool middle)
{
    struct trace *trace = trace_new(f);
    struct decoder *d = engine(f, o);
    float *found = malloc(sizeof(float) * (size_t)(rows_of(&o) * LIVE_BLOCK) * PLAN_CODES);
    start(f, d, &o);
    for (int b = 0; b < LIVE_BLOCKS; b++) {
        uint8_t made[N_STREAMS * LIVE_BLOCK];
        int32_t labels[N_ROWS_MAX];
        for (int r = 0; r < rows_of(&o); r++)
            labels[r] = f->n_labels == 0 || r >= o.n_streams ? -1 : (r + b) % (f->n_labels + 1) - 1;
        if (stalls && device_asked() && b == 7)
            nanosleep(&(struct timespec){.tv_nsec = LIVE_STALL_MS * 1000000l}, NULL);
        f->be->ops->decode(d, &(struct decode_args){.n_samples = LIVE_BLOCK,
                                                    .codes = made,
                                                    .nats = trace->nats,
                                                    .logits = logits ? found : NULL,
                                                    .labels = labels,
                                                    .sampling = live_sampling(&o, b),
                                                    .noise_n = b * LIVE_BLOCK});
        for (int i = 0; i < o.n_streams; i++)
            memcpy(trace->codes + i * N_TIME + b * LIVE_BLOCK, made + i * LIVE_BLOCK, LIVE_BLOCK);
        if (middle && b == LIVE_BLOCKS / 2)
            export_states(f, d, rows_of(&o), trace->state);
    }
    export_states(f, d, rows_of(&o), trace->state);
    engine_close(f, d);
    free(found);
    return trace;
}

static uint64_t launches(void)
{
    return cuda_on_cpu_launches ? cuda_on_cpu_launches() : 0;
}

/* What changes between two blocks is heard from the second one's first sample on, and from no other
   one, whether a launch stayed for it, had ended meanwhile, or is a launch a block. */
static void live(struct fixture *f, struct decoder_options o)
{
    if (o.n_streams > 1 && o.guided)
        return;
    struct trace *each = live_run(f, o, true, false, false);
    for (int order = 0; order < device_orders(); order++)
        for (int mode = 0; mode < DECODE_AUTO; mode++) {
            struct decoder_options other = o;
            other.threads = (enum decode_threads)mode;
            if (!mode_fits(f, &other))
                continue;
            /* The CPU's engine has no launches, and threads are tested above. */
            if (!device_asked() && (mode != DECODE_ONE || order > 0))
                continue;
            /* Where kernels are emulated, each order with one of the modes, and rows once. */
            if (device_emulated() &&
                (order % 2 != (mode == DECODE_ONE) ||
                 (rows_of(&o) > 1 && (order != 0 || f->net.plan.n_tiers < 2)) ||
                 (o.n_streams > 1 && strcmp(f->name, kinds[0].name) != 0)))
                continue;
            device_set_order(order);
            const uint64_t before = launches();
            struct trace *plain = live_run(f, other, false, false, false);
            const uint64_t between = launches();
            struct trace *late = live_run(f, other, false, true, order % 2 == 1);
            const uint64_t of_plain = between - before, of_late = launches() - between;
            check_equal(f, "live", &o, each, plain);
            check_equal(f, "live, with a stall", &o, each, late);
            /* beside those that move states in and out */
            if (device_emulated() && !(of_plain - 2 < LIVE_BLOCKS))
                fail_msg("%s: a launch a block: none stayed", f->name);
            if (device_emulated() && !(of_late - 2 > 1))
                fail_msg("%s: the launch did not end while nothing was asked of it", f->name);
            trace_free(plain);
            trace_free(late);
        }
    device_set_order(0);
    trace_free(each);
}

static void test_live(void **unused)
{
    (void)unused;
    for_each(live);
}

static int run_group(const char *isa, bool thorough)
{
    static const struct CMUnitTest quick[] = {
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_live),
    };
    static const struct CMUnitTest long_ones[] = {
        cmocka_unit_test(test_threads_and_waiting),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_hand_over),
    };
    return thorough ? cmocka_run_group_tests_name(isa, long_ones, NULL, NULL)
                    : cmocka_run_group_tests_name(isa, quick, NULL, NULL);
}

/* Once for each instruction set of this processor, or for the one HISS_ISA names.
   usage: test_decode_bits quick|thorough */
int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const bool thorough = strcmp(argv[1], "thorough") == 0;
    return on_each_isa(run_group, thorough);
}
