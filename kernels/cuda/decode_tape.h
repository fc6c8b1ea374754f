/*
 * Weights on their way to the warps of the decode engine: a tape for each warp. Of a run of mixers
 * that decode_fast.h does, everything that a warp reads and nobody writes lies in memory one after
 * the other, in the order of use, in chunks of DECODE_CHUNK fragments. Asynchronous copies keep the
 * warp's ring in shared memory some chunks ahead, through the end of a run into the next, so that
 * no step waits for memory, and no register for a load. A layer has a multiple of the ring's
 * chunks, so that where a chunk is does not depend on the layer.
 */
#ifndef HISS_KERNELS_CUDA_DECODE_TAPE_H
#define HISS_KERNELS_CUDA_DECODE_TAPE_H

#include "kernels/cuda/decode_product.h"

enum { DECODE_CHUNK_SIZE = DECODE_CHUNK * 32 }; /* 16 byte units */

struct decode_tape {
    uint4 *ring;        /* this warp's */
    const uint4 *layer; /* this lane's part of the layer at work, */
    const uint4 *after; /* and of what comes after it; NULL: nothing */
    int ready, filled;  /* the first fragment of the run whose first chunks are here, and how many;
                           0: none */
};

/* Where this warp's tape of a run begins, for this lane. */
CUDA_DEV const uint4 *tape_of(const struct decode_block &c, const struct decode_step &s)
{
    return c.a->fragments + ((int64_t)s.tape + (int64_t)c.warp * s.tape_n) * WARP + c.lane;
}

CUDA_DEV void tape_fetch(const struct decode_block &c, const struct decode_tape &t, int slot,
                         const uint4 *from)
{
    uint4 *to = t.ring + slot * DECODE_CHUNK_SIZE + c.lane;
#pragma unroll
    for (int k = 0; k < DECODE_CHUNK; k++)
        gpu_cp_async16(to + k * WARP, from + k * WARP);
}

/* Until at most Behind chunks of the ring are on their way. Lanes that read what others have asked
   for synchronise after it. */
template <int Behind> CUDA_DEV void tape_wait(void)
{
    gpu_cp_async_wait<Behind>();
}

/* A run begins. Size: of an engine's width, with `ring` and `chunks`. */
template <class Size>
CUDA_DEV void tape_begin(const struct decode_block &c, struct decode_tape &t,
                         const struct decode_step &s)
{
    t.layer = tape_of(c, s);
    for (int k = t.ready == s.tape ? t.filled : 0; k < Size::ring; k++) {
        tape_fetch(c, t, k, t.layer + k * DECODE_CHUNK_SIZE);
        gpu_cp_async_commit();
    }
}

/* A layer begins. `next`: where it is the last, the run that comes next, or NULL. */
template <class Size>
CUDA_DEV void tape_layer(const struct decode_block &c, struct decode_tape &t, bool last,
                         const struct decode_step *next)
{
    t.after = t.layer + Size::chunks * DECODE_CHUNK_SIZE;
    if (!last)
        return;
    t.after = next ? tape_of(c, *next) : NULL;
    t.ready = next ? next->tape : 0;
    t.filled = next ? Size::ring : 0;
}

/* Chunk k of a layer: (DECODE_CHUNK, 32 lanes). */
template <class Size> CUDA_DEV const uint4 *tape_chunk(const struct decode_tape &t, int k)
{
    return t.ring + k % Size::ring * DECODE_CHUNK_SIZE;
}

/* Asks for what comes into the place of chunk k, which is done with. */
template <class Size>
CUDA_DEV void tape_refill(const struct decode_block &c, const struct decode_tape &t, int k)
{
    const int then = k + Size::ring;
    if (then < Size::chunks)
        tape_fetch(c, t, k % Size::ring, t.layer + then * DECODE_CHUNK_SIZE);
    else if (t.after)
        tape_fetch(c, t, k % Size::ring, t.after + (then - Size::chunks) * DECODE_CHUNK_SIZE);
    gpu_cp_async_commit();
}

#endif
