/*
 * Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011). A number is a function of a key and a counter, so any
 * thread, any batch and any resumed run finds the same one without a state to carry.
 *
 * Any thread; no state.
 */
#ifndef HISS_BASE_RANDOM_H
#define HISS_BASE_RANDOM_H

#include <stdint.h>

/* Numbers used for different ends never meet: the purpose is part of the counter. */
enum random_purpose {
    RANDOM_SAMPLE = 0,     /* which code a stream sings next */
    RANDOM_INIT = 1,       /* a model's first weights */
    RANDOM_DATA_ORDER = 2, /* which clip a training step hears, label dropout, augmentation */
    RANDOM_CROP = 3,       /* where in a file a clip begins */
    RANDOM_RESAMPLE = 4,   /* which files a bootstrap or a halving draws */
};

/* One block of four words. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Word `word` of the sequence (seed, n, stream, purpose): word w is word w mod 4 of the block with
   key = seed and counter (n low, n high, stream, purpose << 8 | w / 4). word < 1024. */
uint32_t random_word(uint64_t seed, uint64_t n, uint32_t stream, enum random_purpose purpose,
                     uint32_t word);

/* Uniform in (0, 1), never 0 or 1: ((r >> 9) + 0.5) * 2^-23. Exact in float. */
static inline float random_uniform(uint32_t r)
{
    return ((float)(r >> 9) + 0.5f) * 0x1p-23f;
}

/* Standard normal from two words (Box-Muller), in double. */
double random_normal(uint32_t r0, uint32_t r1);

#endif
