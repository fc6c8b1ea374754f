/* The recurrence of mixers: a row for each kind in a network, and one kind over lengths and
   batches. */
#define _GNU_SOURCE
#include "app/bench_ops.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>

struct scan_case {
    struct backend *be;
    struct scan_backward_args args;
    double bytes[2]; /* that have to be moved at least: forward, backward */
};

static void scan_forward_run(void *arg, int64_t times)
{
    struct scan_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->scan(op->be, &op->args.forward);
}

static void scan_backward_run(void *arg, int64_t times)
{
    struct scan_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->scan_backward(op->be, &op->args);
}

/* States begin at 0, as a clip's. From anything else what no input feeds, as the imaginary part of
   a new model's first mode, decays into numbers too small to be normal, which take a processor ten
   times as long, and which no network has. */
static float *scan_states(struct bench_memory *m, int64_t n)
{
    float *states = bench_floats(m, n);
    if (states)
        backend_zero(m->be, states, (size_t)n * sizeof(*states));
    return states;
}

static void scan_fill(struct scan_case *op, struct bench_memory *m, const struct net *net,
                      int layer, int n_batch, int64_t n_time)
{
    const struct plan *plan = &net->plan;
    const struct layer *l = &plan->layers[layer];
    int parts = l->complex_state ? 2 : 1, width_bc = 2 * l->n_state * parts;
    int64_t n_rows = n_batch * n_time, n = n_rows * l->inner;
    int64_t n_state = (int64_t)l->inner * l->n_state * parts;
    int64_t n_entering = scan_entering_size(op->be->ops, l, n_batch, n_time);
    int64_t moved[2] = {2 * n + n_entering, 3 * n + n_entering}; /* floats */
    struct scan_args *a = &op->args.forward;
    *a = (struct scan_args){
        .mixer = l->mixer,
        .complex_state = l->complex_state,
        .n_batch = n_batch,
        .n_time = n_time,
        .inner = l->inner,
        .n_state = l->n_state,
        .y = bench_floats(m, n),
        .u = bench_floats(m, n),
        .coef = net->coef + net->coef_offset[layer],
        .d = layer_param(plan, l, PARAM_D, net->weights),
        .state = scan_states(m, n_batch * n_state),
        .entering = bench_floats(m, n_entering),
        .ld_state = n_state,
    };
    op->args.dy = bench_floats(m, n);
    op->args.du = bench_floats(m, n);
    op->args.dcoef = bench_floats(m, op->be->ops->coef_size(l));
    op->args.dd = bench_floats(m, l->inner);
    op->args.dstate = scan_states(m, n_batch * n_state);
    if (l->mixer != MIXER_S4D) {
        a->z = bench_floats(m, n);
        a->ld_z = l->inner;
        op->args.dz = bench_floats(m, n);
        op->args.ld_dz = l->inner;
        moved[0] += n;
        moved[1] += 2 * n;
    }
    if (l->mixer == MIXER_SELECTIVE) {
        a->dt_raw = bench_floats(m, n);
        a->dt_bias = layer_param(plan, l, PARAM_DT_BIAS, net->weights);
        a->bc = bench_floats(m, n_rows * width_bc);
        a->ld_bc = width_bc;
        op->args.ddt_raw = bench_floats(m, n);
        op->args.dbc = bench_floats(m, n_rows * width_bc);
        op->args.ddt_bias = bench_floats(m, l->inner);
        op->args.ld_dbc = width_bc;
        moved[0] += n + n_rows * width_bc;
        moved[1] += 2 * (n + n_rows * width_bc);
    }
    for (int i = 0; i < 2; i++)
        op->bytes[i] = (double)moved[i] * sizeof(float);
}

/* Forward and backward: what backend i takes, and how far from the machine's limits that is. */
static void scan_report(struct bench *b, int i, const struct scan_case *op, const char *section,
                        const char *row, const double seconds[2])
{
    static const char *const ways[2] = {"forward", "backward"};
    const struct scan_args *a = &op->args.forward;
    double places = (double)a->n_batch * (double)a->n_time * a->inner; /* ticks and channels */
    bool one_exp = a->mixer == MIXER_SELECTIVE && !a->complex_state;   /* a state, at least */
    for (int way = 0; way < 2; way++) {
        char column[32];
        snprintf(column, sizeof(column), "%s_ns", ways[way]);
        report_add(&b->report, section, row, column, seconds[way] / places / a->n_state * 1e9);
        if (b->clock_rate[i] == 0)
            continue;
        snprintf(column, sizeof(column), "%s_clk", ways[way]);
        report_add(&b->report, section, row, column, seconds[way] / places * b->clock_rate[i]);
        snprintf(column, sizeof(column), "%s_bytes", ways[way]);
        report_add(&b->report, section, row, column, op->bytes[way] / places);
        snprintf(column, sizeof(column), "%s_of_copy", ways[way]);
        report_add(&b->report, section, row, column,
                   op->bytes[way] / seconds[way] / b->copy_rate[i]);
        snprintf(column, sizeof(column), "%s_of_exp", ways[way]);
        if (one_exp)
            report_add(&b->report, section, row, column,
                       places * a->n_state / seconds[way] / b->exp_rate[i]);
    }
}

#define SCAN_NOTE                                                                                  \
    "ns: a tick, channel and state; clk, bytes: a tick and channel, clocks of the cores "          \
    "together, "                                                                                   \
    "bytes that have to be moved; of_copy: of the rate of large copies; of_exp: one exponential "  \
    "a "                                                                                           \
    "state at the highest rate"

bool bench_scan_row(struct bench *b, const struct net *net, int layer, const char *section)
{
    const struct layer *l = &net->plan.layers[layer];
    struct bench_memory m = {.be = net->be};
    struct scan_case op = {.be = net->be};
    double seconds[2];
    char row[BENCH_ROW_MAX], note[400];
    scan_fill(&op, &m, net, layer, 1, b->op_ticks);
    bool ok =
        !m.failed && bench_pair(b, net->be, &op, scan_forward_run, scan_backward_run, seconds);
    bench_memory_free(&m);
    if (!ok)
        return false;
    snprintf(row, sizeof(row), "%s%s, E %d, N %d", mixer_name(l->mixer),
             l->complex_state ? " complex" : "", l->inner, l->n_state);
    snprintf(note, sizeof(note), "%s, one chunk of %lld ticks; " SCAN_NOTE, b->backend_row[0],
             (long long)b->op_ticks);
    report_note(&b->report, section, note);
    scan_report(b, 0, &op, section, row, seconds);
    return true;
}

/* --- lengths and batches ---------------------------------------------------------------------- */

enum { SCAN_BITS_MIN = 14, SCAN_BITS_MAX = 20 };

/* A processor has its time for one long clip, but not for as much again in every other shape. */
static bool shape_wanted(const struct bench *b, int bits, int n_batch)
{
    int64_t n = (int64_t)n_batch << bits;
    bool device = bench_is_device(b->backend[0]);
    return n <= (device || n_batch == 1 ? b->scan_ticks : b->scan_ticks / 4);
}

static bool shape_row(struct bench *b, int i, const struct net *net, int layer, int bits,
                      int n_batch, const char *section)
{
    struct bench_memory m = {.be = net->be};
    struct scan_case op = {.be = net->be};
    double seconds[2];
    char row[BENCH_ROW_MAX];
    int64_t n_time = (int64_t)1 << bits;
    if (!backend_reserve(net->be,
                         net->be->ops->workspace(net->be, &net->plan, n_batch, n_time, true)))
        return false;
    scan_fill(&op, &m, net, layer, n_batch, n_time);
    bool ok =
        !m.failed && bench_pair(b, net->be, &op, scan_forward_run, scan_backward_run, seconds);
    bench_memory_free(&m);
    if (!ok)
        return false;
    snprintf(row, sizeof(row), "2^%d x %d", bits, n_batch);
    report_add(&b->report, section, row, "forward_ms", seconds[0] * 1e3);
    report_add(&b->report, section, row, "backward_ms", seconds[1] * 1e3);
    scan_report(b, i, &op, section, row, seconds);
    return true;
}

bool bench_scans(struct bench *b, const struct bench_net *n)
{
    static const int batches[] = {1, 4, 16};
    struct net net = {0};
    char section[BENCH_ROW_MAX], note[400];
    int layer = 0, i = b->n_backends - 1;
    log_status(false, "%s: measuring scans", n->name);
    while (layer < n->plan.n_layers && n->plan.layers[layer].kind != LAYER_MIXER)
        layer++;
    if (layer == n->plan.n_layers)
        return error_set("%s has no mixer", n->name);
    const struct layer *l = &n->plan.layers[layer];
    bool ok = bench_net_open(&net, n, b->backend[i]);
    snprintf(section, sizeof(section), "%s: scan lengths", n->name);
    snprintf(note, sizeof(note),
             "ticks x batch, of the first mixer, %s%s, %d channels of %d states, %s; " SCAN_NOTE,
             mixer_name(l->mixer), l->complex_state ? " complex" : "", l->inner, l->n_state,
             b->backend_row[i]);
    report_note(&b->report, section, note);
    for (int bits = SCAN_BITS_MIN; ok && bits <= SCAN_BITS_MAX; bits += 2)
        for (int k = 0; ok && k < 3; k++)
            ok = !shape_wanted(b, bits, batches[k]) ||
                 shape_row(b, i, &net, layer, bits, batches[k], section);
    if (net.be)
        net_close(&net);
    return ok;
}
