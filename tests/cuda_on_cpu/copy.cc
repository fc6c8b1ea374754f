/*
 * Copies and fills. What is copied from the host's pageable memory is taken at once, as CUDA does;
 * pinned memory is read when the copy's turn comes. What is copied to the host arrives when its
 * turn comes, even in pageable memory, where CUDA would mostly wait: nobody may count on that.
 */
#include "tests/cuda_on_cpu/memory.h"
#include "tests/cuda_on_cpu/stream.h"

#include <stdlib.h>
#include <string.h>

struct copy {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
    void *taken; /* what `from` is of, if it was taken at once */
};

struct fill {
    void *to;
    int value;
    size_t size;
};

static void copy_run(void *payload)
{
    const struct copy *c = static_cast<const struct copy *>(payload);
    for (size_t row = 0; row < c->height; row++)
        memcpy(c->to + row * c->to_pitch, c->from + row * c->from_pitch, c->width);
}

static void copy_drop(void *payload)
{
    free(static_cast<struct copy *>(payload)->taken);
}

static void fill_run(void *payload)
{
    const struct fill *f = static_cast<const struct fill *>(payload);
    memset(f->to, f->value, f->size);
}

static bool on_device(enum memory_side side)
{
    return side == MEMORY_DEVICE || side == MEMORY_PINNED;
}

static cudaError_t copy_check(enum memory_side to, enum memory_side from, enum cudaMemcpyKind kind)
{
    if (to == MEMORY_BEYOND || from == MEMORY_BEYOND)
        return cudaErrorInvalidValue;
    const bool needs_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool needs_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if ((needs_to && !on_device(to)) || (needs_from && !on_device(from)))
        return cudaErrorInvalidValue;
    if ((kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyHostToHost) && to == MEMORY_DEVICE)
        return cudaErrorInvalidMemcpyDirection;
    if ((kind == cudaMemcpyHostToDevice || kind == cudaMemcpyHostToHost) && from == MEMORY_DEVICE)
        return cudaErrorInvalidMemcpyDirection;
    return cudaSuccess;
}

/* From the first byte of the first row to the last of the last. */
static size_t extent(size_t pitch, size_t width, size_t height)
{
    return height ? pitch * (height - 1) + width : 0;
}

static cudaError_t copy_add(struct copy c, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    if (c.width == 0 || c.height == 0)
        return cudaSuccess;
    const size_t from_size = extent(c.from_pitch, c.width, c.height);
    const enum memory_side from = memory_side_of(c.from, from_size);
    const enum memory_side to = memory_side_of(c.to, extent(c.to_pitch, c.width, c.height));
    cudaError_t error = copy_check(to, from, kind);
    if (error != cudaSuccess)
        return error;
    struct CUstream_st *s = stream_of(stream);
    if (from == MEMORY_HOST && !s->capture) {
        c.taken = malloc(from_size);
        if (!c.taken)
            return cudaErrorMemoryAllocation;
        memcpy(c.taken, c.from, from_size);
        c.from = static_cast<char *>(c.taken);
    }
    return stream_add(s, operation_new("a copy", copy_run, copy_drop, &c, sizeof c));
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    const struct copy c = {static_cast<char *>(to),
                           static_cast<const char *>(from),
                           to_pitch,
                           from_pitch,
                           width,
                           height,
                           nullptr};
    if (width > to_pitch || width > from_pitch)
        return told(cudaErrorInvalidValue);
    device_lock();
    cudaError_t error = copy_add(c, kind, stream);
    device_unlock();
    return told(error);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return cudaMemcpy2DAsync(to, n, from, n, n, 1, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind)
{
    cudaError_t error = cudaMemcpyAsync(to, from, n, kind, nullptr);
    return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t stream)
{
    const struct fill f = {to, value, n};
    device_lock();
    cudaError_t error = cudaSuccess;
    if (n && !on_device(memory_side_of(to, n)))
        error = cudaErrorInvalidValue;
    else if (n)
        error =
            stream_add(stream_of(stream), operation_new("a fill", fill_run, nullptr, &f, sizeof f));
    device_unlock();
    return told(error);
}

cudaError_t cudaMemset(void *to, int value, size_t n)
{
    return cudaMemsetAsync(to, value, n, nullptr);
}
