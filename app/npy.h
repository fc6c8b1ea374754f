/*
 * A NumPy file of float32 rows whose number is not known before the end.
 *
 * One thread at a time.
 */
#ifndef HISS_APP_NPY_H
#define HISS_APP_NPY_H

#include "base/file.h"

#include <stdbool.h>
#include <stdint.h>

struct npy_writer {
    struct file_writer file;
    int64_t n_rows;
    int n_columns;
};

/* Opens `path`.part. False with error_text. */
bool npy_open(struct npy_writer *w, const char *path, int n_columns);

/* Appends rows (n, n_columns). False with error_text. */
bool npy_write(struct npy_writer *w, const float *rows, int64_t n);

/* Writes the shape into the header and renames the file to its name. */
bool npy_close(struct npy_writer *w);
void npy_discard(struct npy_writer *w);

#endif
