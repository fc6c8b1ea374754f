/*
 * What `hiss bench` measures, and with what: command_bench.c opens a bench, each bench_*.c measures
 * one kind of thing and adds rows to the report.
 *
 * Main thread. The measuring functions return false with error_text; being asked to stop is an
 * error too.
 */
#ifndef HISS_APP_BENCH_H
#define HISS_APP_BENCH_H

#include "app/bench_report.h"
#include "model/net.h"

enum { BENCH_BACKENDS = 2, BENCH_ROW_MAX = 64 };

struct bench {
    /* The same backend with one thread, and with n_threads if there are more; a device alone. */
    struct backend *backend[BENCH_BACKENDS];
    const char *backend_row[BENCH_BACKENDS]; /* "1 thread", "8 threads"; "device" */
    int n_backends;
    int n_threads;
    bool quick;
    int64_t clip; /* samples of a training clip */
    struct report report;
    double multiply_rate[BENCH_BACKENDS]; /* multiply-adds/s; 0: not measured */
};

/* A network to be measured. */
struct bench_net {
    const char *name;
    struct config config;
    struct plan plan;
    float *weights; /* host memory, plan.weights_size */
};

/* --- time (bench_time.c) ---------------------------------------------------------------------- */

/* Something that is run again and again. run does it `times` times and waits for the end. */
struct bench_case {
    void (*run)(void *arg, int64_t times);
    void *arg;
    double median_s, best_s; /* of once */
};

/* Runs the cases in turns, each for about budget_s (a tenth of it if quick), at least three times.
 */
bool bench_measure(const struct bench *b, struct bench_case *cases, int n, double budget_s);

/* Sorts the values. n >= 1; q in [0, 1]. */
double bench_quantile(double *values, int64_t n, double q);
double bench_quantile_sorted(const double *values, int64_t n, double q);

/* --- the machine (bench_machine.c) ------------------------------------------------------------ */

/* Rates of plain work, caches and memory; how fast threads hand over to each other. */
bool bench_machine(struct bench *b);

/* The best rate, bytes/s over all threads, at which n_threads read `bytes` each, again and again.
   0 with error_text. */
double bench_read_rate(struct bench *b, int n_threads, double bytes);

/* --- networks --------------------------------------------------------------------------------- */

/* A net with these weights. The caller closes it. False with error_text. */
bool bench_net_open(struct net *net, const struct bench_net *n, struct backend *be);

bool bench_decode(struct bench *b, const struct bench_net *n);  /* bench_decode.c */
bool bench_train(struct bench *b, const struct bench_net *n);   /* bench_train.c */
bool bench_prefill(struct bench *b, const struct bench_net *n); /* bench_train.c */
bool bench_ops(struct bench *b, const struct bench_net *n);     /* bench_ops.c */

#endif
