#define _GNU_SOURCE
#include "base/log.h"

#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096, COLUMNS_DEFAULT = 80 };

static const double redraw_s = 0.1; /* on a terminal: faster is not read, only sent */

static atomic_int level = LOG_NORMAL;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Under the lock. */
static char status[LINE_MAX_BYTES]; /* "": there is no status line */
static bool status_drawn;           /* as it is now */
static double status_time = -1e9;   /* when it was last drawn or printed */

static FILE *taken; /* standard error as it was */

void log_take_stderr(void)
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC), own = dup(STDERR_FILENO);
    FILE *file = own >= 0 && nowhere >= 0 ? fdopen(own, "w") : NULL;
    if (file) {
        setvbuf(file, NULL, _IONBF, 0); /* as stderr is */
        dup2(nowhere, STDERR_FILENO);
        taken = file;
    } else if (own >= 0) {
        close(own);
    }
    if (nowhere >= 0)
        close(nowhere);
}

FILE *log_file(void)
{
    return taken ? taken : stderr;
}

static bool on_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(fileno(log_file())) && !(term && strcmp(term, "dumb") == 0);
}

/* File names may hold any byte; one message stays one line and cannot steer the terminal. */
static void line_format(char out[LINE_MAX_BYTES], const char *format, va_list args)
{
    vsnprintf(out, LINE_MAX_BYTES, format, args);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
}

/* Bytes of UTF-8 text that fit in `columns`. From U+3000 on, letters count as two wide. */
static int text_fit(const char *text, int columns)
{
    int i = 0, used = 0;
    while (text[i]) {
        int bytes = 1;
        while (((unsigned char)text[i + bytes] & 0xC0) == 0x80)
            bytes++;
        used += (unsigned char)text[i] >= 0xE3 ? 2 : 1;
        if (used > columns)
            break;
        i += bytes;
    }
    return i;
}

static void status_draw(void)
{
    struct winsize size;
    int columns = COLUMNS_DEFAULT;
    if (ioctl(fileno(log_file()), TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
        columns = size.ws_col;
    /* The last column stays free: text in it makes some terminals wrap. */
    fprintf(log_file(), "\r%.*s\033[K", text_fit(status, columns - 1), status);
    status_drawn = true;
    status_time = clock_s();
}

static void message_print(const char *mark, const char *text)
{
    pthread_mutex_lock(&lock);
    bool redraw = status[0] && on_terminal();
    fprintf(log_file(), "%s%s%s\n", redraw ? "\r\033[K" : "", mark, text);
    if (redraw)
        status_draw();
    pthread_mutex_unlock(&lock);
}

void log_set_level(enum log_level l)
{
    atomic_store(&level, (int)l);
}

void log_info(const char *format, ...)
{
    if (atomic_load(&level) < LOG_NORMAL)
        return;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    line_format(text, format, args);
    va_end(args);
    message_print("", text);
}

void log_warn(const char *format, ...)
{
    if (atomic_load(&level) < LOG_WARNINGS)
        return;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    line_format(text, format, args);
    va_end(args);
    message_print("warning: ", text);
}

void log_status(bool force, const char *format, ...)
{
    if (atomic_load(&level) < LOG_NORMAL)
        return;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    line_format(text, format, args);
    va_end(args);

    pthread_mutex_lock(&lock);
    bool terminal = on_terminal();
    double waited = clock_s() - status_time;
    memcpy(status, text, sizeof status);
    status_drawn = false;
    if (terminal && (force || waited >= redraw_s)) {
        status_draw();
    } else if (!terminal && (force || waited >= LOG_INTERVAL_S)) {
        fprintf(log_file(), "%s\n", status);
        status_time = clock_s();
    }
    pthread_mutex_unlock(&lock);
}

void log_status_end(void)
{
    pthread_mutex_lock(&lock);
    if (status[0] && on_terminal()) {
        if (!status_drawn)
            status_draw();
        fputc('\n', log_file());
    }
    status[0] = 0;
    pthread_mutex_unlock(&lock);
}
