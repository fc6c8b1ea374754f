#include "model/safetensors.h"

#include "base/error.h"
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are copied as they are");

/* The format allows headers of 100 MB; parsed, hostile ones of that size would take gigabytes. The
   largest model this program can describe needs half of this, and the largest training state, four
   times its weights, half of data_max. */
enum { LENGTH_BYTES = 8, HEADER_MAX = 16 << 20, HEADER_ALIGN = 8 };
static const int64_t data_max = INT64_C(1) << 36;

static const char metadata_key[] = "__metadata__";

/* Reading. Messages below name the tensor; safetensors_open puts the file's name in front. */

static const struct {
    const char *name;
    enum tensor_type type;
    int bytes;
} dtypes[] = {
    {"F32", TENSOR_F32, 4},    {"BF16", TENSOR_BF16, 2}, {"F64", TENSOR_OTHER, 8},
    {"F16", TENSOR_OTHER, 2},  {"I64", TENSOR_OTHER, 8}, {"I32", TENSOR_OTHER, 4},
    {"I16", TENSOR_OTHER, 2},  {"I8", TENSOR_OTHER, 1},  {"U64", TENSOR_OTHER, 8},
    {"U32", TENSOR_OTHER, 4},  {"U16", TENSOR_OTHER, 2}, {"U8", TENSOR_OTHER, 1},
    {"BOOL", TENSOR_OTHER, 1},
};

/* Sets the type; returns the bytes of an entry, 0 if the type is not known. */
static int dtype_find(enum tensor_type *type, const char *name)
{
    *type = TENSOR_OTHER;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *type = dtypes[i].type;
            return dtypes[i].bytes;
        }
    return 0;
}

static bool shape_parse(struct tensor_entry *t, const json_t *shape)
{
    if (!json_is_array(shape))
        return error_set("tensor %s: its shape must be a list", t->name);
    if (json_array_size(shape) > TENSOR_DIMS_MAX)
        return error_set("tensor %s: its shape has %zu dimensions, at most %d are read", t->name,
                         json_array_size(shape), TENSOR_DIMS_MAX);
    t->n_dims = (int)json_array_size(shape);
    t->n_entries = 1;
    for (int d = 0; d < t->n_dims; d++) {
        const json_t *size = json_array_get(shape, (size_t)d);
        t->shape[d] = json_integer_value(size);
        if (!json_is_integer(size) || t->shape[d] < 0)
            return error_set("tensor %s: its shape must hold whole numbers from 0", t->name);
        if (__builtin_mul_overflow(t->n_entries, t->shape[d], &t->n_entries))
            return error_set("tensor %s: its shape is too large", t->name);
    }
    return true;
}

static bool offsets_parse(int64_t range[2], const struct tensor_entry *t, const json_t *offsets,
                          int64_t n_data)
{
    for (size_t i = 0; i < 2; i++) {
        const json_t *offset = json_array_get(offsets, i);
        range[i] = json_integer_value(offset);
        if (!json_is_integer(offset) || json_array_size(offsets) != 2)
            return error_set("tensor %s: data_offsets must be two whole numbers", t->name);
    }
    if (range[0] < 0 || range[1] < range[0] || range[1] > n_data)
        return error_set("tensor %s: data_offsets %lld to %lld are not within the %lld bytes of "
                         "tensors; the file is damaged or cut short",
                         t->name, (long long)range[0], (long long)range[1], (long long)n_data);
    return true;
}

static bool tensor_parse(struct tensor_entry *t, const char *name, const json_t *o, int64_t n_data)
{
    if (strlen(name) >= TENSOR_NAME_MAX)
        return error_set("tensor %.40s...: its name is longer than %d bytes", name,
                         TENSOR_NAME_MAX - 1);
    strcpy(t->name, name);
    const char *dtype = json_string_value(json_object_get(o, "dtype"));
    if (!dtype || json_object_size(o) != 3)
        return error_set("tensor %s: it must have dtype, shape and data_offsets alone", name);
    int64_t range[2], n_bytes;
    if (!shape_parse(t, json_object_get(o, "shape")) ||
        !offsets_parse(range, t, json_object_get(o, "data_offsets"), n_data))
        return false;
    t->begin = (size_t)range[0];
    t->n_bytes = (size_t)(range[1] - range[0]);
    int width = dtype_find(&t->type, dtype);
    if (width &&
        (__builtin_mul_overflow(t->n_entries, width, &n_bytes) || n_bytes != (int64_t)t->n_bytes))
        return error_set("tensor %s: its shape and dtype %s do not make the %zu bytes it has", name,
                         dtype, t->n_bytes);
    return true;
}

static bool metadata_parse(struct safetensors *st, const json_t *metadata)
{
    if (!json_is_object(metadata))
        return error_set("%s must be an object", metadata_key);
    st->metadata = calloc(2 * json_object_size(metadata) + 1, sizeof *st->metadata);
    if (!st->metadata)
        return error_set("out of memory for the metadata");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return error_set("the %s key '%s' must hold a string", metadata_key, key);
        char **pair = &st->metadata[2 * st->n_metadata++];
        pair[0] = strdup(key);
        pair[1] = strdup(json_string_value(value));
        if (!pair[0] || !pair[1])
            return error_set("out of memory for the metadata");
    }
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor_entry *s = a, *t = b;
    if (s->begin != t->begin)
        return s->begin < t->begin ? -1 : 1;
    return (s->n_bytes > t->n_bytes) - (s->n_bytes < t->n_bytes); /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    const struct tensor_entry *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

/* Every byte of the data belongs to exactly one tensor. */
static bool layout_check(const struct safetensors *st)
{
    size_t end = 0;
    for (int i = 0; i < st->n_tensors; i++) {
        const struct tensor_entry *t = &st->tensors[i];
        if (t->begin != end)
            return error_set("tensor %s: it begins at byte %zu of the data but the tensor before "
                             "it ends at %zu",
                             t->name, t->begin, end);
        end += t->n_bytes;
    }
    if (end != st->n_data)
        return error_set("its tensors take %zu bytes but it holds %zu", end, st->n_data);
    return true;
}

static bool entries_parse(struct safetensors *st, const json_t *root)
{
    st->tensors = calloc(json_object_size(root) + 1, sizeof *st->tensors);
    st->by_name = calloc(json_object_size(root) + 1, sizeof *st->by_name);
    if (!st->tensors || !st->by_name)
        return error_set("out of memory for its list of tensors");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)root, key, value)
    {
        bool ok = strcmp(key, metadata_key) == 0 ? metadata_parse(st, value)
                                                 : tensor_parse(&st->tensors[st->n_tensors++], key,
                                                                value, (int64_t)st->n_data);
        if (!ok)
            return false;
    }
    qsort(st->tensors, (size_t)st->n_tensors, sizeof *st->tensors, by_offset);
    for (int i = 0; i < st->n_tensors; i++)
        st->by_name[i] = &st->tensors[i];
    qsort(st->by_name, (size_t)st->n_tensors, sizeof *st->by_name, by_name);
    return layout_check(st);
}

static bool header_parse(struct safetensors *st, const char *header, size_t n_header)
{
    json_error_t error;
    json_t *root = json_loadb(header, n_header, JSON_REJECT_DUPLICATES, &error);
    bool ok = json_is_object(root) ? entries_parse(st, root)
                                   : error_set("its header is not valid JSON: %s",
                                               root ? "it is not an object" : error.text);
    json_decref(root);
    return ok;
}

static bool bytes_read(void *out, size_t n, FILE *file, const char *what)
{
    if (fread(out, 1, n, file) == n)
        return true;
    return error_set("cannot read its %s: %s", what,
                     ferror(file) ? strerror(errno) : "it was cut short");
}

static bool header_read(struct safetensors *st, FILE *file, int64_t size)
{
    uint64_t n_header;
    if (size < LENGTH_BYTES)
        return error_set("it is not a safetensors file: it has fewer than %d bytes", LENGTH_BYTES);
    if (!bytes_read(&n_header, sizeof n_header, file, "header"))
        return false;
    if (n_header > (uint64_t)size - LENGTH_BYTES)
        return error_set("it is no safetensors file or was cut short: its header would have %llu "
                         "bytes, the file has %lld",
                         (unsigned long long)n_header, (long long)size);
    if (n_header > HEADER_MAX)
        return error_set("its header of %llu bytes is larger than the %d allowed",
                         (unsigned long long)n_header, HEADER_MAX);
    st->n_data = (size_t)size - LENGTH_BYTES - n_header;
    char *header = malloc(n_header + 1);
    bool ok =
        header ? bytes_read(header, n_header, file, "header") && header_parse(st, header, n_header)
               : error_set("out of memory for its header");
    free(header);
    return ok;
}

/* After the header was read and checked: memory is asked for as much as the file has bytes. */
static bool data_read(struct safetensors *st, FILE *file)
{
    if ((int64_t)st->n_data > data_max)
        return error_set("its %zu bytes of tensors are more than the %lld allowed", st->n_data,
                         (long long)data_max);
    st->data = malloc(st->n_data + 1);
    if (!st->data)
        return error_set("no memory for its %zu bytes", st->n_data);
    for (int i = 0; i < st->n_tensors; i++)
        st->tensors[i].data = st->data + st->tensors[i].begin;
    return bytes_read(st->data, st->n_data, file, "tensors");
}

bool safetensors_open(struct safetensors *st, const char *path)
{
    *st = (struct safetensors){0};
    int64_t size = 0;
    FILE *file = file_open(path, &size);
    if (!file)
        return false;
    st->path = strdup(path);
    bool ok =
        st->path ? header_read(st, file, size) && data_read(st, file) : error_set("out of memory");
    fclose(file);
    if (!ok) {
        error_prefix("%s", path);
        safetensors_close(st);
    }
    return ok;
}

void safetensors_close(struct safetensors *st)
{
    for (int i = 0; i < 2 * st->n_metadata; i++)
        free(st->metadata[i]);
    free(st->metadata);
    free(st->by_name);
    free(st->tensors);
    free(st->data);
    free(st->path);
    *st = (struct safetensors){0};
}

const struct tensor_entry *safetensors_find(const struct safetensors *st, const char *name)
{
    int low = 0, high = st->n_tensors;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(name, st->by_name[middle]->name);
        if (order == 0)
            return st->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *st, const char *key)
{
    for (int i = 0; i < st->n_metadata; i++)
        if (strcmp(st->metadata[2 * i], key) == 0)
            return st->metadata[2 * i + 1];
    return NULL;
}

void tensor_to_float(float *out, const struct tensor_entry *t)
{
    assert(t->type == TENSOR_F32 || t->type == TENSOR_BF16);
    if (t->type == TENSOR_F32) {
        if (t->n_bytes)
            memcpy(out, t->data, t->n_bytes);
        return;
    }
    for (int64_t i = 0; i < t->n_entries; i++) {
        uint32_t bits = (uint32_t)t->data[2 * i] << 16 | (uint32_t)t->data[2 * i + 1] << 24;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

/* Writing. */

/* Sets a key that must be new; takes `value`, which may be NULL (no memory, or not UTF-8). */
static bool key_add(json_t *o, const char *key, json_t *value)
{
    if (json_object_get(o, key)) {
        json_decref(value);
        return error_set("'%s' is given twice", key);
    }
    if (json_object_set_new(o, key, value) != 0)
        return error_set("'%s' or its value is not UTF-8 text, or memory ran out", key);
    return true;
}

static bool header_fill(json_t *root, const struct tensor_out *tensors, int n_tensors,
                        const char *const *metadata, int n_metadata)
{
    if (n_metadata && !key_add(root, metadata_key, json_object()))
        return false;
    for (int i = 0; i < n_metadata; i++)
        if (!key_add(json_object_get(root, metadata_key), metadata[2 * i],
                     json_string(metadata[2 * i + 1])))
            return false;
    int64_t end = 0;
    for (int i = 0; i < n_tensors; i++) {
        const struct tensor_out *t = &tensors[i];
        json_t *shape = json_array();
        int64_t begin = end, n_entries = 1;
        for (int d = 0; d < t->n_dims; d++) {
            n_entries *= t->shape[d];
            json_array_append_new(shape, json_integer(t->shape[d]));
        }
        end += n_entries * (int64_t)sizeof(float);
        if (!key_add(root, t->name,
                     json_pack("{s:s, s:o, s:[I,I]}", "dtype", "F32", "shape", shape,
                               "data_offsets", (json_int_t)begin, (json_int_t)end)))
            return false;
    }
    return true;
}

/* The header's text, or NULL with error_text. */
static char *header_format(const struct tensor_out *tensors, int n_tensors,
                           const char *const *metadata, int n_metadata)
{
    char *text = NULL;
    json_t *root = json_object();
    if (!root)
        error_set("out of memory");
    else if (header_fill(root, tensors, n_tensors, metadata, n_metadata)) {
        text = json_dumps(root, JSON_COMPACT);
        if (!text)
            error_set("out of memory");
    }
    json_decref(root);
    if (text && strlen(text) > HEADER_MAX - HEADER_ALIGN) {
        error_set("its header would be larger than the %d bytes allowed", HEADER_MAX);
        free(text);
        text = NULL;
    }
    return text;
}

static void contents_write(FILE *file, const char *header, const struct tensor_out *tensors,
                           int n_tensors)
{
    size_t length = strlen(header);
    uint64_t padded = (length + HEADER_ALIGN - 1) / HEADER_ALIGN * HEADER_ALIGN;
    fwrite(&padded, sizeof padded, 1, file);
    /* The spaces leave the tensors aligned for readers that map the file. */
    fprintf(file, "%s%*s", header, (int)(padded - length), "");
    for (int i = 0; i < n_tensors; i++) {
        size_t n_entries = 1;
        for (int d = 0; d < tensors[i].n_dims; d++)
            n_entries *= (size_t)tensors[i].shape[d];
        if (fwrite(tensors[i].data, sizeof(float), n_entries, file) != n_entries)
            return; /* file_commit reports it */
    }
}

bool safetensors_write(const char *path, const struct tensor_out *tensors, int n_tensors,
                       const char *const *metadata, int n_metadata)
{
    char *header = header_format(tensors, n_tensors, metadata, n_metadata);
    if (!header)
        return error_prefix("cannot write %s", path);
    struct file_writer w;
    bool ok = file_create(&w, path);
    if (ok) {
        contents_write(w.file, header, tensors, n_tensors);
        ok = file_commit(&w);
    }
    free(header);
    return ok;
}
