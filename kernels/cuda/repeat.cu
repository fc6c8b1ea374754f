/*
 * Work that repeats, as one CUDA graph: the first time it runs as it is asked for (what is loaded
 * on first use is loaded then), the second time it is recorded, from then on it is one launch.
 */
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

struct backend_repeat {
    int n; /* times it has run as it was asked for */
    bool recording;
    cudaGraphExec_t graph; /* NULL: none yet */
    const char *scratch;   /* recorded with this, and with these products */
    enum products products;
};

static void repeat_forget(struct backend_repeat *r)
{
    if (r->graph)
        cudaGraphExecDestroy(r->graph);
    r->graph = NULL;
}

static bool cuda_repeat_begin(struct backend *be, struct backend_repeat **repeat)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct backend_repeat *r = *repeat;
    if (!r)
        r = *repeat = static_cast<struct backend_repeat *>(calloc(1, sizeof *r));
    if (!r)
        return true; /* without memory it is asked for each time */
    if (r->graph && (r->scratch != cuda->scratch || r->products != cuda->products))
        repeat_forget(r);
    if (r->graph) {
        cuda_keep_error(cuda, cudaGraphLaunch(r->graph, cuda->stream), "repeated work");
        return false;
    }
    if (r->n++ == 0)
        return true;
    r->scratch = cuda->scratch;
    r->products = cuda->products;
    r->recording =
        cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    return true;
}

static void cuda_repeat_end(struct backend *be, struct backend_repeat *r)
{
    struct cuda_backend *cuda = cuda_of(be);
    cudaGraph_t graph = NULL;
    if (!r || !r->recording)
        return;
    r->recording = false;
    cudaError_t error = cudaStreamEndCapture(cuda->stream, &graph);
    if (error == cudaSuccess)
        error = cudaGraphInstantiateWithFlags(&r->graph, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    if (error == cudaSuccess)
        error = cudaGraphLaunch(r->graph, cuda->stream);
    cuda_keep_error(cuda, error, "recording repeated work");
    cudaGetLastError(); /* kept: not to be found again after the next launch */
}

static void cuda_repeat_free(struct backend *be, struct backend_repeat *r)
{
    struct cuda_backend *cuda = cuda_of(be);
    cuda_keep_error(cuda, cudaStreamSynchronize(cuda->stream), "repeated work");
    repeat_forget(r);
    free(r);
}
