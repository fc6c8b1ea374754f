/* For tests that run on the shim: C and C++. */
#ifndef SHIM_CUDA_ON_CPU_H
#define SHIM_CUDA_ON_CPU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The order of threads, blocks, streams and copies from now on: CUDA_ON_CPU_SEED. While nothing
   runs: after a wait for the device. */
void cuda_on_cpu_set_seed(int seed);

/* A bug planted: of the waits for events from now on, a stream's or the host's, the one after the
   next n does nothing. -1: none. */
void cuda_on_cpu_forget_wait(int n);

/* Of what takes memory from now on, of the device, pinned or for a graph, the one after the next n
   fails. -1: none. */
void cuda_on_cpu_fail_allocation(int n);

/* Kernels that have begun so far. */
uint64_t cuda_on_cpu_launches(void);

#ifdef __cplusplus
}
#endif

#endif
