/*
 * Short calls of the decode engine, one after the other: playing live. A launch stays after an
 * order and waits for the next (decode_order.h), so that a call costs a word to the device and one
 * back, where a launch would have to find weights and states again. It ends by itself when no order
 * comes in time, or after its time: the next call launches again, from the state that is there.
 */
#include "base/error.h"
#include "kernels/cuda/decode_engine.h"

#include <sched.h>
#include <string.h>

enum { LIVE_LOOKS = 64 }; /* at the mailbox, between two questions whether the launch is there */

/* For an engine that is otherwise open. */
static bool live_open(struct decoder *d)
{
    struct decode_launch *a = &d->launch;
    const size_t nats = (size_t)d->options.n_streams * sizeof(double);
    const size_t labels = (size_t)d->n_rows * sizeof(int32_t), mail = sizeof(struct decode_mail);
    void *there = NULL;
    if (!d->may_stay)
        return true;
    if (cudaHostAlloc(&d->mail_block, mail + nats + labels, cudaHostAllocMapped) != cudaSuccess ||
        cudaHostGetDevicePointer(&there, d->mail_block, 0) != cudaSuccess)
        return error_set("out of pinned memory for a decode engine");
    char *const here = static_cast<char *>(d->mail_block), *const at = static_cast<char *>(there);
    d->mail = reinterpret_cast<struct decode_mail *>(here);
    d->mail_nats = reinterpret_cast<double *>(here + mail);
    d->mail_labels = reinterpret_cast<int32_t *>(here + mail + nats);
    d->live = *a;
    d->live.mail = reinterpret_cast<struct decode_mail *>(at);
    d->live.mail_nats = reinterpret_cast<double *>(at + mail);
    d->live.mail_labels = reinterpret_cast<int32_t *>(at + mail + nats);
    d->live.nats = d->nats;
    d->live.ld_codes = DECODE_QUANTUM;
    return (cudaStreamCreateWithFlags(&d->live_stream, cudaStreamNonBlocking) == cudaSuccess &&
            cudaEventCreateWithFlags(&d->live_begin, cudaEventDisableTiming) == cudaSuccess &&
            cudaEventCreateWithFlags(&d->live_end, cudaEventDisableTiming) == cudaSuccess) ||
           error_set("CUDA: no stream could be made");
}

static void live_post(struct decoder *d, const struct decode_order *order)
{
    d->mail->order = *order;
    d->mail->order.number = d->posted;
    __atomic_store_n(&d->mail->posted, ++d->posted, __ATOMIC_RELEASE);
}

/* Ends the launch that stays, if there is one: before whatever else touches what it touches. */
static void live_leave(struct decoder *d)
{
    const struct decode_order end = {};
    if (!d->stays)
        return;
    live_post(d, &end);
    cuda_keep_error(d->cuda, cudaEventSynchronize(d->live_end), "decode");
    d->stays = false;
}

static void live_close(struct decoder *d)
{
    live_leave(d);
    if (d->live_end)
        cudaEventDestroy(d->live_end);
    if (d->live_begin)
        cudaEventDestroy(d->live_begin);
    if (d->live_stream)
        cudaStreamDestroy(d->live_stream);
    if (d->mail_block)
        cudaFreeHost(d->mail_block);
}

/* A launch whose first order is `order`. */
static void live_launch(struct decoder *d, struct decode_order *order)
{
    struct cuda_backend *cuda = d->cuda;
    struct decode_launch *launch = &d->live;
    const unsigned blocks = (unsigned)(d->n_groups * launch->n_parts);
    launch->start = period_of(d, d->n);
    d->live_n = d->n;
    order->from = 0;
    d->posted = 0;
    d->mail->made = 0;
    live_post(d, order);
    cuda_keep_error(cuda, cudaEventRecord(d->live_begin, cuda->stream), "decode");
    cuda_keep_error(cuda, cudaStreamWaitEvent(d->live_stream, d->live_begin, 0), "decode");
    cuda_keep_error(cuda, cudaMemsetAsync(launch->flags, 0, (size_t)flags_bytes(d), d->live_stream),
                    "decode");
    GPU_LAUNCH_COOP(decode_kernel_of(*launch), blocks, DECODE_BLOCK, (size_t)launch->shared.size,
                    d->live_stream, *launch);
    cuda_launched(cuda, "decode");
    cuda_keep_error(cuda, cudaEventRecord(d->live_end, d->live_stream), "decode");
    d->stays = true;
}

/* Until the order posted last is made. False: the launch ended before it, or failed. */
static bool live_await(struct decoder *d)
{
    const unsigned *made = &d->mail->made;
    cudaError_t error = cudaErrorNotReady;
    while (__atomic_load_n(made, __ATOMIC_ACQUIRE) < d->posted) {
        if (error != cudaErrorNotReady)
            return false;
        for (int i = 0; i < LIVE_LOOKS && __atomic_load_n(made, __ATOMIC_ACQUIRE) < d->posted; i++)
            sched_yield();
        error = cudaEventQuery(d->live_end);
        if (error != cudaErrorNotReady)
            cuda_keep_error(d->cuda, error, "decode");
    }
    return true;
}

/* Whether a call is one of many short ones. */
static bool live_fits(const struct decoder *d, const struct decode_args *a)
{
    return d->may_stay && a->n_samples <= DECODE_SHORT && !a->forced && !a->logits && !a->seconds;
}

static void live_decode(struct decoder *d, const struct decode_args *a)
{
    const int n = (int)a->n_samples;
    const size_t streams = (size_t)d->options.n_streams;
    struct decode_order order = {};
    order.noise_n = (uint64_t)a->noise_n;
    order.sampling = a->sampling;
    order.n_samples = n;
    order.first_stream = a->first_stream;
    memcpy(d->mail_labels, a->labels, (size_t)d->n_rows * sizeof *a->labels);
    if (a->nats)
        memcpy(d->mail_nats, a->nats, streams * sizeof *a->nats);
    else
        memset(d->mail_nats, 0, streams * sizeof *a->nats);
    order.from = (unsigned)(d->n - d->live_n);
    if (d->stays)
        live_post(d, &order);
    if (!d->stays || !live_await(d)) { /* it ended in between, and has not begun with this order */
        live_launch(d, &order);
        live_await(d);
    }
    for (size_t i = 0; i < streams && a->codes; i++)
        memcpy(a->codes + i * (size_t)n, d->codes + i * DECODE_QUANTUM, (size_t)n);
    if (a->nats)
        memcpy(a->nats, d->mail_nats, streams * sizeof *a->nats);
    d->n += n;
}
