/* The machine's own limits, as the chosen body of operations can reach them. */
#define _GNU_SOURCE
#include "app/bench.h"
#include "app/stop.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS_MAX = 1024,
    SPINS_BEFORE_YIELD = 10000,
    CHAIN = 1 << 16,      /* additions that wait for each other, for the clock */
    HANDOVERS = 2000,     /* round trips in a repeat */
    HANDOVER_FLOATS = 64, /* of a vector that is handed over */
    READ_MIN = 4 * LIMIT_ROUND * sizeof(float),
};

#define COPY_BYTES ((double)(256 << 20)) /* what is read and what is written */

/* --- work done by several threads at the same time -------------------------------------------- */

struct crowd {
    const struct bench *bench;
    int n; /* threads */
    atomic_int arrived;
    int64_t times;
    float *data;              /* (n, n_floats): read; NULL: `work` instead */
    float (*work)(int64_t n); /* LIMIT_ROUND of it at a time */
    int64_t n_floats;
    bool copies; /* half of the data onto the other half, instead of reading */
    double seconds[THREADS_MAX];
    volatile float sink;
};

static void spin_until(atomic_int *value, int wanted)
{
    for (int spins = 0; atomic_load_explicit(value, memory_order_acquire) != wanted; spins++)
        if (spins >= SPINS_BEFORE_YIELD)
            sched_yield();
}

/* Copies one half of x (n) onto the other, there and back in turns. */
static float copy_halves(float *x, int64_t n, int64_t times)
{
    for (int64_t t = 0; t < times; t++) {
        memcpy(x + (t % 2) * (n / 2), x + (1 - t % 2) * (n / 2), (size_t)(n / 2) * sizeof(*x));
        __asm__ volatile("" : : : "memory");
    }
    return x[0];
}

/* As each waits for all, no thread gets two rounds. */
static void crowd_round(void *arg, int64_t i, int thread)
{
    struct crowd *c = arg;
    const struct ops *ops = c->bench->backend[0]->ops;
    atomic_fetch_add(&c->arrived, 1);
    spin_until(&c->arrived, c->n);
    double start = clock_s();
    c->sink = c->copies ? copy_halves(c->data + i * c->n_floats, c->n_floats, c->times)
              : c->data ? ops->limit_read(c->data + i * c->n_floats, c->n_floats, c->times)
                        : c->work(c->times * LIMIT_ROUND);
    c->seconds[i] = clock_s() - start;
}

/* The best sum of the threads' rates, in `times` a second. 0 with error_text. */
static double crowd_rate(struct crowd *c)
{
    const struct bench *b = c->bench;
    struct pool *pool = pool_open(c->n);
    double best = 0, target = b->quick ? 1e-3 : 4e-3;
    if (!pool)
        return 0;
    c->times = 1;
    for (int repeat = 0; repeat < (b->quick ? 5 : 20);) {
        double rate = 0, longest = 0;
        atomic_store(&c->arrived, 0);
        pool_run(pool, crowd_round, c, c->n);
        for (int i = 0; i < c->n; i++) {
            rate += (double)c->times / (c->seconds[i] > 1e-9 ? c->seconds[i] : 1e-9);
            longest = c->seconds[i] > longest ? c->seconds[i] : longest;
        }
        if (longest < target) { /* too short to say anything */
            c->times *= 2;
            continue;
        }
        best = rate > best ? rate : best;
        repeat++;
    }
    pool_close(pool);
    return best;
}

/* Bytes/s that n_threads read, or that they read and write in copies. */
static double memory_rate(struct bench *b, int n_threads, double bytes, bool copies)
{
    int64_t n = (int64_t)(bytes > READ_MIN ? bytes / sizeof(float) : READ_MIN / sizeof(float));
    struct crowd *c = calloc(1, sizeof(*c));
    double rate = 0;
    n = n / LIMIT_ROUND * LIMIT_ROUND;
    float *data = backend_alloc(b->backend[0], (size_t)(n * n_threads) * sizeof(float));
    if (c && data) {
        *c = (struct crowd){
            .bench = b, .n = n_threads, .data = data, .n_floats = n, .copies = copies};
        rate = crowd_rate(c) * (double)n * sizeof(float);
    }
    if (data)
        backend_free(b->backend[0], data);
    free(c);
    return rate;
}

double bench_read_rate(struct bench *b, int n_threads, double bytes)
{
    return memory_rate(b, n_threads, bytes, false);
}

static bool work_rates(struct bench *b, float (*work)(int64_t n), double rate[BENCH_BACKENDS])
{
    struct crowd *c = calloc(1, sizeof(*c));
    if (!c)
        return error_set("out of memory");
    bool ok = true;
    for (int i = 0; ok && i < b->n_backends; i++) {
        *c = (struct crowd){.bench = b, .n = i ? b->n_threads : 1, .work = work};
        rate[i] = crowd_rate(c) * LIMIT_ROUND;
        ok = rate[i] > 0;
    }
    free(c);
    return ok;
}

/* --- clock ------------------------------------------------------------------------------------ */

/* An addition takes one clock wherever hiss runs. */
static void chain_run(void *arg, int64_t times)
{
    uint64_t x = 0, y = 3;
    for (int64_t t = 0; t < times; t++) {
        for (int i = 0; i < CHAIN; i += 16) {
#pragma GCC unroll 16
            for (int k = 0; k < 16; k++) {
                x += y;
                __asm__ volatile("" : "+r"(x), "+r"(y)); /* one after the other, and all of them */
            }
        }
    }
    *(volatile uint64_t *)arg = x;
}

static bool processor_rows(struct bench *b)
{
    const char *section = "processor";
    uint64_t sink;
    struct bench_case chain = {.run = chain_run, .arg = &sink};
    log_status(false, "measuring the processor");
    const struct ops *ops = b->backend[0]->ops;
    if (!bench_measure(b, &chain, 1, 0.1) ||
        !work_rates(b, ops->limit_multiply, b->multiply_rate) ||
        !work_rates(b, ops->limit_exp, b->exp_rate))
        return false;
    report_note(&b->report, section,
                "the best of many; a multiply-add is one MAC, in fp32; exponentials as the scan "
                "makes them");
    report_add(&b->report, section, b->backend_row[0], "clock_GHz", CHAIN / chain.best_s / 1e9);
    for (int i = 0; i < b->n_backends; i++) {
        b->product_rate[i] = b->multiply_rate[i];
        b->clock_rate[i] = CHAIN / chain.best_s * (i ? b->n_threads : 1);
        report_add(&b->report, section, b->backend_row[i], "GMAC/s", b->multiply_rate[i] / 1e9);
        report_add(&b->report, section, b->backend_row[i], "Gexp/s", b->exp_rate[i] / 1e9);
    }
    return true;
}

/* --- reading ---------------------------------------------------------------------------------- */

static double cache_size(int name, double if_unknown)
{
    long size = sysconf(name);
    return size > 0 ? (double)size : if_unknown;
}

static bool read_rows(struct bench *b)
{
    const char *section = "reading";
    double l1 = cache_size(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
    double l2 = cache_size(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
    double l3 = cache_size(_SC_LEVEL3_CACHE_SIZE, 8 << 20);
    double memory = 4 * l3 < 64 << 20 ? 64 << 20 : 4 * l3 < 256 << 20 ? 4 * l3 : 256 << 20;
    const struct {
        const char *row;
        double bytes;
    } sets[] = {{"L1", l1 / 2},
                {"L2", l2 / 2},
                {"L3", 4 * l2 < l3 / 2 ? 4 * l2 : l3 / 2},
                {"memory", memory}};
    report_note(&b->report, section, "bytes a thread reads again and again, and the best rate");
    for (int i = 0; i < 4; i++) {
        log_status(false, "measuring how fast %s is read", sets[i].row);
        for (int all = 0; all < b->n_backends; all++) {
            char column[32];
            int n = all ? b->n_threads : 1;
            double rate = bench_read_rate(b, n, sets[i].bytes);
            if (rate == 0 || stop_requested())
                return rate == 0 ? false : error_set("interrupted");
            snprintf(column, sizeof(column), "GB/s,%d-thread", n);
            if (!all)
                report_add(&b->report, section, sets[i].row, "KiB", sets[i].bytes / 1024);
            report_add(&b->report, section, sets[i].row, column, rate / 1e9);
        }
    }
    return true;
}

static bool copy_rows(struct bench *b)
{
    for (int i = 0; i < b->n_backends; i++) {
        log_status(false, "measuring how fast memory is copied");
        b->copy_rate[i] = memory_rate(b, i ? b->n_threads : 1, COPY_BYTES, true);
        if (b->copy_rate[i] == 0)
            return false;
        report_add(&b->report, "copying", b->backend_row[i], "GB/s", b->copy_rate[i] / 1e9);
    }
    report_note(&b->report, "copying", "128 MiB in memory a thread; bytes read and bytes written");
    return true;
}

/* --- the decode engine's kernels ------------------------------------------------------------- */

struct kernel {
    const struct ops *ops;
    enum precision precision;
    void *memory;
    volatile float sink;
};

static void product_run(void *arg, int64_t times)
{
    struct kernel *k = arg;
    k->sink = k->ops->limit_product(k->precision, k->memory, times);
}

static void state_run(void *arg, int64_t times)
{
    struct kernel *k = arg;
    k->sink = k->ops->limit_state(k->memory, times);
}

static bool kernel_rows(struct bench *b)
{
    enum { CASES = PRECISIONS + 1 };
    const char *section = "kernels of decoding";
    struct kernel kernels[CASES];
    struct bench_case cases[CASES];
    bool ok = true;
    log_status(false, "measuring the kernels of decoding");
    for (int i = 0; i < CASES; i++) {
        struct kernel *k = &kernels[i];
        *k = (struct kernel){.ops = b->backend[0]->ops, .precision = (enum precision)i};
        k->memory = ok ? backend_alloc(b->backend[0], LIMIT_MEMORY) : NULL;
        ok = ok && k->memory;
        cases[i] = (struct bench_case){.run = i < PRECISIONS ? product_run : state_run, .arg = k};
        if (ok)
            cases[i].run(k, 0);
    }
    ok = ok && bench_measure(b, cases, CASES, 0.3);
    for (int i = 0; ok && i < CASES; i++) {
        const bool product = i < PRECISIONS;
        const double n = product ? (double)limit_product_outputs(i) * LIMIT_INPUTS
                                 : (double)LIMIT_CHANNELS * LIMIT_STATES;
        char row[BENCH_ROW_MAX] = "selective state";
        if (product)
            snprintf(row, sizeof(row), "product in %s", precision_name(i));
        report_add(&b->report, section, row, product ? "median_ps/MAC" : "median_ps/state",
                   cases[i].median_s / n * 1e12);
        report_add(&b->report, section, row, product ? "MAC/clock" : "states/clock",
                   n / (cases[i].best_s * b->clock_rate[0]));
    }
    for (int i = 0; i < CASES; i++)
        if (kernels[i].memory)
            backend_free(b->backend[0], kernels[i].memory);
    report_note(&b->report, section,
                "one thread, one row, from L2: 256 KiB of weights; 512 channels of 16 states");
    return ok;
}

/* --- handing over ----------------------------------------------------------------------------- */

struct handover {
    struct pool *pool;
    int n_floats;
    int64_t times; /* round trips */
    struct {
        _Alignas(64) float data[HANDOVER_FLOATS];
        _Alignas(64) atomic_int turn;
    } side[2];
};

/* Side 0 writes and says so; side 1 waits for it, reads, and answers likewise. */
static void handover_round(void *arg, int64_t side, int thread)
{
    struct handover *h = arg;
    float mine[HANDOVER_FLOATS] = {0};
    size_t bytes = (size_t)h->n_floats * sizeof(float);
    for (int turn = 1; turn <= (int)h->times; turn++) {
        if (side == 1) {
            spin_until(&h->side[0].turn, turn);
            memcpy(mine, h->side[0].data, bytes);
        }
        memcpy(h->side[side].data, mine, bytes);
        atomic_store_explicit(&h->side[side].turn, turn, memory_order_release);
        if (side == 0) {
            spin_until(&h->side[1].turn, turn);
            memcpy(mine, h->side[1].data, bytes);
        }
    }
}

static void handover_run(void *arg, int64_t times)
{
    struct handover *h = arg;
    for (int side = 0; side < 2; side++)
        atomic_store(&h->side[side].turn, 0);
    h->times = times * HANDOVERS;
    pool_run(h->pool, handover_round, h, 2);
}

static bool handover_rows(struct bench *b)
{
    static struct handover of_flag, of_vector;
    struct bench_case cases[2] = {{.run = handover_run, .arg = &of_flag},
                                  {.run = handover_run, .arg = &of_vector}};
    const char *section = "hand-over between threads";
    const char *rows[2] = {"a flag", "64 floats and a flag"};
    log_status(false, "measuring how fast threads hand over");
    of_vector.n_floats = HANDOVER_FLOATS;
    of_flag.pool = of_vector.pool = pool_open(2);
    if (!of_flag.pool)
        return false;
    bool ok = bench_measure(b, cases, 2, 0.3);
    pool_close(of_flag.pool);
    report_note(&b->report, section, "one way: half of a round trip");
    for (int i = 0; ok && i < 2; i++) {
        report_add(&b->report, section, rows[i], "median_ns",
                   cases[i].median_s / (2 * HANDOVERS) * 1e9);
        report_add(&b->report, section, rows[i], "best_ns",
                   cases[i].best_s / (2 * HANDOVERS) * 1e9);
    }
    return ok;
}

bool bench_machine(struct bench *b)
{
    if (bench_is_device(b->backend[0]))
        return bench_device(b);
    return processor_rows(b) && read_rows(b) && copy_rows(b) && kernel_rows(b) &&
           (b->n_threads < 2 || handover_rows(b));
}
