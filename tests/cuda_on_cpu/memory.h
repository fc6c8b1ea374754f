/* What the program has allocated, on the device and pinned. */
#ifndef SHIM_MEMORY_OF_DEVICE_H
#define SHIM_MEMORY_OF_DEVICE_H

#include <stddef.h>

enum memory_side {
    MEMORY_HOST,   /* the host's own: pageable */
    MEMORY_PINNED, /* the host's, which the device can use */
    MEMORY_DEVICE,
    MEMORY_BEYOND, /* begins in device memory and goes on behind it */
};

/* With the lock (stream.h). */
enum memory_side memory_side_of(const void *p, size_t n);
/* Whether an allocation fails because a test wants it so. */
bool memory_fails(void);

/* While the device works its memory can be used: CUDA_ON_CPU_PROTECT. */
void memory_open(bool open);

/* For operations that are no kernels: ends the process unless n bytes at p are one allocation's.
   What they do to them, for the thread sanitizer. */
void memory_use(const char *what, const void *p, size_t n, bool write);

#endif
