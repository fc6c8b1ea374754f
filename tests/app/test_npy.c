#include "app/npy.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_rows(void **state)
{
    char folder[] = "/tmp/hiss-npy-XXXXXX", path[FILE_PATH_MAX];
    assert_non_null(mkdtemp(folder));
    assert_true(path_join(path, folder, "x.npy"));
    const float rows[6] = {1, 2, 3, 4, 5, 6};
    struct npy_writer w;
    assert_true(npy_open(&w, path, 2));
    assert_true(npy_write(&w, rows, 2) && npy_write(&w, rows + 4, 1));
    assert_false(path_exists(path)); /* not before it is whole */
    assert_true(npy_close(&w));
    size_t size;
    char *bytes = file_read(path, &size);
    assert_non_null(bytes);
    assert_int_equal(size, 128 + sizeof(rows));
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00\x76\x00", 10);
    assert_non_null(strstr(bytes + 10, "'<f4', 'fortran_order': False, 'shape': (3, 2), }"));
    assert_int_equal(bytes[127], '\n');
    assert_memory_equal(bytes + 128, rows, sizeof(rows));
    free(bytes);
    assert_true(path_remove(folder));
}

static void test_discard(void **state)
{
    char folder[] = "/tmp/hiss-npy-XXXXXX", path[FILE_PATH_MAX];
    assert_non_null(mkdtemp(folder));
    assert_true(path_join(path, folder, "x.npy"));
    struct npy_writer w;
    assert_true(npy_open(&w, path, 256));
    npy_discard(&w);
    assert_int_equal(rmdir(folder), 0);
    assert_false(npy_open(&w, path, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
