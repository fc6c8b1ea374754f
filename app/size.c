#include "app/size.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct suffix {
    const char *name;
    double factor;
};

static const struct suffix count_suffixes[] = {{"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {0}};
static const struct suffix time_suffixes[] = {
    {"ms", 1e-3}, {"s", 1}, {"min", 60}, {"h", 3600}, {0}};

/* A number >= 0 in plain decimal notation and what stands after it. strtod alone would also take
   spaces, hexadecimals, infinities and not-a-numbers. */
static bool number_parse(double *value, const char *text, const char **rest)
{
    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return false;
    char *end;
    *value = strtod(text, &end);
    *rest = end;
    return end != text && isfinite(*value);
}

static bool suffix_apply(double *value, const char *rest, const struct suffix *suffixes)
{
    for (const struct suffix *s = suffixes; s->name; s++)
        if (strcmp(rest, s->name) == 0) {
            *value *= s->factor;
            return true;
        }
    return false;
}

bool real_parse(double *value, const char *text)
{
    const char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text, *rest;
    if (!number_parse(value, digits, &rest) || *rest)
        return false;
    if (text[0] == '-')
        *value = -*value;
    return true;
}

bool count_parse(int64_t *value, const char *text)
{
    const char *digits = text;
    while (isdigit((unsigned char)*digits))
        digits++;
    if (digits != text && !*digits && digits - text <= 18) { /* all of int64_t, not 53 bits of it */
        *value = strtoll(text, NULL, 10);
        return true;
    }
    double number;
    const char *rest;
    if (!number_parse(&number, text, &rest) || !suffix_apply(&number, rest, count_suffixes))
        return false;
    double whole = nearbyint(number);
    if (fabs(number - whole) > 1e-6 || whole > 9e15)
        return false;
    *value = (int64_t)whole;
    return true;
}

bool time_parse(double *seconds, const char *text)
{
    const char *rest;
    if (!number_parse(seconds, text, &rest))
        return false;
    return !*rest || suffix_apply(seconds, rest, time_suffixes);
}

bool samples_parse(int64_t *samples, const char *text, double rate)
{
    if (count_parse(samples, text))
        return true;
    double seconds;
    const char *rest;
    if (!number_parse(&seconds, text, &rest) || !suffix_apply(&seconds, rest, time_suffixes) ||
        seconds * rate > 9e15)
        return false;
    *samples = (int64_t)nearbyint(seconds * rate);
    return true;
}

char *time_format(char *out, size_t size, double seconds)
{
    int64_t s = seconds > 0 ? (int64_t)seconds : 0;
    if (s >= 3600)
        snprintf(out, size, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60),
                 (int)(s % 60));
    else
        snprintf(out, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
    return out;
}

char *length_format(char *out, size_t size, double seconds)
{
    if (seconds < 60)
        snprintf(out, size, "%.1f s", seconds);
    else
        snprintf(out, size, "%.1f min", seconds / 60);
    return out;
}
