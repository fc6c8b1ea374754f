#include "base/arena.h"

#include <assert.h>
#include <string.h>

void arena_init_dry(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_init(struct arena *a, void *block, size_t size)
{
    assert(block || size == 0);
    *a = (struct arena){.block = block, .size = size};
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t rounded = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    assert(rounded >= bytes && a->used + rounded >= a->used);
    char *p = a->block ? a->block + a->used : NULL;
    a->used += rounded;
    if (a->used > a->peak)
        a->peak = a->used;
    assert(!a->block || a->used <= a->size);
    return p;
}

void arena_reset(struct arena *a, size_t mark)
{
    assert(mark <= a->used);
    a->used = mark;
}
