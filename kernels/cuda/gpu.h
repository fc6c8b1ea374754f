/*
 * The only GPU header the kernels include: CUDA's names, and thin wrappers for what a build without
 * a GPU must be able to stand in for. Kernels use nothing else: no cub, thrust, inline assembly or
 * static shared memory.
 */
#ifndef HISS_KERNELS_CUDA_GPU_H
#define HISS_KERNELS_CUDA_GPU_H

#include <cuda_runtime.h>

#include <stdint.h>

/* The launch's dynamic shared memory, as an array of T. */
#define GPU_SMEM(T, name)                                                                          \
    extern __shared__ __align__(128) unsigned char gpu_smem_raw[];                                 \
    T *name = reinterpret_cast<T *>(gpu_smem_raw)

#define GPU_LAUNCH(kernel, grid, block, smem, stream, ...)                                         \
    (kernel)<<<(grid), (block), (smem), (stream)>>>(__VA_ARGS__)

#endif
