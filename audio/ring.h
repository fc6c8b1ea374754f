/*
 * A ring of floats between two threads, without locks: one thread writes, one reads.
 *
 * Neither call blocks, allocates or makes a system call, so either end may be an audio callback.
 * Each thread keeps the other's last seen position and looks again only when it must, so the two
 * cores exchange a cache line per ring's worth of samples, not per call.
 *
 * ring_init and ring_free: while no one else uses it.
 */
#ifndef HISS_AUDIO_RING_H
#define HISS_AUDIO_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
    float *x;                           /* (size) */
    size_t size;                        /* a power of two */
    alignas(64) _Atomic size_t written; /* samples ever written; the writer's */
    size_t read_seen;                   /* what the writer last saw of `read` */
    alignas(64) _Atomic size_t read;    /* samples ever read; the reader's */
    size_t written_seen;
};

/* Room for at least `n` samples (rounded up to a power of two). False with error_text. */
bool ring_init(struct ring *r, size_t n);
void ring_free(struct ring *r);

/* Writer: as many of the n samples as there is room for; returns how many. */
size_t ring_write(struct ring *r, const float *x /* (n) */, size_t n);

/* Reader: at most n samples; returns how many. */
size_t ring_read(struct ring *r, float *x /* (n) */, size_t n);

/* Samples waiting: exact for neither side, at least that many for the reader, at most for the
   writer. */
size_t ring_n_ready(const struct ring *r);

#endif
