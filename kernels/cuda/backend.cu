/* Opening the CUDA backend, its memory, and its table of operations. */
#include "base/error.h"
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STAGING_SIZE = 4 << 20, /* bytes of pinned memory */
    STAGED_MAX = 1 << 20,   /* uploads above this go their own way */
    STAGING_ALIGN = 64,
};

static bool cuda_says(const char *what, cudaError_t error)
{
    return error_set("%s: %s", what, cudaGetErrorString(error));
}

static void cuda_close(struct backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (cuda->stream)
        cudaStreamSynchronize(cuda->stream);
    blas_close(cuda);
    cudaFree(cuda->scratch);
    if (cuda->staging)
        cudaFreeHost(cuda->staging);
    for (int i = 0; i < 2; i++)
        if (cuda->timer[i])
            cudaEventDestroy(cuda->timer[i]);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    free(cuda);
}

static void *cuda_alloc(struct backend *be, size_t bytes)
{
    struct cuda_backend *cuda = cuda_of(be);
    void *memory = NULL;
    if (cudaMalloc(&memory, bytes ? bytes : 1) != cudaSuccess) {
        size_t available = 0, total = 0;
        cudaGetLastError(); /* told here: not to be found again after the next launch */
        cudaMemGetInfo(&available, &total);
        error_set("out of GPU memory: %.1f MiB were asked for, %.1f MiB are free",
                  (double)bytes / (1 << 20), (double)available / (1 << 20));
        return NULL;
    }
    cuda_keep_error(cuda, cudaMemsetAsync(memory, 0, bytes ? bytes : 1, cuda->stream),
                    "zeroing memory");
    return memory;
}

/* cudaFree waits for the work that may still use the memory. */
static void cuda_free(struct backend *be, void *memory)
{
    cuda_keep_error(cuda_of(be), cudaFree(memory), "freeing memory");
}

static void cuda_wait(struct cuda_backend *cuda, const char *at)
{
    cuda_keep_error(cuda, cudaStreamSynchronize(cuda->stream), at);
    cuda->staging_used = 0;
}

/* The caller's memory is its own again on return: small pieces are copied aside, so that the GPU
   need not be waited for. */
static void cuda_upload(struct backend *be, void *to, const void *from_host, size_t bytes)
{
    struct cuda_backend *cuda = cuda_of(be);
    const char *at = "upload";
    if (bytes > STAGED_MAX) {
        cuda_keep_error(
            cuda, cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, cuda->stream), at);
        cuda_wait(cuda, at);
        return;
    }
    size_t size = (bytes + STAGING_ALIGN - 1) / STAGING_ALIGN * STAGING_ALIGN;
    if (cuda->staging_used + size > STAGING_SIZE)
        cuda_wait(cuda, at);
    char *staged = cuda->staging + cuda->staging_used;
    memcpy(staged, from_host, bytes);
    cuda->staging_used += size;
    cuda_keep_error(cuda, cudaMemcpyAsync(to, staged, bytes, cudaMemcpyHostToDevice, cuda->stream),
                    at);
}

static void cuda_download(struct backend *be, void *to_host, const void *from, size_t bytes)
{
    struct cuda_backend *cuda = cuda_of(be);
    cuda_keep_error(cuda,
                    cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, cuda->stream),
                    "download");
    cuda_wait(cuda, "download");
}

static void cuda_copy(struct backend *be, void *to, const void *from, size_t bytes)
{
    struct cuda_backend *cuda = cuda_of(be);
    cuda_keep_error(cuda, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda->stream),
                    "copy");
}

static void cuda_zero(struct backend *be, void *memory, size_t bytes)
{
    struct cuda_backend *cuda = cuda_of(be);
    cuda_keep_error(cuda, cudaMemsetAsync(memory, 0, bytes, cuda->stream), "zero");
}

static bool cuda_reserve(struct backend *be, size_t bytes)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (bytes <= cuda->scratch_size)
        return true;
    char *scratch = static_cast<char *>(cuda_alloc(be, bytes));
    if (!scratch)
        return error_prefix("scratch memory");
    if (cuda->scratch)
        cuda_free(be, cuda->scratch);
    cuda->scratch = scratch;
    cuda->scratch_size = bytes;
    return true;
}

static bool cuda_sync(struct backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    cuda_wait(cuda, "an operation before");
    if (cuda->error == cudaSuccess)
        return true;
    cudaError_t error = cuda->error;
    cuda->error = cudaSuccess;
    if (error == cudaErrorMemoryAllocation)
        return error_set("out of GPU memory at %s: end what else uses the GPU; or lower "
                         "train.micro_batch or train.slice, or the takes at once",
                         cuda->error_at);
    return error_set("the GPU failed at %s: %s", cuda->error_at, cudaGetErrorString(error));
}

static void cuda_timer_begin(struct backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    cuda_keep_error(cuda, cudaEventRecord(cuda->timer[0], cuda->stream), "timer");
}

static double cuda_timer_end(struct backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    float ms = 0.0f;
    cuda_keep_error(cuda, cudaEventRecord(cuda->timer[1], cuda->stream), "timer");
    cuda_wait(cuda, "an operation that was timed");
    cuda_keep_error(cuda, cudaEventElapsedTime(&ms, cuda->timer[0], cuda->timer[1]), "timer");
    return ms * 1e-3;
}

static void cuda_set_products(struct backend *be, enum products products)
{
    cuda_of(be)->products = products;
}

static size_t cuda_rounded_size(struct backend *be)
{
    return cuda_rounded(cuda_of(be), true) ? sizeof(uint16_t) : sizeof(float);
}

#include "kernels/cuda/inlet.cu" /* of cuda_alloc and cuda_copy */

static const struct backend_functions cuda_functions = {
    cuda_close,       cuda_alloc,        cuda_free,         cuda_upload,       cuda_download,
    cuda_copy,        cuda_zero,         cuda_reserve,      cuda_sync,         cuda_timer_begin,
    cuda_timer_end,   cuda_set_products, cuda_rounded_size, cuda_repeat_begin, cuda_repeat_end,
    cuda_repeat_free, cuda_inlet_open,   cuda_inlet_close,  cuda_inlet_room,   cuda_inlet_post,
    cuda_inlet_take,
};

static void set_ops(struct ops *o)
{
    o->scan_chunk = CUDA_SCAN_CHUNK;
    o->workspace = op_workspace;
    o->coef_size = op_coef_size;
    o->embed = op_embed;
    o->embed_backward = op_embed_backward;
    o->codes_slice = op_codes_slice;
    o->label_add = op_label_add;
    o->label_add_backward = op_label_add_backward;
    o->rmsnorm = op_rmsnorm;
    o->rmsnorm_backward = op_rmsnorm_backward;
    o->linear = op_linear;
    o->linear_backward = op_linear_backward;
    o->conv_silu = op_conv_silu;
    o->conv_silu_backward = op_conv_silu_backward;
    o->coef = op_coef;
    o->coef_backward = op_coef_backward;
    o->scan = op_scan;
    o->scan_backward = op_scan_backward;
    o->gelu = op_gelu;
    o->gelu_backward = op_gelu_backward;
    o->glu = op_glu;
    o->glu_backward = op_glu_backward;
    o->add = op_add;
    o->frames_gather = op_frames_gather;
    o->frames_gather_backward = op_frames_gather_backward;
    o->frames_emit = op_frames_emit;
    o->frames_emit_backward = op_frames_emit_backward;
    o->cross_entropy = op_cross_entropy;
    o->sample = op_sample;
    o->decoder_fits = op_decoder_fits;
    o->decoder_open = op_decoder_open;
    o->decoder_close = op_decoder_close;
    o->decoder_import = op_decoder_import;
    o->decoder_export = op_decoder_export;
    o->decode = op_decode;
    o->decoder_threads = op_decoder_threads;
    o->sum_squares = op_sum_squares;
    o->sum_add = op_sum_add;
    o->adamw = op_adamw;
    o->limit_device_multiply = op_limit_device_multiply;
    o->limit_device_exp = op_limit_device_exp;
}

static bool device_open(struct cuda_backend *cuda)
{
    struct gpu_facts facts;
    cudaError_t error;
    if (!device_facts(&facts))
        return error_set("CUDA: %s; use --backend cpu", facts.why_not);
    if ((error = cudaSetDevice(0)) != cudaSuccess)
        return cuda_says("CUDA: device 0 cannot be used", error);
    cuda->n_cores = facts.n_cores;
    snprintf(cuda->name, sizeof cuda->name, "cuda %.100s", facts.device);
    return true;
}

struct backend *cuda_backend_open(void)
{
    struct cuda_backend *cuda = static_cast<struct cuda_backend *>(calloc(1, sizeof *cuda));
    cudaError_t error;
    if (!cuda) {
        error_set("out of memory for a backend");
        return NULL;
    }
    set_ops(&cuda->ops);
    cuda->ops.name = cuda->name;
    cuda->base.ops = &cuda->ops;
    cuda->base.functions = &cuda_functions;
    if (!device_open(cuda))
        goto fail;
    if ((error = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking)) != cudaSuccess ||
        (error = cudaEventCreate(&cuda->timer[0])) != cudaSuccess ||
        (error = cudaEventCreate(&cuda->timer[1])) != cudaSuccess ||
        (error = cudaHostAlloc(reinterpret_cast<void **>(&cuda->staging), STAGING_SIZE,
                               cudaHostAllocDefault)) != cudaSuccess) {
        error_set("CUDA: the device does not start: %s; end what else uses the GPU, or use "
                  "--backend cpu",
                  cudaGetErrorString(error));
        goto fail;
    }
    if (!blas_open(cuda))
        goto fail;
    if (!cuda_reserve(&cuda->base, squares_workspace()) || !cuda_sync(&cuda->base)) {
        error_prefix("CUDA does not start (end what else uses the GPU, or use --backend cpu)");
        goto fail;
    }
    return &cuda->base;
fail:
    cudaGetLastError(); /* told here: not to be found again by the next to be opened */
    cuda_close(&cuda->base);
    return NULL;
}
