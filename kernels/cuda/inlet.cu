/*
 * An inlet: what the host sends comes on a stream of its own, beside the work, from pinned memory.
 * Two rooms on the host in turns, one block on the device; events keep who writes from who reads.
 */
#include "base/error.h"
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

struct backend_inlet {
    struct cuda_backend *cuda;
    cudaStream_t stream;
    char *rooms[2];      /* pinned */
    cudaEvent_t sent[2]; /* what was posted from the room is on the device */
    cudaEvent_t taken;   /* the block on the device may be written again */
    char *there;         /* on the device */
    size_t bytes;
    int turn; /* the room to be posted next */
};

static void cuda_inlet_close(struct backend *be, struct backend_inlet *inlet)
{
    if (inlet->stream) {
        cuda_keep_error(cuda_of(be), cudaStreamSynchronize(inlet->stream), "an inlet");
        cudaStreamDestroy(inlet->stream);
    }
    cudaFree(inlet->there); /* waits for who may still take */
    for (int i = 0; i < 2; i++) {
        cudaFreeHost(inlet->rooms[i]);
        if (inlet->sent[i])
            cudaEventDestroy(inlet->sent[i]);
    }
    if (inlet->taken)
        cudaEventDestroy(inlet->taken);
    free(inlet);
}

static bool inlet_start(struct backend_inlet *inlet)
{
    cudaError_t error = cudaStreamCreateWithFlags(&inlet->stream, cudaStreamNonBlocking);
    cudaEvent_t *const events[] = {&inlet->sent[0], &inlet->sent[1], &inlet->taken};
    for (int i = 0; i < 3 && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(events[i], cudaEventDisableTiming);
    if (error != cudaSuccess)
        return error_set("CUDA: no stream for uploads: %s", cudaGetErrorString(error));
    for (int i = 0; i < 2; i++)
        if (cudaHostAlloc(reinterpret_cast<void **>(&inlet->rooms[i]), inlet->bytes,
                          cudaHostAllocDefault) != cudaSuccess) {
            cudaGetLastError(); /* told here: not to be found again after the next launch */
            return error_set("out of pinned memory: twice %.1f MiB were asked for",
                             (double)inlet->bytes / (1 << 20));
        }
    inlet->there = static_cast<char *>(cuda_alloc(&inlet->cuda->base, inlet->bytes));
    if (inlet->there) /* not before it was zeroed */
        cuda_keep_error(inlet->cuda, cudaEventRecord(inlet->taken, inlet->cuda->stream),
                        "an inlet");
    return inlet->there != NULL;
}

static struct backend_inlet *cuda_inlet_open(struct backend *be, size_t bytes)
{
    struct backend_inlet *inlet = static_cast<struct backend_inlet *>(calloc(1, sizeof *inlet));
    if (!inlet) {
        error_set("out of memory for an inlet");
        return NULL;
    }
    inlet->cuda = cuda_of(be);
    inlet->bytes = bytes;
    if (!inlet_start(inlet)) {
        cuda_inlet_close(be, inlet);
        return NULL;
    }
    return inlet;
}

/* What was posted from here two turns ago has left long since, if anything is taken at all. */
static void *cuda_inlet_room(struct backend *be, struct backend_inlet *inlet)
{
    cuda_keep_error(cuda_of(be), cudaEventSynchronize(inlet->sent[inlet->turn]), "an upload");
    return inlet->rooms[inlet->turn];
}

static void cuda_inlet_post(struct backend *be, struct backend_inlet *inlet)
{
    struct cuda_backend *cuda = cuda_of(be);
    const char *at = "an upload beside the work";
    cuda_keep_error(cuda, cudaStreamWaitEvent(inlet->stream, inlet->taken, 0), at);
    cuda_keep_error(cuda,
                    cudaMemcpyAsync(inlet->there, inlet->rooms[inlet->turn], inlet->bytes,
                                    cudaMemcpyHostToDevice, inlet->stream),
                    at);
    cuda_keep_error(cuda, cudaEventRecord(inlet->sent[inlet->turn], inlet->stream), at);
    inlet->turn = !inlet->turn;
}

static void cuda_inlet_take(struct backend *be, struct backend_inlet *inlet, void *to)
{
    struct cuda_backend *cuda = cuda_of(be);
    const char *at = "taking an upload";
    cuda_keep_error(cuda, cudaStreamWaitEvent(cuda->stream, inlet->sent[!inlet->turn], 0), at);
    cuda_copy(be, to, inlet->there, inlet->bytes);
    cuda_keep_error(cuda, cudaEventRecord(inlet->taken, cuda->stream), at);
}
