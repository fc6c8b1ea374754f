/*
 * The CUDA backend from the inside: what the files of kernels/cuda share.
 *
 * As on the CPU, body.cu includes the files of operations, whose functions are all static, and
 * defines one table of them. Only body.cu is compiled.
 */
#ifndef HISS_KERNELS_CUDA_CUDA_H
#define HISS_KERNELS_CUDA_CUDA_H

#include "kernels/backend_impl.h"
#include "kernels/cuda/gpu.h"
#include "kernels/ops.h"

#include <cublas_v2.h>

#include <assert.h>

struct cuda_backend {
    struct backend base; /* first: a struct backend * points here */
    struct ops ops;
    char name[128]; /* of ops: the device's */
    cudaStream_t stream;
    cudaEvent_t timer[2];
    int n_cores; /* streaming multiprocessors */
    cublasHandle_t blas;
    enum products products;
    void *blas_workspace;
    char *scratch; /* device memory for partial sums; an operation's own while it runs */
    size_t scratch_size;
    char *staging; /* pinned host memory that small uploads pass through, used front to back */
    size_t staging_used;
    cudaError_t error; /* the first since the last sync */
    const char *error_at;
};

static inline struct cuda_backend *cuda_of(struct backend *be)
{
    return reinterpret_cast<struct cuda_backend *>(be);
}

/* Keeps the first error until the next backend_sync. */
static inline void cuda_keep_error(struct cuda_backend *cuda, cudaError_t error, const char *at)
{
    if (error != cudaSuccess && cuda->error == cudaSuccess) {
        cuda->error = error;
        cuda->error_at = at;
    }
}

/* After every launch. */
static inline void cuda_launched(struct cuda_backend *cuda, const char *kernel)
{
    cuda_keep_error(cuda, cudaGetLastError(), kernel);
}

/* The operation's scratch memory, which the caller has reserved. */
static inline float *cuda_scratch(struct cuda_backend *cuda, size_t bytes)
{
    assert(cuda->scratch_size >= bytes);
    return reinterpret_cast<float *>(cuda->scratch);
}

/* Whether a tensor that the caller calls rounded is bf16 now. Kernels are given it in place of what
   the caller says. */
static inline bool cuda_rounded(const struct cuda_backend *cuda, bool rounded)
{
    return rounded && cuda->products == PRODUCTS_BF16;
}

static constexpr float CUDA_LOG2E = 1.44269504f;

/* 1/(1 + e^-x), by the quick instructions. */
GPU_DEV float cuda_sigmoid(float x)
{
    return gpu_rcp(1.0f + gpu_exp2(-x * CUDA_LOG2E));
}

/* Sizes that belong to a result's order of sums. */
enum {
    CUDA_SCAN_CHUNK = 32,  /* ticks between kept states */
    CUDA_GRAD_ROWS = 1024, /* rows in one partial sum of a parameter's gradient */
};

#endif
