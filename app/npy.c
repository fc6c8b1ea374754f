#include "app/npy.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

/* Version 1.0: magic, two bytes of version, length of the dictionary, the dictionary padded with
   spaces and a newline (numpy/lib/format.py). Room is left for any number of rows. */
enum { HEADER_BYTES = 128, PREFIX_BYTES = 10 };

static bool header_write(struct npy_writer *w)
{
    char header[HEADER_BYTES + 1];
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = HEADER_BYTES - PREFIX_BYTES;
    header[9] = 0;
    int length = snprintf(header + PREFIX_BYTES, HEADER_BYTES - PREFIX_BYTES,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }",
                          (long long)w->n_rows, w->n_columns);
    header[PREFIX_BYTES + length] = ' ';
    header[HEADER_BYTES - 1] = '\n';
    return fwrite(header, 1, HEADER_BYTES, w->file.file) == HEADER_BYTES ||
           error_set("%s: %s", w->file.path, strerror(errno));
}

bool npy_open(struct npy_writer *w, const char *path, int n_columns)
{
    *w = (struct npy_writer){.n_columns = n_columns};
    if (!file_create(&w->file, path))
        return false;
    if (header_write(w))
        return true;
    file_discard(&w->file);
    return false;
}

bool npy_write(struct npy_writer *w, const float *rows, int64_t n)
{
    size_t n_floats = (size_t)(n * w->n_columns);
    w->n_rows += n;
    return fwrite(rows, sizeof(float), n_floats, w->file.file) == n_floats ||
           error_set("%s: %s", w->file.path, strerror(errno));
}

bool npy_close(struct npy_writer *w)
{
    rewind(w->file.file);
    if (header_write(w))
        return file_commit(&w->file);
    file_discard(&w->file);
    return false;
}

void npy_discard(struct npy_writer *w)
{
    file_discard(&w->file);
}
