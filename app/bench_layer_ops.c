/* A mixer's own operations on one thread: the recurrence, and those that mostly move data. */
#define _GNU_SOURCE
#include "app/bench_ops.h"

#include <stdio.h>

/* --- scan ------------------------------------------------------------------------------------- */

struct scan_case {
    struct backend *be;
    struct scan_backward_args args;
};

static void scan_forward_run(void *arg, int64_t times)
{
    struct scan_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->scan(op->be, &op->args.forward);
    backend_sync(op->be);
}

static void scan_backward_run(void *arg, int64_t times)
{
    struct scan_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->scan_backward(op->be, &op->args);
    backend_sync(op->be);
}

static void scan_fill(struct scan_case *op, struct bench_memory *m, const struct net *net,
                      int layer)
{
    const struct plan *plan = &net->plan;
    const struct layer *l = &plan->layers[layer];
    int parts = l->complex_state ? 2 : 1, width_bc = 2 * l->n_state * parts;
    int64_t n = (int64_t)BENCH_TICKS * l->inner, n_state = (int64_t)l->inner * l->n_state * parts;
    struct scan_args *a = &op->args.forward;
    *a = (struct scan_args){
        .mixer = l->mixer,
        .complex_state = l->complex_state,
        .n_batch = 1,
        .n_time = BENCH_TICKS,
        .inner = l->inner,
        .n_state = l->n_state,
        .y = bench_floats(m, n),
        .u = bench_floats(m, n),
        .coef = net->coef + net->coef_offset[layer],
        .d = layer_param(plan, l, PARAM_D, net->weights),
        .state = bench_floats(m, n_state),
        .entering = bench_floats(m, scan_entering_size(op->be->ops, l, 1, BENCH_TICKS)),
        .ld_state = n_state,
    };
    op->args.dy = bench_floats(m, n);
    op->args.du = bench_floats(m, n);
    op->args.dcoef = bench_floats(m, op->be->ops->coef_size(l));
    op->args.dd = bench_floats(m, l->inner);
    op->args.dstate = bench_floats(m, n_state);
    if (l->mixer != MIXER_S4D) {
        a->z = bench_floats(m, n);
        a->ld_z = l->inner;
        op->args.dz = bench_floats(m, n);
        op->args.ld_dz = l->inner;
    }
    if (l->mixer == MIXER_SELECTIVE) {
        a->dt_raw = bench_floats(m, n);
        a->dt_bias = layer_param(plan, l, PARAM_DT_BIAS, net->weights);
        a->bc = bench_floats(m, (int64_t)BENCH_TICKS * width_bc);
        a->ld_bc = width_bc;
        op->args.ddt_raw = bench_floats(m, n);
        op->args.dbc = bench_floats(m, (int64_t)BENCH_TICKS * width_bc);
        op->args.ddt_bias = bench_floats(m, l->inner);
        op->args.ld_dbc = width_bc;
    }
}

bool bench_scan_row(struct bench *b, const struct net *net, int layer, const char *section)
{
    const struct layer *l = &net->plan.layers[layer];
    struct bench_memory m = {.be = net->be};
    struct scan_case op = {.be = net->be};
    double seconds[2], n = (double)BENCH_TICKS * l->inner * l->n_state;
    char row[BENCH_ROW_MAX];
    scan_fill(&op, &m, net, layer);
    bool ok =
        !m.failed && bench_pair(b, net->be, &op, scan_forward_run, scan_backward_run, seconds);
    bench_memory_free(&m);
    if (!ok)
        return false;
    snprintf(row, sizeof(row), "%s%s, E %d, N %d", mixer_name(l->mixer),
             l->complex_state ? " complex" : "", l->inner, l->n_state);
    report_add(&b->report, section, row, "forward_ns", seconds[0] / n * 1e9);
    report_add(&b->report, section, row, "backward_ns", seconds[1] / n * 1e9);
    return true;
}

/* --- what only moves data --------------------------------------------------------------------- */

struct moving_case {
    struct backend *be;
    struct conv_args conv;
    struct conv_backward_args conv_backward;
    struct {
        float *y, *r, *dx, *dw;
        const float *x, *w, *dy;
        int width;
    } norm;
};

static void conv_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->conv_silu(op->be, &op->conv);
    backend_sync(op->be);
}

static void conv_backward_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->conv_silu_backward(op->be, &op->conv_backward);
    backend_sync(op->be);
}

static void norm_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->rmsnorm(op->be, op->norm.y, op->norm.r, op->norm.x, op->norm.w, 1e-5f,
                             BENCH_TICKS, op->norm.width);
    backend_sync(op->be);
}

static void norm_backward_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    backend_zero(op->be, op->norm.dx, (size_t)BENCH_TICKS * (size_t)op->norm.width * sizeof(float));
    for (int64_t i = 0; i < times; i++)
        op->be->ops->rmsnorm_backward(op->be, op->norm.dx, op->norm.dw, op->norm.dy, op->norm.x,
                                      op->norm.r, op->norm.w, BENCH_TICKS, op->norm.width);
    backend_sync(op->be);
}

/* floats_moved: floats that a pass reads and writes. */
static bool moving_row(struct bench *b, struct moving_case *op, void (*forward)(void *, int64_t),
                       void (*backward)(void *, int64_t), const double floats_moved[2],
                       const char *section, const char *row)
{
    static const char *const rates[2] = {"forward_GB/s", "backward_GB/s"};
    static const char *const parts[2] = {"forward_of_read", "backward_of_read"};
    double seconds[2], limit = 0;
    if (!bench_pair(b, op->be, op, forward, backward, seconds))
        return false;
    for (int i = 0; i < 2; i++)
        report_add(&b->report, section, row, rates[i],
                   floats_moved[i] * sizeof(float) / seconds[i] / 1e9);
    for (int i = 0; i < 2 && b->multiply_rate[0] > 0; i++) {
        limit = bench_read_rate(b, 1, floats_moved[i] * sizeof(float));
        if (limit == 0)
            return false;
        report_add(&b->report, section, row, parts[i],
                   floats_moved[i] * sizeof(float) / seconds[i] / limit);
    }
    return true;
}

static bool conv_row(struct bench *b, const struct net *net, const struct layer *l,
                     const char *section)
{
    struct bench_memory m = {.be = net->be};
    struct moving_case op = {.be = net->be};
    int64_t n = (int64_t)BENCH_TICKS * l->inner, n_state = (int64_t)l->inner * (l->n_taps - 1);
    char row[BENCH_ROW_MAX];
    op.conv = (struct conv_args){
        .u = bench_floats(&m, n),
        .x = bench_floats(&m, 2 * n),
        .w = layer_param(&net->plan, l, PARAM_CONV, net->weights),
        .bias = layer_param(&net->plan, l, PARAM_CONV_BIAS, net->weights),
        .state = bench_floats(&m, n_state),
        .ld_x = 2 * l->inner,
        .ld_state = n_state,
        .n_batch = 1,
        .n_time = BENCH_TICKS,
        .inner = l->inner,
        .n_taps = l->n_taps,
    };
    op.conv_backward = (struct conv_backward_args){
        .dx = bench_floats(&m, 2 * n),
        .dw = bench_floats(&m, (int64_t)l->inner * l->n_taps),
        .dbias = bench_floats(&m, l->inner),
        .dstate = bench_floats(&m, n_state),
        .du = bench_floats(&m, n),
        .x = op.conv.x,
        .w = op.conv.w,
        .bias = op.conv.bias,
        .state = bench_floats(&m, n_state),
        .ld_dx = 2 * l->inner,
        .ld_x = 2 * l->inner,
        .ld_state = n_state,
        .n_batch = 1,
        .n_time = BENCH_TICKS,
        .inner = l->inner,
        .n_taps = l->n_taps,
    };
    snprintf(row, sizeof(row), "convolution, E %d, K %d", l->inner, l->n_taps);
    bool ok =
        !m.failed && moving_row(b, &op, conv_run, conv_backward_run,
                                (const double[2]){2.0 * (double)n, 3.0 * (double)n}, section, row);
    bench_memory_free(&m);
    return ok;
}

static bool norm_row(struct bench *b, const struct net *net, const struct layer *l,
                     const char *section)
{
    struct bench_memory m = {.be = net->be};
    struct moving_case op = {.be = net->be};
    int64_t n = (int64_t)BENCH_TICKS * l->width_in;
    char row[BENCH_ROW_MAX];
    op.norm.y = bench_floats(&m, n);
    op.norm.r = bench_floats(&m, BENCH_TICKS);
    op.norm.dx = bench_floats(&m, n);
    op.norm.dw = bench_floats(&m, l->width_in);
    op.norm.x = bench_floats(&m, n);
    op.norm.dy = bench_floats(&m, n);
    op.norm.w = layer_param(&net->plan, l, PARAM_NORM, net->weights);
    op.norm.width = l->width_in;
    snprintf(row, sizeof(row), "rmsnorm, H %d", l->width_in);
    bool ok =
        !m.failed && moving_row(b, &op, norm_run, norm_backward_run,
                                (const double[2]){2.0 * (double)n, 4.0 * (double)n}, section, row);
    bench_memory_free(&m);
    return ok;
}

bool bench_moving_rows(struct bench *b, const struct net *net, int layer, const char *section)
{
    const struct layer *l = &net->plan.layers[layer];
    return norm_row(b, net, l, section) && (l->n_taps == 0 || conv_row(b, net, l, section));
}
