/* The plainest work at the highest rate, on the whole device: what the operations are measured
   against. */
#include "kernels/cuda/cuda.h"

enum {
    LIMIT_THREADS = 256,
    LIMIT_BLOCKS = 8,  /* an SM: all the warps that it can have */
    LIMIT_CHAINS = 8,  /* independent, of a thread */
    LIMIT_UNROLL = 16, /* a turn of the loop */
};

/* No result of the chains is below 0: the compiler cannot leave them out, and nothing is written.
 */
CUDA_DEV void limit_keep(float *sink, const float (&x)[LIMIT_CHAINS])
{
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < LIMIT_CHAINS; i++)
        sum += x[i];
    if (sum < 0.0f)
        *sink = sum;
}

CUDA_DEV void limit_start(float (&x)[LIMIT_CHAINS])
{
#pragma unroll
    for (int i = 0; i < LIMIT_CHAINS; i++)
        x[i] = 1e-3f * (float)(threadIdx.x + i);
}

static __global__ void __launch_bounds__(LIMIT_THREADS)
    limit_multiply_kernel(float *sink, float factor, float term, int64_t turns)
{
    float x[LIMIT_CHAINS];
    limit_start(x);
    for (int64_t turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int k = 0; k < LIMIT_UNROLL; k++)
#pragma unroll
            for (int i = 0; i < LIMIT_CHAINS; i++)
                x[i] = x[i] * factor + term;
    }
    limit_keep(sink, x);
}

/* x = 2^-x goes to 0.641 from wherever it begins. */
static __global__ void __launch_bounds__(LIMIT_THREADS) limit_exp_kernel(float *sink, int64_t turns)
{
    float x[LIMIT_CHAINS];
    limit_start(x);
    for (int64_t turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int k = 0; k < LIMIT_UNROLL; k++)
#pragma unroll
            for (int i = 0; i < LIMIT_CHAINS; i++)
                x[i] = gpu_exp2(-x[i]);
    }
    limit_keep(sink, x);
}

/* Turns of each thread for n of them in all, and how many that makes. */
static int64_t limit_turns(const struct cuda_backend *cuda, int64_t n, int64_t *made)
{
    int64_t turn =
        (int64_t)cuda->n_cores * LIMIT_BLOCKS * LIMIT_THREADS * LIMIT_CHAINS * LIMIT_UNROLL;
    int64_t turns = cuda_blocks(n, turn);
    *made = turns * turn;
    return turns;
}

static int64_t op_limit_device_multiply(struct backend *be, int64_t n)
{
    struct cuda_backend *cuda = cuda_of(be);
    int64_t made, turns = limit_turns(cuda, n, &made);
    GPU_LAUNCH(limit_multiply_kernel, (unsigned)(cuda->n_cores * LIMIT_BLOCKS), LIMIT_THREADS, 0,
               cuda->stream, cuda_scratch(cuda, sizeof(float)), 0.999f, 1e-3f, turns);
    cuda_launched(cuda, "limit_multiply");
    return made;
}

static int64_t op_limit_device_exp(struct backend *be, int64_t n)
{
    struct cuda_backend *cuda = cuda_of(be);
    int64_t made, turns = limit_turns(cuda, n, &made);
    GPU_LAUNCH(limit_exp_kernel, (unsigned)(cuda->n_cores * LIMIT_BLOCKS), LIMIT_THREADS, 0,
               cuda->stream, cuda_scratch(cuda, sizeof(float)), turns);
    cuda_launched(cuda, "limit_exp");
    return made;
}
