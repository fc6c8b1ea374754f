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
    int batch;    /* clips of a training step */
    /* What fills caches, or a device: ticks of the chunks of single operations, and at most of all
       clips of a scan. */
    int64_t op_ticks, scan_ticks;
    int n_streams; /* at most, made side by side */
    struct report report;
    /* What the machine can do at most, of each backend; 0: not measured. */
    double multiply_rate[BENCH_BACKENDS]; /* multiply-adds/s */
    double product_rate[BENCH_BACKENDS];  /* the same in matrix products */
    double exp_rate[BENCH_BACKENDS];      /* exponentials/s */
    double copy_rate[BENCH_BACKENDS];     /* bytes/s of large copies, read and written */
    double clock_rate[BENCH_BACKENDS];    /* clocks/s of all its cores together */
};

/* A network to be measured. */
struct bench_net {
    const char *name;
    struct config config;
    struct plan plan;
    float *weights;         /* host memory, plan.weights_size */
    enum products products; /* of training, as the two below */
    bool recompute;
    int64_t slice;
};

/* --- time (bench_time.c) ---------------------------------------------------------------------- */

/* Something that is run again and again. run does it `times` times; without a backend, whose own
   clock tells, it waits for the end. */
struct bench_case {
    void (*run)(void *arg, int64_t times);
    void *arg;
    struct backend *be;      /* or NULL */
    double median_s, best_s; /* of once */
};

/* Runs the cases in turns, each for about budget_s (a tenth of it if quick), at least three times.
 */
bool bench_measure(const struct bench *b, struct bench_case *cases, int n, double budget_s);

/* Does it compute elsewhere than on the calling thread? */
bool bench_is_device(const struct backend *be);

/* Sorts the values. n >= 1; q in [0, 1]. */
double bench_quantile(double *values, int64_t n, double q);
double bench_quantile_sorted(const double *values, int64_t n, double q);

/* --- the machine (bench_machine.c) ------------------------------------------------------------ */

/* Rates of plain work, caches and memory; how fast threads hand over to each other. Of a device:
   rates and memory. Fills in the bench's limits. */
bool bench_machine(struct bench *b);
bool bench_device(struct bench *b); /* bench_device.c */

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
bool bench_scans(struct bench *b, const struct bench_net *n);   /* bench_scan.c */

#endif
