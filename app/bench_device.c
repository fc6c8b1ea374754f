/* A device's own limits. */
#define _GNU_SOURCE
#include "app/bench_ops.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>

enum {
    LIMIT_WORK = 1 << 25, /* multiply-adds or exponentials */
    PRODUCT_EACH = 64,    /* rows and columns a multiprocessor */
};

#define COPY_BYTES ((size_t)256 << 20)

struct limit_case {
    struct backend *be;
    int64_t (*work)(struct backend *be, int64_t n);
    int64_t made, times; /* by the last call, and asked for */
};

/* One call however often: to begin one takes time, too. */
static void limit_run(void *arg, int64_t times)
{
    struct limit_case *c = arg;
    c->made = c->work(c->be, times * LIMIT_WORK);
    c->times = times;
}

static double limit_rate(const struct limit_case *c, double once_s)
{
    return (double)c->made / (double)c->times / once_s;
}

static bool rate_rows(struct bench *b, const char *section, const struct gpu_facts *g)
{
    struct backend *be = b->backend[0];
    struct limit_case limits[2] = {{be, be->ops->limit_device_multiply, 0, 0},
                                   {be, be->ops->limit_device_exp, 0, 0}};
    struct bench_case cases[2] = {{.run = limit_run, .arg = &limits[0], .be = be},
                                  {.run = limit_run, .arg = &limits[1], .be = be}};
    log_status(false, "measuring the device");
    if (!bench_measure(b, cases, 2, 0.2) || !backend_sync(be))
        return false;
    b->multiply_rate[0] = limit_rate(&limits[0], cases[0].best_s);
    b->exp_rate[0] = limit_rate(&limits[1], cases[1].best_s);
    b->clock_rate[0] = g->n_cores * g->clock_hz;
    report_add(&b->report, section, b->backend_row[0], "multiprocessors", g->n_cores);
    report_add(&b->report, section, b->backend_row[0], "clock_GHz", g->clock_hz / 1e9);
    report_add(&b->report, section, b->backend_row[0], "GMAC/s", b->multiply_rate[0] / 1e9);
    report_add(&b->report, section, b->backend_row[0], "Gexp/s", b->exp_rate[0] / 1e9);
    report_add(&b->report, section, b->backend_row[0], "MAC/clk",
               b->multiply_rate[0] / b->clock_rate[0]);
    report_add(&b->report, section, b->backend_row[0], "exp/clk",
               b->exp_rate[0] / b->clock_rate[0]);
    return true;
}

struct copy_case {
    struct backend *be;
    void *to, *from;
};

static void copy_run(void *arg, int64_t times)
{
    struct copy_case *c = arg;
    for (int64_t i = 0; i < times; i++)
        backend_copy(c->be, c->to, c->from, COPY_BYTES);
}

static bool copy_row(struct bench *b)
{
    const char *section = "copying";
    struct copy_case copy = {.be = b->backend[0]};
    struct bench_case one = {.run = copy_run, .arg = &copy, .be = copy.be};
    bool ok = (copy.to = backend_alloc(copy.be, COPY_BYTES)) &&
              (copy.from = backend_alloc(copy.be, COPY_BYTES)) && bench_measure(b, &one, 1, 0.2) &&
              backend_sync(copy.be);
    if (copy.from)
        backend_free(copy.be, copy.from);
    if (copy.to)
        backend_free(copy.be, copy.to);
    if (!ok)
        return false;
    b->copy_rate[0] = 2.0 * (double)COPY_BYTES / one.best_s;
    report_note(&b->report, section,
                "256 MiB in memory, by the thread that asks or by the device; "
                "bytes read and bytes written");
    report_add(&b->report, section, b->backend_row[0], "GB/s", b->copy_rate[0] / 1e9);
    return true;
}

/* --- a large product -------------------------------------------------------------------------- */

struct product_case {
    struct backend *be;
    struct linear_args args;
};

static void product_run(void *arg, int64_t times)
{
    struct product_case *c = arg;
    for (int64_t i = 0; i < times; i++)
        c->be->ops->linear(c->be, &c->args);
}

/* Of square matrices, large enough for every multiprocessor, as the backend makes products: its
   library at its best, in its precision. */
static bool product_row(struct bench *b, const char *section, int n_cores)
{
    int64_t n = PRODUCT_EACH * n_cores;
    struct backend *be = b->backend[0];
    struct bench_memory m = {.be = be};
    struct product_case product = {.be = be,
                                   .args = {.y = bench_floats(&m, n * n),
                                            .x = bench_floats(&m, n * n),
                                            .w = bench_floats(&m, n * n),
                                            .ld_x = n,
                                            .ld_y = n,
                                            .n_batch = 1,
                                            .n_time = n,
                                            .n_in = (int)n,
                                            .n_out = (int)n}};
    struct bench_case one = {.run = product_run, .arg = &product, .be = be};
    bool ok = !m.failed && bench_measure(b, &one, 1, 0.2) && backend_sync(be);
    bench_memory_free(&m);
    if (!ok)
        return false;
    b->product_rate[0] = (double)n * (double)n * (double)n / one.best_s;
    report_add(&b->report, section, b->backend_row[0], "product_GMAC/s", b->product_rate[0] / 1e9);
    return true;
}

bool bench_device(struct bench *b)
{
    struct gpu_facts facts;
    const char *section = "device";
    backend_gpu_facts(&facts);
    if (!facts.clock_hz)
        return error_set("the device does not tell its clock");
    report_note(&b->report, section,
                "the best of many; the clock is the highest it can have, and counted are those of "
                "one multiprocessor; a multiply-add is one MAC, in fp32; product: a large one, as "
                "the backend makes them");
    return rate_rows(b, section, &facts) && product_row(b, section, facts.n_cores) && copy_row(b);
}
