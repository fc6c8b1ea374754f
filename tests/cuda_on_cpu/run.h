/* Running what a stream's turn has come to. Called by the device's thread alone. */
#ifndef SHIM_RUN_H
#define SHIM_RUN_H

#include "tests/cuda_on_cpu/gang.h"

/* All blocks of the launch, on so many threads of the processor as the settings say. */
void launch_run(const struct shim_launch_config *config, void (*run)(const void *box),
                const void *box);

/* Whether the device takes such a launch of a kernel whose attributes are these. */
cudaError_t launch_check(const struct shim_launch_config *config, size_t shared_most,
                         bool any_cluster);

/* Blocks that run at the same time on one multiprocessor. */
int launch_occupancy(int threads, size_t shared);

enum {
    SHARED_UNASKED = 48 << 10, /* bytes, without cudaFuncSetAttribute */
    THREADS_MOST = 1024,
};

#endif
