/*
 * Orders of the decode engine: a launch makes samples order by order. The first one's is an
 * argument of the launch; in a launch that stays, which has a mailbox, each comes through memory
 * that the host maps, and the launch waits for the next, a bounded time. What holds for samples
 * (sampling, labels, noise) changes between orders and at no other place, so that the host knows
 * the sample at which a change is heard, however fast either side is.
 *
 * The first block speaks with the host: it tells the others what the host has posted, or that the
 * launch ends, which must be one decision; and it tells the host that an order is made when all
 * blocks that draw have, and all blocks have read it. The host then writes the next in its place.
 * Blocks of deeper tiers may still be at work on frames of the order before.
 */
#ifndef HISS_KERNELS_CUDA_DECODE_ORDER_H
#define HISS_KERNELS_CUDA_DECODE_ORDER_H

#include "kernels/cuda/decode_product.h"

/* What a block is at work on. */
struct decode_run {
    int begin, end; /* its tiers */
    int *inputs;    /* (DECODE_GROUP), shared memory; then as many labels */
    uint8_t *made;
    unsigned *flags;
    struct decode_board *board;
};

/* Tells another block that a count of this launch has reached n. All threads. */
CUDA_DEV void decode_tell(unsigned *flag, unsigned n)
{
    __syncthreads();
    if (threadIdx.x == 0)
        gpu_st_release(flag, n);
}

/* Until it has. One thread. */
CUDA_DEV void decode_see(const unsigned *flag, unsigned n)
{
    while (gpu_ld_acquire(flag) < n)
        gpu_backoff();
}

/* The same for all threads. */
CUDA_DEV void decode_await(const unsigned *flag, unsigned n)
{
    if (threadIdx.x == 0)
        decode_see(flag, n);
    __syncthreads();
}

/* Whether the host posts more than k orders, and soon, and to a launch that is not too old. The
   first thread of all. */
CUDA_DEV bool decode_posted(const struct decode_launch &a, const struct decode_run &run, unsigned k)
{
    const long long since = gpu_clock();
    if (since - run.board->begun > DECODE_STAYS)
        return false;
    while (gpu_ld_acquire_sys(&a.mail->posted) <= k) {
        if (gpu_clock() - since > DECODE_WAITS)
            return false;
        gpu_backoff();
    }
    return a.mail->order.n_samples > 0;
}

/* After k orders of a launch that stays: whether there is another. All threads. */
CUDA_DEV bool decode_goes_on(const struct decode_block &c, const struct decode_run &run, unsigned k)
{
    const struct decode_launch &a = *c.a;
    if (threadIdx.x == 0) {
        unsigned open;
        if (blockIdx.x == 0)
            gpu_st_release(a.relay, decode_posted(a, run, k) ? k + 1 : (unsigned)DECODE_ENDS);
        while ((open = gpu_ld_acquire(a.relay)) <= k)
            gpu_backoff();
        run.board->open = open;
    }
    __syncthreads();
    return run.board->open != (unsigned)DECODE_ENDS;
}

/* Takes order k, with what it brings. All threads. */
CUDA_DEV void decode_take_order(const struct decode_block &c, const struct decode_run &run,
                                unsigned k)
{
    const struct decode_launch &a = *c.a;
    const uint32_t *from = reinterpret_cast<const uint32_t *>(a.mail ? &a.mail->order : &a.order);
    const int32_t *labels = a.mail ? a.mail_labels : a.labels;
    const int thread = (int)threadIdx.x;
#pragma unroll 1
    for (int e = thread; e < (int)(sizeof(struct decode_order) / 4); e += DECODE_BLOCK)
        reinterpret_cast<uint32_t *>(&run.board->order)[e] = from[e];
    if (thread < c.rows)
        run.inputs[DECODE_GROUP + thread] = labels[decode_index(c, thread)];
    if (a.mail && run.begin == 0 && thread < c.streams)
        a.nats[c.first_stream + thread] = a.mail_nats[c.first_stream + thread];
    if (a.mail)
        decode_tell(a.relay + 1 + blockIdx.x, k + 1);
    __syncthreads();
}

/* Order k is made. All threads. */
CUDA_DEV void decode_made_order(const struct decode_block &c, const struct decode_run &run,
                                unsigned k)
{
    const struct decode_launch &a = *c.a;
    const unsigned *taken = a.relay + 1, *made = taken + gridDim.x;
    if (run.begin == 0) {
        __syncthreads();
        if ((int)threadIdx.x < c.streams)
            a.mail_nats[c.first_stream + (int)threadIdx.x] =
                a.nats[c.first_stream + (int)threadIdx.x];
        decode_tell(a.relay + 1 + gridDim.x + blockIdx.x, k + 1);
    }
    if (blockIdx.x > 0)
        return;
    for (int b = (int)threadIdx.x; b < (int)gridDim.x; b += DECODE_BLOCK) {
        decode_see(taken + b, k + 1);
        if (b % a.n_parts == 0)
            decode_see(made + b, k + 1);
    }
    __syncthreads();
    if (threadIdx.x == 0)
        gpu_st_release_sys(&a.mail->made, k + 1);
}

#endif
