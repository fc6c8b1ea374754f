/*
 * The safetensors file format (huggingface.co/docs/safetensors): 8 bytes of header length, little
 * endian; a JSON header of names, types, shapes and offsets; then the tensors' bytes.
 *
 * Reading trusts nothing: every length, offset and shape is checked against the file before use,
 * and tensors may neither overlap nor leave gaps. Writing goes beside and renames (base/file.h).
 *
 * One thread per object.
 */
#ifndef HISS_MODEL_SAFETENSORS_H
#define HISS_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TENSOR_NAME_MAX = 256, TENSOR_DIMS_MAX = 8 };

enum tensor_type { TENSOR_F32, TENSOR_BF16, TENSOR_OTHER };

struct tensor_entry {
    char name[TENSOR_NAME_MAX];
    enum tensor_type type;
    int n_dims;
    int64_t shape[TENSOR_DIMS_MAX];
    int64_t n_entries;
    size_t begin, n_bytes;     /* in the block of data */
    const unsigned char *data; /* little endian, perhaps unaligned */
};

struct safetensors {
    char *path;          /* for messages */
    unsigned char *data; /* the file without its header */
    size_t n_data;
    int n_tensors;
    struct tensor_entry *tensors;  /* by offset */
    struct tensor_entry **by_name; /* the same, for safetensors_find */
    int n_metadata;
    char **metadata; /* key, value, key, value, ...: 2 n_metadata strings */
};

/* Reads and checks a file; only regular files are opened. Headers are read up to 16 MB, names up to
   TENSOR_NAME_MAX - 1 bytes. False with error_text that names the file and what is wrong. */
bool safetensors_open(struct safetensors *st, const char *path);
void safetensors_close(struct safetensors *st);

/* NULL if there is none, no error_text. */
const struct tensor_entry *safetensors_find(const struct safetensors *st, const char *name);
const char *safetensors_metadata(const struct safetensors *st, const char *key);

/* A tensor's entries as float; type must be F32 or BF16. */
void tensor_to_float(float *out, const struct tensor_entry *t);

/* What to write. Tensors are F32, taken from data. */
struct tensor_out {
    const char *name;
    int n_dims;
    const int64_t *shape;
    const float *data;
};

/* Writes path beside and renames. metadata: 2 n_metadata strings, UTF-8, no key twice. */
bool safetensors_write(const char *path, const struct tensor_out *tensors, int n_tensors,
                       const char *const *metadata, int n_metadata);

#endif
