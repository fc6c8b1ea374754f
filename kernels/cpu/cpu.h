/*
 * The CPU backend from the inside: what the files of kernels/cpu share.
 *
 * The operations are one source, compiled once for each instruction set: body.c includes the files
 * of operations (all their functions are static) and defines one table of them under the name given
 * by CPU_OPS_NAME. backend.c chooses the table when the program runs. Only body.c is compiled.
 */
#ifndef HISS_KERNELS_CPU_CPU_H
#define HISS_KERNELS_CPU_CPU_H

#include "base/thread.h"
#include "kernels/ops.h"

struct cpu_backend {
    struct backend base; /* first: a struct backend * points here */
    struct pool *pool;
    char *scratch; /* for partial sums; an operation's own from its begin to its end */
    size_t scratch_size;
    double timer_start;
};

static inline struct cpu_backend *cpu_of(struct backend *be)
{
    return (struct cpu_backend *)be;
}

/* Rows below which work is not worth handing to another thread, and the fixed sizes in which work
   is cut and sums are taken: they belong to the result and never depend on the number of threads.
 */
enum {
    CPU_ROW_BLOCK = 252,    /* rows of a matrix product; a multiple of its tiles' 6 and 2 */
    CPU_GRAD_BLOCK = 4096,  /* rows in one partial sum of a parameter's gradient */
    CPU_SCAN_CHUNK = 32,    /* ticks between kept states */
    CPU_CHANNEL_GROUP = 32, /* channels in one partial sum over channels */
};

extern const struct ops cpu_ops_base; /* what every processor of the architecture has */
#if defined(__x86_64__)
extern const struct ops cpu_ops_avx2;   /* AVX2, FMA, F16C (x86-64-v3) */
extern const struct ops cpu_ops_avx512; /* AVX-512 F, BW, CD, DQ, VL (x86-64-v4) and VNNI */
#endif

/* The tables this processor can run, the plainest first and the best last, up to the one that the
   environment variable HISS_ISA names if it is set. 0 with error_text if it names none of them. */
enum { CPU_TABLES_MAX = 3 };
int cpu_tables(const struct ops *tables[CPU_TABLES_MAX]);

#endif
