/*
 * The device's thread and its queue. An operation begins when the host waits for it, or for one
 * that comes after it, or when the host has let the device alone for a while. Which of those that
 * may begin comes first depends on the seed:
 *   0       only what is waited for, in the order of the calls: what nothing orders comes as late
 *           as can be;
 *   1       the latest call first: what nothing orders comes as early as can be;
 *   others  any.
 */
#include "tests/cuda_on_cpu/stream.h"

#include "tests/cuda_on_cpu/include/shim/thread.h"
#include "tests/cuda_on_cpu/memory.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <new>

struct device {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t work = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
    bool running; /* the thread has been made */
    uint64_t issued, calls;
    uint64_t random;
    std::vector<struct CUstream_st *> streams; /* none is ever taken out */
    struct CUstream_st *legacy;                /* the default stream */
};

/* Never destroyed: its thread runs until the process ends. */
static struct device &device = *new struct device();

/* The guard cannot be an object: it spans the wait. */
static void attention(bool away)
{
    if (!has_tsan())
        return;
    if (away) {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
        AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
    } else {
        AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
}

void device_lock(void)
{
    if (shim_self)
        shim_fail(
            "CUDA's runtime is called in a kernel (where it crashed and a test framework goes "
            "on?)");
    attention(true);
    pthread_mutex_lock(&device.lock);
    device.calls++;
}

void device_unlock(void)
{
    pthread_mutex_unlock(&device.lock);
    attention(false);
}

/* --- operations
 * ------------------------------------------------------------------------------------ */

enum { PAYLOAD_AT = (sizeof(struct operation) + 15) / 16 * 16 };

struct operation *operation_new(const char *what, void (*run)(void *), void (*drop)(void *),
                                const void *payload, size_t size)
{
    void *memory = calloc(1, PAYLOAD_AT + size);
    if (!memory)
        shim_fail("out of memory for operations");
    struct operation *op = new (memory) struct operation();
    op->what = what;
    op->run = run;
    op->drop = drop;
    op->size = size;
    memcpy(operation_payload(op), payload, size);
    return op;
}

void *operation_payload(struct operation *op)
{
    return reinterpret_cast<char *>(op) + PAYLOAD_AT;
}

void operation_free(struct operation *op)
{
    if (op->drop)
        op->drop(operation_payload(op));
    op->~operation();
    free(op);
}

/* --- streams
 * ---------------------------------------------------------------------------------------- */

static void *device_main(void *);

static void device_begin(void)
{
    pthread_t thread;
    if (device.running)
        return;
    device.random = (uint64_t)shim_settings()->seed;
    if (pthread_create(&thread, nullptr, device_main, nullptr) != 0)
        shim_fail("the device's thread does not start");
    pthread_detach(thread);
    device.running = true;
}

static struct CUstream_st *stream_new(bool blocking)
{
    struct CUstream_st *stream = new struct CUstream_st();
    stream->blocking = blocking;
    device.streams.push_back(stream);
    return stream;
}

struct CUstream_st *stream_of(cudaStream_t stream)
{
    if (stream)
        return stream;
    if (!device.legacy)
        device.legacy = stream_new(true);
    return device.legacy;
}

struct moment stream_now(struct CUstream_st *stream)
{
    return {stream, stream->issued};
}

bool moment_is_past(struct moment m)
{
    return m.stream->done >= m.seq;
}

/* The default stream and the others that are not cudaStreamNonBlocking wait for each other. */
static void wait_for_default(struct CUstream_st *stream, struct operation *op)
{
    if (stream == device.legacy) {
        for (struct CUstream_st *other : device.streams)
            if (other != stream && other->blocking)
                op->after.push_back(stream_now(other));
    } else if (stream->blocking && device.legacy) {
        op->after.push_back(stream_now(device.legacy));
    }
}

cudaError_t stream_add(struct CUstream_st *stream, struct operation *op)
{
    if (stream->destroyed) {
        operation_free(op);
        return cudaErrorInvalidResourceHandle;
    }
    if (stream->capture)
        return capture_add(stream, op);
    device_begin();
    op->after = stream->after;
    stream->after.clear();
    wait_for_default(stream, op);
    op->seq = ++stream->issued;
    op->issue = ++device.issued;
    attention(false);
    tsan_give(&op->key);
    attention(true);
    stream->queue.push_back(op);
    pthread_cond_signal(&device.work);
    return cudaSuccess;
}

void moment_want(struct moment m)
{
    if (m.stream->wanted < m.seq)
        m.stream->wanted = m.seq;
    pthread_cond_signal(&device.work);
}

void moment_wait(struct moment m)
{
    moment_want(m);
    while (!moment_is_past(m))
        pthread_cond_wait(&device.done, &device.lock);
    attention(false);
    tsan_take(&m.stream->done_key);
    attention(true);
}

void wait_for_all(void)
{
    for (size_t i = 0; i < device.streams.size(); i++)
        moment_want(stream_now(device.streams[i]));
    for (size_t i = 0; i < device.streams.size(); i++)
        moment_wait(stream_now(device.streams[i]));
}

/* --- the device's thread
 * ------------------------------------------------------------------------------ */

size_t device_choice(size_t n)
{
    const int seed = shim_settings()->seed;
    if (seed == 0)
        return 0;
    if (seed == 1)
        return n - 1;
    device.random = shim_mix(device.random + 1);
    return device.random % n;
}

/* What keeps the stream's next operation from beginning; NULL stream: nothing. */
static struct moment blocked_by(const struct CUstream_st *stream)
{
    for (struct moment m : stream->queue.front()->after)
        if (!moment_is_past(m))
            return m;
    return {nullptr, 0};
}

/* The stream whose next operation has to be done first, before `stream` can go on. */
static struct CUstream_st *first_needed(struct CUstream_st *stream)
{
    for (;;) {
        struct moment m = blocked_by(stream);
        if (!m.stream)
            return stream;
        stream = m.stream;
    }
}

static struct CUstream_st *oldest_wanted(void)
{
    struct CUstream_st *oldest = nullptr;
    for (struct CUstream_st *s : device.streams)
        if (s->wanted > s->done &&
            (!oldest || s->queue.front()->issue < oldest->queue.front()->issue))
            oldest = s;
    return oldest;
}

/* The stream whose next operation begins now; NULL: none does. `all`: those not waited for too. */
static struct CUstream_st *next_stream(bool all)
{
    std::vector<struct CUstream_st *> can;
    struct CUstream_st *wanted = oldest_wanted();
    if (!wanted && !all)
        return nullptr;
    if (wanted && shim_settings()->seed == 0)
        return first_needed(wanted);
    for (struct CUstream_st *s : device.streams) {
        if (s->queue.empty() || blocked_by(s).stream)
            continue;
        size_t at = can.size();
        while (at > 0 && can[at - 1]->queue.front()->issue > s->queue.front()->issue)
            at--;
        can.insert(can.begin() + (ptrdiff_t)at, s);
    }
    return can.empty() ? nullptr : can[device_choice(can.size())];
}

/* In the thread sanitizer's eyes every stream is a thread. */
static void operation_do(struct CUstream_st *stream)
{
    struct operation *op = stream->queue.front();
    stream->queue.pop_front();
    pthread_mutex_unlock(&device.lock);
    attention(false);
    void *own = has_tsan() ? __tsan_get_current_fiber() : nullptr;
    if (own) {
        if (!stream->tsan)
            stream->tsan = __tsan_create_fiber(0);
        __tsan_switch_to_fiber(stream->tsan, 1);
    }
    tsan_take(&op->key);
    for (struct moment m : op->after)
        tsan_take(&m.stream->done_key);
    memory_open(true);
    op->run(operation_payload(op));
    memory_open(false);
    tsan_give(&stream->done_key);
    if (own)
        __tsan_switch_to_fiber(own, 1);
    attention(true);
    pthread_mutex_lock(&device.lock);
    stream->done = op->seq;
    operation_free(op);
    pthread_cond_broadcast(&device.done);
}

static bool anything(void)
{
    for (const struct CUstream_st *s : device.streams)
        if (!s->queue.empty())
            return true;
    return false;
}

/* Until there is work. True: the host has let us alone for so long that what there is begins. */
static bool wait_for_work(void)
{
    const int idle_ms = shim_settings()->idle_ms;
    const uint64_t calls = device.calls;
    if (!anything() || idle_ms < 0) {
        pthread_cond_wait(&device.work, &device.lock);
        return false;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    const long ns = until.tv_nsec + idle_ms * 1000000l;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(&device.work, &device.lock, &until);
    return device.calls == calls;
}

static void *device_main(void *)
{
    attention(true);
    pthread_mutex_lock(&device.lock);
    for (uint64_t let_alone = 0;;) { /* after so many calls */
        struct CUstream_st *stream = next_stream(device.calls == let_alone);
        if (stream)
            operation_do(stream);
        else if (wait_for_work())
            let_alone = device.calls;
    }
    return nullptr;
}

/* --- the runtime's functions
 * ------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    device_lock();
    *stream = stream_new(!(flags & cudaStreamNonBlocking));
    device_unlock();
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

/* What the stream still has to do is done in its time. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    device_lock();
    const bool was = stream && !stream->destroyed;
    if (was)
        stream->destroyed = true;
    device_unlock();
    return told(was ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    device_lock();
    struct CUstream_st *s = stream_of(stream);
    cudaError_t error = s->destroyed ? cudaErrorInvalidResourceHandle : capture_refuses(s);
    if (error == cudaSuccess)
        moment_wait(stream_now(s));
    device_unlock();
    return told(error);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    device_lock();
    struct CUstream_st *s = stream_of(stream);
    cudaError_t error = capture_refuses(s);
    if (error == cudaSuccess && !moment_is_past(stream_now(s))) {
        moment_want(stream_now(s));
        error = cudaErrorNotReady;
    } else if (error == cudaSuccess) {
        moment_wait(stream_now(s));
    }
    device_unlock();
    return error == cudaErrorNotReady ? error : told(error);
}

cudaError_t cudaDeviceSynchronize(void)
{
    device_lock();
    cudaError_t error = capture_is_global() ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
    if (error == cudaSuccess)
        wait_for_all();
    device_unlock();
    return told(error);
}
