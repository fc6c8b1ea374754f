/*
 * Arena: one block of memory per role, cut from the front, freed by one call.
 *
 * The same code that cuts the block first runs dry on an arena without memory, which only counts:
 * so the size is known before the one allocation, and never written down twice. The arena does not
 * own its block and never touches it, so the block may lie on a device.
 *
 * One thread at a time.
 */
#ifndef HISS_BASE_ARENA_H
#define HISS_BASE_ARENA_H

#include <stddef.h>

enum { ARENA_ALIGN = 64 }; /* bytes: a cache line, and enough for any vector load */

struct arena {
    char *block; /* NULL: a dry run */
    size_t size; /* bytes in block; not looked at in a dry run */
    size_t used; /* bytes handed out so far */
    size_t peak; /* the most ever handed out at once: what a dry run is for */
};

/* Starts a dry run. */
void arena_init_dry(struct arena *a);

/* Starts handing out `block`, which must outlive the arena and be aligned to ARENA_ALIGN. */
void arena_init(struct arena *a, void *block, size_t size);

/* The next `bytes` bytes, aligned to ARENA_ALIGN; NULL in a dry run. Running out is a bug of the
   caller (the dry run counted something else) and asserts. */
void *arena_alloc(struct arena *a, size_t bytes);

/* Gives back everything handed out since `used` was `mark`. */
void arena_reset(struct arena *a, size_t mark);

#endif
