/*
 * What the files that measure single operations share: memory and turns.
 *
 * Main thread.
 */
#ifndef HISS_APP_BENCH_OPS_H
#define HISS_APP_BENCH_OPS_H

#include "app/bench.h"

enum { BENCH_BLOCKS_MAX = 24 };

/* Backend memory of one measurement, given back at once. */
struct bench_memory {
    struct backend *be;
    void *block[BENCH_BLOCKS_MAX];
    int n;
    bool failed; /* with error_text: memory ran out */
};

/* n floats, uniform in (-1, 1). NULL if memory ran out. */
float *bench_floats(struct bench_memory *m, int64_t n);
void bench_memory_free(struct bench_memory *m);

/* Seconds of an operation forward and backward, measured in turns. */
bool bench_pair(const struct bench *b, struct backend *be, void *arg,
                void (*forward)(void *, int64_t), void (*backward)(void *, int64_t),
                double seconds[2]);

/* The rows of a mixer (layer of the net's plan): its recurrence (bench_scan.c); its norm and
   convolution (bench_layer_ops.c). */
bool bench_scan_row(struct bench *b, const struct net *net, int layer, const char *section);
bool bench_moving_rows(struct bench *b, const struct net *net, int layer, const char *section);

#endif
