/* Events, and host functions in streams. */
#include "tests/cuda_on_cpu/cuda_on_cpu.h"
#include "tests/cuda_on_cpu/gang.h"
#include "tests/cuda_on_cpu/stream.h"

static void event_run(void *payload)
{
    struct CUevent_st *event = *static_cast<struct CUevent_st **>(payload);
    event->time = shim_now();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    struct CUevent_st *e = new struct CUevent_st();
    e->timed = !(flags & cudaEventDisableTiming);
    *event = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

static std::vector<struct CUevent_st *> destroyed; /* whose records may be on their way */

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (!event)
        return told(cudaErrorInvalidResourceHandle);
    device_lock();
    destroyed.push_back(event);
    for (size_t i = destroyed.size(); i-- > 0;) {
        struct CUevent_st *e = destroyed[i];
        if (e->recorded && !moment_is_past(e->moment))
            continue;
        destroyed.erase(destroyed.begin() + (ptrdiff_t)i);
        delete e;
    }
    device_unlock();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    device_lock();
    struct CUstream_st *s = stream_of(stream);
    cudaError_t error = cudaSuccess;
    if (s->capture) {
        capture_record(event, s);
    } else {
        error = stream_add(s, operation_new("an event", event_run, nullptr, &event, sizeof event));
        event->capture = nullptr;
        event->recorded = true;
        event->moment = stream_now(s);
    }
    device_unlock();
    return told(error);
}

static int waits_until_forgotten = -1;

void cuda_on_cpu_forget_wait(int n)
{
    device_lock();
    waits_until_forgotten = n;
    device_unlock();
}

static bool forgotten(void)
{
    return waits_until_forgotten >= 0 && waits_until_forgotten-- == 0;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    device_lock();
    struct CUstream_st *s = stream_of(stream);
    cudaError_t error = cudaSuccess;
    if (forgotten())
        ;
    else if (event->capture || s->capture)
        error = capture_join(s, event);
    else if (event->recorded)
        s->after.push_back(event->moment);
    device_unlock();
    return told(error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    device_lock();
    cudaError_t error = event->capture ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
    if (error == cudaSuccess && !forgotten() && event->recorded)
        moment_wait(event->moment);
    device_unlock();
    return told(error);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    device_lock();
    cudaError_t error = cudaSuccess;
    if (event->recorded && !moment_is_past(event->moment)) {
        moment_want(event->moment);
        error = cudaErrorNotReady;
    } else if (event->recorded) {
        moment_wait(event->moment);
    }
    device_unlock();
    return error;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    device_lock();
    cudaError_t error = cudaSuccess;
    if (!from->recorded || !to->recorded || !from->timed || !to->timed)
        error = cudaErrorInvalidResourceHandle;
    else if (!moment_is_past(from->moment) || !moment_is_past(to->moment))
        error = cudaErrorNotReady;
    else
        *ms = (float)(1e3 * (to->time - from->time));
    device_unlock();
    return error == cudaErrorNotReady ? error : told(error);
}

struct host_function {
    cudaHostFn_t f;
    void *arg;
};

static void host_function_run(void *payload)
{
    const struct host_function *h = static_cast<const struct host_function *>(payload);
    h->f(h->arg);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t f, void *arg)
{
    const struct host_function h = {f, arg};
    device_lock();
    cudaError_t error =
        stream_add(stream_of(stream),
                   operation_new("a host function", host_function_run, nullptr, &h, sizeof h));
    device_unlock();
    return told(error);
}
