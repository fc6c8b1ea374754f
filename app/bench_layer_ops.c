/* The operations of a mixer that mostly move data. */
#define _GNU_SOURCE
#include "app/bench_ops.h"

#include <stdio.h>

struct moving_case {
    struct backend *be;
    struct conv_args conv;
    struct conv_backward_args conv_backward;
    struct {
        float *y, *r, *dx, *dw;
        const float *x, *w, *dy;
        int64_t n_rows;
        int width;
    } norm;
};

static void conv_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->conv_silu(op->be, &op->conv);
}

static void conv_backward_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->conv_silu_backward(op->be, &op->conv_backward);
}

static void norm_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->rmsnorm(op->be, &(struct norm_args){.y = op->norm.y,
                                                         .r = op->norm.r,
                                                         .x = op->norm.x,
                                                         .w = op->norm.w,
                                                         .eps = 1e-5f,
                                                         .n_rows = op->norm.n_rows,
                                                         .width = op->norm.width});
}

static void norm_backward_run(void *arg, int64_t times)
{
    struct moving_case *op = arg;
    backend_zero(op->be, op->norm.dx,
                 (size_t)op->norm.n_rows * (size_t)op->norm.width * sizeof(float));
    for (int64_t i = 0; i < times; i++)
        op->be->ops->rmsnorm_backward(op->be, &(struct norm_backward_args){
                                                  .dx = op->norm.dx,
                                                  .dw = op->norm.dw,
                                                  .dy = op->norm.dy,
                                                  .x = op->norm.x,
                                                  .r = op->norm.r,
                                                  .w = op->norm.w,
                                                  .add0 = op->norm.dx,
                                                  .n_rows = op->norm.n_rows,
                                                  .width = op->norm.width,
                                              });
}

/* floats_moved: floats that a pass reads and writes; n: ticks times channels. */
static bool moving_row(struct bench *b, struct moving_case *op, void (*forward)(void *, int64_t),
                       void (*backward)(void *, int64_t), const double floats_moved[2], double n,
                       const char *section, const char *row)
{
    static const char *const rates[2] = {"forward_GB/s", "backward_GB/s"};
    static const char *const clocks[2] = {"forward_clk", "backward_clk"};
    static const char *const parts[2] = {"forward_of_limit", "backward_of_limit"};
    double seconds[2];
    if (!bench_pair(b, op->be, op, forward, backward, seconds))
        return false;
    for (int i = 0; i < 2; i++)
        report_add(&b->report, section, row, rates[i],
                   floats_moved[i] * sizeof(float) / seconds[i] / 1e9);
    for (int i = 0; i < 2 && b->clock_rate[0] > 0; i++) {
        double limit = bench_is_device(op->be)
                           ? b->copy_rate[0]
                           : bench_read_rate(b, 1, floats_moved[i] * sizeof(float));
        if (limit == 0)
            return false;
        report_add(&b->report, section, row, clocks[i], seconds[i] / n * b->clock_rate[0]);
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
    int64_t ticks = b->op_ticks, n = ticks * l->inner;
    int64_t n_state = (int64_t)l->inner * (l->n_taps - 1);
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
        .n_time = ticks,
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
        .n_time = ticks,
        .inner = l->inner,
        .n_taps = l->n_taps,
    };
    snprintf(row, sizeof(row), "convolution, E %d, K %d", l->inner, l->n_taps);
    bool ok = !m.failed && moving_row(b, &op, conv_run, conv_backward_run,
                                      (const double[2]){2.0 * (double)n, 3.0 * (double)n},
                                      (double)n, section, row);
    bench_memory_free(&m);
    return ok;
}

static bool norm_row(struct bench *b, const struct net *net, const struct layer *l,
                     const char *section)
{
    struct bench_memory m = {.be = net->be};
    struct moving_case op = {.be = net->be};
    int64_t ticks = b->op_ticks, n = ticks * l->width_in;
    char row[BENCH_ROW_MAX];
    op.norm.y = bench_floats(&m, n);
    op.norm.r = bench_floats(&m, ticks);
    op.norm.n_rows = ticks;
    op.norm.dx = bench_floats(&m, n);
    op.norm.dw = bench_floats(&m, l->width_in);
    op.norm.x = bench_floats(&m, n);
    op.norm.dy = bench_floats(&m, n);
    op.norm.w = layer_param(&net->plan, l, PARAM_NORM, net->weights);
    op.norm.width = l->width_in;
    snprintf(row, sizeof(row), "rmsnorm, H %d", l->width_in);
    bool ok = !m.failed && moving_row(b, &op, norm_run, norm_backward_run,
                                      (const double[2]){2.0 * (double)n, 4.0 * (double)n},
                                      (double)n, section, row);
    bench_memory_free(&m);
    return ok;
}

bool bench_moving_rows(struct bench *b, const struct net *net, int layer, const char *section)
{
    const struct layer *l = &net->plan.layers[layer];
    return norm_row(b, net, l, section) && (l->n_taps == 0 || conv_row(b, net, l, section));
}
