#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last[ERROR_TEXT_MAX];

static void keep_one_line(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
}

bool error_set(const char *format, ...)
{
    char text[ERROR_TEXT_MAX]; /* the arguments may point into `last` */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    keep_one_line(text);
    memcpy(last, text, sizeof last);
    return false;
}

bool error_prefix(const char *format, ...)
{
    char prefix[ERROR_TEXT_MAX], rest[ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(rest, last, sizeof rest);
    return error_set("%s: %.*s", prefix, (int)sizeof rest - 1, rest);
}

const char *error_text(void)
{
    return last;
}
