/*
 * One long row of bytes, filled once and read at random: in memory up to a budget, beyond it in a
 * temporary file that has no name. Of use to the data set alone.
 *
 * store_reserve and store_write: any thread. store_read: any thread, once all is written.
 */
#ifndef HISS_AUDIO_STORE_H
#define HISS_AUDIO_STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct store {
    pthread_mutex_t lock;
    const char *folder; /* for the temporary file */
    char *block;        /* (budget) of address space, touched up to `used`; NULL: in the file */
    int64_t budget, used;
    int fd;
};

/* `folder` NULL: $TMPDIR, else /var/tmp; it must outlive the store. */
void store_open(struct store *s, int64_t budget, const char *folder);
void store_close(struct store *s);

/* Room for `size` bytes: *offset tells where. May move everything to the temporary file. */
bool store_reserve(struct store *s, int64_t *offset, int64_t size);
bool store_write(struct store *s, int64_t offset, const void *bytes, int64_t size);

/* Bytes reserved but never written read as 0. */
bool store_read(const struct store *s, int64_t offset, void *bytes, int64_t size);

#endif
