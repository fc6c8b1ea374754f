#include "audio/ring.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* Positions only grow (and wrap with size_t, which the power of two forgives); their difference is
   what waits. A side publishes its own position with release after touching the samples, and reads
   the other's with acquire before touching them. */

bool ring_init(struct ring *r, size_t n)
{
    size_t size = 1;
    memset(r, 0, sizeof *r);
    while (size < n && size <= SIZE_MAX / 16)
        size *= 2;
    if (size < n || !(r->x = malloc(sizeof *r->x * size)))
        return error_set("out of memory for a ring of %zu samples", n);
    r->size = size;
    atomic_init(&r->written, 0);
    atomic_init(&r->read, 0);
    return true;
}

void ring_free(struct ring *r)
{
    free(r->x);
    memset(r, 0, sizeof *r);
}

size_t ring_write(struct ring *r, const float *x, size_t n)
{
    size_t at = atomic_load_explicit(&r->written, memory_order_relaxed);
    if (r->size - (at - r->read_seen) < n)
        r->read_seen = atomic_load_explicit(&r->read, memory_order_acquire);
    size_t room = r->size - (at - r->read_seen);
    n = n < room ? n : room;
    size_t slot = at & (r->size - 1), first = r->size - slot;
    first = first < n ? first : n;
    memcpy(r->x + slot, x, sizeof *x * first);
    memcpy(r->x, x + first, sizeof *x * (n - first));
    atomic_store_explicit(&r->written, at + n, memory_order_release);
    return n;
}

size_t ring_read(struct ring *r, float *x, size_t n)
{
    size_t at = atomic_load_explicit(&r->read, memory_order_relaxed);
    if (r->written_seen - at < n)
        r->written_seen = atomic_load_explicit(&r->written, memory_order_acquire);
    size_t ready = r->written_seen - at;
    n = n < ready ? n : ready;
    size_t slot = at & (r->size - 1), first = r->size - slot;
    first = first < n ? first : n;
    memcpy(x, r->x + slot, sizeof *x * first);
    memcpy(x + first, r->x, sizeof *x * (n - first));
    atomic_store_explicit(&r->read, at + n, memory_order_release);
    return n;
}

size_t ring_n_ready(const struct ring *r)
{
    /* Read position first: it can only be older, so the difference is never below zero. */
    size_t read = atomic_load_explicit(&r->read, memory_order_acquire);
    size_t written = atomic_load_explicit(&r->written, memory_order_acquire);
    return written - read < r->size ? written - read : r->size;
}
