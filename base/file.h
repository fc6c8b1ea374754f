/*
 * Whole files, written so that nobody ever sees half of one.
 *
 * Any thread.
 */
#ifndef HISS_BASE_FILE_H
#define HISS_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { FILE_PATH_MAX = 4096 };

/* Joins with one slash; false with error_text if it does not fit in FILE_PATH_MAX. `out` may be
   `folder` itself. */
bool path_join(char out[FILE_PATH_MAX], const char *folder, const char *name);

/* Makes a folder and its parents; an existing folder is fine. */
bool folder_make(const char *path);

/* Removes a file, or a folder with all it holds; of a symbolic link the link alone. A path that is
   not there is fine; one that ends in "." or ".." and the root are refused. */
bool path_remove(const char *path);

bool path_exists(const char *path);
bool path_is_folder(const char *path);

/* Opens a regular file for reading and tells its size; NULL with error_text for anything else
   (a folder, a pipe: never waits). The caller closes it. */
FILE *file_open(const char *path, int64_t *size);

/* Reads a whole file into a block the caller frees, with a 0 byte after its `*size` bytes. NULL
   with error_text. */
char *file_read(const char *path, size_t *size);

/* Writing beside: opens `path`.part; file_commit flushes, syncs and renames it to `path`;
   file_discard throws it away, and does nothing after a commit, successful or not. A folder or a
   device at `path` is refused. `part` keeps the name between the calls. */
struct file_writer {
    FILE *file;
    char path[FILE_PATH_MAX], part[FILE_PATH_MAX];
};
bool file_create(struct file_writer *w, const char *path);
bool file_commit(struct file_writer *w);
void file_discard(struct file_writer *w);

/* fsync of a folder, so that renames inside it survive a power cut. */
bool folder_sync(const char *path);

#endif
