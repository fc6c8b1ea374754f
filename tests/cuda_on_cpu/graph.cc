/*
 * Graphs, made by capturing streams. A launch does the nodes in an order that the seed chooses
 * among those that the graph allows.
 */
#include "tests/cuda_on_cpu/include/shim/thread.h"
#include "tests/cuda_on_cpu/memory.h"
#include "tests/cuda_on_cpu/stream.h"

#include <algorithm>

struct node {
    struct operation *op;
    std::vector<size_t> after; /* nodes before it */
};

/* The nodes are shared by the graph and what was made of it. */
struct nodes {
    std::vector<struct node> list;
    int users;
};

struct capture {
    struct nodes *nodes;
    struct CUstream_st *origin;
    std::vector<struct CUstream_st *> joined;
    enum cudaStreamCaptureMode mode;
    bool invalid;
};

struct CUgraph_st {
    struct nodes *nodes;
};

struct CUgraphExec_st {
    struct nodes *nodes;
};

static std::vector<struct capture *> captures; /* that go on */

static void nodes_leave(struct nodes *nodes)
{
    if (--nodes->users > 0)
        return;
    for (struct node &node : nodes->list)
        operation_free(node.op);
    delete nodes;
}

static void add_once(std::vector<size_t> *list, const std::vector<size_t> &more)
{
    for (size_t i : more)
        if (std::find(list->begin(), list->end(), i) == list->end())
            list->push_back(i);
}

/* --- capturing
 * -------------------------------------------------------------------------------------------- */

cudaError_t capture_add(struct CUstream_st *stream, struct operation *op)
{
    struct capture *c = stream->capture;
    if (c->invalid) {
        operation_free(op);
        return cudaErrorStreamCaptureInvalidated;
    }
    c->nodes->list.push_back({op, stream->capture_after});
    stream->capture_after = {c->nodes->list.size() - 1};
    return cudaSuccess;
}

cudaError_t capture_refuses(struct CUstream_st *stream)
{
    if (!stream->capture)
        return cudaSuccess;
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
}

bool capture_is_global(void)
{
    bool global = false;
    for (struct capture *c : captures)
        if (c->mode == cudaStreamCaptureModeGlobal)
            global = c->invalid = true;
    return global;
}

void capture_record(struct CUevent_st *event, struct CUstream_st *stream)
{
    event->capture = stream->capture;
    event->capture_after = stream->capture_after;
}

cudaError_t capture_join(struct CUstream_st *stream, struct CUevent_st *event)
{
    struct capture *c = event->capture;
    if (!c || (stream->capture && stream->capture != c)) {
        if (stream->capture)
            stream->capture->invalid = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    if (!stream->capture) {
        stream->capture = c;
        stream->capture_after.clear();
        c->joined.push_back(stream);
    }
    add_once(&stream->capture_after, event->capture_after);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    device_lock();
    cudaError_t error = cudaSuccess;
    if (!stream || stream->capture) {
        error = !stream ? cudaErrorStreamCaptureUnsupported : cudaErrorInvalidValue;
    } else {
        struct capture *c = new struct capture();
        c->nodes = new struct nodes();
        c->nodes->users = 1;
        c->origin = stream;
        c->joined.push_back(stream);
        c->mode = mode;
        stream->capture = c;
        stream->capture_after.clear();
        captures.push_back(c);
    }
    device_unlock();
    return told(error);
}

/* Every branch has to have come back to the stream that began. */
static bool all_joined(const struct capture *c)
{
    std::vector<size_t> open(c->nodes->list.size(), 1);
    for (const struct node &node : c->nodes->list)
        for (size_t i : node.after)
            open[i] = 0;
    for (size_t i : c->origin->capture_after)
        open[i] = 0;
    return std::count(open.begin(), open.end(), 1) == 0;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    device_lock();
    cudaError_t error = cudaSuccess;
    struct capture *c = stream ? stream->capture : nullptr;
    *graph = nullptr;
    if (!c || c->origin != stream) {
        error = cudaErrorInvalidValue;
    } else {
        if (c->invalid)
            error = cudaErrorStreamCaptureInvalidated;
        else if (!all_joined(c))
            error = cudaErrorStreamCaptureUnjoined;
        for (struct CUstream_st *s : c->joined)
            s->capture = nullptr;
        captures.erase(std::find(captures.begin(), captures.end(), c));
        if (error == cudaSuccess)
            *graph = new CUgraph_st{c->nodes};
        else
            nodes_leave(c->nodes);
        delete c;
    }
    device_unlock();
    return told(error);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    device_lock();
    const struct capture *c = stream ? stream->capture : nullptr;
    *status = !c           ? cudaStreamCaptureStatusNone
              : c->invalid ? cudaStreamCaptureStatusInvalidated
                           : cudaStreamCaptureStatusActive;
    device_unlock();
    return cudaSuccess;
}

/* --- launching
 * ---------------------------------------------------------------------------------------------- */

static void graph_run(void *payload)
{
    const struct nodes *nodes = *static_cast<struct nodes **>(payload);
    std::vector<size_t> left(nodes->list.size());
    std::vector<bool> done(nodes->list.size());
    for (size_t i = 0; i < left.size(); i++)
        left[i] = i;
    while (!left.empty()) {
        std::vector<size_t> can;
        for (size_t i : left)
            if (std::all_of(nodes->list[i].after.begin(), nodes->list[i].after.end(),
                            [&done](size_t before) { return done[before]; }))
                can.push_back(i);
        const size_t next = can[device_choice(can.size())];
        struct operation *op = nodes->list[next].op;
        op->run(operation_payload(op));
        done[next] = true;
        left.erase(std::find(left.begin(), left.end(), next));
    }
}

static void graph_drop(void *payload)
{
    nodes_leave(*static_cast<struct nodes **>(payload));
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long)
{
    device_lock();
    cudaError_t error = memory_fails() ? cudaErrorMemoryAllocation : cudaSuccess;
    if (error == cudaSuccess) {
        graph->nodes->users++;
        *exec = new CUgraphExec_st{graph->nodes};
    }
    device_unlock();
    return told(error);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    device_lock();
    exec->nodes->users++;
    cudaError_t error =
        stream_add(stream_of(stream), operation_new("a graph", graph_run, graph_drop, &exec->nodes,
                                                    sizeof exec->nodes));
    device_unlock();
    return told(error);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    device_lock();
    nodes_leave(graph->nodes);
    device_unlock();
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    device_lock();
    nodes_leave(exec->nodes);
    device_unlock();
    delete exec;
    return cudaSuccess;
}
