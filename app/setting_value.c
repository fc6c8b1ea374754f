#define _GNU_SOURCE
#include "app/setting_value.h"

#include "app/size.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 64 };

/* The number of a word in "a|b|c", or -1. */
static int64_t choice_find(const char *choices, const char *word)
{
    size_t length = strlen(word);
    int64_t i = 0;
    for (const char *c = choices; c; c = strchr(c, '|'), i++) {
        c += *c == '|';
        if (strcspn(c, "|") == length && strncmp(c, word, length) == 0)
            return i;
    }
    return -1;
}

static void choice_copy(char out[WORD_MAX], const char *choices, int64_t index)
{
    for (; index > 0; index--)
        choices = strchr(choices, '|') + 1;
    snprintf(out, WORD_MAX, "%.*s", (int)strcspn(choices, "|"), choices);
}

/* The length of a text without the spaces at its end. */
static size_t trimmed(const char *text, size_t length)
{
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    return length;
}

/* The next word of a comma list, without the spaces around it; "" if it is too long to be any.
   false: there is none. */
static bool word_next(char word[WORD_MAX], const char **list)
{
    const char *from = *list;
    if (!from)
        return false;
    const char *end = from + strcspn(from, ",");
    *list = *end ? end + 1 : NULL;
    from += strspn(from, " \t");
    size_t length = from < end ? trimmed(from, (size_t)(end - from)) : 0;
    snprintf(word, WORD_MAX, "%.*s", length < WORD_MAX ? (int)length : 0, from);
    return true;
}

void setting_expected(char out[EXPECTED_MAX], const struct setting *t)
{
    char range[80];
    if (t->max >= 1e12)
        snprintf(range, sizeof(range), ", at least %.12g", t->min);
    else
        snprintf(range, sizeof(range), " from %.12g to %.12g", t->min, t->max);
    switch (t->kind) {
    case SETTING_TEXT:
        snprintf(out, EXPECTED_MAX, "text without ';', at most %d bytes", SETTING_TEXT_MAX - 1);
        break;
    case SETTING_COUNT:
        snprintf(out, EXPECTED_MAX, "a whole number%s", range);
        break;
    case SETTING_SAMPLES:
        snprintf(out, EXPECTED_MAX, "samples (16k) or a time (2s)%s", range);
        break;
    case SETTING_REAL:
        snprintf(out, EXPECTED_MAX, "a number%s", range);
        break;
    case SETTING_TIME:
        snprintf(out, EXPECTED_MAX, "a time like 10 (seconds) or 500ms%s", range);
        break;
    case SETTING_CHOICE:
        snprintf(out, EXPECTED_MAX, "one of %s", t->choices);
        break;
    case SETTING_COUNTS:
        snprintf(out, EXPECTED_MAX, "whole numbers with commas between, each%s, at most %d of them",
                 range, PLAN_TIERS_MAX);
        break;
    case SETTING_CHOICES:
        snprintf(out, EXPECTED_MAX, "words with commas between, each one of %s", t->choices);
        break;
    }
}

static bool list_read(struct setting_list *list, const struct setting *t, const char *text)
{
    char word[WORD_MAX];
    list->n = 0;
    if (t->kind == SETTING_COUNTS && !text[strspn(text, " \t")])
        return true;
    while (word_next(word, &text)) {
        int64_t value = 0;
        if (t->kind == SETTING_CHOICES)
            value = choice_find(t->choices, word);
        else if (!count_parse(&value, word) || value < t->min || value > t->max)
            return false;
        if (value < 0 || list->n == PLAN_TIERS_MAX)
            return false;
        list->value[list->n++] = value;
    }
    return true;
}

/* The text without spaces around it, as an .ini gives it back. */
static bool text_read(char *out, const char *text)
{
    text += strspn(text, " \t");
    size_t length = trimmed(text, strlen(text));
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 32 || text[i] == 127 || text[i] == ';')
            return false;
    snprintf(out, SETTING_TEXT_MAX, "%.*s", (int)length, text);
    return true;
}

bool setting_read(struct settings *s, const struct setting *t, const char *text, double rate)
{
    void *field = (char *)s + t->offset;
    int64_t *count = field;
    double *real = field;
    switch (t->kind) {
    case SETTING_TEXT:
        return text_read(field, text);
    case SETTING_COUNT:
        return count_parse(count, text) && *count >= t->min && *count <= t->max;
    case SETTING_SAMPLES:
        return samples_parse(count, text, rate) && *count >= t->min && *count <= t->max;
    case SETTING_REAL:
        return real_parse(real, text) && *real >= t->min && *real <= t->max;
    case SETTING_TIME:
        return time_parse(real, text) && *real >= t->min && *real <= t->max;
    case SETTING_CHOICE:
        *count = choice_find(t->choices, text);
        return *count >= 0;
    case SETTING_COUNTS:
    case SETTING_CHOICES:
        return list_read(field, t, text);
    }
    return false;
}

void setting_write(const struct settings *s, const struct setting *t, char out[SETTING_TEXT_MAX])
{
    const void *field = (const char *)s + t->offset;
    const struct setting_list *list = field;
    char word[WORD_MAX];
    size_t used = 0;
    switch (t->kind) {
    case SETTING_TEXT:
        snprintf(out, SETTING_TEXT_MAX, "%s", (const char *)field);
        break;
    case SETTING_COUNT:
    case SETTING_SAMPLES:
        snprintf(out, SETTING_TEXT_MAX, "%lld", (long long)*(const int64_t *)field);
        break;
    case SETTING_REAL:
    case SETTING_TIME:
        snprintf(out, SETTING_TEXT_MAX, "%.15g", *(const double *)field);
        if (strtod(out, NULL) != *(const double *)field)
            snprintf(out, SETTING_TEXT_MAX, "%.17g", *(const double *)field);
        break;
    case SETTING_CHOICE:
        choice_copy(word, t->choices, *(const int64_t *)field);
        snprintf(out, SETTING_TEXT_MAX, "%s", word);
        break;
    case SETTING_COUNTS:
    case SETTING_CHOICES:
        out[0] = 0;
        for (int i = 0; i < list->n; i++) {
            if (t->kind == SETTING_CHOICES)
                choice_copy(word, t->choices, list->value[i]);
            else
                snprintf(word, WORD_MAX, "%lld", (long long)list->value[i]);
            used +=
                (size_t)snprintf(out + used, SETTING_TEXT_MAX - used, "%s%s", i ? "," : "", word);
        }
        break;
    }
}
