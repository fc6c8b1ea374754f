/*
 * A board: one thread writes a small struct on it again and again, others read the latest whole
 * one, without locks. A reader that was overtaken reads again.
 *
 * After H.-J. Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012).
 */
#ifndef HISS_APP_LIVE_BOARD_H
#define HISS_APP_LIVE_BOARD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { BOARD_BYTES_MAX = 512 };

struct board {
    _Atomic uint64_t number; /* of the writing; odd: under way */
    _Atomic uint64_t word[BOARD_BYTES_MAX / 8];
};

/* One thread. size: always the same, at most BOARD_BYTES_MAX. */
void board_write(struct board *b, const void *data, size_t size);

/* Any thread; zeros before the first writing. */
void board_read(const struct board *b, void *data, size_t size);

#endif
