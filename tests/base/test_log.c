/* The log, read back from a pipe and from a terminal 20 columns wide. */
#define _GNU_SOURCE
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

enum { COLUMNS = 20, THREADS = 4, LINES = 200 };

static int standard_error; /* the real one */
static char heard[1 << 16];

/* Sends standard error to `fd`, or back. */
static void redirect(int fd)
{
    fflush(stderr);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
}

/* What `say` prints, from the reading end of a pipe or terminal. */
static const char *listen_to(void (*say)(void), int read_end, int write_end)
{
    redirect(write_end);
    say();
    redirect(standard_error);
    assert_int_equal(fcntl(read_end, F_SETFL, O_NONBLOCK), 0);
    size_t used = 0;
    ssize_t n;
    while ((n = read(read_end, heard + used, sizeof heard - 1 - used)) > 0)
        used += (size_t)n;
    heard[used] = 0;
    close(write_end);
    close(read_end);
    return heard;
}

static const char *pipe_hears(void (*say)(void))
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    return listen_to(say, ends[0], ends[1]);
}

static const char *terminal_hears(void (*say)(void))
{
    int read_end = posix_openpt(O_RDWR | O_NOCTTY);
    if (read_end < 0 || grantpt(read_end) != 0 || unlockpt(read_end) != 0)
        skip();
    int write_end = open(ptsname(read_end), O_RDWR | O_NOCTTY);
    assert_true(write_end >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = COLUMNS};
    assert_int_equal(ioctl(write_end, TIOCSWINSZ, &size), 0);
    setenv("TERM", "xterm", 1);
    return listen_to(say, read_end, write_end);
}

static void say_messages(void)
{
    log_info("one %d", 1);
    log_warn("two\nlines \x1b[2J");
    log_set_level(LOG_WARNINGS);
    log_info("hidden");
    log_status(true, "hidden");
    log_warn("shown");
    log_set_level(LOG_QUIET);
    log_warn("hidden");
    log_set_level(LOG_NORMAL);
}

static void messages(void **state)
{
    assert_string_equal(pipe_hears(say_messages),
                        "one 1\nwarning: two?lines ?[2J\nwarning: shown\n");
}

static void say_status(void)
{
    log_status(true, "step 1");
    log_status(false, "step 2");
    log_status(false, "step 3");
    log_status(true, "step 4");
    log_info("message");
    log_status_end();
}

static void status_in_a_pipe_is_rare_lines(void **state)
{
    assert_string_equal(pipe_hears(say_status), "step 1\nstep 4\nmessage\n");
}

static void status_on_a_terminal_is_redrawn(void **state)
{
    /* The terminal turns every newline into two characters. Step 2 and 3 come too soon. */
    assert_string_equal(terminal_hears(say_status), "\rstep 1\033[K\rstep 4\033[K"
                                                    "\r\033[Kmessage\r\n\rstep 4\033[K\r\n");
}

static void say_last(void)
{
    log_status(true, "step 1");
    log_status(false, "step 2");
    log_status_end();
    log_status_end();
}

static void last_status_stays(void **state)
{
    assert_string_equal(terminal_hears(say_last), "\rstep 1\033[K\rstep 2\033[K\r\n");
}

static void say_wide(void)
{
    log_status(true, "0123456789012345678901234567890");
    log_status(true, "\xc3\xa9\xc3\xa9 45678901234567\xc3\xa9\xc3\xa9\xc3\xa9");
    log_status(true, "0123456789\xe5\xad\x97\xe5\xad\x97\xe5\xad\x97\xe5\xad\x97\xe5\xad\x97");
    log_status_end();
}

static void status_is_cut_to_the_width(void **state)
{
    assert_string_equal(terminal_hears(say_wide),
                        "\r0123456789012345678\033[K"
                        "\r\xc3\xa9\xc3\xa9 45678901234567\xc3\xa9\xc3\xa9\033[K"
                        "\r0123456789\xe5\xad\x97\xe5\xad\x97\xe5\xad\x97\xe5\xad\x97\033[K\r\n");
}

static void *say_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info("line of thread %d", *(int *)arg);
    return NULL;
}

static void say_from_threads(void)
{
    pthread_t threads[THREADS];
    int ids[THREADS];
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, say_lines, &ids[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void lines_of_threads_stay_whole(void **state)
{
    const char *text = pipe_hears(say_from_threads);
    int lines = 0, length = 0, thread;
    for (const char *s = text; *s; s += length, lines++) {
        length = 0;
        assert_int_equal(sscanf(s, "line of thread %1d\n%n", &thread, &length), 1);
        assert_int_equal(length, 17);
    }
    assert_int_equal(lines, THREADS * LINES);
}

int main(void)
{
    standard_error = dup(STDERR_FILENO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(status_in_a_pipe_is_rare_lines),
        cmocka_unit_test(status_on_a_terminal_is_redrawn),
        cmocka_unit_test(last_status_stays),
        cmocka_unit_test(status_is_cut_to_the_width),
        cmocka_unit_test(lines_of_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
