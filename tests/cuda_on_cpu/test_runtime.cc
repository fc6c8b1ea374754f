/*
 * The host's side of the shim: memory, errors, streams, events, graphs, cuBLAS's products. What is
 * correct gives its result in every order; what CUDA refuses is refused.
 */
#include "kernels/cuda/gpu.h"

#include <cublas_v2.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 1024 };

static int n_failed;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                         \
            n_failed++;                                                                            \
        }                                                                                          \
    } while (0)
#define OK(call) EXPECT((call) == cudaSuccess)
/* What a launch before it left. */
#define LAUNCH_GIVES(error)                                                                        \
    EXPECT(cudaGetLastError() == (error) && cudaGetLastError() == cudaSuccess)

static __global__ void add_kernel(float *to, const float *from, float plus)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    to[i] = (from ? from[i] : 0.0f) + plus;
}

static void add(float *to, const float *from, float plus, cudaStream_t stream)
{
    GPU_LAUNCH(add_kernel, N / 128, 128, 0, stream, to, from, plus);
}

static float *device(size_t n)
{
    float *p = nullptr;
    OK(cudaMalloc(&p, n * sizeof(float)));
    return p;
}

static float first_of(const float *p)
{
    float v = -1;
    OK(cudaMemcpy(&v, p, sizeof v, cudaMemcpyDeviceToHost));
    return v;
}

static cudaStream_t stream_new(void)
{
    cudaStream_t s = nullptr;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

static cudaEvent_t event_new(void)
{
    cudaEvent_t e = nullptr;
    OK(cudaEventCreate(&e));
    return e;
}

static void test_memory(void)
{
    float *a = device(N), host[64] = {}, *pinned = nullptr, *mapped = nullptr;
    size_t available = 0, total = 0, now = 0;
    EXPECT(isnan(first_of(a))); /* was never written */
    OK(cudaMemGetInfo(&available, &total));
    float *b = device(1 << 20);
    OK(cudaMemGetInfo(&now, &total));
    EXPECT(available - now == 4 << 20);
    OK(cudaFree(b));
    b = a;
    EXPECT(cudaMalloc(&b, total) == cudaErrorMemoryAllocation && b == nullptr);
    EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
    EXPECT(cudaMemcpy(a + N - 1, host, 8, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    EXPECT(cudaMemcpy(host, a, 8, cudaMemcpyHostToDevice) != cudaSuccess);
    EXPECT(cudaMemset(a, 0, N * sizeof(float) + 1) == cudaErrorInvalidValue);
    EXPECT(cudaFree(host) == cudaErrorInvalidValue);
    cudaGetLastError();
    OK(cudaHostAlloc(&pinned, 4096, cudaHostAllocMapped));
    OK(cudaHostGetDevicePointer(&mapped, pinned, 0));
    add(a, nullptr, 3, nullptr);
    OK(cudaMemcpy(pinned, a, 4096, cudaMemcpyDeviceToHost));
    EXPECT(pinned[1023] == 3);
    /* 3 rows of 2, out of rows of 5 into rows of 4 */
    for (int i = 0; i < 15; i++)
        host[i] = (float)i;
    OK(cudaMemcpy2DAsync(a, 4 * sizeof(float), host, 5 * sizeof(float), 2 * sizeof(float), 3,
                         cudaMemcpyHostToDevice, nullptr));
    host[11] = -1; /* pageable memory was taken at once */
    OK(cudaMemcpy(pinned, a, 4096, cudaMemcpyDeviceToHost));
    EXPECT(pinned[9] == 11 && pinned[8] == 10 && pinned[4] == 5 && pinned[6] == 3);
    OK(cudaFreeHost(pinned));
    OK(cudaFree(a));
    OK(cudaFree(nullptr));
}

static __global__ void shared_kernel(float *to)
{
    GPU_SMEM(float, s);
    s[threadIdx.x] = 1;
    to[blockIdx.x * blockDim.x + threadIdx.x] = s[threadIdx.x];
}

static void test_launches(void)
{
    float *a = device(N);
    int blocks = 0;
    GPU_LAUNCH(add_kernel, 1, 1025, 0, 0, a, nullptr, 1.0f);
    LAUNCH_GIVES(cudaErrorInvalidConfiguration);
    GPU_LAUNCH(add_kernel, 0, 32, 0, 0, a, nullptr, 1.0f);
    LAUNCH_GIVES(cudaErrorInvalidConfiguration);
    GPU_LAUNCH(add_kernel, dim3(1, 65536), 32, 0, 0, a, nullptr, 1.0f);
    LAUNCH_GIVES(cudaErrorInvalidConfiguration);
    GPU_LAUNCH(shared_kernel, 1, 32, 49153, 0, a);
    LAUNCH_GIVES(cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100000));
    GPU_LAUNCH(shared_kernel, 1, 32, 100000, 0, a);
    LAUNCH_GIVES(cudaSuccess);
    EXPECT(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                232449) == cudaErrorInvalidValue);
    cudaGetLastError();
    GPU_LAUNCH_CLUSTER(shared_kernel, 6, 32, 4096, 0, 4, a);
    LAUNCH_GIVES(cudaErrorInvalidConfiguration);
    GPU_LAUNCH_CLUSTER(shared_kernel, 16, 32, 4096, 0, 16, a);
    LAUNCH_GIVES(cudaErrorInvalidConfiguration);
    OK(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    GPU_LAUNCH_CLUSTER(shared_kernel, 16, 32, 4096, 0, 16, a);
    LAUNCH_GIVES(cudaSuccess);
    GPU_LAUNCH_COOP(shared_kernel, 100000, 32, 4096, 0, a);
    LAUNCH_GIVES(cudaErrorCooperativeLaunchTooLarge);
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, shared_kernel, 256, 100000));
    EXPECT(blocks == 2);
    /* arguments are converted as in a call, and taken at once */
    float plus = 2;
    GPU_LAUNCH(add_kernel, N / 128, 128, 0, 0, a, NULL, (double)plus);
    plus = 5;
    EXPECT(first_of(a) == 2);
    OK(cudaFree(a));
}

static void test_streams(void)
{
    cudaStream_t s = stream_new(), t = stream_new(), u = nullptr;
    cudaEvent_t e = event_new(), f = event_new();
    float *a = device(N), *b = device(N), ms = -1;
    /* a chain through both */
    OK(cudaEventRecord(e, s));
    for (int i = 0; i < 10; i++) {
        add(a, i ? b : nullptr, 1, s);
        OK(cudaEventRecord(f, s));
        OK(cudaStreamWaitEvent(t, f, 0));
        add(b, a, 10, t);
        OK(cudaEventRecord(f, t));
        OK(cudaStreamWaitEvent(s, f, 0));
    }
    EXPECT(cudaEventElapsedTime(&ms, e, f) == cudaErrorNotReady || ms >= 0);
    OK(cudaEventSynchronize(f));
    EXPECT(first_of(b) == 110);
    OK(cudaEventElapsedTime(&ms, e, f));
    EXPECT(ms >= 0);
    /* a query gets work done, in time */
    add(a, a, 1, s);
    while (cudaStreamQuery(s) == cudaErrorNotReady)
        ;
    EXPECT(first_of(a) == 101);
    OK(cudaEventRecord(e, s));
    while (cudaEventQuery(e) == cudaErrorNotReady)
        ;
    /* the default stream and those that are not non-blocking wait for each other */
    OK(cudaStreamCreate(&u));
    add(a, nullptr, 1, u);
    add(b, a, 1, nullptr);
    add(a, b, 1, u);
    OK(cudaStreamSynchronize(u));
    EXPECT(first_of(a) == 3);
    /* a stream that is gone does what it was given */
    add(a, a, 1, u);
    OK(cudaStreamDestroy(u));
    OK(cudaDeviceSynchronize());
    EXPECT(first_of(a) == 4);
    OK(cudaEventDestroy(e));
    OK(cudaEventDestroy(f));
    OK(cudaStreamDestroy(s));
    OK(cudaStreamDestroy(t));
    OK(cudaFree(a));
    OK(cudaFree(b));
}

static void count(void *at)
{
    ++*static_cast<int *>(at);
}

static void test_graphs(void)
{
    cudaStream_t s = stream_new(), t = stream_new();
    cudaEvent_t fork = event_new(), join = event_new();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    cudaStreamCaptureStatus status;
    float *a = device(N), *b = device(N), *pinned = nullptr;
    int counted = 0;
    OK(cudaHostAlloc(&pinned, 2 * sizeof(float), cudaHostAllocDefault));
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    OK(cudaStreamIsCapturing(s, &status));
    EXPECT(status == cudaStreamCaptureStatusActive);
    OK(cudaMemcpyAsync(a, pinned, sizeof(float), cudaMemcpyHostToDevice, s));
    OK(cudaEventRecord(fork, s));
    OK(cudaStreamWaitEvent(t, fork, 0));
    add(b, a, 100, t);
    OK(cudaEventRecord(join, t));
    OK(cudaLaunchHostFunc(s, count, &counted));
    OK(cudaStreamWaitEvent(s, join, 0));
    add(a, b, 1000, s);
    OK(cudaMemcpyAsync(pinned + 1, a, sizeof(float), cudaMemcpyDeviceToHost, s));
    OK(cudaStreamEndCapture(s, &graph));
    EXPECT(counted == 0);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (int i = 1; i <= 3; i++) {
        pinned[0] = (float)i;
        OK(cudaGraphLaunch(exec, s));
        OK(cudaStreamSynchronize(s));
        EXPECT(pinned[1] == (float)(1100 + i) && counted == i);
    }
    OK(cudaGraphExecDestroy(exec));
    /* waiting, and memory, end a capture */
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    EXPECT(cudaStreamSynchronize(s) == cudaErrorStreamCaptureUnsupported);
    EXPECT(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
    float *more = nullptr;
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    EXPECT(cudaMalloc(&more, 4) == cudaErrorStreamCaptureUnsupported);
    EXPECT(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated);
    /* a branch that does not come back */
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    OK(cudaEventRecord(fork, s));
    OK(cudaStreamWaitEvent(t, fork, 0));
    add(b, nullptr, 1, t);
    EXPECT(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureUnjoined);
    cudaGetLastError();
    add(a, nullptr, 7, s); /* both are streams again */
    OK(cudaStreamSynchronize(s));
    EXPECT(first_of(a) == 7);
    OK(cudaFreeHost(pinned));
    OK(cudaFree(a));
    OK(cudaFree(b));
    OK(cudaEventDestroy(fork));
    OK(cudaEventDestroy(join));
    OK(cudaStreamDestroy(s));
    OK(cudaStreamDestroy(t));
}

/* --- cuBLAS
 * ----------------------------------------------------------------------------------------- */

enum { M = 7, COLUMNS = 5, K = 6, LD = 9, COUNT = 3, STEP = 100, SIZE = COUNT * STEP };

static float value(int which, int i)
{
    return (float)((i * 37 + which * 11) % 17 - 8) / 4;
}

/* Entry (row, column), columns first. */
static int place(bool transposed, int row, int column)
{
    return transposed ? row * LD + column : column * LD + row;
}

static uint16_t narrow(cudaDataType_t type, float v)
{
    return type == CUDA_R_16F ? __half_as_ushort(__float2half(v))
                              : __bfloat16_as_ushort(__float2bfloat16(v));
}

static float widen(cudaDataType_t type, uint16_t bits)
{
    return type == CUDA_R_16F ? __half2float(__ushort_as_half(bits))
                              : __bfloat162float(__ushort_as_bfloat16(bits));
}

static void fill(void *to, cudaDataType_t type, int which)
{
    for (int i = 0; i < SIZE; i++)
        if (type == CUDA_R_32F)
            static_cast<float *>(to)[i] = value(which, i);
        else
            static_cast<uint16_t *>(to)[i] = narrow(type, value(which, i));
}

static void product(cublasHandle_t blas, cudaDataType_t in, cudaDataType_t out, bool ta, bool tb,
                    float beta)
{
    static float host[SIZE];
    float *d[3];
    const float alpha = 0.5f;
    const cudaDataType_t types[3] = {in, in, out};
    for (int i = 0; i < 3; i++) {
        d[i] = device(SIZE);
        fill(host, types[i], i);
        OK(cudaMemcpy(d[i], host, sizeof host, cudaMemcpyHostToDevice));
    }
    EXPECT(cublasGemmStridedBatchedEx(
               blas, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, M, COLUMNS, K,
               &alpha, d[0], in, LD, STEP, d[1], in, LD, STEP, &beta, d[2], out, LD, STEP, COUNT,
               CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
    OK(cudaMemcpy(host, d[2], sizeof host, cudaMemcpyDeviceToHost));
    for (int which = 0; which < COUNT; which++)
        for (int row = 0; row < M; row++)
            for (int column = 0; column < COLUMNS; column++) {
                const int at = which * STEP + place(false, row, column);
                double sum = beta * value(2, at);
                for (int k = 0; k < K; k++)
                    sum += alpha * value(0, which * STEP + place(ta, row, k)) *
                           value(1, which * STEP + place(tb, k, column));
                const uint16_t *bits = reinterpret_cast<const uint16_t *>(host);
                const double got = out == CUDA_R_32F ? host[at] : widen(out, bits[at]);
                /* sums of multiples of 1/32 are exact; a narrow result is rounded once */
                const double want = out == CUDA_R_32F ? sum : widen(out, narrow(out, (float)sum));
                EXPECT(got == want);
            }
    for (float *p : d)
        OK(cudaFree(p));
}

static void test_products(void)
{
    static const cudaDataType_t types[][2] = {{CUDA_R_32F, CUDA_R_32F},
                                              {CUDA_R_16BF, CUDA_R_32F},
                                              {CUDA_R_16BF, CUDA_R_16BF},
                                              {CUDA_R_16F, CUDA_R_32F},
                                              {CUDA_R_16F, CUDA_R_16F}};
    const float one = 1;
    cublasHandle_t blas = nullptr;
    cudaStream_t s = stream_new();
    EXPECT(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, nullptr, 1, nullptr, 1, &one,
                       nullptr, 1) == CUBLAS_STATUS_NOT_INITIALIZED);
    EXPECT(cublasCreate(&blas) == CUBLAS_STATUS_SUCCESS);
    for (const auto &type : types)
        for (int i = 0; i < 8; i++)
            product(blas, type[0], type[1], i & 1, i & 2, i & 4 ? 1.0f : 0.0f);
    float *a = device(64);
    EXPECT(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 8, 8, 8, &one, a, 7, a, 8, &one, a, 8) ==
           CUBLAS_STATUS_INVALID_VALUE);
    /* in its stream: done when that is waited for */
    EXPECT(cublasSetStream(blas, s) == CUBLAS_STATUS_SUCCESS);
    const float four = 4, zero = 0;
    OK(cudaMemcpyAsync(a, &four, sizeof four, cudaMemcpyHostToDevice, s));
    EXPECT(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a, 1, a, 1, &zero, a + 1,
                       1) == CUBLAS_STATUS_SUCCESS);
    OK(cudaStreamSynchronize(s));
    EXPECT(first_of(a + 1) == 16);
    OK(cudaFree(a));
    OK(cudaStreamDestroy(s));
    EXPECT(cublasDestroy(blas) == CUBLAS_STATUS_SUCCESS);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"memory", test_memory}, {"launches", test_launches}, {"streams", test_streams},
        {"graphs", test_graphs}, {"products", test_products},
    };
    int n_bad = 0, n = sizeof tests / sizeof *tests;
    for (int i = 0; i < n; i++) {
        n_failed = 0;
        tests[i].run();
        printf("%s: %s\n", tests[i].name, n_failed ? "FAILED" : "ok");
        n_bad += n_failed > 0;
    }
    printf("%d passed, %d failed\n", n - n_bad, n_bad);
    return n_bad > 0;
}
