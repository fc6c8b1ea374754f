/* Files and folders: whole or not at all, and nothing outside what was named. */
#define _GNU_SOURCE
#include "base/error.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/hiss-test-file-XXXXXX";

static const char *in_folder(const char *name)
{
    static char paths[4][FILE_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    assert_true(path_join(path, folder, name));
    return path;
}

static void write_text(const char *path, const char *text)
{
    struct file_writer w;
    assert_true(file_create(&w, path));
    fputs(text, w.file);
    assert_true(file_commit(&w));
}

static void assert_holds(const char *path, const char *text)
{
    size_t size;
    char *bytes = file_read(path, &size);
    assert_non_null(bytes);
    assert_int_equal(size, strlen(text));
    assert_string_equal(bytes, text);
    free(bytes);
}

static void assert_error_names(const char *path, const char *what)
{
    assert_non_null(strstr(error_text(), path));
    assert_non_null(strstr(error_text(), what));
}

static void joining(void **state)
{
    char out[FILE_PATH_MAX], lengthy[FILE_PATH_MAX];
    assert_true(path_join(out, "a", "b"));
    assert_string_equal(out, "a/b");
    assert_true(path_join(out, "a/", "b"));
    assert_string_equal(out, "a/b");
    assert_true(path_join(out, "", "b"));
    assert_string_equal(out, "b");
    assert_true(path_join(out, out, "c"));
    assert_string_equal(out, "b/c");
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    assert_false(path_join(out, lengthy, "b"));
    assert_non_null(strstr(error_text(), "longer than"));
    assert_false(folder_make(lengthy));
    struct file_writer w;
    assert_false(file_create(&w, lengthy));
    file_discard(&w);
}

static void folders(void **state)
{
    assert_true(folder_make(in_folder("a/b/c/")));
    assert_true(folder_make(in_folder("a/b/c")));
    assert_true(path_is_folder(in_folder("a/b/c")));
    write_text(in_folder("a/file"), "x");
    assert_false(path_is_folder(in_folder("a/file")));
    assert_false(folder_make(in_folder("a/file")));
    assert_error_names(in_folder("a/file"), "in the way");
    assert_false(folder_make(in_folder("a/file/deeper")));
    assert_false(folder_sync(in_folder("none")));
    assert_error_names(in_folder("none"), "No such file");
}

static void removing(void **state)
{
    assert_true(folder_make(in_folder("outside")));
    write_text(in_folder("outside/kept"), "x");
    assert_true(folder_make(in_folder("tree/deep")));
    write_text(in_folder("tree/deep/file"), "x");
    assert_int_equal(symlink("../../outside", in_folder("tree/deep/link")), 0);
    assert_true(path_remove(in_folder("tree")));
    assert_false(path_exists(in_folder("tree")));
    assert_holds(in_folder("outside/kept"), "x");

    assert_int_equal(symlink("outside", in_folder("link")), 0);
    assert_true(path_remove(in_folder("link/")));
    assert_false(path_exists(in_folder("link")));
    assert_holds(in_folder("outside/kept"), "x");

    assert_true(path_remove(in_folder("never was")));
    assert_false(path_remove("/"));
    assert_false(path_remove(""));
    assert_false(path_remove(in_folder("outside/..")));
    assert_holds(in_folder("outside/kept"), "x");
    assert_true(path_remove(in_folder("outside/kept")));
}

static void reading_refuses_what_is_no_file(void **state)
{
    size_t size;
    assert_null(file_read(in_folder("none"), &size));
    assert_error_names(in_folder("none"), "No such file");
    assert_null(file_read(folder, &size));
    assert_error_names(folder, "a folder");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_null(file_read(in_folder("pipe"), &size));
    assert_error_names(in_folder("pipe"), "pipe");
}

static void reading_files_of_unknown_size(void **state)
{
    size_t size;
    char *bytes = file_read("/proc/self/maps", &size);
    if (!bytes)
        skip();
    assert_true(size > 0 && bytes[size] == 0);
    free(bytes);
    write_text(in_folder("empty"), "");
    assert_holds(in_folder("empty"), "");
}

static void writing_shows_whole_files_only(void **state)
{
    const char *path = in_folder("written");
    struct file_writer w;
    write_text(path, "first");
    assert_true(file_create(&w, path));
    assert_true(path_exists(w.part));
    fputs("second", w.file);
    fflush(w.file);
    assert_holds(path, "first");
    file_discard(&w);
    file_discard(&w);
    assert_false(path_exists(w.part));
    assert_holds(path, "first");
    write_text(w.part, "left by a run that was killed");
    write_text(path, "third");
    assert_holds(path, "third");
    assert_false(path_exists(w.part));
}

static void writing_refuses_what_is_no_file(void **state)
{
    struct file_writer w;
    assert_false(file_create(&w, folder));
    assert_error_names(folder, "a folder");
    assert_false(file_create(&w, "/dev/null"));
    assert_error_names("/dev/null", "a device");
    assert_false(file_create(&w, in_folder("none/file")));
    assert_error_names(in_folder("none/file"), "folder does not exist");
}

static void a_second_writer_is_noticed(void **state)
{
    struct file_writer first, second;
    const char *path = in_folder("contested");
    assert_true(file_create(&first, path));
    assert_true(file_create(&second, path));
    fputs("half of the sec", second.file);
    assert_false(file_commit(&first));
    assert_error_names(path, "another process");
    assert_false(path_exists(path));
    fputs("ond", second.file);
    assert_true(file_commit(&second));
    assert_holds(path, "half of the second");
}

static void a_full_disk_is_reported(void **state)
{
    struct file_writer w;
    const char *path = in_folder("full");
    assert_true(file_create(&w, path));
    FILE *full = fopen("/dev/full", "w");
    if (!full) {
        file_discard(&w);
        skip();
    }
    /* The writer's file now leads to a device that is always full. */
    assert_true(dup2(fileno(full), fileno(w.file)) >= 0);
    fclose(full);
    fputs("text", w.file);
    assert_false(file_commit(&w));
    assert_error_names(path, "No space left");
    assert_false(path_exists(path));
}

static int set_up(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    return path_remove(folder) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joining),
        cmocka_unit_test(folders),
        cmocka_unit_test(removing),
        cmocka_unit_test(reading_refuses_what_is_no_file),
        cmocka_unit_test(reading_files_of_unknown_size),
        cmocka_unit_test(writing_shows_whole_files_only),
        cmocka_unit_test(writing_refuses_what_is_no_file),
        cmocka_unit_test(a_second_writer_is_noticed),
        cmocka_unit_test(a_full_disk_is_reported),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
