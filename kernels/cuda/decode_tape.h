/*
 * Weights on their way to the warps of the decode engine: a tape for each warp. Of a run of mixers
 * that decode_fast.h does, everything that a warp reads and nobody writes lies in memory one after
 * the other, in the order of use, in chunks of DECODE_CHUNK fragments. Asynchronous copies keep the
 * warp's ring in shared memory DECODE_RING chunks ahead, through the end of a run into the next, so
 * that no step waits for memory, and no register for a load.
 */
#ifndef HISS_KERNELS_CUDA_DECODE_TAPE_H
#define HISS_KERNELS_CUDA_DECODE_TAPE_H

#include "kernels/cuda/decode_product.h"

struct decode_tape {
    uint4 *ring;       /* this warp's */
    const uint4 *from; /* this lane's part of the next chunk to ask for; NULL: there is none */
    const uint4 *next; /* where the tape goes on after `left` more chunks */
    int left, slot;    /* slot: of the chunk in use */
    int ready;         /* the first fragment of the run whose first chunks are here; -1: of none */
};

/* Where this warp's tape of a run begins, for this lane. */
CUDA_DEV const uint4 *tape_of(const struct decode_block &c, const struct decode_step &s)
{
    return c.a->fragments + ((int64_t)s.tape + (int64_t)c.warp * s.tape_n) * WARP + c.lane;
}

/* Until at most Behind chunks of the ring are on their way. Lanes that read what others have asked
   for synchronise after it. */
template <int Behind> CUDA_DEV void tape_wait(void)
{
    gpu_cp_async_wait<Behind>();
}

/* The chunk in use, or a later one: (DECODE_CHUNK, 32 lanes). */
CUDA_DEV const uint4 *tape_chunk(const struct decode_tape &t, int later)
{
    const int slot = t.slot + later;
    return t.ring + (slot < DECODE_RING ? slot : slot - DECODE_RING) * DECODE_CHUNK * WARP;
}

/* Asks for what comes into the slot of the chunk in use, which is done with, and goes on. */
CUDA_DEV void tape_refill(const struct decode_block &c, struct decode_tape &t)
{
    uint4 *to = t.ring + t.slot * DECODE_CHUNK * WARP + c.lane;
    if (t.left-- == 0)
        t.from = t.next;
    if (t.from) {
#pragma unroll
        for (int k = 0; k < DECODE_CHUNK; k++)
            gpu_cp_async16(to + k * WARP, t.from + k * WARP);
        t.from += DECODE_CHUNK * WARP;
    }
    gpu_cp_async_commit();
    t.slot = t.slot + 1 < DECODE_RING ? t.slot + 1 : 0;
}

/* A run begins, of n chunks; `next` comes after it, or NULL. */
CUDA_DEV void tape_begin(const struct decode_block &c, struct decode_tape &t,
                         const struct decode_step &s, const struct decode_step *next)
{
    if (t.ready != s.tape) {
        t.from = tape_of(c, s);
        t.left = -1;
        for (int k = 0; k < DECODE_RING; k++)
            tape_refill(c, t);
    }
    t.left = s.tape_n / DECODE_CHUNK - DECODE_RING;
    t.next = next ? tape_of(c, *next) : NULL;
    t.ready = next ? next->tape : -1;
}

#endif
