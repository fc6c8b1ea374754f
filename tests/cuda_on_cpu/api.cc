/* The device, its properties, errors, and launches as the host sees them. */
#include "tests/cuda_on_cpu/include/cuda_runtime.h"
#include "tests/cuda_on_cpu/run.h"
#include "tests/cuda_on_cpu/settings.h"
#include "tests/cuda_on_cpu/stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <map>

/* --- errors
 * --------------------------------------------------------------------------------------------- */

static thread_local cudaError_t last_error;

cudaError_t told(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevicePointer:
        return "cudaErrorInvalidDevicePointer";
    case cudaErrorInvalidMemcpyDirection:
        return "cudaErrorInvalidMemcpyDirection";
    case cudaErrorInsufficientDriver:
        return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
        return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
        return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
        return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
        return "cudaErrorNotReady";
    case cudaErrorCooperativeLaunchTooLarge:
        return "cudaErrorCooperativeLaunchTooLarge";
    case cudaErrorStreamCaptureUnsupported:
        return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
        return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
        return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorUnknown:
        break;
    }
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : cudaGetErrorName(error);
}

void shim_fail(const char *format, ...)
{
    va_list arguments;
    fflush(nullptr);
    fprintf(stderr, "cuda_on_cpu: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    const struct shim_thread *t = shim_self;
    if (t)
        fprintf(stderr, "\n  in kernel %s, block (%u,%u,%u) thread (%u,%u,%u)",
                shim_worker->gang->launch->config.name, t->block->index.x, t->block->index.y,
                t->block->index.z, t->index.x, t->index.y, t->index.z);
    fprintf(stderr, "\n");
    _exit(SHIM_EXIT);
}

/* --- the device
 * ----------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return told(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    if (device != 0)
        return told(cudaErrorInvalidDevice);
    *p = {};
    snprintf(p->name, sizeof p->name, "on the CPU");
    p->totalGlobalMem = (size_t)shim_settings()->memory_mib << 20;
    p->sharedMemPerBlock = SHARED_UNASKED;
    p->sharedMemPerBlockOptin = shim_shared_most();
    p->sharedMemPerMultiprocessor = shim_shared_most() + 1024;
    p->major = shim_settings()->capability / 10;
    p->minor = shim_settings()->capability % 10;
    p->multiProcessorCount = shim_settings()->sms;
    p->warpSize = LANES;
    p->l2CacheSize = p->persistingL2CacheMaxSize = 32 << 20;
    p->maxThreadsPerBlock = THREADS_MOST;
    p->cooperativeLaunch = p->canMapHostMemory = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    if (device != 0)
        return told(cudaErrorInvalidDevice);
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = shim_settings()->sms;
        return cudaSuccess;
    case cudaDevAttrClockRate:
        *value = 1000000;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = shim_settings()->capability / 10;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = shim_settings()->capability % 10;
        return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
        *value = 1;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = shim_shared_most();
        return cudaSuccess;
    }
    return told(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* --- launches
 * --------------------------------------------------------------------------------------------- */

struct attributes {
    int shared = SHARED_UNASKED;
    bool any_cluster = false;
};

/* With the lock. Never destroyed, as the device. */
static std::map<const void *, struct attributes> &kernels =
    *new std::map<const void *, struct attributes>();

struct launch_payload {
    struct shim_launch_config config;
    void (*run)(const void *box);
};

enum { BOX_AT = (sizeof(struct launch_payload) + 15) / 16 * 16, BOX_MOST = 4096 };

static void launch_payload_run(void *payload)
{
    const struct launch_payload *l = static_cast<const struct launch_payload *>(payload);
    launch_run(&l->config, l->run, static_cast<const char *>(payload) + BOX_AT);
}

void shim_launch(const struct shim_launch_config *config, const void *kernel,
                 void (*run)(const void *box), const void *box, size_t size)
{
    alignas(16) char payload[BOX_AT + BOX_MOST] = {};
    const struct launch_payload l = {*config, run};
    if (size > BOX_MOST)
        shim_fail("kernel %s has more than %d bytes of parameters", config->name, BOX_MOST);
    memcpy(payload, &l, sizeof l);
    memcpy(payload + BOX_AT, box, size);
    device_lock();
    const struct attributes *a = &kernels[kernel];
    cudaError_t error = launch_check(config, (size_t)a->shared, a->any_cluster);
    if (error == cudaSuccess)
        error =
            stream_add(stream_of(config->stream), operation_new(config->name, launch_payload_run,
                                                                nullptr, payload, BOX_AT + size));
    device_unlock();
    told(error);
}

cudaError_t shim_set_attribute(const void *kernel, enum cudaFuncAttribute attribute, int value)
{
    device_lock();
    struct attributes *a = &kernels[kernel];
    cudaError_t error = cudaSuccess;
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > shim_shared_most())
        error = cudaErrorInvalidValue;
    else if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize)
        a->shared = value > SHARED_UNASKED ? value : SHARED_UNASKED;
    else if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed)
        a->any_cluster = value != 0;
    device_unlock();
    return told(error);
}

cudaError_t shim_occupancy(int *blocks, const void *, int threads, size_t shared)
{
    *blocks = launch_occupancy(threads, shared);
    return cudaSuccess;
}
