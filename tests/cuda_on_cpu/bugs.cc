/*
 * Bugs, planted one by one: bugs.py runs each and expects that the shim or a sanitizer sees it.
 * usage: bugs NAME    prints "result ok" or "result WRONG"; "none" is correct, and as long.
 */
#include "kernels/cuda/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 64, BLOCKS = 4, N = THREADS * BLOCKS, FLAG = 4000, SIZE = 8192, CLUSTER = 4 };

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t error_ = (call);                                                               \
        if (error_ != cudaSuccess) {                                                               \
            printf("%s: %s\n", #call, cudaGetErrorString(error_));                                 \
            exit(3);                                                                               \
        }                                                                                          \
    } while (0)

/* --- in a block --------------------------------------------------------------------------------
 */

/* Each writes t in shared memory, and a neighbour's to g: correct with a barrier between. */
static __global__ void exchange(float *g, bool barrier, bool in_warp)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x, from = in_warp ? t ^ 1 : (t + 33) % THREADS;
    s[t] = t;
    if (barrier)
        __syncthreads();
    g[blockIdx.x * THREADS + t] = s[from];
}

/* Reads a neighbour's and overwrites its own at once. */
static __global__ void overwrite(float *g)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x;
    s[t] = t;
    __syncthreads();
    const float v = s[(t + 33) % THREADS];
    s[t] = v;
    g[blockIdx.x * THREADS + t] = v;
}

static __global__ void shared_beyond(float *g)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x;
    s[t + (t == THREADS - 1)] = t;
    __syncthreads();
    g[blockIdx.x * THREADS + t] = s[t];
}

static __global__ void global_beyond(float *g)
{
    const int i = (int)(blockIdx.x * THREADS + threadIdx.x);
    g[i] = (float)(i % THREADS);
    if (i == N - 1)
        g[i + 1] = 0;
}

static __global__ void misaligned(float *g)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x;
    s[t] = t;
    __syncthreads();
    const float4 v = *reinterpret_cast<const float4 *>(s + (t & 31) + 1);
    g[blockIdx.x * THREADS + t] = v.x - (float)(t & 31) - 1 + (float)t;
}

static __global__ void unwritten(float *g)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x;
    if (t == 0)
        s[0] = 0;
    __syncthreads();
    g[blockIdx.x * THREADS + t] = s[t] + (float)t;
}

static __global__ void absent_lanes(float *g)
{
    const int t = threadIdx.x;
    float v = (float)t;
    if (t < 16)
        v = __shfl_xor_sync(~0u, v, 0);
    g[blockIdx.x * THREADS + t] = v;
}

static __global__ void shuffle_in_branch(float *g)
{
    const int t = threadIdx.x;
    float v = (float)t;
    if (t & 1)
        v = __shfl_xor_sync(~0u, v, 0);
    else
        v = __shfl_xor_sync(~0u, v, 0);
    g[blockIdx.x * THREADS + t] = v;
}

static __global__ void divergent_barrier(float *g)
{
    const int t = threadIdx.x;
    if (t & 1)
        __syncthreads();
    else
        __syncthreads();
    g[blockIdx.x * THREADS + t] = (float)t;
}

static __global__ void barrier_of_some(float *g)
{
    const int t = threadIdx.x;
    g[blockIdx.x * THREADS + t] = (float)t;
    if (t < 32)
        return;
    __syncthreads();
}

/* Barrier 1 of all threads, where only half come. */
static __global__ void named_barrier(float *g)
{
    const int t = threadIdx.x;
    if (t < 32)
        gpu_bar_sync(1, THREADS);
    g[blockIdx.x * THREADS + t] = (float)t;
}

/* --- asynchronous copies -----------------------------------------------------------------------
 */

enum copy_bug { COPY_UNWAITED, COPY_UNORDERED, COPY_NEVER_WAITED };

/* g[SIZE/2 + 4t] = t before. */
static __global__ void copied(float *g, enum copy_bug bug)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x;
    gpu_cp_async16(s + 4 * t, g + SIZE / 2 + 4 * t);
    gpu_cp_async_commit();
    if (bug == COPY_UNORDERED) /* waits for its own copy, reads another's */
        gpu_cp_async_wait<0>();
    else
        __syncthreads();
    g[blockIdx.x * THREADS + t] = s[4 * (bug == COPY_UNORDERED ? t ^ 33 : t)];
    if (bug == COPY_UNWAITED)
        gpu_cp_async_wait<0>();
}

/* --- between blocks ----------------------------------------------------------------------------
 */

/* g[t] = 0 before: each block adds 1. */
static __global__ void blocks_race(float *g)
{
    g[threadIdx.x] = g[threadIdx.x] + 1;
}

/* All blocks wait for the last, or for the first: nothing says that they run at the same time. */
static __global__ void spin_on_block(float *g, unsigned *flag, bool on_last)
{
    if (blockIdx.x == (on_last ? gridDim.x - 1 : 0))
        gpu_st_release(flag, 1);
    while (gpu_ld_acquire(flag) == 0)
        gpu_backoff();
    g[blockIdx.x * THREADS + threadIdx.x] = (float)threadIdx.x;
}

/* A plain word in place of gpu_st_release and gpu_ld_acquire. */
static __global__ void plain_flag(float *g, float *data, unsigned *flag)
{
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *data = 1;
        *(volatile unsigned *)flag = 1;
    }
    if (blockIdx.x > 0 && threadIdx.x == 0) {
        while (*(volatile unsigned *)flag == 0)
            gpu_backoff();
        g[blockIdx.x * THREADS] = *data - 1;
    } else {
        g[blockIdx.x * THREADS + threadIdx.x] = (float)threadIdx.x;
    }
}

static __global__ void grid_sync_plain(float *g)
{
    gpu_grid_sync();
    g[blockIdx.x * THREADS + threadIdx.x] = (float)threadIdx.x;
}

/* A neighbour's shared memory of the cluster. */
static __global__ void cluster(float *g, bool sync_before, bool sync_after)
{
    GPU_SMEM(float, s);
    const int t = threadIdx.x;
    const unsigned rank = gpu_cluster_rank();
    s[t] = (float)t;
    if (sync_before) {
        gpu_cluster_arrive();
        gpu_cluster_wait();
    }
    const float *other = gpu_map_rank(s, (rank + 1) % CLUSTER);
    g[blockIdx.x * THREADS + t] = other[t];
    if (sync_after) {
        gpu_cluster_arrive();
        gpu_cluster_wait();
    }
}

/* Block 0 sends to block 1, which reads without waiting for its barrier. */
static __global__ void unwaited_store(float *g)
{
    GPU_SMEM(float, s);
    uint64_t *bar = reinterpret_cast<uint64_t *>(s + THREADS);
    const int t = threadIdx.x;
    if (t == 0) {
        gpu_mbar_init(bar, 1);
        gpu_mbar_fence_init();
        gpu_mbar_arrive_expect(bar, THREADS * sizeof(float));
    }
    gpu_cluster_arrive();
    gpu_cluster_wait();
    gpu_st_async(s + t, (float)t, bar, gpu_cluster_rank() ^ 1);
    g[blockIdx.x * THREADS + t] = s[t];
    gpu_mbar_wait(bar, 0);
    gpu_cluster_arrive();
    gpu_cluster_wait();
}

/* --- between streams and the host ---------------------------------------------------------------
 */

static __global__ void fill(float *g, float plus)
{
    g[blockIdx.x * THREADS + threadIdx.x] = (float)threadIdx.x + plus;
}

static __global__ void copy_of(float *g, const float *from)
{
    const int i = (int)(blockIdx.x * THREADS + threadIdx.x);
    g[i] = from[i];
}

struct bench {
    float *g;      /* SIZE, of the device */
    float *pinned; /* N */
    float *result; /* N, where the host looks */
    cudaStream_t a, b;
};

static void fill_other(struct bench *w, float plus)
{
    GPU_LAUNCH(fill, BLOCKS, THREADS, 0, w->a, w->g + SIZE / 2, plus);
}

/* The host looks before the copy has come. */
static void read_early(struct bench *w)
{
    GPU_LAUNCH(fill, BLOCKS, THREADS, 0, w->a, w->g, 0.0f);
    CHECK(cudaMemcpyAsync(w->pinned, w->g, N * sizeof(float), cudaMemcpyDeviceToHost, w->a));
    for (int i = 0; i < N; i++)
        w->result[i] = w->pinned[i];
    CHECK(cudaStreamSynchronize(w->a));
}

/* The host writes what a copy has yet to read. */
static void reuse_early(struct bench *w)
{
    for (int i = 0; i < N; i++)
        w->pinned[i] = (float)(i % THREADS);
    CHECK(cudaMemcpyAsync(w->g, w->pinned, N * sizeof(float), cudaMemcpyHostToDevice, w->a));
    for (int i = 0; i < N; i++)
        w->pinned[i] = -1;
    CHECK(cudaStreamSynchronize(w->a));
}

/* Stream b reads what stream a makes: with the event in between correct. */
static void two_streams(struct bench *w, bool with_event, bool wait_for_both)
{
    cudaEvent_t made;
    CHECK(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    fill_other(w, 0);
    CHECK(cudaEventRecord(made, w->a));
    if (with_event)
        CHECK(cudaStreamWaitEvent(w->b, made, 0));
    GPU_LAUNCH(copy_of, BLOCKS, THREADS, 0, w->b, w->g, w->g + SIZE / 2);
    if (wait_for_both)
        CHECK(cudaStreamSynchronize(w->a));
    CHECK(cudaStreamSynchronize(w->b));
    CHECK(cudaEventDestroy(made));
}

/* Stream a overwrites what stream b may still have to read. */
static void overwritten(struct bench *w)
{
    fill_other(w, 0);
    CHECK(cudaStreamSynchronize(w->a));
    GPU_LAUNCH(copy_of, BLOCKS, THREADS, 0, w->b, w->g, w->g + SIZE / 2);
    fill_other(w, 5);
    CHECK(cudaDeviceSynchronize());
}

/* Two branches of a graph, of which one should wait for the other. */
static void graph_branches(struct bench *w)
{
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaEventCreate(&fork));
    CHECK(cudaEventCreate(&join));
    CHECK(cudaStreamBeginCapture(w->a, cudaStreamCaptureModeGlobal));
    CHECK(cudaEventRecord(fork, w->a));
    CHECK(cudaStreamWaitEvent(w->b, fork, 0));
    fill_other(w, 0);
    GPU_LAUNCH(copy_of, BLOCKS, THREADS, 0, w->b, w->g, w->g + SIZE / 2);
    CHECK(cudaEventRecord(join, w->b));
    CHECK(cudaStreamWaitEvent(w->a, join, 0));
    CHECK(cudaStreamEndCapture(w->a, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphLaunch(exec, w->a));
    CHECK(cudaStreamSynchronize(w->a));
}

/* --- the list -----------------------------------------------------------------------------------
 */

static bool is(const char *name, const char *bug)
{
    return strcmp(name, bug) == 0;
}

/* False: there is no such bug. */
static bool run_in_block(const char *bug, float *g)
{
    const size_t s = THREADS * sizeof(float);
    if (is("none", bug))
        GPU_LAUNCH(exchange, BLOCKS, THREADS, s, 0, g, true, false);
    else if (is("missing-barrier", bug))
        GPU_LAUNCH(exchange, BLOCKS, THREADS, s, 0, g, false, false);
    else if (is("warp-synchrony", bug))
        GPU_LAUNCH(exchange, BLOCKS, THREADS, s, 0, g, false, true);
    else if (is("overwrite", bug))
        GPU_LAUNCH(overwrite, BLOCKS, THREADS, s, 0, g);
    else if (is("shared-beyond", bug))
        GPU_LAUNCH(shared_beyond, BLOCKS, THREADS, s, 0, g);
    else if (is("misaligned", bug))
        GPU_LAUNCH(misaligned, BLOCKS, THREADS, s + 64, 0, g);
    else if (is("unwritten", bug))
        GPU_LAUNCH(unwritten, BLOCKS, THREADS, s, 0, g);
    else if (is("absent-lanes", bug))
        GPU_LAUNCH(absent_lanes, BLOCKS, THREADS, 0, 0, g);
    else if (is("shuffle-in-branch", bug))
        GPU_LAUNCH(shuffle_in_branch, BLOCKS, THREADS, 0, 0, g);
    else if (is("divergent-barrier", bug))
        GPU_LAUNCH(divergent_barrier, BLOCKS, THREADS, 0, 0, g);
    else if (is("barrier-of-some", bug))
        GPU_LAUNCH(barrier_of_some, BLOCKS, THREADS, 0, 0, g);
    else if (is("named-barrier", bug))
        GPU_LAUNCH(named_barrier, BLOCKS, THREADS, 0, 0, g);
    else if (is("copy-unwaited", bug))
        GPU_LAUNCH(copied, BLOCKS, THREADS, 4 * s, 0, g, COPY_UNWAITED);
    else if (is("copy-unordered", bug))
        GPU_LAUNCH(copied, BLOCKS, THREADS, 4 * s, 0, g, COPY_UNORDERED);
    else if (is("copy-never-waited", bug))
        GPU_LAUNCH(copied, BLOCKS, THREADS, 4 * s, 0, g, COPY_NEVER_WAITED);
    else
        return false;
    return true;
}

static bool run_between_blocks(const char *bug, float *g)
{
    const size_t s = THREADS * sizeof(float) + sizeof(uint64_t);
    unsigned *flag = reinterpret_cast<unsigned *>(g + FLAG);
    if (is("blocks-race", bug))
        GPU_LAUNCH(blocks_race, BLOCKS, THREADS, 0, 0, g);
    else if (is("spin-on-last", bug))
        GPU_LAUNCH(spin_on_block, BLOCKS, THREADS, 0, 0, g, flag, true);
    else if (is("spin-on-first", bug))
        GPU_LAUNCH(spin_on_block, BLOCKS, THREADS, 0, 0, g, flag, false);
    else if (is("plain-flag", bug))
        GPU_LAUNCH_COOP(plain_flag, BLOCKS, THREADS, 0, 0, g, g + FLAG + 1, flag);
    else if (is("grid-sync-plain", bug))
        GPU_LAUNCH(grid_sync_plain, BLOCKS, THREADS, 0, 0, g);
    else if (is("cluster-unsynced-read", bug))
        GPU_LAUNCH_CLUSTER(cluster, BLOCKS, THREADS, s, 0, CLUSTER, g, false, true);
    else if (is("cluster-leaves-early", bug))
        GPU_LAUNCH_CLUSTER(cluster, BLOCKS, THREADS, s, 0, CLUSTER, g, true, false);
    else if (is("store-unwaited", bug))
        GPU_LAUNCH_CLUSTER(unwaited_store, BLOCKS, THREADS, s, 0, 2, g);
    else if (is("shared-unasked", bug))
        GPU_LAUNCH(exchange, BLOCKS, THREADS, 100000, 0, g, true, false);
    else
        return false;
    return true;
}

static bool run_on_host(const char *bug, struct bench *w)
{
    if (is("read-early", bug))
        read_early(w);
    else if (is("reuse-early", bug))
        reuse_early(w);
    else if (is("streams-none", bug))
        two_streams(w, true, false);
    else if (is("missing-event", bug))
        two_streams(w, false, false);
    else if (is("missing-event-hidden", bug))
        two_streams(w, false, true);
    else if (is("overwritten-in-stream", bug))
        overwritten(w);
    else if (is("graph-branches", bug))
        graph_branches(w);
    else if (is("host-touches-device", bug))
        w->g[0] = 0;
    else if (is("copy-beyond", bug))
        CHECK(cudaMemcpyAsync(w->g, w->g + 1, SIZE * sizeof(float), cudaMemcpyDeviceToDevice, 0));
    else if (is("copy-from-host-as-device", bug))
        CHECK(cudaMemcpyAsync(w->g, w->result, 64, cudaMemcpyDeviceToDevice, 0));
    else
        return false;
    return true;
}

static float expected(const char *bug, int i)
{
    const int t = i % THREADS;
    if (is("none", bug) || is("missing-barrier", bug) || is("overwrite", bug))
        return (float)((t + 33) % THREADS);
    if (is("warp-synchrony", bug))
        return (float)(t ^ 1);
    if (is("copy-unordered", bug))
        return (float)(t ^ 33);
    if (is("blocks-race", bug))
        return i < THREADS ? BLOCKS : 0;
    return (float)t;
}

int main(int argc, char **argv)
{
    static float start[SIZE], result[N];
    struct bench w = {};
    const char *bug = argc == 2 ? argv[1] : "";
    for (int i = 0; i < THREADS; i++)
        start[SIZE / 2 + 4 * i] = (float)i;
    w.result = result;
    /* as short as it is written for where a step beyond is the bug */
    const size_t size = is("global-beyond", bug) ? N : SIZE;
    CHECK(cudaMalloc(&w.g, size * sizeof(float)));
    CHECK(cudaHostAlloc(&w.pinned, N * sizeof(float), cudaHostAllocDefault));
    CHECK(cudaMemcpy(w.g, start, size * sizeof(float), cudaMemcpyHostToDevice));
    CHECK(cudaStreamCreateWithFlags(&w.a, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&w.b, cudaStreamNonBlocking));
    if (is("global-beyond", bug))
        GPU_LAUNCH(global_beyond, BLOCKS, THREADS, 0, 0, w.g);
    else if (!run_in_block(bug, w.g) && !run_between_blocks(bug, w.g) && !run_on_host(bug, &w))
        return 2;
    CHECK(cudaGetLastError());
    if (!is("read-early", bug))
        CHECK(cudaMemcpy(result, w.g, N * sizeof(float), cudaMemcpyDeviceToHost));
    bool ok = true;
    for (int i = 0; i < N; i++)
        ok = ok && result[i] == expected(bug, i);
    printf("result %s\n", ok ? "ok" : "WRONG");
    CHECK(cudaFree(w.g));
    CHECK(cudaFreeHost(w.pinned));
    return !ok;
}
