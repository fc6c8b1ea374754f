#include "app/live_board.h"

#include <assert.h>
#include <string.h>

/* Words are stored with release and loaded with acquire: who has seen a word of a later writing
   sees that writing's odd number as well. */

void board_write(struct board *b, const void *data, size_t size)
{
    uint64_t words[BOARD_BYTES_MAX / 8] = {0};
    assert(size <= sizeof(words));
    memcpy(words, data, size);
    uint64_t number = atomic_load_explicit(&b->number, memory_order_relaxed);
    atomic_store_explicit(&b->number, number + 1, memory_order_relaxed);
    for (size_t i = 0; i < (size + 7) / 8; i++)
        atomic_store_explicit(&b->word[i], words[i], memory_order_release);
    atomic_store_explicit(&b->number, number + 2, memory_order_release);
}

void board_read(const struct board *b, void *data, size_t size)
{
    uint64_t words[BOARD_BYTES_MAX / 8], before, after;
    assert(size <= sizeof(words));
    do {
        before = atomic_load_explicit(&b->number, memory_order_acquire);
        for (size_t i = 0; i < (size + 7) / 8; i++)
            words[i] = atomic_load_explicit(&b->word[i], memory_order_acquire);
        after = atomic_load_explicit(&b->number, memory_order_relaxed);
    } while (before != after || before % 2 != 0);
    memcpy(data, words, size);
}
