/* Single operations, on one thread or a device, in the shapes that a network gives them: matrix
   products, and which rows there are. */
#define _GNU_SOURCE
#include "app/bench_ops.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { RANDOM_MAX = 1 << 18 }; /* numbers that differ; longer memory has them again and again */

float *bench_floats(struct bench_memory *m, int64_t n)
{
    int64_t own = n < RANDOM_MAX ? n : RANDOM_MAX;
    float *host = malloc((size_t)own * sizeof(*host));
    float *block = host ? backend_alloc(m->be, (size_t)n * sizeof(*block)) : NULL;
    for (int64_t i = 0; block && i < own; i++)
        host[i] =
            2 * random_uniform(random_word(1, (uint64_t)i, (uint32_t)m->n, RANDOM_CROP, 0)) - 1;
    for (int64_t i = 0; block && i < n; i += own)
        backend_upload(m->be, block + i, host,
                       (size_t)(n - i < own ? n - i : own) * sizeof(*block));
    if (block) {
        m->block[m->n++] = block;
    } else {
        m->failed = true;
        if (!host)
            error_set("out of memory for %lld floats", (long long)own);
    }
    free(host);
    return block;
}

void bench_memory_free(struct bench_memory *m)
{
    for (int i = 0; i < m->n; i++)
        backend_free(m->be, m->block[i]);
    m->n = 0;
}

bool bench_pair(const struct bench *b, struct backend *be, void *arg,
                void (*forward)(void *, int64_t), void (*backward)(void *, int64_t),
                double seconds[2])
{
    struct bench_case cases[2] = {{.run = forward, .arg = arg, .be = be},
                                  {.run = backward, .arg = arg, .be = be}};
    if (!bench_measure(b, cases, 2, 0.06) || !backend_sync(be))
        return false;
    seconds[0] = cases[0].median_s;
    seconds[1] = cases[1].median_s;
    return true;
}

struct product_case {
    struct backend *be;
    struct linear_args forward;
    struct linear_backward_args backward;
};

static void linear_run(void *arg, int64_t times)
{
    struct product_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->linear(op->be, &op->forward);
}

static void linear_backward_run(void *arg, int64_t times)
{
    struct product_case *op = arg;
    for (int64_t i = 0; i < times; i++)
        op->be->ops->linear_backward(op->be, &op->backward);
}

static bool product_row(struct bench *b, const struct net *net, const struct param *p,
                        const char *section)
{
    struct bench_memory m = {.be = net->be};
    struct product_case op = {.be = net->be};
    int n_out = (int)p->shape[0], n_in = (int)p->shape[1];
    int64_t ticks = b->op_ticks;
    double seconds[2], rate[2], products = (double)ticks * n_out * n_in;
    char row[BENCH_ROW_MAX];
    op.forward = (struct linear_args){
        .y = bench_floats(&m, ticks * n_out),
        .x = bench_floats(&m, ticks * n_in),
        .w = net->weights + p->offset,
        .ld_x = n_in,
        .ld_y = n_out,
        .n_batch = 1,
        .n_time = ticks,
        .n_in = n_in,
        .n_out = n_out,
    };
    op.backward = (struct linear_backward_args){
        .dx = bench_floats(&m, ticks * n_in),
        .dw = bench_floats(&m, p->size),
        .dy = bench_floats(&m, ticks * n_out),
        .x = op.forward.x,
        .w = op.forward.w,
        .ld_dx = n_in,
        .ld_dy = n_out,
        .ld_x = n_in,
        .n_batch = 1,
        .n_time = ticks,
        .n_in = n_in,
        .n_out = n_out,
    };
    bool ok = !m.failed && bench_pair(b, net->be, &op, linear_run, linear_backward_run, seconds);
    bench_memory_free(&m);
    if (!ok)
        return false;
    rate[0] = products / seconds[0];
    rate[1] = 2 * products / seconds[1];
    snprintf(row, sizeof(row), "%d -> %d", n_in, n_out);
    report_add(&b->report, section, row, "forward_GMAC/s", rate[0] / 1e9);
    report_add(&b->report, section, row, "backward_GMAC/s", rate[1] / 1e9);
    if (b->product_rate[0] > 0) {
        report_add(&b->report, section, row, "forward_of_peak", rate[0] / b->product_rate[0]);
        report_add(&b->report, section, row, "backward_of_peak", rate[1] / b->product_rate[0]);
    }
    return true;
}

static bool is_matrix(const struct plan *plan, const struct layer *l, int role)
{
    return l->kind != LAYER_EMBED && l->kind != LAYER_LABEL && l->param[role] >= 0 &&
           plan->params[l->param[role]].n_dims == 2 && role != PARAM_A_LOG &&
           role != PARAM_A_IMAG && role != PARAM_B && role != PARAM_C && role != PARAM_CONV;
}

/* Is there a layer before i that scans alike? */
static bool mixer_seen(const struct plan *plan, int i)
{
    const struct layer *l = &plan->layers[i];
    for (int k = 0; k < i; k++) {
        const struct layer *o = &plan->layers[k];
        if (o->kind == LAYER_MIXER && o->mixer == l->mixer && o->inner == l->inner &&
            o->n_state == l->n_state && o->n_taps == l->n_taps && o->width == l->width &&
            o->complex_state == l->complex_state)
            return true;
    }
    return false;
}

/* Is there a matrix of the same shape before this one? */
static bool matrix_seen(const struct plan *plan, const struct param *p)
{
    for (int i = 0; i < plan->n_layers; i++)
        for (int role = 0; role < PARAM_ROLES; role++) {
            if (!is_matrix(plan, &plan->layers[i], role))
                continue;
            const struct param *o = &plan->params[plan->layers[i].param[role]];
            if (o < p && o->shape[0] == p->shape[0] && o->shape[1] == p->shape[1])
                return true;
        }
    return false;
}

static bool ops_rows(struct bench *b, const struct net *net, const char *name)
{
    const struct plan *plan = &net->plan;
    char scan[BENCH_ROW_MAX], products[BENCH_ROW_MAX], moving[BENCH_ROW_MAX];
    char note[200];
    snprintf(scan, sizeof(scan), "%s: scan", name);
    snprintf(products, sizeof(products), "%s: products", name);
    snprintf(moving, sizeof(moving), "%s: moving data", name);
    snprintf(note, sizeof(note), "%lld rows, %s; backward: gradients of input and weights; of %s",
             (long long)b->op_ticks, b->backend_row[0],
             bench_is_device(net->be) ? "the rate of a large product" : "the FMA peak");
    report_note(&b->report, products, note);
    snprintf(note, sizeof(note),
             "%lld rows, %s; clk: clocks of the cores together, a row and "
             "channel; limit: the rate %s",
             (long long)b->op_ticks, b->backend_row[0],
             bench_is_device(net->be) ? "of large copies"
                                      : "at which as many bytes are read again and again");
    report_note(&b->report, moving, note);
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        for (int role = 0; role < PARAM_ROLES; role++) {
            const struct param *p = is_matrix(plan, l, role) ? &plan->params[l->param[role]] : NULL;
            if (p && !matrix_seen(plan, p) && !product_row(b, net, p, products))
                return false;
        }
        if (l->kind == LAYER_MIXER && !mixer_seen(plan, i) &&
            (!bench_scan_row(b, net, i, scan) || !bench_moving_rows(b, net, i, moving)))
            return false;
    }
    return true;
}

bool bench_ops(struct bench *b, const struct bench_net *n)
{
    struct net net = {0};
    struct backend *be = b->backend[0];
    log_status(false, "%s: measuring operations", n->name);
    bool ok = bench_net_open(&net, n, be);
    const struct plan *plan = &net.plan;
    ok = ok &&
         backend_reserve(be, be->ops->workspace(be, plan, 1,
                                                b->op_ticks * plan->rate[plan->n_tiers - 1], true));
    ok = ok && ops_rows(b, &net, n->name);
    if (net.be)
        net_close(&net);
    return ok;
}
