/* The safetensors format, read from files written byte by byte, most of them hostile. */
#define _GNU_SOURCE
#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/hiss-test-tensors-XXXXXX";
static char path[FILE_PATH_MAX];

/* A file of a header, whose length is said to be `length`, and n_data bytes 0, 1, 2, ... */
static void write_raw(uint64_t length, const char *header, size_t n_data)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(&length, sizeof length, 1, file);
    fputs(header, file);
    for (size_t i = 0; i < n_data; i++)
        fputc((int)(i & 255), file);
    fclose(file);
}

static void open_raw(struct safetensors *st, const char *header, size_t n_data)
{
    write_raw(strlen(header), header, n_data);
    if (!safetensors_open(st, path))
        fail_msg("%s", error_text());
}

static void assert_open_fails(const char *name, const char *message)
{
    struct safetensors st;
    assert_false(safetensors_open(&st, name));
    if (!strstr(error_text(), name) || !strstr(error_text(), message))
        fail_msg("'%s' does not name %s and '%s'", error_text(), name, message);
    assert_null(st.data);
}

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void written_tensors_are_read(void **state)
{
    const int64_t shape_a[] = {2, 3}, shape_b[] = {1, 1, 2}, shape_empty[] = {3, 0};
    const float a[] = {1, -2, 3.5f, 0, 1e-30f, -1e30f}, b[] = {7, 8}, scalar[] = {-1};
    const struct tensor_out tensors[] = {
        {"z.a", 2, shape_a, a},
        {"a b \"\xc3\xa9", 3, shape_b, b},
        {"empty", 2, shape_empty, a},
        {"scalar", 0, NULL, scalar},
    };
    const char *const metadata[] = {"k", "v", "k2", "{\"a\":1}\n"};
    assert_true(safetensors_write(path, tensors, 4, metadata, 2));
    struct safetensors st;
    assert_true(safetensors_open(&st, path));
    assert_int_equal(st.n_tensors, 4);
    assert_int_equal(st.n_metadata, 2);
    assert_string_equal(safetensors_metadata(&st, "k2"), "{\"a\":1}\n");
    assert_null(safetensors_metadata(&st, "k3"));
    assert_null(safetensors_find(&st, "z"));
    const struct tensor_entry *t = safetensors_find(&st, "z.a");
    float read[6];
    assert_int_equal(t->n_dims, 2);
    assert_memory_equal(t->shape, shape_a, sizeof shape_a);
    assert_int_equal(t->n_entries, 6);
    assert_int_equal((uintptr_t)t->data % sizeof(float), 0);
    tensor_to_float(read, t);
    assert_memory_equal(read, a, sizeof a);
    tensor_to_float(read, safetensors_find(&st, "a b \"\xc3\xa9"));
    assert_memory_equal(read, b, sizeof b);
    tensor_to_float(read, safetensors_find(&st, "scalar"));
    assert_true(read[0] == -1);
    assert_int_equal(safetensors_find(&st, "empty")->n_entries, 0);
    safetensors_close(&st);
}

static void foreign_types_and_odd_alignment(void **state)
{
    static const char *const names[] = {"F64", "F16",  "I64", "I32", "I16", "I8",
                                        "U8",  "BOOL", "U16", "U32", "U64"};
    static const int sizes[] = {8, 2, 8, 4, 2, 1, 1, 1, 2, 4, 8};
    struct safetensors st;
    char header[256];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(header, sizeof header, "{" T("x", "%s", "[3]", "[0,%d]") "}", names[i],
                 3 * sizes[i]);
        open_raw(&st, header, (size_t)(3 * sizes[i]));
        assert_int_equal(st.tensors[0].type, TENSOR_OTHER);
        assert_int_equal(st.tensors[0].n_bytes, 3 * sizes[i]);
        safetensors_close(&st);
        write_raw(strlen(header), header, (size_t)(3 * sizes[i] + 1));
        assert_open_fails(path, "holds");
    }
    open_raw(&st, "{" T("q", "F4", "[3]", "[0,2]") "," T("b", "BF16", "[2]", "[2,6]") "}    ", 6);
    assert_int_equal(safetensors_find(&st, "q")->type, TENSOR_OTHER);
    float read[2];
    const uint32_t bits[] = {0x03020000, 0x05040000};
    tensor_to_float(read, safetensors_find(&st, "b"));
    assert_memory_equal(read, bits, sizeof read);
    safetensors_close(&st);
    open_raw(&st, "{} ", 0);
    assert_int_equal(st.n_tensors, 0);
    safetensors_close(&st);
}

static void bad_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t n_data;
        const char *message;
    } cases[] = {
        {"", 0, "not valid JSON"},
        {"{", 0, "not valid JSON"},
        {"[]", 0, "not an object"},
        {"{} x", 0, "not valid JSON"},
        {"{\"\xff\":1}", 0, "not valid JSON"},
        {"{\"a\\u0000\":1}", 0, "not valid JSON"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "duplicate"},
        {"{\"a\":1}", 0, "tensor a"},
        {"{\"a\":{}}", 0, "tensor a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "tensor a"},
        {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a"},
        {"{" T("a", "F32", "1", "[0,4]") "}", 4, "tensor a: its shape must be a list"},
        {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "tensor a: its shape"},
        {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, "tensor a: its shape"},
        {"{" T("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "tensor a: its shape"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0,
         "tensor a: its shape is too"},
        {"{" T("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, "tensor a: its shape and"},
        {"{" T("a", "F32", "[18446744073709551616]", "[0,0]") "}", 0, "not valid JSON"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "9 dimensions"},
        {"{" T("a", "F32", "[1]", "[0]") "}", 4, "tensor a: data_offsets must"},
        {"{" T("a", "F32", "[1]", "[0,4,8]") "}", 4, "tensor a: data_offsets must"},
        {"{" T("a", "F32", "[1]", "{}") "}", 4, "tensor a: data_offsets must"},
        {"{" T("a", "F32", "[1]", "[0,\"4\"]") "}", 4, "tensor a: data_offsets must"},
        {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, "tensor a: data_offsets -4"},
        {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "tensor a: data_offsets 4 to 0"},
        {"{" T("a", "F32", "[1]", "[0,5]") "}", 4, "tensor a: data_offsets 0 to 5"},
        {"{" T("a", "F32", "[1]", "[0,9223372036854775807]") "}", 4, "tensor a: data_offsets"},
        {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "tensor a: its shape and dtype F32"},
        {"{" T("a", "F32", "[]", "[0,8]") "}", 8, "tensor a: its shape and dtype F32"},
        {"{" T("a", "BF16", "[1]", "[0,4]") "}", 4, "tensor a: its shape and dtype BF16"},
        {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, "tensor a: it begins at byte 4"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12,
         "tensor b: it begins at byte 8"},
        {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[2]", "[4,12]") "}", 12,
         "tensor b: it begins at byte 4"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, "begins at"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 8, "take 4 bytes but it holds 8"},
        {"{}", 1, "take 0 bytes but it holds 1"},
        {"{\"__metadata__\":1}", 0, "__metadata__ must be an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__ key 'k'"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_raw(strlen(cases[i].header), cases[i].header, cases[i].n_data);
        assert_open_fails(path, cases[i].message);
    }
}

static void long_and_deep_headers_are_refused(void **state)
{
    enum { DEEP = 100000, LARGE = 17 << 20 };
    static char header[LARGE + 1];
    memset(header, '[', DEEP);
    header[DEEP] = 0;
    write_raw(DEEP, header, 0);
    assert_open_fails(path, "depth");
    memset(header, ' ', LARGE);
    header[LARGE] = 0;
    write_raw(LARGE, header, 0);
    assert_open_fails(path, "larger than");
    memset(header, 'n', 300);
    strcpy(header + 300, "\":1}");
    memcpy(header, "{\"", 2);
    write_raw(strlen(header), header, 0);
    assert_open_fails(path, "name is longer");
}

static void cut_files_are_refused(void **state)
{
    static const char header[] = "{" T("a", "F32", "[1]", "[0,4]") "}";
    write_raw(sizeof header - 1, header, 4);
    size_t size;
    char *bytes = file_read(path, &size);
    assert_non_null(bytes);
    for (size_t n = 0; n < size; n++) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fwrite(bytes, 1, n, file);
        fclose(file);
        assert_open_fails(path, n < 8 ? "not a safetensors" : "cut short");
    }
    free(bytes);
    write_raw(UINT64_MAX, header, 4);
    assert_open_fails(path, "cut short");
    write_raw(UINT64_MAX - 7, header, 4);
    assert_open_fails(path, "cut short");
}

/* Files of a terabyte that hold nothing must not cost a terabyte. */
static void large_hollow_files_are_refused(void **state)
{
    static const char *const headers[][2] = {
        {"{" T("a", "F32", "[1]", "[0,4]") "}", "take 4 bytes"},
        {"{" T("a", "U8", "[1099511627776]", "[0,1099511627776]") "}", "allowed"},
    };
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(headers[i][0]);
        write_raw(length, headers[i][0], 4);
        if (truncate(path, ((off_t)1 << 40) + 8 + (off_t)length) != 0)
            skip();
        assert_open_fails(path, headers[i][1]);
        remove(path);
    }
}

static void what_is_no_file_is_refused(void **state)
{
    char pipe[FILE_PATH_MAX];
    assert_true(path_join(pipe, folder, "pipe"));
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_open_fails(pipe, "not a file");
    assert_open_fails(folder, "a folder");
    assert_open_fails("/dev/zero", "not a file");
    assert_true(path_join(pipe, folder, "none"));
    assert_open_fails(pipe, "No such file");
}

static void impossible_headers_are_not_written(void **state)
{
    const float x = 1;
    const struct tensor_out same[] = {{"x", 0, NULL, &x}, {"x", 0, NULL, &x}};
    const struct tensor_out not_text[] = {{"\xff", 0, NULL, &x}};
    const char *const twice[] = {"k", "1", "k", "2"}, *const bad[] = {"key", "\xff"};
    path_remove(path);
    assert_false(safetensors_write(path, same, 2, NULL, 0));
    assert_non_null(strstr(error_text(), "'x' is given twice"));
    assert_false(safetensors_write(path, not_text, 1, NULL, 0));
    assert_false(safetensors_write(path, same, 1, twice, 2));
    assert_non_null(strstr(error_text(), "'k' is given twice"));
    assert_false(safetensors_write(path, same, 1, bad, 1));
    assert_non_null(strstr(error_text(), "'key'"));
    assert_non_null(strstr(error_text(), path));
    assert_false(path_exists(path));
}

static int set_up(void **state)
{
    return mkdtemp(folder) && path_join(path, folder, "x.safetensors") ? 0 : -1;
}

static int tear_down(void **state)
{
    return path_remove(folder) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_tensors_are_read),
        cmocka_unit_test(foreign_types_and_odd_alignment),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(long_and_deep_headers_are_refused),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(large_hollow_files_are_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(impossible_headers_are_not_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
